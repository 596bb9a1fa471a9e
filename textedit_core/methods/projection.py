"""Projection (GAN inversion): an image -> a W+ code that reconstructs it, by e4e, then by optimisation."""

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
ProjectionSteps = Annotated[
    int,
    Knob(0, 2000, 10, label="Projection steps", help="after the encoder; 0 uses the encoder's code as it is"),
]
ProjectionRate = Annotated[float, Knob(1e-4, 1, 1e-3, label="Projection learning rate")]
PixelWeight = Annotated[
    float, Knob(*_WEIGHT, label="Pixel weight", help="of the squared difference of pixels")
]
ClipWeight = Annotated[float, Knob(*_WEIGHT, label="CLIP weight", help="of the difference of CLIP features")]
IdWeight = Annotated[
    float, Knob(*_WEIGHT, label="Identity weight", help="of the difference of face identities")
]
SpreadWeight = Annotated[
    float,
    Knob(
        *_WEIGHT,
        label="Delta weight",
        help="larger keeps the layers' codes alike: edits better, rebuilds worse",
    ),
]


@dataclass(frozen=True, eq=False)
class Projection:
    """An image as a generator can make it.

    w_plus: (1,n,D).  image: (1,3,S,S), what the generator makes of it.  source: (1,3,S,S), what it should
    make.  identity: cosine of the two in the identity network, None without one.  losses: of every step.
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
        """The PSNR of `image` and `source`, in dB."""
        return psnr(self.image, self.source).item()


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    encoder: StyleEncoder | None,
    clip: Clip | None,
    identity: FaceIdentity | None,
    image: Tensor,
    *,
    steps: ProjectionSteps = 200,
    lr: ProjectionRate = 0.05,
    l2_lambda: PixelWeight = 1.0,
    clip_lambda: ClipWeight = 0.05,
    id_lambda: IdWeight = 0.1,
    spread_lambda: SpreadWeight = 0.01,
) -> Iterator[Step[Projection]]:
    """Find the W+ code of a square image (1,3,H,W) in [-1,1], resized to the generator's side.

    It starts from the encoder's code, or from the mean face where there is no encoder, and is optimised by
    Adam under the schedule of StyleGAN2's projector (arXiv 1912.04958, appendix D). The loss is the sum of:
    * pixels: `pyramid_difference`, the mean square at full size, half, a quarter ... down to 8 pixels; the
      coarse images give a gradient where the fine ones have none that helps. It stands in for the paper's
      LPIPS, whose weights are one more download, and needs no network;
    * CLIP: 1 - cos of the features, which see expression and glasses; with a large weight they can be fooled;
    * identity: 1 - cos, which e4e is trained with too;
    * delta: the variance of the rows of W+ about their mean (e4e's delta loss, arXiv 2102.02766); a code
      whose layers differ much reconstructs better and edits worse.
    A term whose network is missing is left out. Deterministic; the models stay as they are. The image of a
    step is that of the code before it, of the last step that of the final code.
    Raises ValueError for more than one image, for one that is not square, and for an encoder of another
    generator.
    """
    source = _source(generator, image)
    w_plus = _first_code(generator, encoder, source)
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
    """The terms of the loss, and their weights."""

    generator: StyleGenerator
    clip: Clip | None
    identity: FaceIdentity | None
    source: Tensor
    l2_lambda: float
    clip_lambda: float
    id_lambda: float
    spread_lambda: float

    @cached_property
    def features(self) -> Tensor | None:
        """The source's features in CLIP, where they count."""
        if self.clip is None or not self.clip_lambda:
            return None
        return self.clip.image_features(self.source)

    def loss(self, w_plus: Tensor, made: Tensor) -> Tensor:
        """The weighted sum for one code and its image, a scalar."""
        total = self.spread_lambda * latents.spread(w_plus)
        if self.l2_lambda:
            total = total + self.l2_lambda * pyramid_difference(made, self.source)
        if self.clip is not None and self.features is not None:
            total = total + self.clip_lambda * (1 - (self.clip.image_features(made) * self.features).sum())
        if self.identity is not None and self.id_lambda:
            total = total + self.id_lambda * self.identity.loss(made, self.source)
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


def _first_code(generator: StyleGenerator, encoder: StyleEncoder | None, source: Tensor) -> Tensor:
    """The code that is optimised, at first: (1,n,D), a leaf that requires gradients."""
    if encoder is None:
        guess = latents.mean_face(generator).to_w_plus(generator)
    else:
        guess = encoder.encode(source)
    if guess.shape[1:] != (generator.n_latent, generator.style_dim):
        raise ValueError("The encoder belongs to another generator: leave it out, or choose other models.")
    return guess.to(generator.device, generator.dtype).clone().requires_grad_()
