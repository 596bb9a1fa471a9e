"""StyleGAN2's generator (arXiv 1912.04958) in plain torch, with the keys of the public checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textedit_core.models.checkpoint import fill, part, read
from textedit_core.models.style.layers import ConstantInput, StyledConv, ToRGB, mapping
from textedit_core.noise import noise as named_noise

MADE_HERE = r"^noises\.|\.kernel$"  # tensors that a file may lack

State = tuple[Tensor, Tensor | None]  # activations (B,C,h,w), and the image so far (B,3,h,w) or None


@dataclass(frozen=True)
class StyleLayer:
    """One modulated convolution, which is one of the S codes.

    name: its path in the generator.  channels: the length of its S code.  size: side of its output in
    pixels.  w: which row of W+ it reads.  noise: which noise it adds, None for a ToRGB layer.
    """

    name: str
    channels: int
    size: int
    w: int
    noise: int | None

    @property
    def is_rgb(self) -> bool:
        return self.noise is None


class Generator(nn.Module):
    """z (B,D) -map-> w (B,D) -widen-> w_plus (B,n,D) -styles-> s_codes -synthesize-> image (B,3,H,W).

    size: side of the image, a power of two from 4 on.  channels: resolution -> feature maps for every
    resolution from 4 to `size`; the published table, widened by `channel_multiplier`, unless given.
    latent_avg: the mean w, (1,D), the centre of truncation, once known; it is no part of the state dict.
    """

    latent_avg: Tensor | None

    def __init__(
        self,
        size: int,
        style_dim: int = 512,
        n_mlp: int = 8,
        channel_multiplier: int = 2,
        channels: Mapping[int, int] | None = None,
    ):
        super().__init__()
        table = published_channels(size, channel_multiplier) if channels is None else channels
        check_table(size, table)
        self.size, self.style_dim = size, style_dim
        self.style = mapping(style_dim, n_mlp)
        self.input = ConstantInput(table[4])
        self.conv1 = StyledConv(table[4], table[4], style_dim)
        self.to_rgb1 = ToRGB(table[4], style_dim)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for side in _sides(size)[1:]:
            self.convs.append(StyledConv(table[side // 2], table[side], style_dim, up=True))
            self.convs.append(StyledConv(table[side], table[side], style_dim))
            self.to_rgbs.append(ToRGB(table[side], style_dim, up=True))
        self.noises = nn.Module()
        for layer in self.layers:
            if layer.noise is not None:
                stored = torch.empty(1, 1, layer.size, layer.size)
                if not stored.is_meta:
                    stored.copy_(named_noise(stored.shape, layer.noise))
                self.noises.register_buffer(f"noise_{layer.noise}", stored)
        self.register_buffer("latent_avg", None, persistent=False)

    @cached_property
    def layers(self) -> tuple[StyleLayer, ...]:
        """The S codes in their order: conv1, to_rgb1, then both convolutions and ToRGB of each block."""
        places: list[tuple[str, int, int, int | None]] = [("conv1", 4, 0, 0), ("to_rgb1", 4, 1, None)]
        for block, side in enumerate(_sides(self.size)[1:]):
            i = 2 * block + 1
            places += [
                (f"convs.{i - 1}", side, i, i),
                (f"convs.{i}", side, i + 1, i + 1),
                (f"to_rgbs.{block}", side, i + 2, None),
            ]
        widths = [self.layer_named(name).conv.weight.shape[2] for name, *_ in places]
        return tuple(
            StyleLayer(name, width, side, w, noise)
            for (name, side, w, noise), width in zip(places, widths, strict=True)
        )

    def layer_named(self, name: str) -> StyledConv | ToRGB:
        """The module of a layer, by its `StyleLayer.name`."""
        module = self.get_submodule(name)
        assert isinstance(module, StyledConv | ToRGB)
        return module

    @property
    def n_latent(self) -> int:
        """The number of rows of a W+ code."""
        return self.layers[-1].w + 1

    def map(self, z: Tensor) -> Tensor:
        """z (B,D) -> w (B,D)."""
        return self.style(z)

    def mean_latent(self, count: int = 4096, seed: int = 0) -> Tensor:
        """The mean w of `count` samples, (1,D), for `truncate`."""
        z = named_noise((count, self.style_dim), seed)
        return self.map(z.to(self.input.input)).mean(dim=0, keepdim=True)

    def truncate(self, w: Tensor, truncation: float, center: Tensor | None = None) -> Tensor:
        """center + truncation (w - center), for w or W+ codes, in every layer alike.

        1 and more changes nothing.  center: `latent_avg` unless given; ValueError where there is neither.
        """
        if truncation >= 1:
            return w
        center = self.latent_avg if center is None else center
        if center is None:
            raise ValueError("Truncation needs the generator's mean latent: set latent_avg or give a center.")
        return center + truncation * (w - center)

    def widen(self, w: Tensor) -> Tensor:
        """w (B,D) -> w_plus (B,n,D), the same code in every layer."""
        return w[:, None].expand(-1, self.n_latent, -1)

    def styles(self, w_plus: Tensor) -> list[Tensor]:
        """w_plus (B,n,D) -> the S codes, one (B,C) per layer.

        Two dimensions are one image too: (n,D) is its W+ code, (1,D) its w. Any other shape is a ValueError;
        a batch of w goes through `widen`, as n of them could not be told from one W+ code.
        """
        n, dim = self.n_latent, self.style_dim
        if w_plus.shape == (1, dim):
            w_plus = self.widen(w_plus)
        elif w_plus.shape == (n, dim):
            w_plus = w_plus[None]
        if w_plus.ndim != 3 or w_plus.shape[1:] != (n, dim):
            raise ValueError(
                f"A W+ code of this generator has the shape (B, {n}, {dim}), not {tuple(w_plus.shape)}; "
                "a batch of W codes goes through widen() first."
            )
        return [self.layer_named(layer.name).conv.modulation(w_plus[:, layer.w]) for layer in self.layers]

    def synthesize(self, s_codes: Sequence[Tensor], noise: Sequence[Tensor] | None = None) -> Tensor:
        """S codes, as `styles` gives them or as (B,1,C,1,1), -> images (B,3,H,W), nominally in [-1,1].

        A code that is the same for all images may have one row: what comes before the first layer with B rows
        is then computed once.
        noise: one (1|B,1,h,h) per convolution; the generator's stored noise unless given.
        Raises ValueError for S codes of another generator.
        """
        channels = [layer.channels for layer in self.layers]
        if [s.numel() // len(s) for s in s_codes] != channels:
            raise ValueError(f"The S codes of this generator are {len(channels)} of the lengths {channels}.")
        state = self.start()
        for index, s in enumerate(s_codes):
            state = self.advance(state, index, s, noise)
        image = state[1]
        assert image is not None  # the last layer is a ToRGB
        return image

    def start(self, batch: int = 1) -> State:
        """What the first layer sees."""
        return self.input.input.expand(batch, -1, -1, -1), None

    def advance(self, state: State, index: int, s: Tensor, noise: Sequence[Tensor] | None = None) -> State:
        """Run layer `index`: `synthesize` is all of them in turn, so that a prefix can be kept."""
        layer, (x, image) = self.layers[index], state
        module, s = self.layer_named(layer.name), s.reshape(len(s), -1)
        if layer.noise is None:
            return x, module(x, s, image)
        stored = self.noises.get_buffer(f"noise_{layer.noise}") if noise is None else noise[layer.noise]
        return module(x, s, stored), image

    def forward(self, w_plus: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """W+ codes -> images: `styles`, then `synthesize`."""
        return self.synthesize(self.styles(w_plus), noise)


def published_channels(size: int, multiplier: int = 2) -> dict[int, int]:
    """The published feature maps per resolution: 512 up to 32 pixels, then multiplier 2^14 / resolution."""
    return {side: 512 if side <= 32 else multiplier * 2**14 // side for side in _sides(size)}


def check_table(size: int, channels: Mapping[int, int]) -> None:
    """Raise ValueError for a size that is no power of two from 4 on, or a channel table with a gap."""
    if size < 4 or size & (size - 1):
        raise ValueError(f"A generator's size is a power of two from 4 on, not {size}.")
    if missing := [side for side in _sides(size) if side not in channels]:
        raise ValueError(f"The channel table of a generator of size {size} lacks the sizes {missing}.")


def load_generator(source: str | Path | Mapping[str, Any], title: str = "the generator") -> Generator:
    """A generator, frozen, from a file or from what one holds; size and widths are read from the tensors.

    Known forms: {"g_ema": tensors, "latent_avg": (D,)}, as published, or as training saves it with more
    beside it, of which the averaged weights, g_ema, are read and no others; a checkpoint whose "state_dict"
    has decoder.*; and a bare state dict, with "latent_avg" among its tensors or not. Missing noises and
    filters are made anew, with a warning; what else is missing, unexpected or misshapen is a ValueError.
    """
    if not isinstance(source, Mapping):
        source, title = read(source), f"the generator in {source}"
    held = source.get("g_ema", source)
    if not isinstance(held, Mapping):
        raise ValueError(f"The weights of {title} are not those of a StyleGAN2 generator.")
    state, average = part(held, "decoder"), source.get("latent_avg")
    state.pop("latent_avg", None)
    network = _like(state, title)
    fill(network, state, title, MADE_HERE)
    if average is not None:
        network.latent_avg = average.reshape(-1, network.style_dim)[:1].float()
    return network.eval().requires_grad_(False)


def _like(state: Mapping[str, Tensor], title: str) -> Generator:
    """A generator of the size and widths of a state dict."""
    try:
        blocks = len({key.split(".")[1] for key in state if key.startswith("to_rgbs.")})
        layers = len({key.split(".")[1] for key in state if key.startswith("style.")})
        names = {4: "conv1", **{8 << block: f"convs.{2 * block}" for block in range(blocks)}}
        channels = {side: state[f"{name}.conv.weight"].shape[1] for side, name in names.items()}
        style_dim = state["conv1.conv.modulation.weight"].shape[1]
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"The weights of {title} are not those of a StyleGAN2 generator: no {error}."
        ) from None
    return Generator(4 << blocks, style_dim, layers, channels=channels)


def _sides(size: int) -> list[int]:
    """4, 8, 16, ... size."""
    return [2**power for power in range(2, int(math.log2(max(size, 4))) + 1)]
