"""GANSpace (arXiv 2004.02546): the principal components of W, found without any text."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textedit_core.models.style.directions import CODES_AT_ONCE, WDirections, sample_w
from textedit_core.models.style.models import StyleGenerator
from textedit_core.steps import Step


@torch.no_grad()
def components(
    generator: StyleGenerator, *, samples: int = 10_000, seed: int = 0
) -> Iterator[Step[WDirections]]:
    """The D principal components of `samples` random w, that of the largest variance first.

    One Step for each thousand of them.
    """
    total, codes = -(-samples // CODES_AT_ONCE), []
    for w in sample_w(generator, samples, seed):
        codes.append(w.cpu())
        if len(codes) < total:
            yield Step(len(codes), total)
    yield Step(total, total, principal_components(torch.cat(codes)))


def principal_components(w: Tensor) -> WDirections:
    """w (N,D) -> their D components: eigenvectors of the covariance, sorted by variance.

    The sign of an eigenvector is arbitrary: here its largest entry is positive.
    """
    centred = w.double() - w.double().mean(dim=0)
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(w))
    vectors, variances = vectors.T.flip(0), variances.flip(0).clamp(min=0)
    largest = vectors.abs().argmax(dim=1, keepdim=True)
    vectors = vectors * vectors.gather(1, largest).sign()
    return WDirections(vectors.float(), variances.sqrt().float())
