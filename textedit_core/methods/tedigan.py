"""TediGAN (arXiv 2012.03308) in the form with CLIP that StyleCLIP compares with: a code that is pulled to a
text and back to the picture at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import Knob, batches
from textedit_core.models.clip import Clip
from textedit_core.models.clip_vision import pixels_of_whole, tokens
from textedit_core.models.style.clip_input import Preprocess, text_loss
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleEncoder, StyleGenerator
from textedit_core.models.style.paths import Optimised, Position, Recording, images_at, latents_at
from textedit_core.steps import Step

W_PLUS = "w_plus"

Steps = Annotated[int, Knob(0, 2000, 10, label="Steps", help="200 are published")]
Rate = Annotated[float, Knob(1e-4, 1, 1e-3, label="Learning rate", help="of Adam")]
PixelWeight = Annotated[
    float, Knob(0, 100, 0.01, label="Pixel weight", help="larger: the picture changes less")
]
FeatureWeight = Annotated[
    float, Knob(0, 100, 1e-5, label="Feature weight", help="the same in the tokens of CLIP's vision tower")
]
DomainWeight = Annotated[
    float, Knob(0, 100, 0.01, label="In-domain weight", help="larger: codes that the encoder would give too")
]
ClipWeight = Annotated[float, Knob(0, 100, 0.01, label="CLIP weight", help="how strongly the text pulls")]
KeepEvery = Annotated[
    int, Knob(1, 100, 1, label="Keep every", help="so many steps a code is kept, to look at")
]


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    clip: Clip,
    encoder: StyleEncoder | None,
    latent: Latent,
    prompt: str,
    *,
    steps: Steps = 200,
    lr: Rate = 0.01,
    pixel_lambda: PixelWeight = 1.0,
    feature_lambda: FeatureWeight = 5e-5,
    domain_lambda: DomainWeight = 2.0,
    clip_lambda: ClipWeight = 2.0,
    clip_preprocess: Preprocess = "upstream",
    keep_every: KeepEvery = 20,
) -> Iterator[Step[Optimised]]:
    """Optimise the W+ code of one image towards a text by Adam; the defaults are those of the published
    program. With x the image of the latent, G the generator and E the encoder, the loss is

    pixel_lambda mean (x - G(w))^2 + feature_lambda mean (F(x) - F(G(w)))^2
    + domain_lambda mean (w - E(G(w)))^2 + clip_lambda (1 - cos(CLIP(G(w)), CLIP(text))).

    F here are the tokens of CLIP's vision tower; published are features of VGG-16, whose weights are one more
    download. Without an encoder its term is left out. The terms that hold the picture outweigh the text,
    which StyleCLIP found too: lower them, or raise clip_lambda, for a larger change.

    Any step's value may be used: its path ends with the code before that step, whose image it has.
    Deterministic; the models stay as they are. Raises ValueError for an empty or too long text, and for more
    than one latent.
    """
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the image is to become.")
    if len(latent) != 1:
        raise ValueError(f"One latent is optimised at a time, not {len(latent)}.")
    weights = pixel_lambda, feature_lambda, domain_lambda if encoder else 0.0, clip_lambda
    task = _Task(generator, clip, encoder, latent, prompt, weights, clip_preprocess)
    code = task.begin.clone().requires_grad_()
    adam = torch.optim.Adam([code], lr=lr)
    taken = Recording(prompt, W_PLUS, task.begin, task.source, keep_every)
    for step in range(steps):
        image, loss, code.grad = task.look(code)
        taken.add_losses(*loss)
        if step:
            yield Step(step, steps, taken.value(code, image, step), loss[0])
        adam.step()
        taken.add_code(code)
    final = taken.value(code, task.render(code), steps)
    yield Step(steps or 1, steps or 1, final, taken.losses[-1] if steps else None)


@batches("position")
@torch.no_grad()
def edit(
    generator: StyleGenerator,
    fitted: Optimised,
    *,
    position: Position = 1.0,
) -> Iterator[Step[Tensor]]:
    """The image at a position of the path from the source to the text -> (B,3,H,W).

    Position may be a list of B values. Raises ValueError outside 0..1.
    """
    (positions,) = spread(position=position)
    yield Step(1, 1, images_at(generator, fitted, positions))


@torch.no_grad()
def edited_latent(generator: StyleGenerator, fitted: Optimised, position: float | list[float]) -> Latent:
    """The W+ code that `edit` renders, so that it can be edited further."""
    (positions,) = spread(position=position)
    return latents_at(generator, fitted, positions)


@dataclass(frozen=True, eq=False)
class _Task:
    """One optimisation: its first code, the image of a code, and the loss."""

    generator: StyleGenerator
    clip: Clip
    encoder: StyleEncoder | None
    latent: Latent
    prompt: str
    weights: tuple[float, float, float, float]
    clip_preprocess: str

    @cached_property
    def begin(self) -> Tensor:
        """The source's code (1,n,D)."""
        return self.latent.to_w_plus(self.generator)

    @cached_property
    def source(self) -> Tensor:
        return self.latent.image(self.generator)

    @cached_property
    def text(self) -> Tensor:
        return self.clip.text_features([self.prompt])

    @cached_property
    def source_tokens(self) -> Tensor:
        return self.tokens(self.source)

    def tokens(self, image: Tensor) -> Tensor:
        return tokens(self.clip, pixels_of_whole(self.clip, image)).float()

    def render(self, code: Tensor) -> Tensor:
        return self.generator.render(self.generator.styles(code))

    @torch.enable_grad()
    def look(self, code: Tensor) -> tuple[Tensor, tuple[float, float], Tensor]:
        """The image of a code (1,n,D), its loss and CLIP's part of that unweighted, and the gradient."""
        pixel, feature, domain, pull = self.weights
        image = self.render(code)
        towards = text_loss(self.clip, image, self.text, preprocess=self.clip_preprocess)
        loss = pull * towards
        if pixel:
            loss = loss + pixel * F.mse_loss(image, self.source)
        if feature:
            loss = loss + feature * F.mse_loss(self.tokens(image), self.source_tokens)
        if domain and self.encoder:
            loss = loss + domain * F.mse_loss(code, self.encoder.encode(image).to(code))
        (gradient,) = torch.autograd.grad(loss, [code])
        return image.detach(), (loss.item(), towards.item()), gradient
