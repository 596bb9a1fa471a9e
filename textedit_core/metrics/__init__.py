"""Metrics of edits: likeness to the source and agreement with the text, each with its protocol."""

from textedit_core.metrics.features import (
    clip_direction,
    clip_embeddings,
    clip_score,
    clip_score_edited,
    clip_similarity,
    exemplar_score,
    identity,
    structure_distance,
)
from textedit_core.metrics.pixels import (
    background_mse,
    background_psnr,
    background_ssim,
    blackened,
    mse,
    psnr,
    ssim,
)
from textedit_core.metrics.sets import (
    Mixture,
    components_for,
    fit_mixture,
    frechet_distance,
    frechet_of_gaussians,
    quality_score,
)

__all__ = [
    "Mixture",
    "background_mse",
    "background_psnr",
    "background_ssim",
    "blackened",
    "clip_direction",
    "clip_embeddings",
    "clip_score",
    "clip_score_edited",
    "clip_similarity",
    "components_for",
    "exemplar_score",
    "fit_mixture",
    "frechet_distance",
    "frechet_of_gaussians",
    "identity",
    "mse",
    "psnr",
    "quality_score",
    "ssim",
    "structure_distance",
]
