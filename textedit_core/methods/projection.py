"""Projection: an image -> the W+ code that rebuilds it, by e4e where there is one, then by optimisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.knobs import Knob
from textedit_core.metrics import psnr
from textedit_core.models.clip import Clip
from textedit_core.models.style import latents
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import FaceIdentity, StyleEncoder, StyleGenerator
from textedit_core.steps import Step

SMALLEST = 8  # pixels, of the coarsest image that is compared

_WEIGHT = 0, 10, 0.01


@dataclass(frozen=True, eq=False)
class Projection:
    """An image as a generator can make it.

    w_plus: (1,n,D).  image: (1,3,S,S), what the code makes.  source: (1,3,S,S), what it should make.
    identity: cosine of the two in the identity network, None without one.  losses: of every step.
    """

    w_plus: Tensor
    image: Tensor
    source: Tensor
    identity: float | None = None
    losses: tuple[float, ...] = ()

    @property
    def latent(self) -> Latent:
        """The code, to be edited."""
        return Latent(self.w_plus)

    @cached_property
    def psnr(self) -> float:
        """How near the two images are, in dB."""
        return psnr(self.image, self.source).item()


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    encoder: StyleEncoder | None,
    clip: Clip | None,
    identity: FaceIdentity | None,
    image: Tensor,
    *,
    steps: Annotated[
        int, Knob(0, 2000, 10, label="Projection steps", help="0 takes the encoder's word for it")
    ] = 200,
    lr: Annotated[float, Knob(1e-4, 1, 1e-3, label="Projection learning rate")] = 0.05,
    l2_lambda: Annotated[float, Knob(*_WEIGHT, label="Pixels", help="weight of the difference")] = 1.0,
    clip_lambda: Annotated[float, Knob(*_WEIGHT, label="Look", help="weight of CLIP's opinion")] = 0.05,
    id_lambda: Annotated[float, Knob(*_WEIGHT, label="Identity", help="weight of who it is")] = 0.1,
    spread_lambda: Annotated[
        float, Knob(*_WEIGHT, label="One style", help="keeps the layers' codes together, which edits well")
    ] = 0.01,
) -> Iterator[Step[Projection]]:
    """Find the W+ code of a square image (1,3,H,W) in [-1,1], resized to the generator's side.

    It starts from the encoder's code, or from the mean face, and follows Adam under the schedule of
    StyleGAN2's projector (arXiv 1912.04958, appendix D). What is compared:
    * the pixels, by the mean square at full size, half, a quarter ... down to 8: the coarse images pull where
      the fine ones, pixel by pixel, have no direction to offer. This stands in for the paper's LPIPS, whose
      weights are one more download, and needs no network;
    * CLIP's features, lightly: they tell expression and glasses, but can be fooled if they count for much;
    * the identity, whose loss e4e was trained with too;
    * how far the rows of W+ are from their mean (e4e's delta loss, arXiv 2102.02766): a code whose layers
      drift apart rebuilds better and edits worse.
    A part that the models lack is left out. Deterministic; the models stay as they are. The value of every
    step is what the code made before it, of the last one what it makes in the end.
    Raises ValueError for more than one image, for one that is not square, and for an encoder of another
    generator.
    """
    source = _source(generator, image)
    w_plus = _begin(generator, encoder, source)
    terms = _Terms(generator, clip, identity, source, l2_lambda, clip_lambda, id_lambda, spread_lambda)
    adam = torch.optim.Adam([w_plus], lr=lr)
    losses: list[float] = []
    for step in range(steps):
        adam.param_groups[0]["lr"] = latents.learning_rate(step, steps, lr)
        before = w_plus.detach().clone()
        made, loss = _descend(adam, w_plus, terms)
        losses.append(loss)
        if step + 1 < steps:
            yield Step(step + 1, steps, Projection(before, made, source, None, tuple(losses)), loss)
    made = generator.render(generator.styles(w_plus))
    found = Projection(w_plus.detach(), made, source, None, tuple(losses))
    if identity is not None:
        found = replace(found, identity=identity.similarity(made, source).item())
    yield Step(steps or 1, steps or 1, found, losses[-1] if losses else None)


@dataclass(frozen=True, eq=False)
class _Terms:
    """What is compared, and with which weight."""

    generator: StyleGenerator
    clip: Clip | None
    identity: FaceIdentity | None
    source: Tensor
    l2_lambda: float
    clip_lambda: float
    id_lambda: float
    spread_lambda: float

    @cached_property
    def look(self) -> Tensor:
        return self.clip.image_features(self.source)

    def loss(self, w_plus: Tensor, made: Tensor) -> Tensor:
        """The weighted sum for one code and its image, a scalar."""
        total = self.spread_lambda * (w_plus - w_plus.mean(dim=1, keepdim=True)).square().mean()
        if self.l2_lambda:
            total = total + self.l2_lambda * pyramid_difference(made, self.source)
        if self.clip_lambda and self.clip is not None:
            total = total + self.clip_lambda * (1 - (self.clip.image_features(made) * self.look).sum())
        if self.id_lambda and self.identity is not None:
            total = total + self.id_lambda * (1 - self.identity.similarity(made, self.source)).sum()
        return total


def pyramid_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean over sizes of the mean square difference: at full size, half of it ... down to 8 pixels."""
    found = []
    while True:
        found.append(F.mse_loss(a, b))
        if min(a.shape[-2:]) // 2 < SMALLEST:
            return torch.stack(found).mean()
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)


@torch.enable_grad()
def _descend(adam: torch.optim.Adam, w_plus: Tensor, terms: _Terms) -> tuple[Tensor, float]:
    """One step of Adam; the image and the loss before it."""
    made = terms.generator.render(terms.generator.styles(w_plus))
    loss = terms.loss(w_plus, made)
    (w_plus.grad,) = torch.autograd.grad(loss, [w_plus])
    adam.step()
    return made.detach(), loss.item()


def _source(generator: StyleGenerator, image: Tensor) -> Tensor:
    """The image at the generator's side, on its device."""
    if image.ndim != 4 or len(image) != 1 or image.shape[2] != image.shape[3]:
        raise ValueError(f"One square image (1,3,S,S) is projected at a time, not {tuple(image.shape)}.")
    image, sides = image.to(generator.device, generator.dtype), (generator.size, generator.size)
    if image.shape[-2:] == sides:
        return image
    return F.interpolate(image, sides, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def _begin(generator: StyleGenerator, encoder: StyleEncoder | None, source: Tensor) -> Tensor:
    """The first guess, a leaf (1,n,D)."""
    if encoder is None:
        guess = latents.mean_face(generator).w_plus
    else:
        guess = encoder.encode(source)
    if guess.shape[1:] != (generator.n_latent, generator.style_dim):
        raise ValueError("The encoder belongs to another generator: leave it out, or choose other models.")
    return guess.to(generator.device, generator.dtype).clone().requires_grad_()
