"""Imagic's runs: read the widgets, prepare (fit), edit, the SDEdit baseline, and the record of a result."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from demos.context import Context
from textedit_core import cache, images, metrics, record
from textedit_core.knobs import divide, knobs, method_knobs
from textedit_core.methods import imagic, sdedit
from textedit_core.steps import Step

KNOBS = method_knobs(imagic.edit, imagic.fit)
EDIT = tuple(knobs(imagic.edit))
FIT = tuple(name for name in KNOBS if name not in EDIT)
STRENGTH = knobs(sdedit.edit)["strength"]
MEMORY_HINT = (
    "Choose 'lora' or 'attention' under What is tuned, turn on gradient checkpointing, or run smaller sweeps."
)


@dataclass(frozen=True)
class Ask:
    """What the widgets say, read once: models, source as picture and tensor, prompt, settings by name."""

    name: str
    models: Any
    picture: Image.Image
    image: Tensor
    prompt: str
    settings: dict

    @property
    def fit(self) -> dict:
        return divide(self.settings, imagic.edit, imagic.fit)[0]

    @property
    def edit(self) -> dict:
        return divide(self.settings, imagic.edit, imagic.fit)[1]


def read(ctx: Context, models: str, image: str, sizing: str, prompt: str, settings: dict) -> Ask:
    """Widgets -> Ask; ValueError, a sentence, for what cannot be used."""
    loaded = ctx.models(models)
    picture = images.open_image(image, "Source image")
    tensor = images.to_tensor(picture, loaded.diffusion.size, sizing)
    values = {name: KNOBS[name].check(value) for name, value in settings.items()}
    return Ask(models, loaded, images.to_pil(tensor)[0], tensor, prompt.strip(), values)


@dataclass
class Fitting:
    """A preparation under way: its latest step, the losses so far, and where it ended."""

    planned: tuple[int, int]
    step: Step[imagic.ImagicFit] | None = None
    seconds: float = 0.0
    cached: bool = False
    stopped: bool = False

    @property
    def done(self) -> tuple[int, int]:
        """Steps done in each stage."""
        done = self.step.done if self.step else 0
        return min(done, self.planned[0]), max(0, done - self.planned[0])

    names = ("embedding", "fine-tuning")

    @property
    def doing(self) -> str:
        """The stage in words."""
        return "Learning the embedding" if self.step.done < self.planned[0] else "Fine-tuning the model"

    @property
    def stages(self) -> list[tuple[str, list[float], int]]:
        """Name, losses so far and planned steps of both stages, for the chart."""
        fitted = self.step.value
        return [
            ("1 embedding", fitted.embedding_losses, self.planned[0]),
            ("2 fine-tuning", fitted.finetune_losses, self.planned[1]),
        ]


def prepare(ctx: Context, ask: Ask, stop: Event) -> Iterator[Fitting]:
    """Fit, or take it from the cache. On `stop` it is kept as the fit of the steps it has done."""
    run = Fitting((ask.fit["embedding_steps"], ask.fit["finetune_steps"]))
    start = time.monotonic()
    for step in cache.cached(imagic.fit, ask.models.diffusion, ask.image, ask.prompt, **ask.fit):
        run.cached = run.step is None and step.done == step.total
        run.step, run.seconds = step, time.monotonic() - start
        if stop.is_set() and step.done < step.total:
            run.stopped = True
            keep(ask, run)
            yield run
            return
        yield run
    if not run.cached:
        ctx.pace.observe(ask.name, "fit", run.step.total, run.seconds)


def stopped_settings(ask: Ask, run: Fitting) -> dict:
    """The settings under which a stopped fit is the finished one."""
    return {**ask.settings, "embedding_steps": run.done[0], "finetune_steps": run.done[1]}


def keep(ask: Ask, run: Fitting) -> None:
    """Store a stopped fit in the cache as what it is: the finished fit of fewer steps."""
    fitted = run.step.value  # a live view: its tensors change with the next step, so they are copied
    fitted = replace(
        fitted, e_opt=fitted.e_opt.clone(), tuned={n: w.clone() for n, w in fitted.tuned.items()}
    )
    run.step = replace(run.step, value=fitted)
    settings = divide(stopped_settings(ask, run), imagic.edit, imagic.fit)[0]
    name = cache.key(imagic.fit, (ask.models.diffusion, ask.image, ask.prompt), settings)
    cache.default.put(name, cache.Entry(fitted, run.step.done, run.step.loss))


def edit(ctx: Context, ask: Ask, fitted: imagic.ImagicFit) -> Iterator[Step[Tensor]]:
    """The edit at the asked settings, or the same picture from the cache."""
    start, drawn = time.monotonic(), 0
    for step in cache.cached(imagic.edit, ask.models.diffusion, fitted, **ask.edit):
        drawn += 1
        yield step
    if drawn > 1:
        ctx.pace.observe(ask.name, "edit", drawn, time.monotonic() - start)


def baseline(ask: Ask, strength: float) -> Iterator[Step[Tensor]]:
    """SDEdit of the same source under the same prompt, guidance, sampling steps and seed."""
    shared = {name: ask.edit[name] for name in ("guidance_scale", "steps", "seed")}
    yield from cache.cached(
        sdedit.edit, ask.models.diffusion, ask.image, ask.prompt, strength=STRENGTH.check(strength), **shared
    )


@torch.no_grad()
def reconstruction(ask: Ask) -> Image.Image:
    """What the autoencoder alone makes of the source: no edit can be closer than this."""
    diffusion = ask.models.diffusion
    return images.to_pil(diffusion.decode(diffusion.encode(ask.image)))[0]


def describe(ask: Ask, settings: dict | None = None, method: str = "imagic") -> record.Record:
    """The record of a result: the asked settings, or these."""
    return record.Record(
        method=method,
        models=ask.name,
        prompts={"prompt": ask.prompt},
        knobs=settings or ask.settings,
        image=record.image_sha(ask.picture),
    )


def save(picture: Image.Image, folder: Path, name: str, about: record.Record) -> str:
    """Write a PNG that carries its settings; returns its path."""
    path = folder / f"{name}.png"
    record.save_png(picture, path, about)
    return str(path)


def present(
    ctx: Context, ask: Ask, edited: Tensor, other: Tensor | None, strength: float | None, seconds: float
) -> dict:
    """Write the pictures of a result and say how good it is: plain data for the result panel."""
    folder, about = ctx.folder(), describe(ask)
    baseline_path = None
    if other is not None:
        knobs_of_it = {"strength": strength, **{n: ask.edit[n] for n in ("guidance_scale", "steps", "seed")}}
        baseline_path = save(images.to_pil(other)[0], folder, "sdedit", describe(ask, knobs_of_it, "sdedit"))
    return {
        "edit": save(images.to_pil(edited)[0], folder, "edit", about),
        "source": save_plain(ask.picture, folder, "source"),
        "reconstruction": save_plain(reconstruction(ask), folder, "reconstruction"),
        "baseline": baseline_path,
        "baseline_label": f"SDEdit, strength {strength:g}" if strength is not None else "",
        "record": about.to_json(),
        "words": score_words(score(ask, edited), seconds),
    }


def save_plain(picture: Image.Image, folder: Path, name: str) -> str:
    """Write a PNG without settings: a picture that no method made."""
    path = folder / f"{name}.png"
    picture.save(path)
    return str(path)


def score(ask: Ask, edited: Tensor) -> dict | None:
    """CLIP score to the prompt and CLIP similarity to the source; None where the models have no CLIP."""
    if "clip" not in ask.models.sources:
        return None
    clip = ask.models.clip
    return {
        "clip": float(metrics.clip_score(clip, edited, ask.prompt)),
        "similarity": float(metrics.clip_similarity(clip, edited, ask.image)),
    }


def score_words(scores: dict | None, seconds: float) -> str:
    """One line under a result."""
    parts = (
        [f"CLIP score {scores['clip']:.1f}", f"similarity to the source {scores['similarity']:.2f}"]
        if scores
        else []
    )
    return ", ".join([*parts, f"{seconds:.1f} s" if seconds >= 0.05 else "from the cache"])
