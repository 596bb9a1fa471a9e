"""GANSpace (arXiv 2004.02546): the principal components of W, found without any text."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textedit_core.models.style.directions import ROWS, WDirections, drawn
from textedit_core.models.style.models import StyleGenerator
from textedit_core.steps import Step


@torch.no_grad()
def components(
    generator: StyleGenerator, *, samples: int = 10_000, seed: int = 0
) -> Iterator[Step[WDirections]]:
    """The D components of `samples` random codes w, the widest first. One Step a thousand codes."""
    total, codes = -(-samples // ROWS), []
    for w in drawn(generator, samples, seed):
        codes.append(w.cpu())
        if len(codes) < total:
            yield Step(len(codes), total)
    yield Step(total, total, principal(torch.cat(codes)))


def principal(w: Tensor) -> WDirections:
    """Codes (N,D) -> their D components: eigenvectors of the covariance, sorted by variance.

    Which way a component points is chance: here its largest entry is positive.
    """
    centred = w.double() - w.double().mean(dim=0)
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(w))
    vectors, variances = vectors.T.flip(0), variances.flip(0).clamp(min=0)
    largest = vectors.abs().argmax(dim=1, keepdim=True)
    vectors = vectors * vectors.gather(1, largest).sign()
    return WDirections(vectors.float(), variances.sqrt().float())
