"""StyleCLIP's mapper networks (arXiv 2103.17249, section 5): a latent code -> the change to add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textedit_core.building import building
from textedit_core.models.checkpoint import fill, part, read
from textedit_core.models.style.layers import mapping
from textedit_core.models.style.stylegan2 import Generator

LEVELS = {"course": slice(0, 4), "medium": slice(4, 8), "fine": slice(8, None)}  # spelled as in the files
KINDS = ("levels", "single", "s")
DEPTH = 4  # layers of a mapper


class Mapper(nn.Module):
    """PixelNorm and four activated linear layers, on codes (B,n,D) or (B,D).

    PixelNorm runs over dimension 1, which in (B,n,D) are the layers: the published mappers were trained so.
    """

    def __init__(self, dim: int = 512):
        super().__init__()
        self.mapping = mapping(dim, DEPTH)

    def forward(self, codes: Tensor) -> Tensor:
        return self.mapping(codes)


class SingleMapper(nn.Module):
    """One mapper for all layers of a W+ code (B,n,D)."""

    def __init__(self, style_dim: int = 512):
        super().__init__()
        self.mapping = Mapper(style_dim)

    def forward(self, w_plus: Tensor) -> Tensor:
        return self.mapping(w_plus)


class LevelsMapper(nn.Module):
    """One mapper each for rows 0 to 3, 4 to 7 and 8 on of a W+ code (B,n,D); zeros for a level left out."""

    def __init__(self, levels: Sequence[str] = tuple(LEVELS), style_dim: int = 512):
        super().__init__()
        if unknown := set(levels) - set(LEVELS):
            raise ValueError(f"Levels: {sorted(unknown)} are none of {', '.join(LEVELS)}.")
        self.levels = tuple(level for level in LEVELS if level in levels)
        for level in self.levels:
            self.add_module(f"{level}_mapping", Mapper(style_dim))

    def forward(self, w_plus: Tensor) -> Tensor:
        change = torch.zeros_like(w_plus)
        for level in self.levels:
            rows = LEVELS[level]
            if w_plus[:, rows].numel():
                change[:, rows] = self.get_submodule(f"{level}_mapping")(w_plus[:, rows])
        return change


class StyleSpaceMapper(nn.Module):
    """A mapper for each S code that is not ToRGB's; the others are not changed.

    channels: index of an S code -> its length, as of `Generator.layers` without ToRGB.
    """

    def __init__(self, channels: Mapping[int, int]):
        super().__init__()
        self.indices = tuple(sorted(channels))
        for index in self.indices:
            self.add_module(f"mapper_{index}", Mapper(channels[index]))

    def forward(self, s_codes: Sequence[Tensor]) -> list[Tensor]:
        """S codes (B,C) -> their changes (B,C), in the same order."""
        return [
            self.get_submodule(f"mapper_{index}")(s) if index in self.indices else torch.zeros_like(s)
            for index, s in enumerate(s_codes)
        ]


def new_mapper(generator: Generator, kind: str, levels: Sequence[str], seed: int) -> nn.Module:
    """An untrained mapper for a generator, its weights drawn by a seed, on the CPU.

    kind: "levels" is a `LevelsMapper` of `levels`, "single" a `SingleMapper`, "s" a `StyleSpaceMapper`.
    Raises ValueError for any other kind, and for an unknown level.
    """
    if kind not in KINDS:
        raise ValueError(f"Kind: {kind!r} is none of {', '.join(KINDS)}.")
    with building(seed):
        if kind == "levels":
            return LevelsMapper(levels, generator.style_dim)
        if kind == "single":
            return SingleMapper(generator.style_dim)
        channels = {k: layer.channels for k, layer in enumerate(generator.layers) if not layer.is_rgb}
        return StyleSpaceMapper(channels)


def load_mapper(source: str | Path | Mapping[str, Any], title: str = "the mapper") -> nn.Module:
    """A mapper, frozen, from a file or from what one holds; its kind and levels are read from the keys.

    Known forms: {"state_dict": mapper.* and decoder.*, "opts"} and a bare state dict; `load_generator` reads
    the decoder of the same file. Raises ValueError for missing, unexpected or misshapen tensors.
    """
    if not isinstance(source, Mapping):
        source, title = read(source), f"the mapper in {source}"
    state = part(source, "mapper")
    tops = {key.split(".")[0] for key in state}
    firsts = {top: state[key] for top in tops if (key := f"{top}.mapping.1.weight") in state}
    if not state or set(firsts) != tops or any(weight.ndim != 2 for weight in firsts.values()):
        raise ValueError(f"The weights of {title} are not those of a StyleCLIP mapper.")
    widths = {top: weight.shape[0] for top, weight in firsts.items()}
    with building():
        network = _empty(tops, widths)
    fill(network, state, title)
    return network.eval().requires_grad_(False)


def _empty(tops: set[str], widths: dict[str, int]) -> nn.Module:
    """The mapper whose keys begin with `tops`, of these widths."""
    levels = [level for level in LEVELS if f"{level}_mapping" in tops]
    if levels:
        return LevelsMapper(levels, widths[f"{levels[0]}_mapping"])
    if tops == {"mapping"}:
        return SingleMapper(widths["mapping"])
    numbered = {top.removeprefix("mapper_"): width for top, width in widths.items()}
    return StyleSpaceMapper({int(name): width for name, width in numbered.items() if name.isdigit()})
