"""InterFaceGAN (arXiv 2005.09635): the linear boundary in W between images that show something and others."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style.directions import WDirections, distinct_text_direction, sample_w
from textedit_core.models.style.models import StyleGenerator
from textedit_core.steps import Step

IMAGES_AT_ONCE = 8  # rendered at once; a divisor of the codes that `sample_w` maps at once
MOST_NEWTON_STEPS, MOST_HALVINGS = 100, 40


@torch.no_grad()
def boundary(
    generator: StyleGenerator,
    clip: Clip,
    neutral: str,
    prompt: str,
    *,
    samples: int = 10_000,
    share: float = 0.02,
    seed: int = 0,
) -> Iterator[Step[WDirections]]:
    """The boundary's unit normal (1,D), towards the prompt, and the samples' deviation along it.

    `samples` random w are rendered. The paper scores the images with a classifier of an attribute and keeps
    those with the highest confidence. There is no classifier of an arbitrary text, so that CLIP scores here:
    the projection of an image's features on `distinct_text_direction`. The `share` of the samples with the
    highest scores is one class, that with the lowest the other; the paper keeps 2 % of 500,000 on each side.

    One Step for each 8 images. The models stay as they are. Raises ValueError as `distinct_text_direction`.
    """
    axis = distinct_text_direction(clip, neutral, prompt)
    total, codes, scores = -(-samples // IMAGES_AT_ONCE), [], []
    for w in sample_w(generator, samples, seed):
        for part in w.split(IMAGES_AT_ONCE):
            images = generator.render(generator.styles(generator.network.widen(part)))
            codes.append(part.double().cpu())
            scores.append((clip.image_features(images.clamp(-1, 1)) @ axis).cpu())
            if len(codes) < total:
                yield Step(len(codes), total)
    x, order = torch.cat(codes), torch.cat(scores).argsort(stable=True)
    count = max(1, min(round(share * samples), samples // 2))
    labels = torch.zeros(samples, dtype=x.dtype)
    labels[order[:count]], labels[order[-count:]] = -1, 1
    chosen = labels != 0  # in the order of the samples, so that swapped texts have the exact negative
    normal = fit_svm(x[chosen], labels[chosen])[:-1]
    normal = normal / normal.norm()
    deviation = (x @ normal).std(correction=0)
    yield Step(total, total, WDirections(normal[None].float(), deviation[None].float()))


def fit_svm(x: Tensor, labels: Tensor, cost: float = 1.0) -> Tensor:
    """The linear support vector machine of rows (N,D) and labels (N,) of 1 and -1: its [v, b], (D+1,).

    The one minimum of `objective`, by Newton's method with halved steps (Chapelle 2007): it ends where
    the gradient is zero to rounding. Computed on rows that are centred and scaled to a mean variance of 1, so
    that `cost` means the same for every generator; what is returned is for the rows as given. float64.
    """
    centre, scale = x.mean(dim=0), x.var(dim=0, correction=0).mean().sqrt().clamp(min=1e-30)
    found = minimise(with_bias((x - centre) / scale), labels, cost)
    v = found[:-1] / scale
    return torch.cat([v, found[-1:] - v @ centre])


def with_bias(x: Tensor) -> Tensor:
    """(N,D) -> (N,D+1), a column of ones at the end."""
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def objective(x: Tensor, labels: Tensor, z: Tensor, cost: float = 1.0) -> Tensor:
    """1/2 |v|^2 + cost sum max(0, 1 - y (v x + b))^2 for z = [v, b] and x (N,D+1) from `with_bias`."""
    short = (1 - labels * (x @ z)).clamp(min=0)
    return z[:-1].square().sum() / 2 + cost * short.square().sum()


def minimise(x: Tensor, labels: Tensor, cost: float = 1.0) -> Tensor:
    """The z (D+1,) at which `objective` is least."""
    z, weight = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    weight[-1] = 0  # the bias costs nothing
    value = objective(x, labels, z, cost)
    for _ in range(MOST_NEWTON_STEPS):
        short = (1 - labels * (x @ z)).clamp(min=0)
        inside = x[short > 0]
        gradient = weight * z - 2 * cost * (x.T @ (labels * short))
        curvature = torch.diag(weight.clamp(min=1e-9)) + 2 * cost * inside.T @ inside
        move, step = torch.linalg.solve(curvature, -gradient), 1.0
        for _ in range(MOST_HALVINGS):
            if (reached := objective(x, labels, z + step * move, cost)) < value:
                break
            step /= 2
        else:
            break  # no step goes down any more
        z, value = z + step * move, reached
    return z
