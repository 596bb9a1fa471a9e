"""Paint by Example in a toon training: its data, its training, its share of a bundle, its scores."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from textedit_core.models import zoo
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.exemplar_data import Boxed, Folder, draw
from textedit_core.toon.parts import held_out_part_edits, part_boxes
from textedit_core.toon.portraits import World
from textedit_core.training import bundle, evaluate, exemplar_scores, paint_by_example
from textedit_core.training.loop import Budget
from textedit_core.training.shared import Training

log = logging.getLogger(__name__)

PART = "paint_by_example"
PREVIEWS = 10


class ExampleParts(Training):
    """What a Studio does for Paint by Example.

    boxed: a folder of pictures and the file of their boxes, to train on those in place of the parts of the
    first `part_portraits` portraits.  ablate: what to leave out of the recipe, "nothing" for the whole of it.
    Such a model is no part of a bundle, but a folder of its own, OUT/ablations/NAME, laid out like the public
    repository. It begins as the text-to-image UNet, also where OUT holds a Paint by Example that has learned
    for hours: trained for the same minutes, ablations and "nothing" compare.
    """

    boxed: tuple[Path, Path] | None = None
    part_portraits: int = 8_000
    ablate: paint_by_example.Ablation | Literal["nothing"] | None = None

    def examples(self) -> Boxed | Folder:
        """The pictures with boxes; the parts of the portraits are found once and kept."""
        if self.boxed:
            return Folder(*self.boxed)
        count = min(self.part_portraits, len(self.portraits))
        return part_boxes(self.portraits, count, self.size, self.out / "data")

    def train_example(self, folder: Path, budget: Budget, seed: int, device: str) -> None:
        """Train it, or go on. It begins as the text-to-image UNet and CLIP, which must be there."""
        if self.ablate:
            folder = self.out / "ablations" / f"{PART}-without-{self.ablate}"
        left_out = None if self.ablate == "nothing" else self.ablate
        parts = self.vae(), self.clip(), self.text_to_latent().unet
        painter = paint_by_example.fit(
            self.examples(), *parts, folder, budget, seed, device, left_out, self._preview_example
        )
        if self.ablate:
            place = self.out / "ablations" / self.ablate
            bundle.write_paint_by_example(place, painter.unet, painter.encoder, vae=self.vae())
            log.info("the model without %s is in %s", self.ablate, place)

    def painter(self) -> paint_by_example.Painter:
        unet, clip = self.text_to_latent().unet, self.clip()
        return self._load(PART, paint_by_example.build(unet, clip))

    def write_example(self, folder: Path) -> None:
        """The folder paint_by_example/ of a bundle, where it is trained, with the autoencoder it knows."""
        if (self.out / PART / "state.pt").exists():
            painter = self.painter()
            bundle.write_paint_by_example(folder / PART, painter.unet, painter.encoder, self.known_vae(PART))

    @torch.no_grad()
    def _preview_example(self, painter: paint_by_example.Painter, step: int) -> None:
        """Pictures with a hole, the exemplars, the results at the default lambda, and the true answers."""
        model = paint_by_example.as_model(painter, self._frozen_vae)
        image, hole, examples, answer = self._shown(model.exemplar_size)
        on_device = image.to(self.device), hole.to(self.device), examples.to(self.device)
        painted = exemplar_scores.paint(model, *on_device).cpu()
        shown = [image * (1 - hole), sized(examples, self.size), painted, answer]
        name = f"{PART}-{step:07d}.png"
        evaluate.save_grid(torch.cat(shown), PREVIEWS, self.out / "samples" / name)

    def _shown(self, exemplar_size: int) -> tuple[torch.Tensor, ...]:
        """Held-out portraits, masks, exemplars and answers; of own pictures some that it learns from."""
        if self.boxed:
            rng = np.random.default_rng(0)
            found = draw(self.examples(), PREVIEWS, self.size, exemplar_size, rng, augmented=False)
            return found.images, found.masks, found.exemplars, found.images
        edits = held_out_part_edits(PREVIEWS, self.size)
        image, hole, answer = (
            torch.cat([getattr(edit, name)(self.size) for edit in edits])
            for name in ("source", "mask", "wanted")
        )
        return image, hole, torch.cat([edit.exemplar(self.size, exemplar_size) for edit in edits]), answer


def sized(images: torch.Tensor, size: int) -> torch.Tensor:
    return nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)


def adoptable(models: zoo.Models) -> dict[str, nn.Module]:
    """Part -> the module to go on training, if a bundle holds it."""
    if PART not in models.sources:
        return {}
    found = models.paint_by_example
    return {PART: paint_by_example.Painter(found.unet, found.encoder)}


def measure(
    models: zoo.Models, reader: AttributeClassifier, samples: int, world: World = "closed"
) -> dict[str, Any]:
    """The scores for the manifest, if the bundle holds it: on `samples` edits of held-out portraits."""
    if PART not in models.sources or not samples:
        return {}
    edits = held_out_part_edits(samples, models.paint_by_example.size, world)
    found = exemplar_scores.measure(models.paint_by_example, reader, edits)
    return {PART: {"edits": len(edits), "steps": exemplar_scores.SAMPLING_STEPS, **found}}
