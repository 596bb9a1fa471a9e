"""Latent codes in W+ and StyleSpace: samples by seed, channels as one vector, the optimisers' schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from textedit_core.knobs import Knob, Seed
from textedit_core.models.style.models import StyleGenerator, tensor_digest
from textedit_core.noise import noise

Truncation = Annotated[
    float,
    Knob(
        0,
        1,
        0.05,
        label="Truncation",
        help="0 is the mean face, 1 the sample as drawn: more varied, less typical",
    ),
]


@dataclass(frozen=True, eq=False)
class Latent:
    """The codes of B images of one generator.

    w_plus: (B,n,D), None for images that have S codes alone, such as edits in StyleSpace.  s_codes: one
    (B,C) per layer; empty where they follow from `w_plus`.
    """

    w_plus: Tensor | None = None
    s_codes: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.s_codes[0] if self.w_plus is None else self.w_plus)

    def to_s_codes(self, generator: StyleGenerator) -> list[Tensor]:
        """Its S codes, one (B,C) per layer, on the generator's device.

        Raises ValueError for codes of another generator.
        """
        if not self.s_codes:
            return generator.styles(self.to_w_plus(generator))
        if [code.shape[1] for code in self.s_codes] != generator.channel_counts:
            raise ValueError("The latent code belongs to another generator: pick a latent again.")
        return [code.to(generator.device, generator.dtype) for code in self.s_codes]

    def to_w_plus(self, generator: StyleGenerator) -> Tensor:
        """Its W+ codes (B,n,D), on the generator's device.

        Raises ValueError for codes of another generator, and for images that have S codes alone.
        """
        if self.w_plus is None or self.s_codes:
            raise ValueError(
                "This latent is an edit in StyleSpace and has no W+ code: pick its source instead."
            )
        if self.w_plus.shape[1:] != (generator.n_latent, generator.style_dim):
            raise ValueError("The latent code belongs to another generator: pick a latent again.")
        return self.w_plus.to(generator.device, generator.dtype)

    @torch.no_grad()
    def image(self, generator: StyleGenerator) -> Tensor:
        """The images (B,3,H,W), about [-1,1], with the stored noise."""
        return generator.render(self.to_s_codes(generator))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the codes."""
        return tensor_digest(*([] if self.w_plus is None else [self.w_plus]), *self.s_codes)


@torch.no_grad()
def from_seed(generator: StyleGenerator, *, seed: Seed = 0, truncation: Truncation = 0.7) -> Latent:
    """The sample of a seed, or of each of a list of B: z ~ N(0, I), mapped to w, the same in every layer.

    truncation: w becomes mean + truncation (w - mean); 1 is the sample as drawn, 0 the mean face.
    """
    z = noise((1, generator.style_dim), seed, device=generator.device, dtype=generator.dtype)
    network = generator.network
    w = network.truncate(network.map(z), truncation, generator.latent_avg)
    return Latent(network.widen(w).contiguous())


def mean_face(generator: StyleGenerator) -> Latent:
    """The code of the mean w, in all layers the same."""
    return Latent(generator.network.widen(generator.latent_avg).contiguous())


def join_channels(s_codes: Sequence[Tensor]) -> Tensor:
    """S codes, one (B,C) per layer -> (B,M), M all channels of all layers."""
    return torch.cat([code.reshape(len(code), -1) for code in s_codes], dim=1)


def split_channels(flat: Tensor, generator: StyleGenerator) -> list[Tensor]:
    """(B,M) or (M,) of all channels -> one (B,C) or (C,) per layer."""
    return list(flat.split(generator.channel_counts, dim=-1))


def shift_channels(generator: StyleGenerator, s_codes: Sequence[Tensor], shift: Tensor) -> list[Tensor]:
    """S codes of one row or B, plus a shift (B,M) of their channels.

    A code that no row shifts stays as it is, with one row where it had one: what a generator computes before
    the first shifted layer is then done once for all rows. Raises ValueError for rows that do not fit.
    """
    check_rows(len(s_codes[0]), len(shift))
    shifted = [bool(part.any()) for part in split_channels(shift, generator)]
    parts = split_channels(shift.to(s_codes[0]), generator)
    return [code + part if new else code for code, part, new in zip(s_codes, parts, shifted, strict=True)]


def check_rows(latents: int, settings: int) -> None:
    """Raise ValueError unless so many latents and settings make one batch."""
    if settings > 1 and latents not in (1, settings):
        raise ValueError(f"{latents} latents and {settings} settings make no batch: use one, or as many.")


def rows_between(generator: StyleGenerator, first: int, last: int) -> slice:
    """The rows of W+ from the layer `first` to `last`, which may lie beyond the end.

    Raises ValueError, a sentence, for a first layer that is not there or comes after the last.
    """
    if first >= generator.n_latent:
        raise ValueError(
            f"First layer: {first} is not there; W+ has the layers 0 to {generator.n_latent - 1}."
        )
    if first > last:
        raise ValueError(f"First layer: {first} is after the last layer, {last}; choose a smaller one.")
    return slice(first, last + 1)


def spread(w_plus: Tensor) -> Tensor:
    """How far the layers of W+ codes (B,n,D) lie apart: the variance of their rows about their mean, a scalar
    (the delta loss of e4e, arXiv 2102.02766)."""
    return (w_plus - w_plus.mean(dim=1, keepdim=True)).square().mean()


def editable_channels(generator: StyleGenerator) -> Tensor:
    """(M,) of bool: which channels of all layers an edit may touch, those that are not ToRGB's."""
    return torch.cat([torch.full((layer.channels,), not layer.is_rgb) for layer in generator.layers])


class RunningMoments:
    """Mean and standard deviation (M,) of rows that come in parts, in float64 (Chan, Golub, LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Take in rows (B,M)."""
        rows, before = rows.double(), self.count
        own, self.count = rows.mean(dim=0), before + len(rows)
        shift = own - self.mean
        self.mean = self.mean + shift * len(rows) / self.count
        self._squares = self._squares + (rows - own).square().sum(dim=0)
        self._squares = self._squares + shift.square() * len(rows) * before / self.count

    @property
    def deviation(self) -> Tensor:
        """The standard deviation, of all the rows so far and not of what they were drawn from."""
        return (self._squares / self.count).sqrt()


def learning_rate(step: int, steps: int, lr: float) -> float:
    """The rate of step 0, 1, ... of `steps`: up from 0 over the first 5 %, down over the last quarter.

    The schedule of StyleGAN2's projector and StyleCLIP's optimizer, 1/2 - cos(pi min(1, 4 (1 - t))) / 2
    times min(1, 20 t) at t = step / steps; the very first step has the rate 0.
    """
    t = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - t) / 0.25))
    return lr * down * min(1, t / 0.05)
