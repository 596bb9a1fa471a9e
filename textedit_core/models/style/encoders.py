"""e4e (arXiv 2102.02766): image -> W+ code, by residual blocks, a feature pyramid and a head per layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models.checkpoint import fill, part, read
from textedit_core.models.style.identity import DEPTHS, WIDTHS, input_layer, residual_blocks
from textedit_core.models.style.layers import EqualLinear

COARSE, MIDDLE = 3, 7  # the first layer that reads the middle, and the fine, level of the pyramid


class StyleHead(nn.Module):
    """A square feature map of side `spatial` -> (B,D): strided convolutions down to one pixel, one linear."""

    def __init__(self, n_in: int, n_out: int, spatial: int):
        super().__init__()
        layers = []
        for index in range(max(1, int(math.log2(spatial)))):
            layers += [nn.Conv2d(n_out if index else n_in, n_out, 3, 2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(n_out, n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convs(x)
        if x.shape[-2:] != (1, 1):
            raise ValueError("The image is larger than the encoder reads: resize it, or use encode().")
        return self.linear(x.flatten(1))


class E4e(nn.Module):
    """Images (B,3,h,w) in [-1,1] -> W+ codes (B,n,D) of a generator of side `size`.

    input_size: side of the images it reads.  depths, widths: blocks and channels of the four stages, 50
    layers as published.  latent_avg: (n,D), added to every code; zero until set, no part of the state dict.
    """

    latent_avg: Tensor

    def __init__(
        self,
        size: int = 1024,
        style_dim: int = 512,
        depths: Sequence[int] = DEPTHS,
        widths: Sequence[int] = WIDTHS,
        input_size: int = 256,
    ):
        super().__init__()
        self.input_size = input_size
        self.levels = [end - 1 for end in accumulate(depths)][1:]  # last blocks of the stages that are read
        self.input_layer = input_layer(widths[0])
        self.body = residual_blocks(depths, widths)
        n_latent = 2 * int(math.log2(size)) - 2
        sides = [input_size // (16 if i < COARSE else 8 if i < MIDDLE else 4) for i in range(n_latent)]
        self.styles = nn.ModuleList([StyleHead(widths[-1], style_dim, side) for side in sides])
        self.latlayer1 = nn.Conv2d(widths[2], widths[-1], 1)
        self.latlayer2 = nn.Conv2d(widths[1], widths[-1], 1)
        self.register_buffer("latent_avg", torch.zeros(n_latent, style_dim), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The first head gives one w for all layers; every other head adds its layer's difference from it."""
        x, features = self.input_layer(image), {}
        for index, block in enumerate(self.body):
            x = features[index] = block(x)
        fine, middle, coarse = (features[index] for index in self.levels)
        middle = self.latlayer1(middle) + _like(coarse, middle)
        fine = self.latlayer2(fine) + _like(middle, fine)
        rows = [self.styles[0](coarse)]
        for index, head in enumerate(self.styles[1:], start=1):
            rows.append(rows[0] + head(coarse if index < COARSE else middle if index < MIDDLE else fine))
        return torch.stack(rows, dim=1) + self.latent_avg

    def encode(self, image: Tensor) -> Tensor:
        """Square images (B,3,H,W) of any size in [-1,1] -> W+ codes (B,n,D): `forward` at its input size."""
        sides = (self.input_size, self.input_size)
        if image.shape[-2:] != sides:
            image = F.interpolate(image, sides, mode="bilinear", antialias=True, align_corners=False)
        return self(image)


def load_e4e(source: str | Path | Mapping[str, Any], title: str = "the encoder", **shape: Any) -> E4e:
    """An encoder in eval mode, frozen, from a file or from what one holds; `shape` as for E4e, without size.

    Known forms: {"state_dict": encoder.* and more, "latent_avg": (n,D), "opts"}, and a bare state dict, with
    "latent_avg" among its tensors or not. The size is read from the number of heads. Raises ValueError for a
    tensor that is missing, unexpected or misshapen, and for a published checkpoint without its mean code.
    """
    if not isinstance(source, Mapping):
        source, title = read(source), f"the encoder in {source}"
    average, state = source.get("latent_avg"), part(source, "encoder")
    state.pop("latent_avg", None)
    from_average = source.get("opts", {}).get("start_from_latent_avg", "state_dict" in source)
    if average is None and from_average:
        raise ValueError(f"The weights of {title} have no latent_avg, which its codes are differences from.")
    heads = len({key.split(".")[1] for key in state if key.startswith("styles.")})
    network = E4e(2 ** (heads // 2 + 1), **shape)
    fill(network, state, title)
    if average is not None:
        network.latent_avg.copy_(average.expand_as(network.latent_avg))
    return network.eval().requires_grad_(False)


def _like(x: Tensor, other: Tensor) -> Tensor:
    """x at the height and width of `other`; the corner pixels keep their places, as published."""
    return F.interpolate(x, other.shape[-2:], mode="bilinear", align_corners=True)
