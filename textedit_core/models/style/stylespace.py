"""StyleSpace (arXiv 2011.12799): how far single channels of the S codes vary, and which one a text means."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style import latents
from textedit_core.models.style.directions import (
    CODES_AT_ONCE,
    Channels,
    distinct_text_direction,
    sample_w,
)
from textedit_core.models.style.models import Relevance, StyleGenerator
from textedit_core.steps import Step


@torch.no_grad()
def channels(
    generator: StyleGenerator,
    clip: Clip | None,
    relevance: Relevance | None,
    neutral: str,
    prompt: str,
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> Iterator[Step[Channels]]:
    """The deviations of all channels over `samples` random w, and the channels ranked for a prompt.

    The paper ranks channels by example images or a classifier; here, as in StyleCLIP's global directions, by
    how far each moves an image from the neutral text towards the prompt in CLIP's space, which the relevance
    says. ToRGB's channels belong to the paper's S too and have their deviations; where the relevance does not
    measure them they have no rank. Without a CLIP, a relevance or a prompt no channel has one.

    One Step for each thousand codes. Raises ValueError as `distinct_text_direction`, and for a relevance
    that was measured with other models.
    """
    ranked, signs = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    if clip is not None and relevance is not None and prompt.strip():
        ranked, signs = _rank(generator, relevance, distinct_text_direction(clip, neutral, prompt))
    total, moments = -(-samples // CODES_AT_ONCE), latents.RunningMoments()
    for done, w in enumerate(sample_w(generator, samples, seed), 1):
        moments.add(latents.join_channels(generator.styles(generator.network.widen(w))))
        if done < total:
            yield Step(done, total)
    yield Step(total, total, Channels(moments.deviation.float().cpu(), ranked, signs))


def _rank(generator: StyleGenerator, relevance: Relevance, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of the measured channels, the most relevant first, and 1 or -1 for up or down."""
    scores = relevance.scores(direction)
    indices = relevance.channels(generator).nonzero()[:, 0]
    order = scores.abs().argsort(descending=True, stable=True)
    return indices[order], torch.where(scores[order] < 0, -1.0, 1.0)
