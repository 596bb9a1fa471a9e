"""Directions in W and in StyleSpace, the samples they are found from, and the CLIP direction of two texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style.models import StyleGenerator, tensor_digest
from textedit_core.noise import noise

CODES_AT_ONCE = 1000  # mapped from z to w at once


@dataclass(frozen=True, eq=False)
class WDirections:
    """Directions in W, and how widely samples spread along each.

    vectors: (K,D) float32, of length 1.  deviations: (K,) float32, standard deviations of the codes.
    """

    vectors: Tensor
    deviations: Tensor

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of both."""
        return tensor_digest(self.vectors, self.deviations)


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of the S codes as directions of their own.

    deviations: (M,) float32, standard deviations of every channel of all layers, in order.
    ranked: (R,) int64, indices into those M, the most relevant to a text first; (0,) without a text.
    signs: (R,) float32, 1 or -1: whether more or less of each leads to the text.
    """

    deviations: Tensor
    ranked: Tensor
    signs: Tensor

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all three."""
        return tensor_digest(self.deviations, self.ranked, self.signs)


def sample_w(generator: StyleGenerator, count: int, seed: int) -> Iterator[Tensor]:
    """w (1000,D) of `count` random z, the last part maybe shorter; not truncated."""
    for z in noise((count, generator.style_dim), seed).split(CODES_AT_ONCE):
        yield generator.network.map(z.to(generator.device, generator.dtype))


@torch.no_grad()
def text_direction(clip: Clip, neutral: str, prompt: str, templates: Sequence[str] = ("{}",)) -> Tensor:
    """The unit vector (D,) from one text to the other in CLIP's space, zeros from a text to itself.

    templates: sentences with {} for the text; a text is the mean of its features in all of them.
    Raises ValueError for an empty text, and for one that is too long in a template.
    """
    if not neutral.strip():
        raise ValueError("The neutral text is empty: say what the image shows, such as a face.")
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the image is to show, such as a smiling face.")
    before, after = (clip.concept(text, templates) for text in (neutral, prompt))
    return F.normalize(after - before, dim=0)


def distinct_text_direction(clip: Clip, neutral: str, prompt: str) -> Tensor:
    """`text_direction` without templates. Raises ValueError for equal texts, too."""
    if prompt.strip() and neutral.split() == prompt.split():
        raise ValueError("The prompt is the neutral text: say in the prompt what is to change.")
    return text_direction(clip, neutral, prompt)
