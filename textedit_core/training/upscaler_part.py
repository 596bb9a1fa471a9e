"""The upscaler in a toon training: its data, its training, its share of a bundle, its scores."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import nn
from transformers import CLIPTextModel

from textedit_core import metrics
from textedit_core.models import zoo
from textedit_core.models.diffusion import upscaler as drawing
from textedit_core.models.enlarger import bicubic
from textedit_core.steps import last
from textedit_core.toon.portraits import Portraits
from textedit_core.training import bundle, upscaler
from textedit_core.training.shared import Common, Training

PART = "upscaler"
SCORED = 24  # portraits; each takes a second or two
STEPS = 10


class UpscalerPart(Training):
    """What a Studio does for the upscaler."""

    @property
    @abstractmethod
    def large_portraits(self) -> Portraits:
        """The first of the training portraits, drawn at four times the size."""

    def train_upscaler(self, **common: Unpack[Common]) -> None:
        """Train it, or go on. The autoencoder and the text-to-image model must be there."""
        large, own = self.large_portraits, self.vae()
        z = upscaler.encode_large(large, own, common["device"])
        text_encoder = self.text_to_latent().text_encoder
        upscaler.fit(self.portraits.first(len(large)), z, own, text_encoder, self.tokenizer, **common)

    def write_upscaler(self, folder: Path) -> None:
        """The folder upscaler/ of a bundle, where it is trained, with the autoencoder that it knows.

        What it shares with the text-to-image model of the bundle, which is written already, is not written.
        """
        if (self.out / PART / "state.pt").exists():
            model = self._load(PART, upscaler.build(self._empty_text_encoder()))
            parts = self.tokenizer, model.text_encoder, self.known_vae(PART), model.unet
            bundle.write_upscaler(folder / PART, *parts)
            bundle.drop_copies(folder / PART, folder / "diffusion")

    @abstractmethod
    def _empty_text_encoder(self) -> CLIPTextModel:
        """An untrained text encoder of the text-to-image model's shape."""


def adoptable(models: zoo.Models) -> dict[str, nn.Module]:
    """Part -> the module to go on training, if a bundle holds it."""
    if PART not in models.sources:
        return {}
    return {PART: upscaler.TextUpscaler(models.upscaler.unet, models.upscaler.text_encoder)}


@torch.no_grad()
def measure(models: zoo.Models, small: Portraits, large: Portraits) -> dict[str, dict[str, float]]:
    """{"upscaler": {"psnr_db", "bicubic_db"}} to the large drawings, from exact small ones, without a text.

    {} where the bundle holds none. The first SCORED portraits, STEPS steps, no noise in the small picture.
    """
    if PART not in models.sources:
        return {}
    found: dict[str, list[float]] = {"psnr_db": [], "bicubic_db": []}
    for row in range(min(SCORED, len(large))):
        image, wanted = small.batch(np.array([row])), large.batch(np.array([row]))
        drawn = last(
            drawing.upscaled(
                models.upscaler, image, "", steps=STEPS, guidance_scale=1.0, noise_level=0, seed=row
            )
        )
        for name, picture in (("psnr_db", drawn), ("bicubic_db", bicubic(image, drawing.SCALE))):
            found[name].append(metrics.psnr(picture, wanted).item())
    return {PART: {name: sum(values) / len(values) for name, values in found.items()}}
