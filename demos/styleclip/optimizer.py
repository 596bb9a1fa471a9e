"""The runs of StyleCLIP's optimizer: what a stopped run keeps, and the strip of its path."""

from dataclasses import replace

from demos.context import Context
from demos.shared.common import Ask, Axes, Method, Stage
from demos.styleclip import latents as styleclip
from textedit_core import cache
from textedit_core.knobs import divide
from textedit_core.methods import styleclip_optimizer as optimizer
from textedit_core.steps import Step, last

MOST_PLACES = 12  # pictures in the strip


def read(ctx: Context, values: dict) -> Ask:
    """Widgets -> Ask; ValueError, a sentence, for what cannot be used."""
    models, prompt = ctx.models(values["models"]), values["prompt"].strip()
    begun = styleclip.start(ctx, values)
    args = models.generator, models.clip, styleclip.helper(models, "identity"), begun.latent, prompt
    return styleclip.asked(METHOD, values, models, begun, args, prompts={"prompt": prompt}, goal=prompt)


def stages(settings: dict) -> tuple[Stage, ...]:
    """One stage, as long as it is allowed to run."""
    steps = min(settings["steps"], settings["stop_after"] or settings["steps"])
    return (Stage("optimisation", "Following the text", steps, lambda fitted: fitted.losses),)


def keep(ask: Ask, step: Step[optimizer.Optimised]) -> dict:
    """Store a stopped run as what it is: the finished run that is told to stop after these steps."""
    done, identity = step.done, ask.args[2]
    score = None if identity is None else identity.similarity(step.value.image, step.value.source).item()
    found = step.value
    fitted = replace(found, losses=found.losses[:done], clip_losses=found.clip_losses[:done], identity=score)
    settings = divide(ask.settings | {"stop_after": done}, optimizer.edit, optimizer.fit)[0]
    entry = cache.Entry(fitted, done, fitted.losses[-1])
    cache.default.put(cache.key(optimizer.fit, ask.args, settings), entry)
    return {"stop_after": done}


def known(ask: Ask) -> optimizer.Optimised | None:
    """The run that was asked for, if the cache has it."""
    entry = cache.default.get(cache.key(optimizer.fit, ask.args, ask.fit))
    return entry.value if entry else None


def way(ask: Ask, fitted: optimizer.Optimised) -> list[dict]:
    """The path as a strip: for some of the codes that were kept, evenly, "step", "position", "picture"."""
    count = min(len(fitted.places), MOST_PLACES)
    chosen = {round(k * (len(fitted.places) - 1) / max(count - 1, 1)) for k in range(count)}
    places, most = [fitted.places[k] for k in sorted(chosen)], fitted.places[-1] or 1
    positions, found = [place / most for place in places], []
    size = styleclip.batch(ask)
    for begin in range(0, len(positions), size):
        part = positions[begin : begin + size]
        made = last(cache.cached(optimizer.edit, ask.args[0], fitted, position=part))
        found += [styleclip.thumbnail(made[row : row + 1]) for row in range(len(part))]
    rows = zip(places, positions, found, strict=True)
    return [{"step": step, "position": at, "picture": picture} for step, at, picture in rows]


METHOD = Method(
    optimizer,
    read,
    Axes("position", "0-1 [6]"),
    sweeps={
        "The way": lambda values: Axes("position", "0-1 [6]"),
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
