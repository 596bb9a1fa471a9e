"""Putting a diffusion model on its device, at the level of memory asked for or one that suits the device."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from torch import nn

from textedit_core.models.diffusion import autoencoder, memory, rehearsal
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.latent_model import LatentModel
from textedit_core.models.diffusion.paint_by_example import PaintByExample

Model = TypeVar("Model", LatentDiffusion, PaintByExample)


def placed(model: Model, device: torch.device, level: str) -> Model:
    """The model on its device, at a level of `memory.LEVELS` or "auto"; it may be elsewhere, at another one.

    Raises ValueError for any other level.
    """
    chosen = automatic(model, device) if level == "auto" else memory.check(level)
    offload = memory.offload_for(chosen, device)
    for network in networks(model):
        network.to(device if offload is None else "cpu")
    memory.slice_attention(model.unet, chosen, device)
    if (chosen, offload) == (model.memory, model.offload):
        return model
    return dataclasses.replace(model, memory=chosen, offload=offload)


def networks(model: LatentModel) -> list[nn.Module]:
    """All networks of a model."""
    found = [model.unet, model.vae]
    for name in ("text_encoder", "text_encoder_2", "encoder"):
        if (one := getattr(model, name, None)) is not None:
            found.append(one)
    return found


def automatic(model: LatentModel, device: torch.device) -> str:
    """The first level at which everything but tuning fits into what is free of the device's memory.

    That is null-text inversion for a model of texts, and sampling for one of example pictures, at the size
    it was trained for.
    """
    free = memory.device_bytes(device)[0] * memory.SPARE
    weights = memory.bytes_of(networks(model))
    if weights < memory.SMALL * free:
        return "fast"
    if device.type == "cpu":  # where the weights are already
        weights = 0
    for level in ("fast", "balanced"):
        if weights + _work(model, level) <= free:
            return level
    return "low"


def _work(model: LatentModel, level: str) -> int:
    """The peak in bytes beside the weights of what `automatic` plans with."""
    side = model.size // model.latent_scale
    latent = side, side
    rows = autoencoder.DECODE_ROWS if level == "fast" else 1
    most = max(rehearsal.decoding(model, rows, latent), rehearsal.sampling(model, 3, latent))
    if isinstance(model, LatentDiffusion):
        step = rehearsal.training(model, latent, "none", 1, level != "fast")
        most = max(most, step.activations)
    return most
