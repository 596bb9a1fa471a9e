"""The enlarger: a small convolutional net that draws a picture again at four times its side.

ESPCN's way (Shi et al., arXiv 1609.05158): all layers work at the small size, the last one computes the
scale^2 pixels of each place, and PixelShuffle puts them side by side. Beyond the paper there are residual
blocks, and the result is added to the bicubic picture, so that an untrained net is bicubic enlargement.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.building import building
from textedit_core.models.checkpoint import fill, read
from textedit_core.models.source import Source

ROWS = 8  # pictures enlarged at once, to bound memory


class EnlargerNetwork(nn.Module):
    """Images (B,3,H,W) in [-1,1] -> (B,3,scale*H,scale*W), not clamped. Any H and W."""

    def __init__(self, width: int = 48, blocks: int = 8, scale: int = 4):
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(blocks)
        )  # fmt: skip
        self.tail = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, image: Tensor) -> Tensor:
        first = state = F.relu(self.head(image))
        for block in self.blocks:
            state = state + block(state)
        return bicubic(image, self.scale) + F.pixel_shuffle(self.tail(state + first), self.scale)


def bicubic(image: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement of (B,3,H,W) by a whole factor, not clamped."""
    return F.interpolate(image, scale_factor=scale, mode="bicubic", align_corners=False)


@dataclass(frozen=True, eq=False)
class Enlarger:
    """A trained enlarger, frozen. scale: how many times the side."""

    network: EnlargerNetwork
    fingerprint: str | None

    @property
    def scale(self) -> int:
        return self.network.scale

    @torch.no_grad()
    def enlarge(self, image: Tensor) -> Tensor:
        """(B,3,H,W) in [-1,1] -> (B,3,scale*H,scale*W) in [-1,1], on the network's device."""
        weight = self.network.head.weight
        return torch.cat([self.network(rows.to(weight)).clamp(-1, 1) for rows in image.split(ROWS)])


def load_enlarger(source: Source, device: torch.device, dtype: torch.dtype) -> Enlarger:
    """The enlarger of a bundle's `enlarger/`: config.json, the arguments of `EnlargerNetwork`, and its
    model.safetensors. ValueError where a file is missing or does not fit."""
    with building():
        try:
            network = EnlargerNetwork(**source.json("config.json"))
        except TypeError as error:
            raise ValueError(f"The config.json of the enlarger does not fit: {error}.") from error
    fill(network, read(source.file("model.safetensors")), "the enlarger")
    network = network.to(device, dtype).eval().requires_grad_(False)
    return Enlarger(network, f"{source.fingerprint()}-{dtype}")
