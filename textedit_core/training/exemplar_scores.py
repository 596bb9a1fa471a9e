"""Measure a Paint by Example model on held-out portraits: does the region show what the exemplar shows?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core import masks, metrics
from textedit_core.models.diffusion.ddim import ddim_step
from textedit_core.models.diffusion.paint_by_example import PaintByExample
from textedit_core.noise import noise
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.parts import PartEdit

SAMPLING_STEPS = 25
GUIDANCE_SCALE = 5.0
ROWS = 16  # pictures sampled at once


@torch.no_grad()
def paint(
    model: PaintByExample,
    image: Tensor,
    mask: Tensor,
    exemplar: Tensor,
    guidance_scale: float = GUIDANCE_SCALE,
    seed: int = 0,
    steps: int = SAMPLING_STEPS,
) -> Tensor:
    """B pictures (B,3,S,S), each repainted in its mask (B,1,S,S) after its exemplar (B,3,s,s), by DDIM."""
    surroundings, condition = model.surroundings(image, mask), model.encode_exemplar(exemplar)
    seeds = [seed + row for row in range(len(image))]
    z = noise((1, model.vae.config.latent_channels, *surroundings.shape[2:]), seeds, device=model.device)
    for t, t_to in model.schedule.transitions(steps):
        eps = model.guided_eps(z, t, surroundings, condition, guidance_scale)
        z = ddim_step(model.schedule, z, eps, t, t_to)
    return torch.lerp(image, model.decode(z).clamp(-1, 1).to(image), mask)


def pasted(edit: PartEdit, image: Tensor, exemplar: Tensor) -> Tensor:
    """The baseline: the exemplar stretched into the box, nothing else."""
    left, top, right, bottom = edit.box
    result = image.clone()
    stretched = F.interpolate(exemplar, (bottom - top, right - left), mode="bilinear", align_corners=False)
    result[..., top:bottom, left:right] = stretched
    return result


def score(edit: PartEdit, result: Tensor, classifier: AttributeClassifier) -> dict[str, float]:
    """How one result (1,3,S,S) did.

    asked: 1 where the asked attribute reads as the exemplar's.  answer: PSNR in dB to the true answer inside
    the box.  outside: PSNR to the source outside of it, infinite where nothing changed.
    """
    size = result.shape[-1]
    source, answer = edit.source(size), edit.wanted(size)
    outside = result * (1 - edit.mask(size)) + source * edit.mask(size)
    return {
        "asked": float(edit.right(classifier.read(result.clamp(-1, 1)))[0]),
        "answer": metrics.psnr(masks.crop(result, edit.box), masks.crop(answer, edit.box)).item(),
        "outside": metrics.psnr(outside, source).item(),
    }


def measure(
    model: PaintByExample, classifier: AttributeClassifier, edits: Sequence[PartEdit], seed: int = 0
) -> dict[str, dict[str, float]]:
    """Mean scores of the model at its default lambda and at 0 (no exemplar), and of pasting."""
    size = model.size
    sources = torch.cat([edit.source(size) for edit in edits])
    holes = torch.cat([edit.mask(size) for edit in edits])
    examples = torch.cat([edit.exemplar(size, model.exemplar_size) for edit in edits])
    results = {
        f"lambda {scale:g}": torch.cat([
            paint(model, *rows, scale, seed + start * ROWS)
            for start, rows in enumerate(
                zip(sources.split(ROWS), holes.split(ROWS), examples.split(ROWS), strict=True)
            )
        ])
        for scale in (GUIDANCE_SCALE, 0.0)
    }  # fmt: skip
    results["pasted"] = torch.cat([
        pasted(edit, sources[row : row + 1], examples[row : row + 1]) for row, edit in enumerate(edits)
    ])  # fmt: skip
    found = {}
    for name, pictures in results.items():
        rows = [score(edit, one, classifier) for edit, one in zip(edits, pictures.split(1), strict=True)]
        found[name] = {key: sum(row[key] for row in rows) / len(rows) for key in ("asked", "answer")}
    return found
