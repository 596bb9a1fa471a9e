"""StyleCLIP's way from a generated image to CLIP's input, without the large image in between."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.knobs import Knob
from textedit_core.models.clip import Clip

ZOOM = 7
PREPROCESSES = ("upstream", "proper")
Preprocess = Annotated[
    Literal["upstream", "proper"],
    Knob(label="CLIP sees", help="upstream skips CLIP's normalisation, as published; proper does it"),
]
Views = Annotated[
    int, Knob(0, 16, 1, label="Views", help="random crops that CLIP scores; 0, as published, is the image")
]
# Views of an image: the smallest and largest side of a crop, as a share of the image's; the standard
# deviations of contrast and brightness, and of the noise of each value, in the image's units of -1 to 1.
CROP = 0.75, 1.05
TINT, GRAIN = 0.1, 0.05


def clip_input(image: Tensor, size: int = 224) -> Tensor:
    """(B,3,H,W) -> (B,3,size,size), differentiable: magnified 7 times by nearest pixel, then averaged.

    The published optimizer does that with Upsample(7) and AvgPool2d(H / 32), which at 1024 pixels holds an
    image of 7168 x 7168. Every pixel of the result is a box average of the source, so it is A X A^T with one
    small matrix a side: the same numbers, for every side from size / 7 = 32 on, where H / 32 need not be a
    whole number. A smaller side, for which the published way fails, is magnified by nearest pixel.
    Values are neither shifted nor clamped, also as published.
    """
    rows, columns = (averaging_matrix(side, size).to(image) for side in image.shape[-2:])
    return rows @ image @ columns.T


def features(clip: Clip, image: Tensor, preprocess: str = "upstream") -> Tensor:
    """(B,3,H,W) about [-1,1] -> (B,D) unit CLIP features, differentiable.

    preprocess: "upstream" gives CLIP the values of `clip_input` as they are, as the published optimizer and
    mappers do; "proper" is CLIP's own. Raises ValueError for any other.
    """
    if preprocess not in PREPROCESSES:
        raise ValueError(f"CLIP's preprocessing: {preprocess!r} is none of {', '.join(PREPROCESSES)}.")
    if preprocess == "proper":
        return clip.image_features(image)
    return clip.prepared_features(clip_input(image, clip.size))


def text_loss(
    clip: Clip, image: Tensor, text: Tensor, *, preprocess: str = "upstream", views: int = 0, seed: int = 0
) -> Tensor:
    """Mean of 1 - cos(image, text) in CLIP, a scalar, for images (B,3,H,W) and unit text features (1,D).

    With views the mean is over as many `random_views` of each image, by the seed.
    """
    seen = random_views(image, views, seed)
    return 1 - (features(clip, seen, preprocess) @ text.T).mean()


def random_views(image: Tensor, views: int, seed: int) -> Tensor:
    """(B,3,H,W) about [-1,1] -> (B views,3,H,W), differentiable: random views of every image, image by image.

    Faint patterns that CLIP alone takes for the text lower its loss on one image, but not the mean of its
    loss over random views (AugCLIP, arXiv 2112.01573). A view is a crop with changed contrast and brightness
    and a little noise. The same seed gives the same views on every device.
    With 0 views the images stay as they are.
    """
    if not views:
        return image
    draw, rows = torch.Generator().manual_seed(seed), len(image) * views
    side = torch.empty(rows).uniform_(*CROP, generator=draw)
    shift = torch.empty(rows, 2).uniform_(-1, 1, generator=draw) * (1 - side).abs()[:, None]
    tint = TINT * torch.randn(2, rows, 1, 1, 1, generator=draw)
    grain = GRAIN * torch.randn(rows, *image.shape[1:], generator=draw)
    where = torch.cat([torch.diag_embed(side[:, None].expand(-1, 2)), shift[:, :, None]], dim=2)
    tint, grain, where = (one.to(image) for one in (tint, grain, where))
    large = image.repeat_interleave(views, dim=0)
    grid = F.affine_grid(where, list(large.shape), align_corners=False)
    seen = F.grid_sample(large, grid, padding_mode="border", align_corners=False)
    return seen * (1 + tint[0]) + tint[1] + grain


def averaging_matrix(side: int, size: int) -> Tensor:
    """A (size,side), float64: how much of each output pixel each source pixel covers; rows sum to 1."""
    u, r = torch.arange(size)[:, None], torch.arange(side)
    if ZOOM * side < size:
        return (u * side // size == r).double()
    # In units of which a source pixel has `size` and an output pixel `side`, so that all is exact.
    overlap = torch.minimum((u + 1) * side, (r + 1) * size) - torch.maximum(u * side, r * size)
    return overlap.clamp(min=0).double() / side
