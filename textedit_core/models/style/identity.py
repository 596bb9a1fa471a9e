"""IR-SE50 of ArcFace (arXiv 1801.07698): who is in a picture, as a unit vector, and the identity loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models.checkpoint import fill, part, read

DEPTHS = (3, 4, 14, 3)
WIDTHS = (64, 128, 256, 512)
PORTRAIT = 256  # side of the portrait that the crop is measured in
FACE_ROWS, FACE_COLUMNS = slice(35, 223), slice(32, 220)


class SqueezeExcite(nn.Module):
    """Channels weighted by what their means say (arXiv 1709.01507)."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * self.fc2(self.fc1(mean).relu()).sigmoid()


class ResidualBlock(nn.Module):
    """BN, conv, PReLU, strided conv, BN, squeeze and excite, beside a strided shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.shortcut_layer: nn.Module
        if n_in == n_out:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(n_in),
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.PReLU(n_out),
            nn.Conv2d(n_out, n_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            SqueezeExcite(n_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


def input_layer(width: int) -> nn.Sequential:
    """RGB to `width` channels at the same size."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
    )


def residual_blocks(depths: Sequence[int] = DEPTHS, widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    """Stages of `depths[i]` blocks with `widths[i]` channels, each of half the size of the one before."""
    blocks, n_in = [], widths[0]
    for depth, width in zip(depths, widths, strict=True):
        for index in range(depth):
            blocks.append(ResidualBlock(n_in, width, stride=1 if index else 2))
            n_in = width
    return nn.Sequential(*blocks)


class IRSE50(nn.Module):
    """Faces (B,3,size,size) in [-1,1] -> unit vectors (B,dim). 50 layers as published; `depths` makes others.

    size: side of the input, a multiple of 2 to the number of stages.
    """

    def __init__(
        self,
        size: int = 112,
        depths: Sequence[int] = DEPTHS,
        widths: Sequence[int] = WIDTHS,
        dim: int = 512,
        dropout: float = 0.6,
    ):
        super().__init__()
        side, rest = divmod(size, 2 ** len(depths))
        if rest:
            raise ValueError(f"The side of the faces is a multiple of {2 ** len(depths)}, not {size}.")
        self.size = size
        self.input_layer = input_layer(widths[0])
        self.body = residual_blocks(depths, widths)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(widths[-1] * side * side, dim),
            nn.BatchNorm1d(dim),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=-1)

    def embed(self, image: Tensor) -> Tensor:
        """Portraits (B,3,H,W) in [-1,1] -> unit vectors (B,dim), by way of `face_crop`; differentiable."""
        return self(face_crop(image, self.size))


def face_crop(image: Tensor, size: int = 112) -> Tensor:
    """The face of an aligned portrait (B,3,H,W) -> (B,3,size,size).

    As the published identity loss: averaged to 256 x 256 unless it is that, cut to the rows 35 to 222 and the
    columns 32 to 219, averaged to `size`. What values the image has does not matter.
    """
    if image.shape[-2:] != (PORTRAIT, PORTRAIT):
        image = F.adaptive_avg_pool2d(image, PORTRAIT)
    return F.adaptive_avg_pool2d(image[..., FACE_ROWS, FACE_COLUMNS], size)


def similarity(network: IRSE50, image: Tensor, source: Tensor) -> Tensor:
    """Cosine of the identities of portraits (B,3,H,W) and their sources (B or 1 rows) -> (B,).

    The gradient reaches `image` alone.
    """
    return (network.embed(image) * network.embed(source).detach()).sum(dim=-1)


def identity_loss(network: IRSE50, image: Tensor, source: Tensor) -> Tensor:
    """Mean of 1 - `similarity`, a scalar; 0 for the same portraits."""
    return (1 - similarity(network, image, source)).mean()


def load_identity(
    source: str | Path | Mapping[str, Any], title: str = "the identity network", **shape: Any
) -> IRSE50:
    """An identity network in eval mode, frozen, from a file or its state dict; `shape` as for IRSE50.

    Raises ValueError for a tensor that is missing, unexpected or misshapen.
    """
    if not isinstance(source, Mapping):
        source, title = read(source), f"the identity network in {source}"
    network = IRSE50(**shape)
    fill(network, part(source, "facenet"), title)
    return network.eval().requires_grad_(False)
