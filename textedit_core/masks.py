"""Mask tools: grow, shrink, blur, feather, boxes. Masks are (B,1,H,W) in [0,1], 1 = change here."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are one past the end


def grown(mask: Tensor, pixels: int) -> Tensor:
    """A binary mask dilated by a square of 2 `pixels` + 1 a side; eroded where `pixels` is negative.

    The border of the picture does not count as an edge of the mask. The time does not depend on `pixels`.
    """
    if pixels < 0:
        return 1 - grown(1 - mask, -pixels)
    for axis in (2, 3):
        mask = _reached(mask > 0.5, pixels, axis)
    return mask.to(torch.float32)


def inverted(mask: Tensor) -> Tensor:
    """1 - mask: what was kept is to change, and what was to change is kept."""
    return 1 - mask


def blurred(mask: Tensor, pixels: float) -> Tensor:
    """Gaussian blur of standard deviation `pixels`, borders repeated; `binary` of it is a rounder mask."""
    reach = min(round(3 * pixels), *(side - 1 for side in mask.shape[-2:]))
    if pixels <= 0 or reach < 1:
        return mask
    x = torch.arange(-reach, reach + 1, dtype=mask.dtype, device=mask.device)
    window = torch.exp(-(x**2) / (2 * pixels**2))
    window = window / window.sum()
    padded = F.pad(mask, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1)).clamp(0, 1)


def feathered(mask: Tensor, pixels: int) -> Tensor:
    """Blending weights for a repainted region: 0 outside of a binary mask, rising to 1 at `pixels` inside it.

    Where no place of the mask is `pixels` from its edge, the weights are scaled to 1 at the deepest place, so
    that a thin stroke is not faint. The border of the picture does not count as an edge.
    """
    rise, left = mask, mask
    for _ in range(pixels):
        left = grown(left, -1)
        if not left.any():
            break
        rise = rise + left
    return rise / rise.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1)


def binary(mask: Tensor) -> Tensor:
    """The mask as 0 and 1: 1 where it is above 0.5."""
    return (mask > 0.5).to(torch.float32)


def box(mask: Tensor) -> Box:
    """The smallest box that holds a binary mask (1,1,H,W). ValueError for an empty one."""
    rows, columns = (mask[0, 0].amax(axis).nonzero().flatten().tolist() for axis in (1, 0))
    if not rows:
        raise ValueError("Mask: it is empty; paint over what is to change.")
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def longest_side(mask: Tensor) -> int:
    """The longer side in pixels of the mask's box."""
    left, top, right, bottom = box(mask)
    return max(right - left, bottom - top)


def crop_around(mask: Tensor, side: int) -> Box:
    """A square box of `side` pixels around the mask, moved so that it lies within the picture.

    It always contains the whole mask: it is larger than `side` where the mask is, and smaller where the
    picture is.
    """
    left, top, right, bottom = box(mask)
    height, width = mask.shape[-2:]
    x, w = _span(left, right, side, width)
    y, h = _span(top, bottom, side, height)
    return x, y, x + w, y + h


def crop(image: Tensor, where: Box) -> Tensor:
    """The pixels (B,C,h,w) of an image (B,C,H,W) in a box; a view."""
    left, top, right, bottom = where
    return image[..., top:bottom, left:right]


def coverage(mask: Tensor) -> float:
    """The share of the picture that the mask covers, 0 to 1."""
    return mask.float().mean().item()


def _reached(mask: Tensor, pixels: int, axis: int) -> Tensor:
    """Where a bool mask is set within so many pixels along an axis: where a count rises over the window."""
    length = mask.shape[axis]
    counts = F.pad(mask.movedim(axis, -1).cumsum(-1, dtype=torch.int32), (1, 0))
    places = torch.arange(length, device=mask.device)
    last, first = (places + pixels + 1).clamp(max=length), (places - pixels).clamp(min=0)
    return (counts[..., last] > counts[..., first]).movedim(-1, axis)


def _span(low: int, high: int, side: int, limit: int) -> tuple[int, int]:
    """Start and length of a stretch of `side`, at least high - low, in 0..limit, around their middle."""
    length = min(max(side, high - low), limit)
    return max(0, min((low + high - length) // 2, limit - length)), length
