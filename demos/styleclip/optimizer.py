"""What the page adds to StyleCLIP's optimizer and TediGAN: what a stopped run keeps, and their paths."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from demos.shared.view import Axes, MethodView, Stage, keep_stopped
from demos.styleclip import latents as styleclip
from textedit_core import cache
from textedit_core.models.style.paths import Optimised
from textedit_core.request import Request, Result, located
from textedit_core.steps import Step, last

MOST_STEPS = 12  # pictures in the strip


def stages(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    """One stage; it may end before its last step."""
    steps = min(settings["steps"], settings.get("stop_after") or settings["steps"])
    return (Stage("optimisation", "Following the prompt", steps, lambda fitted: fitted.losses),)


def keep(asked: Request, step: Step[Optimised]) -> dict:
    """Store a stopped run as what it is: the finished run that is told to stop after these steps."""
    identity, found = asked.inputs["identity"], step.value
    score = None if identity is None else identity.similarity(found.image, found.source).item()
    return _keep(asked, step, {"stop_after": step.done}, identity=score)


def keep_steps(asked: Request, step: Step[Optimised]) -> dict:
    """Store a stopped run of TediGAN, whose rate is constant, as the finished run of fewer steps."""
    return _keep(asked, step, {"steps": step.done})


def _keep(asked: Request, step: Step[Optimised], settings: dict, **changes: Any) -> dict:
    """Store the path so far, with the losses of its steps, under the settings that make it a finished one."""
    found, done = step.value, step.done
    losses = {"losses": found.losses[:done], "clip_losses": found.clip_losses[:done]}
    fitted = replace(found, **losses, **changes)
    return keep_stopped(located(asked), replace(step, loss=fitted.losses[-1]), fitted, settings)


def path_of(result: Result) -> list[dict]:
    """Some steps of the optimisation, evenly spaced: "step", "position" and "picture" of each."""
    asked, fitted = result.request, result.fitted
    count = min(len(fitted.places), MOST_STEPS)
    chosen = {round(k * (len(fitted.places) - 1) / max(count - 1, 1)) for k in range(count)}
    places, most = [fitted.places[k] for k in sorted(chosen)], fitted.places[-1] or 1
    positions, found = [place / most for place in places], []
    size = styleclip.batch(asked)
    for begin in range(0, len(positions), size):
        part = positions[begin : begin + size]
        made = last(cache.cached(asked.method.edit, asked.inputs["generator"], fitted, position=part))
        found += [styleclip.thumbnail(made[row : row + 1]) for row in range(len(part))]
    rows = zip(places, positions, found, strict=True)
    return [{"step": step, "position": at, "picture": picture} for step, at, picture in rows]


VIEW = MethodView(
    "styleclip_optimizer",
    Axes("position", "0-1 [6]"),
    offers={
        "Path": lambda values: Axes("position", "0-1 [6]"),
        "L2 × identity weight": lambda values: Axes(
            "l2_lambda", "0.002, 0.008, 0.03", "id_lambda", "0, 0.01"
        ),
        "W+ and S": lambda values: Axes("space", "w_plus, s", "position", "0.5, 1"),
    },
    stages=stages,
    keep=keep,
    keeps=("stop_after",),
    headline=("position", "space"),
    edit_steps=lambda settings: 1,
    **styleclip.SHARED,
)
TEDIGAN = MethodView(
    "tedigan",
    Axes("position", "0-1 [6]"),
    offers={
        "Path": lambda values: Axes("position", "0-1 [6]"),
        "CLIP × pixel weight": lambda values: Axes("clip_lambda", "2, 8, 32", "pixel_lambda", "0.1, 1"),
    },
    stages=stages,
    keep=keep_steps,
    keeps=("steps",),
    headline=("position", "clip_lambda"),
    edit_steps=lambda settings: 1,
    **styleclip.SHARED,
)
