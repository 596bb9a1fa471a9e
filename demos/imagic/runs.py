"""What the page adds to Imagic: the stages of its fit, what a stopped fit keeps, the SDEdit result beside."""

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from demos.shared import safety
from demos.shared.knobs import KnobGroup
from demos.shared.present import save
from demos.shared.view import Axes, MethodView, Stage, keep_stopped
from textedit_core import cache, large
from textedit_core.methods import imagic, sdedit
from textedit_core.request import Request, Result, request
from textedit_core.steps import Step

# What SDEdit takes over from the edit it stands beside.
SHARED = ("steps", "seed", *large.KNOBS)
SDEDIT = KnobGroup.of(sdedit.edit, "sdedit_", SHARED, {"guidance_scale": "SDEdit guidance"})


def stages(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The two parts of a fit."""
    return (
        Stage(
            "embedding",
            "Learning the embedding",
            settings["embedding_steps"],
            lambda fitted: fitted.embedding_losses,
        ),
        Stage(
            "fine-tuning",
            "Fine-tuning the model",
            settings["finetune_steps"],
            lambda fitted: fitted.finetune_losses,
        ),
    )


def keep(asked: Request, step: Step[imagic.ImagicFit]) -> dict:
    """Store a stopped fit in the cache as what it is: the finished fit of fewer steps."""
    fitted = imagic.settled(asked.models.diffusion, step.value)
    done = {
        "embedding_steps": len(fitted.embedding_losses),
        "finetune_steps": len(fitted.finetune_losses),
    }
    return keep_stopped(asked, step, fitted, done)


def suggest(x: str, points: list[tuple]) -> float | None:
    """The eta at the knee of the two curves, where x is eta and there is something to choose from."""
    if x != "eta" or len(points) < 3:
        return None
    return points[imagic.suggest_eta(*zip(*points, strict=True))][0]


def rank(
    asked: Request, fitted: imagic.ImagicFit, seeds: int
) -> Iterator[Step[tuple[imagic.RankedSeed, ...]]]:
    """`seeds` seeds from the asked one on, best first."""
    models, settings = asked.models, asked.edit_call(fitted).settings
    given = models.diffusion, models.clip, fitted, asked.inputs["image"]
    yield from cache.cached(imagic.rank_seeds, *given, seeds=seeds, **settings)


def beside(asked: Request, values: Mapping[str, Any]) -> Request:
    """SDEdit of the same source under the same prompt, with its own knobs and the edit's steps and seed."""
    settings = SDEDIT.arguments(values) | {name: asked.settings[name] for name in SHARED}
    given = {"image": asked.picture, "prompt": asked.inputs["prompt"]}
    return request("sdedit", asked.models, given, settings, resize=asked.resize)


def save_beside(result: Result, folder: Path) -> str:
    """Write the SDEdit result with its own settings; returns its path. `safety.Refused` where it is."""
    safety.check(result.request.models, result.image)
    return save(result.image, folder, "sdedit", result.record)


def memory_hint() -> str:
    """What takes less memory, in the words of the knobs; lora is named where it can be chosen."""
    known, kinds = VIEW.knobs, " or ".join(f"'{one}'" for one in lean_tuning())
    tuned, checkpointing = known["tune"].label, known["gradient_checkpointing"].label
    return f"Choose {kinds} under {tuned}, turn on {checkpointing}, or run smaller sweeps."


def lean_tuning() -> tuple[str, ...]:
    """The choices of `tune` that take less memory than the paper's."""
    return tuple(one for one in tunings() if one != "full")


def tunings() -> tuple[str, ...]:
    """What can be tuned here: lora needs the package peft."""
    choices = VIEW.knobs["tune"].knob.choices
    return tuple(one for one in choices if one != "lora" or importlib.util.find_spec("peft"))


VIEW = MethodView(
    "imagic",
    Axes("eta", "0-1.2 [7]", "seed", "0, 1"),
    stages=stages,
    keep=keep,
    keeps=("embedding_steps", "finetune_steps"),
    suggest=suggest,
    rank=rank,
    headline=("eta", "seed"),
)
VIEW = replace(VIEW, memory_hint=memory_hint())
