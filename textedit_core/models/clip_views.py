"""Random views of a picture for CLIP: what looks like a text from one view alone is not it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CROP = 0.6, 1.0  # side of a crop, as a share of the picture's
ROTATION, SHIFT, AFFINE = 15.0, 0.1, 0.8  # degrees, share of the side, how often
PERSPECTIVE, LEANING = 0.4, 0.5  # how far corners move, as a share of half the side, and how often
JITTER, TINTED, GREY = 0.1, 0.7, 0.15  # of brightness, contrast and saturation; how often; how often grey
LARGEST = 2  # a picture is brought to at most so many times the side of a view first, so that none is aliased
LUMA = (0.299, 0.587, 0.114)
Factor = float | Tensor


def views(pictures: Tensor, count: int, side: int, draw: torch.Generator) -> Tensor:
    """Pictures (B,3,H,W) in [0,1] -> (B,count,3,side,side), differentiable: the same views of each.

    A view is a crop, mostly turned and shifted, half the time mirrored and half the time seen from aslant,
    with changed colours or grey: Text2LIVE's augmentations (arXiv 2204.02491, supplement) as one sampling.
    With a count of 0 the one view is the whole picture.
    """
    height, width = pictures.shape[-2:]
    scale = LARGEST * side / min(height, width)
    if scale < 1:
        shape = (round(height * scale), round(width * scale))
        pictures = F.interpolate(pictures, shape, mode="bicubic", antialias=True, align_corners=False).clamp(
            0, 1
        )
    if not count:
        whole = F.interpolate(pictures, (side, side), mode="bicubic", antialias=True, align_corners=False)
        return whole.clamp(0, 1)[:, None]
    grid = _grid(_homographies(count, draw), side).to(pictures)
    rows = pictures[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1)
    seen = F.grid_sample(
        rows, grid.repeat(len(pictures), 1, 1, 1), padding_mode="border", align_corners=False
    )
    return _tinted(seen.view(len(pictures), count, 3, side, side), draw)


def _homographies(count: int, draw: torch.Generator) -> Tensor:
    """(count,3,3): from a view's coordinates to the picture's, both from -1 to 1."""

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=draw)

    def happens(share: float) -> Tensor:
        return (torch.rand(count, generator=draw) < share).float()

    crop = between(*CROP)
    at = torch.stack([between(-1, 1), between(-1, 1)]) * (1 - crop)
    flip = 1 - 2 * happens(0.5)
    turned = happens(AFFINE)
    angle = between(-ROTATION, ROTATION) * turned * torch.pi / 180
    at = at + torch.stack([between(-1, 1), between(-1, 1)]) * 2 * SHIFT * turned
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(count), torch.ones(count)
    placed = torch.stack(
        [torch.stack([flip * crop * cos, -crop * sin, at[0]], dim=1),
         torch.stack([flip * crop * sin, crop * cos, at[1]], dim=1),
         torch.stack([zero, zero, one], dim=1)],
        dim=1,
    )  # fmt: skip
    return placed @ _leaning(count, happens(LEANING), draw)


def _leaning(count: int, how: Tensor, draw: torch.Generator) -> Tensor:
    """(count,3,3): the projections that move each corner inwards by up to PERSPECTIVE of half the side.

    A projection with its last element 1 is fixed by where it takes four corners: eight linear equations.
    """
    corners = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    inwards = PERSPECTIVE * torch.rand(count, 4, 2, generator=draw) * how[:, None, None]
    to = corners - corners.sign() * inwards
    x, y = corners.T.expand(2, 4)
    x, y = x.expand(count, 4), y.expand(count, 4)
    zero, one = torch.zeros(count, 4), torch.ones(count, 4)
    u, v = to[..., 0], to[..., 1]
    rows = [torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], dim=2),
            torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], dim=2)]  # fmt: skip
    solved = torch.linalg.solve(torch.cat(rows, dim=1), torch.cat([u, v], dim=1))
    return torch.cat([solved, torch.ones(count, 1)], dim=1).view(count, 3, 3)


def _grid(homographies: Tensor, side: int) -> Tensor:
    """(N,3,3) -> (N,side,side,2), where each pixel of a view lies in the picture."""
    centres = (torch.arange(side) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    flat = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(-1, 3)
    found = flat @ homographies.transpose(1, 2)
    return (found[..., :2] / found[..., 2:]).view(-1, side, side, 2)


def _tinted(seen: Tensor, draw: torch.Generator) -> Tensor:
    """Views (B,count,3,h,w) with other brightness, contrast and saturation, or grey; alike for all B."""
    count = seen.shape[1]
    changed = (torch.rand(count, generator=draw) < TINTED).float()
    factors = 1 + JITTER * (2 * torch.rand(3, count, generator=draw) - 1) * changed
    brightness, contrast, saturation = factors.view(3, 1, count, 1, 1, 1).to(seen)
    without = (torch.rand(count, generator=draw) < GREY).view(1, count, 1, 1, 1).to(seen.device)
    saturation = torch.where(without, 0.0, saturation)
    return recoloured(seen, brightness, contrast, saturation)


def recoloured(seen: Tensor, brightness: Factor, contrast: Factor, saturation: Factor) -> Tensor:
    """Pictures (...,3,h,w) in [0,1] with each of the three times a factor; 1 changes nothing."""
    seen = seen * brightness
    middle = _grey(seen).mean(dim=(-2, -1), keepdim=True)
    seen = middle + (seen - middle) * contrast
    dull = _grey(seen)
    return (dull + (seen - dull) * saturation).clamp(0, 1)


def _grey(seen: Tensor) -> Tensor:
    """(...,3,h,w) -> (...,1,h,w), the brightness of each pixel."""
    weights = torch.tensor(LUMA).to(seen).view(3, 1, 1)
    return (seen * weights).sum(dim=-3, keepdim=True)
