"""The measures of one result, as far as the item and the models allow: numbers by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from textedit_core import metrics
from textedit_core.bench.item import Pictures
from textedit_core.metrics.extras import Distance
from textedit_core.models import zoo

EQUAL_DB = 100.0  # stands for the infinite PSNR of equal pictures, so that means exist


@dataclass(frozen=True)
class Measure:
    """A column of the report: its heading, how a mean is written, and what is better, "up" or "down"."""

    heading: str
    digits: int = 2
    better: str = "up"
    scale: float = 1.0


# In the order of the columns. `metrics` says what each means; asked and unasked are the toon bench's.
MEASURES = {
    "asked": Measure("asked read %", 0, scale=100),
    "unasked": Measure("unasked kept %", 1, scale=100),
    "psnr_answer": Measure("PSNR to the answer, dB", 1),
    "clip_score": Measure("CLIP score"),
    "clip_score_edited": Measure("CLIP score, edited part"),
    "clip_direction": Measure("CLIP direction", 3),
    "exemplar_score": Measure("CLIP to the exemplar"),
    "clip_similarity": Measure("CLIP similarity to the source", 3),
    "identity": Measure("identity", 3),
    "structure_distance": Measure("structure distance x1e3", 2, "down", 1000),
    "lpips": Measure("LPIPS", 3, "down"),
    "dino": Measure("DINO structure distance x1e3", 2, "down", 1000),
    "psnr_source": Measure("PSNR to the source, dB", 1),
    "psnr_rest": Measure("PSNR of the rest, dB", 1),
    "background_psnr": Measure("background PSNR, dB", 2),
    "background_mse": Measure("background MSE x1e4", 2, "down", 1e4),
    "background_ssim": Measure("background SSIM x1e2", 2, scale=100),
}


@torch.no_grad()
def measure(
    models: zoo.Models,
    pictures: Pictures,
    result: Tensor,
    size: int | None,
    extras: Mapping[str, Distance] = MappingProxyType({}),
) -> dict[str, float | None]:
    """All measures of a result (1,3,H,W) in [-1,1] that can be taken, None where one is undefined.

    size: the side of the pictures that the result is compared with; None for their native size.
    extras: further distances from the source, by name.
    PSNR is at most 100 dB, for equal pictures. `psnr_rest` is of what is not to change, the mean over that
    alone; the background measures are PIE-Bench's, over the frame.
    """
    result = result.detach().float().cpu()
    item, source, answer = pictures.item, pictures.source(size), pictures.get("answer", size)
    found: dict[str, Tensor | float] = {"psnr_source": metrics.psnr(result, source)}
    if answer is not None:
        found["psnr_answer"] = metrics.psnr(result, answer)
    changed = pictures.get("changed", size)
    if changed is not None:
        found["psnr_rest"] = metrics.psnr(result, source, 1 - changed)
        found["background_psnr"] = metrics.background_psnr(result, source, changed)
        found["background_mse"] = metrics.background_mse(result, source, changed)
        if min(result.shape[2:]) >= 11:
            found["background_ssim"] = metrics.background_ssim(result, source, changed)
    if "clip" in models.sources:
        found |= _by_clip(models, pictures, result, size)
    if "identity" in models.sources:
        network = models.identity.network
        faces = (one.to(models.device) for one in (result, source))
        found["identity"] = metrics.identity(network, *faces)
    found |= {name: distance(result, source) for name, distance in extras.items()}
    if item.score is not None:
        found |= item.score(result)
    return {name: _plain(float(value)) for name, value in found.items()}


def _by_clip(models: zoo.Models, pictures: Pictures, result: Tensor, size: int | None) -> dict[str, Tensor]:
    clip, item = models.clip, pictures.item
    source, changed = pictures.source(size), pictures.get("changed", size)
    found = {
        "clip_similarity": metrics.clip_similarity(clip, result, source),
        "structure_distance": metrics.structure_distance(clip, result, source),
    }
    if item.prompt:
        found["clip_score"] = metrics.clip_score(clip, result, item.prompt)
        if changed is not None:
            found["clip_score_edited"] = metrics.clip_score_edited(clip, result, item.prompt, changed)
    if item.caption:
        words = item.caption, item.target or item.prompt
        found["clip_direction"] = metrics.clip_direction(clip, source, result, *words)
    mask, exemplar = pictures.get("mask", size), pictures.get("exemplar", size)
    if mask is not None and exemplar is not None and mask.any():
        found["exemplar_score"] = metrics.exemplar_score(clip, result, exemplar, mask)
    return found


def _plain(value: float) -> float | None:
    """The value as JSON has it, to six digits."""
    if math.isnan(value):
        return None
    return float(f"{min(value, EQUAL_DB) if math.isinf(value) else value:.6g}")
