"""Large results: what is done with a finished edit, whatever its method: its size, and the source's details.

No part of the published methods: with both knobs at their defaults an edit stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor

from textedit_core.details import resized, with_details
from textedit_core.device import light
from textedit_core.knobs import Knob, knobs
from textedit_core.masks import Box
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.enlarger import Enlarger
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator
from textedit_core.steps import Step

SCALE = 4  # how many times the side a picture is made by `upscale`

KeepDetails = Annotated[
    float,
    Knob(0, 1, 0.05, label="Keep details", help="1: what the edit left alone is your picture, at its size"),
]
Upscale = Annotated[
    Literal["none", "fast"],
    Knob(label="Upscale", help="four times the side; fast: by a small network where the models have one"),
]


@light
@torch.no_grad()
def finish(
    edit: Tensor,
    rec: Tensor | None,
    source: Tensor | None,
    box: Box | None,
    enlarger: Enlarger | None,
    scale: float,
    *,
    keep_details: KeepDetails = 0.0,
    upscale: Upscale = "none",
) -> Iterator[Step[Tensor]]:
    """An edit (1,3,h,w) as it is shown, (1,3,H,W) in [-1,1].

    rec, source, box: as in `details.with_details`; needed where details are kept.  enlarger: of the models,
    None where they have none; then Lanczos enlarges.  scale: how many times the side `upscale` makes it.

    With details the result is the whole source with the edit in it, at the source's own size; with `upscale`
    too, a source that is smaller than the enlarged edit is enlarged with it.
    """
    enlarge = enlarger.enlarge if enlarger else None
    height, width = edit.shape[-2:]
    size = (round(height * scale), round(width * scale)) if upscale != "none" else (height, width)
    if not keep_details:
        yield Step(1, 1, resized(edit, size, enlarge))
        return
    assert rec is not None and source is not None and box is not None
    source = source.to(edit)
    times = size[0] / (box[3] - box[1])
    if upscale != "none" and times > 1:
        larger = round(source.shape[2] * times), round(source.shape[3] * times)
        source = resized(source, larger, enlarge if times > SCALE / 2 else None)
        left, top, right, bottom = (round(side * times) for side in box)
        box = left, top, right, bottom
    yield Step(1, 1, with_details(edit, rec, source, keep=keep_details, box=box, enlarge=enlarge))


KNOBS = knobs(finish)


@torch.no_grad()
def autoencoded(model: LatentDiffusion, image: Tensor) -> Iterator[Step[Tensor]]:
    """What the autoencoder alone makes of an image (1,3,H,W): no edit can be closer than this."""
    yield Step(1, 1, model.decode(model.encode(image)))


@light
@torch.no_grad()
def rendered(generator: StyleGenerator, latent: Latent) -> Iterator[Step[Tensor]]:
    """The images of a latent, (B,3,H,W)."""
    yield Step(1, 1, latent.image(generator))
