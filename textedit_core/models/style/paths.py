"""The path of a latent code under optimisation, and the pictures along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from torch import Tensor

from textedit_core.knobs import Knob
from textedit_core.models.style import latents
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator

Position = Annotated[
    float, Knob(0, 1, 0.01, label="Position", help="on the path: 0 is the source, 1 the result")
]


@dataclass(frozen=True, eq=False)
class Optimised:
    """The path of a code from a source to a text, as an optimiser took it.

    prompt: the text.  space: "w_plus" or "s".  path: (K,M) codes of the path, flat: the source's first, the
    latest last.  places: (K,) after which step each was.  image, source: (1,3,H,W), of the latest code and of
    the first.  losses, clip_losses: of every step.  identity: cosine of the two images, None until the end or
    without an identity network.
    """

    prompt: str
    space: str
    path: Tensor
    places: tuple[int, ...]
    image: Tensor
    source: Tensor
    losses: tuple[float, ...] = ()
    clip_losses: tuple[float, ...] = ()
    identity: float | None = None

    @cached_property
    def fingerprint(self) -> str:
        return Latent(self.path[None]).fingerprint + f"-{self.space}-{self.places}"

    def latent(self, generator: StyleGenerator, position: float = 1.0) -> Latent:
        """The code at a position of the path: 0 is the source, 1 the result."""
        code = self._at(position).to(generator.device, generator.dtype)
        if self.space == "s":
            return Latent(s_codes=tuple(latents.split_channels(code, generator)))
        return Latent(code.view(1, generator.n_latent, generator.style_dim))

    def _at(self, position: float) -> Tensor:
        """The code (1,M) at a position, interpolated linearly between those of `path`."""
        if not 0 <= position <= 1:
            raise ValueError(f"Position must lie between 0 and 1, not {position}.")
        step = position * self.places[-1]
        after = next(k for k, place in enumerate(self.places) if place >= step)
        if self.places[after] == step:
            return self.path[after : after + 1]
        first, second = self.places[after - 1 : after + 1]
        return torch.lerp(
            self.path[after - 1 : after], self.path[after : after + 1], (step - first) / (second - first)
        )


class Recording:
    """A path while it is taken: the code after every `keep_every` steps, and the losses of all of them."""

    def __init__(self, prompt: str, space: str, begin: Tensor, source: Tensor, keep_every: int):
        self.prompt, self.space, self.source, self.keep_every = prompt, space, source, keep_every
        self.path, self.places = [begin.detach().flatten(1).clone()], [0]
        self.losses: list[float] = []
        self.clip_losses: list[float] = []

    def add_losses(self, loss: float, clip_loss: float) -> None:
        """Note the loss of a step, and CLIP's part of it."""
        self.losses.append(loss)
        self.clip_losses.append(clip_loss)

    def add_code(self, code: Tensor) -> None:
        """Keep the code (1,...) after the last step, where that is one to be kept."""
        if len(self.losses) % self.keep_every == 0:
            self.path.append(code.detach().flatten(1).clone())
            self.places.append(len(self.losses))

    def value(self, code: Tensor, image: Tensor, at: int, identity: float | None = None) -> Optimised:
        """The path that ends with this code, which `at` steps have made, and its image."""
        path, places = list(self.path), list(self.places)
        if places[-1] != at:
            path.append(code.detach().flatten(1).clone())
            places.append(at)
        losses = tuple(self.losses), tuple(self.clip_losses)
        return Optimised(
            self.prompt, self.space, torch.cat(path), tuple(places), image, self.source, *losses, identity
        )


def images_at(generator: StyleGenerator, fitted: Optimised, positions: Sequence[float]) -> Tensor:
    """The images (B,3,H,W) at B positions of a path. Raises ValueError outside 0..1."""
    codes = [fitted.latent(generator, one).to_s_codes(generator) for one in positions]
    return generator.render([torch.cat(rows) for rows in zip(*codes, strict=True)])


def latents_at(generator: StyleGenerator, fitted: Optimised, positions: Sequence[float]) -> Latent:
    """The codes at B positions of a path, in the space that was optimised."""
    found = [fitted.latent(generator, one) for one in positions]
    if fitted.space == "s":
        return Latent(s_codes=tuple(map(torch.cat, zip(*(one.s_codes for one in found), strict=True))))
    return Latent(torch.cat([one.to_w_plus(generator) for one in found]))
