"""Where a code can go in W and in the S codes; the random codes and the axis of two texts that tell it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style.models import StyleGenerator
from textedit_core.noise import noise

ROWS = 1000  # codes mapped at once


@dataclass(frozen=True, eq=False)
class WDirections:
    """Directions of W, and how far random codes lie apart along each.

    vectors: (K,D) float32, of length 1.  deviations: (K,) float32, standard deviations of the codes.
    """

    vectors: Tensor
    deviations: Tensor

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of both."""
        return _digest(self.vectors, self.deviations)


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of the S codes as directions of their own.

    deviations: (M,) float32, standard deviations of every channel of all layers, in order.
    ranked: (R,) int64, places of channels among those M, the most relevant to a text first; (0,) without one.
    signs: (R,) float32, 1 or -1: which way of each the text is.
    """

    deviations: Tensor
    ranked: Tensor
    signs: Tensor

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all three."""
        return _digest(self.deviations, self.ranked, self.signs)


def drawn(generator: StyleGenerator, count: int, seed: int) -> Iterator[Tensor]:
    """Codes w (1000,D) of `count` random z, the last part maybe shorter; not truncated."""
    for z in noise((count, generator.style_dim), seed).split(ROWS):
        yield generator.network.map(z.to(generator.device, generator.dtype))


@torch.no_grad()
def text_axis(clip: Clip, neutral: str, target: str) -> Tensor:
    """The unit vector (D,) from one text to the other in CLIP's space, the texts as they are.

    Raises ValueError for an empty text, one that is too long, and for one text twice.
    """
    for name, text in (("neutral", neutral), ("target", target)):
        if not text.strip():
            raise ValueError(f"The {name} text is empty: this technique looks for what the texts differ in.")
    if neutral.split() == target.split():
        raise ValueError("The target text is the neutral one: say in the target what is to change.")
    before, after = (clip.concept(text, ("{}",)) for text in (neutral, target))
    return F.normalize(after - before, dim=0)


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for one in tensors:
        found.update(f"{one.dtype} {tuple(one.shape)}".encode())
        found.update(one.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
