"""Metrics of sets of images: the Frechet distance of their features, and the quality score of a mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

QUALITY_SCALE = 300  # the published score counts log-likelihoods in units of this
FEWEST_ITEMS = 2
MOST_COMPONENTS = 20  # the published mixture's


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features (N,D) and (M,D); 0 for equal sets.

    On `clip_embeddings` it is the "FID" of Paint by Example's paper, which uses CLIP ViT-B/32 in place of
    Inception. Unbiased covariances, in float64. Fewer items than D make them singular, which is allowed, but
    the figure is then biased upwards: compare only sets of one size. Raises ValueError for under two items.
    """
    return frechet_of_gaussians(*_moments(a), *_moments(b))


def frechet_of_gaussians(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of Gaussians in D numbers: (D,), (D,D) each.

    The trace of the root is that of (C_a^(1/2) C_b C_a^(1/2))^(1/2), a symmetric matrix without negative
    eigenvalues: eigen-decompositions alone, exact for singular covariances, where the root of the plain
    product, which is not symmetric, fails or turns complex.
    """
    mean_a, cov_a, mean_b, cov_b = (one.detach().double().cpu() for one in (mean_a, cov_a, mean_b, cov_b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * shared
    return max(0.0, float(distance))  # rounding alone can make it negative


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture of K components over D numbers, in float64.

    weights (K,), means (K,D), factors (K,D,D): lower Cholesky factors of the covariances.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def log_likelihood(self, features: Tensor) -> Tensor:
        """(N,D) -> (N,), the natural logarithm of the density at each."""
        return self.joint(features).logsumexp(dim=1)

    def joint(self, features: Tensor) -> Tensor:
        """(N,D) -> (N,K), the log of each component's weight times its density at each item."""
        x = features.detach().double().cpu()
        parts = []
        for weight, mean, factor in zip(self.weights, self.means, self.factors, strict=True):
            white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
            log_volume = factor.diagonal().log().sum() + 0.5 * len(mean) * math.log(2 * math.pi)
            parts.append(weight.log() - log_volume - 0.5 * white.square().sum(dim=0))
        return torch.stack(parts, dim=1)


def fit_mixture(
    features: Tensor,
    components: int = 20,
    *,
    floor: float = 1e-6,
    iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> Mixture:
    """Fit a Gaussian mixture with full covariances to reference features (N,D), by EM from k-means++ seeds.

    The mixture behind the published quality score (arXiv 2211.13227, after GIQA, arXiv 2003.08932) is not
    available in a safe format, so this is our own fit, and its scores do not compare with published ones.
    floor: added to every variance, which also makes too few items harmless. EM stops when the mean
    log-likelihood rises by less than `tolerance`. The same seed gives the same mixture.
    Raises ValueError for fewer items than components.
    """
    x = features.detach().double().cpu()
    if len(x) < max(FEWEST_ITEMS, components):
        raise ValueError(f"A mixture of {components} components cannot be fitted to {len(x)} items.")
    draw = torch.Generator().manual_seed(seed)
    shares = torch.nn.functional.one_hot(_nearest(x, _spread_out(x, components, draw)), components).double()
    before, mixture = -math.inf, _maximise(x, shares, floor)
    for _ in range(iterations):
        joint = mixture.joint(x)
        now = float(joint.logsumexp(dim=1).mean())
        if now - before < tolerance:
            break
        before, mixture = now, _maximise(x, joint.softmax(dim=1), floor)
    return mixture


def components_for(features: Tensor) -> int:
    """How many components, each with a full covariance, can be fitted to features (N,D): N // 2D, 20 at most.

    0 where not even one has twice as many items as dimensions: a quality score would then be that of the
    floor of the variances, and not of the pictures.
    """
    count, width = features.shape
    return min(MOST_COMPONENTS, count // (2 * width))


def quality_score(mixture: Mixture, features: Tensor) -> float:
    """QS of Paint by Example's paper: the mean of clip(log-likelihood / 300, 0, 1), times 100.

    Features (N,D) as the mixture was fitted to. The 300 is made for CLIP ViT-B/32: on features of another
    length or scale the score may be all 0 or all 100, and the mean log-likelihood says more.
    """
    return float(100 * (mixture.log_likelihood(features) / QUALITY_SCALE).clamp(0, 1).mean())


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    x = features.detach().double().cpu()
    if x.ndim != 2 or len(x) < FEWEST_ITEMS:
        raise ValueError(f"A set must be features (N,D) of two items or more, not {tuple(x.shape)}.")
    away = x - x.mean(dim=0)
    return x.mean(dim=0), away.T @ away / (len(x) - 1)


def _maximise(x: Tensor, shares: Tensor, floor: float) -> Mixture:
    """The mixture that is likeliest when item n belongs to component k by shares[n, k]."""
    counts = shares.sum(dim=0) + 1e-9
    means = (shares.T @ x) / counts[:, None]
    factors = []
    for k, mean in enumerate(means):
        away = x - mean
        covariance = (shares[:, k : k + 1] * away).T @ away / counts[k]
        factors.append(torch.linalg.cholesky(covariance + floor * torch.eye(len(mean), dtype=x.dtype)))
    return Mixture(counts / counts.sum(), means, torch.stack(factors))


def _spread_out(x: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """`count` of the items, each drawn by its squared distance to those before (k-means++)."""
    chosen = [x[int(torch.randint(len(x), (1,), generator=draw))]]
    for _ in range(count - 1):
        away = torch.cdist(x, torch.stack(chosen)).amin(dim=1).square() + 1e-12
        chosen.append(x[int(torch.multinomial(away / away.sum(), 1, generator=draw))])
    return torch.stack(chosen)


def _nearest(x: Tensor, centres: Tensor, rounds: int = 10) -> Tensor:
    """The index of each item's centre after some rounds of k-means; a centre that lost all items stays."""
    for _ in range(rounds):
        nearest = torch.cdist(x, centres).argmin(dim=1)
        centres = torch.stack(
            [x[nearest == k].mean(dim=0) if (nearest == k).any() else one for k, one in enumerate(centres)]
        )
    return torch.cdist(x, centres).argmin(dim=1)
