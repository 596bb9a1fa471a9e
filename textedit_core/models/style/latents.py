"""The codes of a generator's images: picked by seed, in W+ or StyleSpace; and how they are optimised."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from textedit_core.knobs import Knob, Seed
from textedit_core.models.style.models import StyleGenerator
from textedit_core.noise import noise

Truncation = Annotated[
    float, Knob(0, 1, 0.05, label="Truncation", help="0 is the mean face, 1 any face, the odd ones too")
]


@dataclass(frozen=True, eq=False)
class Latent:
    """The codes of B images of one generator.

    w_plus: (B,n,D), None for images that only StyleSpace has.  s_codes: one (B,C) per layer; empty where
    `w_plus` says it all.
    """

    w_plus: Tensor | None = None
    s_codes: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.s_codes[0] if self.w_plus is None else self.w_plus)

    def styles(self, generator: StyleGenerator) -> list[Tensor]:
        """Its S codes, one (B,C) per layer, on the generator's device.

        Raises ValueError for codes of another generator.
        """
        if not self.s_codes:
            return generator.styles(self.wide(generator))
        if [code.shape[1] for code in self.s_codes] != [layer.channels for layer in generator.layers]:
            raise ValueError("The latent code belongs to another generator: pick a latent again.")
        return [code.to(generator.device, generator.dtype) for code in self.s_codes]

    def wide(self, generator: StyleGenerator) -> Tensor:
        """Its W+ codes (B,n,D), on the generator's device.

        Raises ValueError for codes of another generator, and for those that only StyleSpace has.
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
        return generator.render(self.styles(generator))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the codes."""
        found = hashlib.sha256()
        for code in (self.w_plus, *self.s_codes):
            if code is not None:
                found.update(f"{code.dtype} {tuple(code.shape)}".encode())
                found.update(code.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()


@torch.no_grad()
def from_seed(generator: StyleGenerator, *, seed: Seed = 0, truncation: Truncation = 0.7) -> Latent:
    """The sample of a seed, or of each of a list of B: z ~ N(0, I), mapped to w, the same in every layer.

    truncation: how far from the mean code; 1 is the sample as it is, 0 the mean face of every seed.
    """
    z = noise((1, generator.style_dim), seed, device=generator.device, dtype=generator.dtype)
    network = generator.network
    w = network.truncate(network.map(z), truncation, generator.latent_avg)
    return Latent(network.widen(w).contiguous())


def mean_face(generator: StyleGenerator) -> Latent:
    """The code at the centre of truncation."""
    return Latent(generator.network.widen(generator.latent_avg).contiguous())


def joined(s_codes: Sequence[Tensor]) -> Tensor:
    """S codes, one (B,C) per layer -> (B,M), M all channels of all layers."""
    return torch.cat([code.reshape(len(code), -1) for code in s_codes], dim=1)


def parted(flat: Tensor, generator: StyleGenerator) -> list[Tensor]:
    """(B,M) -> S codes, one (B,C) per layer."""
    return list(flat.split([layer.channels for layer in generator.layers], dim=1))


def editable(generator: StyleGenerator) -> Tensor:
    """(M,) of bool: which channels of all layers an edit may touch, those that are not ToRGB's."""
    return torch.cat([torch.full((layer.channels,), not layer.is_rgb) for layer in generator.layers])


def learning_rate(step: int, steps: int, lr: float) -> float:
    """The rate of step 0, 1, ... of `steps`: up from 0 over the first 5 %, down over the last quarter.

    The schedule of StyleGAN2's projector and StyleCLIP's optimizer, 1/2 - cos(pi min(1, 4 (1 - t))) / 2
    times min(1, 20 t) at t = step / steps; the very first step has the rate 0.
    """
    t = step / steps
    down = 0.5 - 0.5 * math.cos(math.pi * min(1, (1 - t) / 0.25))
    return lr * down * min(1, t / 0.05)
