"""StyleCLIP's way from a generated image to CLIP's input, without the large image in between."""

from __future__ import annotations

import torch
from torch import Tensor

ZOOM = 7


def clip_input(image: Tensor, size: int = 224) -> Tensor:
    """(B,3,H,W) -> (B,3,size,size), differentiable: magnified 7 times by nearest pixel, then averaged.

    The published optimizer does that with Upsample(7) and AvgPool2d(H / 32), which at 1024 pixels holds an
    image of 7168 x 7168. Every pixel of the result is a box average of the source, so it is A X A^T with one
    small matrix a side: the same numbers, for every side from size / 7 = 32 on, where H / 32 need not be a
    whole number. A smaller side, for which the published way fails, is magnified by nearest pixel.
    Values are neither shifted nor clamped, also as published.
    """
    rows, columns = (averages(side, size).to(image) for side in image.shape[-2:])
    return rows @ image @ columns.T


def averages(side: int, size: int) -> Tensor:
    """A (size,side), float64: how much of each output pixel each source pixel covers; rows sum to 1."""
    u, r = torch.arange(size)[:, None], torch.arange(side)
    if ZOOM * side < size:
        return (u * side // size == r).double()
    # In units of which a source pixel has `size` and an output pixel `side`, so that all is exact.
    overlap = torch.minimum((u + 1) * side, (r + 1) * size) - torch.maximum(u * side, r * size)
    return overlap.clamp(min=0).double() / side
