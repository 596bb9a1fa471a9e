"""Imagic's runs: how its widgets are read, what a stopped fit keeps, the SDEdit baseline."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from demos.context import Context
from demos.shared import common, safety
from demos.shared.common import Ask, Axes, Method, Stage
from demos.shared.knobs import KnobGroup
from textedit_core import cache, images
from textedit_core.knobs import divide, method_knobs
from textedit_core.methods import imagic, sdedit
from textedit_core.steps import Step

SHARED = ("steps", "seed")  # what SDEdit takes over from the edit it stands beside
SDEDIT = KnobGroup.of(sdedit.edit, "sdedit_", SHARED, {"guidance_scale": "SDEdit guidance"})


def read(ctx: Context, values: dict) -> Ask:
    """Widgets -> Ask; ValueError, a sentence, for what cannot be used."""
    models, prompt = ctx.models(values["models"]), values["prompt"].strip()
    picture, source = common.open_source(models.diffusion, values)
    return Ask(
        METHOD,
        values["models"],
        models,
        (models.diffusion, source, prompt),
        METHOD.settings(values),
        prompts={"prompt": prompt},
        picture=picture,
        source=source,
        goal=prompt,
        sizing=values.get("sizing", "crop"),
    )


def stages(settings: dict) -> tuple[Stage, ...]:
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


def keep(ask: Ask, step: Step[imagic.ImagicFit]) -> dict:
    """Store a stopped fit in the cache as what it is: the finished fit of fewer steps."""
    live = step.value  # a live view: its tensors change with the next step, so they are copied
    fitted = replace(live, e_opt=live.e_opt.clone(), tuned={n: w.clone() for n, w in live.tuned.items()})
    done = {
        "embedding_steps": len(fitted.embedding_losses),
        "finetune_steps": len(fitted.finetune_losses),
    }
    name = cache.key(imagic.fit, ask.args, divide(ask.settings | done, imagic.edit, imagic.fit)[0])
    cache.default.put(name, cache.Entry(fitted, step.done, step.loss))
    return done


def suggest(x: str, points: list[tuple]) -> float | None:
    """The eta at the knee of the two curves, where x is eta and there is something to choose from."""
    if x != "eta" or len(points) < 3:
        return None
    return points[imagic.suggest_eta(*zip(*points, strict=True))][0]


def rank(ask: Ask, fitted: imagic.ImagicFit, seeds: int) -> Iterator[Step[tuple[imagic.RankedSeed, ...]]]:
    """`seeds` seeds from the asked one on, best first."""
    models = ask.models
    given = models.diffusion, models.clip, fitted, ask.source
    yield from cache.cached(imagic.rank_seeds, *given, seeds=seeds, **ask.edit)


def baseline_settings(ask: Ask, values: dict) -> dict:
    """SDEdit's knobs: its own, checked, and the sampling steps and the seed of the edit it stands beside."""
    return SDEDIT.arguments(values) | {name: ask.edit[name] for name in SHARED}


def baseline(ask: Ask, settings: dict) -> Iterator[Step[Tensor]]:
    """SDEdit of the same source under the same prompt."""
    yield from cache.cached(sdedit.edit, *ask.args, **settings)


def beside(ask: Ask, edited: Tensor, settings: dict, folder: Path) -> dict[str, str]:
    """Write the SDEdit result with its own settings: its path, for the pictures of a result."""
    safety.check(ask.models, edited)
    about = replace(common.describe(ask), method="sdedit", knobs=settings)
    return {"baseline": common.save(images.to_pil(edited)[0], folder, "sdedit", about)}


def memory_hint() -> str:
    """What takes less memory, in the words of the knobs; lora is named where it can be chosen."""
    known, kinds = method_knobs(imagic.edit, imagic.fit), " or ".join(f"'{one}'" for one in lean_tuning())
    tuned, checkpointing = known["tune"].label, known["gradient_checkpointing"].label
    return f"Choose {kinds} under {tuned}, turn on {checkpointing}, or run smaller sweeps."


def lean_tuning() -> tuple[str, ...]:
    """The choices of `tune` that take less memory than the paper's."""
    return tuple(one for one in tunings() if one != "full")


def tunings() -> tuple[str, ...]:
    """What can be tuned here: lora needs the package peft."""
    choices = method_knobs(imagic.edit, imagic.fit)["tune"].knob.choices
    return tuple(one for one in choices if one != "lora" or importlib.util.find_spec("peft"))


METHOD = Method(
    imagic,
    read,
    Axes("eta", "0-1.2 [7]", "seed", "0, 1"),
    stages=stages,
    keep=keep,
    keeps=("embedding_steps", "finetune_steps"),
    suggest=suggest,
    rank=rank,
    headline=("eta", "seed"),
    memory_hint=memory_hint(),
)
