"""StyleSpace (arXiv 2011.12799): how far single channels of the S codes vary, and which one a text means."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style.directions import ROWS, Channels, drawn, text_axis
from textedit_core.models.style.models import Relevance, StyleGenerator
from textedit_core.steps import Step


@torch.no_grad()
def channels(
    generator: StyleGenerator,
    clip: Clip | None,
    relevance: Relevance | None,
    neutral: str,
    target: str,
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> Iterator[Step[Channels]]:
    """The deviations of all channels over `samples` random codes, and the channels a text means, ranked.

    The paper ranks channels by example images or a classifier; here, as in StyleCLIP's global directions, by
    how much each moves an image along the text in CLIP's space, which the relevance says. ToRGB's
    channels belong to the paper's S too and have their deviations; the relevance does not know them, so that
    they are never ranked. Without a relevance or a target none is.

    One Step a thousand codes. Raises ValueError as `text_axis`, and for the relevance of other models.
    """
    ranked, signs = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    if clip is not None and relevance is not None and target.strip():
        ranked, signs = _rank(generator, relevance, text_axis(clip, neutral, target))
    total, sums, squares = -(-samples // ROWS), 0.0, 0.0
    for done, w in enumerate(drawn(generator, samples, seed), 1):
        codes = torch.cat(generator.styles(generator.network.widen(w)), dim=1).double()
        sums, squares = sums + codes.sum(dim=0), squares + codes.square().sum(dim=0)
        if done < total:
            yield Step(done, total)
    variance = squares / samples - (sums / samples).square()
    deviations = variance.clamp(min=0).sqrt().float().cpu()
    yield Step(total, total, Channels(deviations, ranked, signs))


def _rank(generator: StyleGenerator, relevance: Relevance, axis: Tensor) -> tuple[Tensor, Tensor]:
    """Places of the channels that are not ToRGB's, the most relevant first, and which way the text is."""
    rows = relevance.relevance
    places = torch.cat([torch.full((one.channels,), not one.is_rgb) for one in generator.layers]).nonzero()
    if rows.shape[1:] != axis.shape:
        raise ValueError("The relevance was measured with another CLIP: choose models that belong together.")
    if len(rows) != len(places):
        raise ValueError("The relevance was measured with another generator: measure it again.")
    scores = rows @ axis.float().cpu()
    order = scores.abs().argsort(descending=True, stable=True)
    return places[order, 0], torch.where(scores[order] < 0, -1.0, 1.0)
