"""Measure a bundle on both held-out sets: the figures of its manifest, and earlier ones beside them.

`closed` is the first held-out set, one variant and one colour for each word, so that figures stay comparable
over the years; `open` is of the open world (toon.open_world).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textedit_core.models import zoo
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.portraits import Portraits, World, held_out_portraits
from textedit_core.training import bundle, evaluate, example_parts, style_parts, upscaler_part

LARGE = 200  # of the portraits are measured at four times the size too: each takes sixteen times as long
MOST_FALL = {"dB": 0.5, "share": 0.01}  # on the closed set, of what a bundle may still be written with
NOT_SCORES = {
    "held_out_scenes", "sampled_scenes", "sample_settings.steps", "sample_settings.guidance_scale",
    "paint_by_example.edits", "paint_by_example.steps", "paint_by_example.lambda 0.asked",
    "paint_by_example.lambda 0.answer", "paint_by_example.pasted.asked", "paint_by_example.pasted.answer",
    "identity.same", "identity.other", "identity.alike",
}  # fmt: skip
# Figure -> the part of a training that it judges.
JUDGES = {
    "classifier_accuracy.mean": "classifier",
    "autoencoder_psnr_db": "vae",
    "autoencoder_large_psnr_db": "vae",
    "clip_zero_shot_accuracy.mean": "clip",
    "sample_attribute_accuracy.mean": "unet",
    "paint_by_example.lambda 5.asked": "paint_by_example",
    "enlarger.exact.psnr_db": "enlarger",
    "enlarger.rebuilt.psnr_db": "enlarger",
    "upscaler.psnr_db": "upscaler",
    "generator.psnr_db": "generator",
    "encoder.psnr_db": "encoder",
    "identity.auc": "identity",
}


@dataclass(frozen=True)
class HeldOut:
    """The held-out portraits of one world, small and (some of them) at four times the size."""

    world: World
    small: Portraits
    large: Portraits


def held_out(world: World, count: int, size: int, folder: Path, workers: int | None = None) -> HeldOut:
    """The first `count` of a world, kept in `folder`."""
    small = held_out_portraits(count, size, folder, workers, world)
    return HeldOut(world, small, held_out_portraits(min(count, LARGE), 4 * size, folder, workers, world))


def measure(
    folder: Path, sets: Mapping[World, HeldOut], samples: int, readers: Path | None = None
) -> dict[str, Any]:
    """The scores of a bundle: those on the closed set, and under "open" those on the other.

    readers: the bundle whose classifier reads the samples, where it is not this one's own.
    """
    models = zoo.load(folder)
    reader = bundle.load_classifier(readers or folder, models.diffusion.size)
    own = bundle.load_classifier(folder, models.diffusion.size)
    found = {
        world: {"held_out_scenes": len(held.small), **of_set(models, own, reader, held, samples)}
        for world, held in sets.items()
    }
    return _rounded(found["closed"] | ({"open": found["open"]} if "open" in found else {}))


def of_set(
    models: zoo.Models,
    own: AttributeClassifier,
    reader: AttributeClassifier,
    held: HeldOut,
    samples: int,
) -> dict[str, Any]:
    """The table of specs/toon.md, section 2, on one held-out set. own: the classifier that is itself scored.

    StyleCLIP's generator, identity network and mappers know the closed world alone and are scored there.
    """
    some, diffusion = held.small.first(samples), models.diffusion
    found = {
        "sampled_scenes": len(some),
        "classifier_accuracy": evaluate.classifier_accuracy(own, held.small),
        "autoencoder_psnr_db": evaluate.autoencoder_psnr(diffusion, held.small),
        "autoencoder_large_psnr_db": evaluate.autoencoder_psnr(diffusion, held.large, rows=4),
        "clip_zero_shot_accuracy": evaluate.zero_shot_accuracy(models.clip, held.small),
        "sample_attribute_accuracy": evaluate.sample_accuracy(diffusion, reader, some),
        "sample_settings": {"steps": evaluate.SAMPLING_STEPS, "guidance_scale": evaluate.GUIDANCE_SCALE},
        **style_parts.measure(models, reader, held.small, held.world),
        **example_parts.measure(models, reader, samples, held.world),
        **upscaler_part.measure(models, held.small, held.large),
    }
    if "familiarity" in models.sources:
        images = held.small.batch(np.arange(len(held.small)))
        strange = [not known for known in models.familiarity.knows(models.clip, images)]
        found["taken_for_strange"] = sum(strange) / len(strange)
    if "enlarger" in models.sources:
        small = held.small.first(len(held.large))
        found["enlarger"] = evaluate.enlarger_psnr(models.enlarger, diffusion, small, held.large)
    return found


@dataclass(frozen=True)
class Figure:
    """One figure of two bundles. world: of which held-out set.  name: keys joined by dots."""

    world: World
    name: str
    before: float
    after: float

    @property
    def unit(self) -> str:
        return "dB" if "_db" in self.name or self.name.endswith(".answer") else "share"

    @property
    def fell(self) -> bool:
        """Whether the part that it judges must not be bundled unasked."""
        judged = self.world == "closed" and self.name in JUDGES
        return judged and self.before - self.after > MOST_FALL[self.unit] + 1e-9

    def line(self) -> str:
        change = self.after - self.before
        word = "better" if change > 0 else "worse" if change < 0 else "the same"
        return (
            f"{self.world:6}  {self.name:45} {self.before:8.3f} -> {self.after:8.3f}  {change:+.3f}  {word}"
        )


def beside(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Figure]:
    """The figures that both scores have, on both sets, in the order of the second."""
    found = []
    pairs: dict[World, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
        "closed": (before, after),
        "open": (before.get("open", {}), after.get("open", {})),
    }
    for world, (old, new) in pairs.items():
        earlier = dict(_flat({name: value for name, value in old.items() if name != "open"}))
        found += [
            Figure(world, name, earlier[name], value)
            for name, value in _flat({name: value for name, value in new.items() if name != "open"})
            if name in earlier
        ]
    return found


def fallen(figures: list[Figure]) -> dict[str, list[Figure]]:
    """Part -> its figures that fell on the closed set by more than .5 dB or 1 %."""
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure.fell:
            found.setdefault(JUDGES[figure.name], []).append(figure)
    return found


def remembered(path: Path, facts: dict[str, Any], measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The scores kept in a JSON file for these very facts, or those that `measured()` gives, then kept."""
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["facts"] == facts:
            return kept["scores"]
    scores = measured()
    path.write_text(json.dumps({"facts": facts, "scores": scores}, indent=1) + "\n")
    return scores


def _flat(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every score that is better the higher it is, with its keys joined by dots."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif prefix + name not in NOT_SCORES:
            yield prefix + name, value


def _rounded(scores: dict[str, Any]) -> dict[str, Any]:
    """Numbers, and numbers in dictionaries, to three digits after the point."""
    return {
        name: _rounded(value) if isinstance(value, dict) else round(value, 3)
        for name, value in scores.items()
    }
