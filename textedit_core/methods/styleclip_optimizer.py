"""StyleCLIP's latent optimizer (arXiv 2103.17249, section 4): one image's code is optimised for one text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import Knob, batches
from textedit_core.models.clip import Clip
from textedit_core.models.style import latents
from textedit_core.models.style.clip_input import Preprocess, Views, text_loss
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import FaceIdentity, StyleGenerator
from textedit_core.models.style.paths import Optimised, Position, Recording, images_at, latents_at
from textedit_core.steps import Step

Space = Annotated[
    Literal["w_plus", "s"],
    Knob(label="Space", help="what is optimised: the W+ code, or the S codes, whose edits are more local"),
]
Mode = Annotated[
    Literal["edit", "free_generation"],
    Knob(label="Mode", help="free_generation leaves out the losses that keep the source"),
]
Unit = Annotated[
    float,
    Knob(
        0.01,
        100,
        0.01,
        label="Scale of S",
        help="how much more S varies than W; 1 is published. Space s only",
    ),
]
OptimizerSteps = Annotated[int, Knob(0, 2000, 10, label="Steps", help="the paper takes 200 to 300")]
Rate = Annotated[float, Knob(1e-4, 1, 1e-3, label="Learning rate", help="of Adam")]
L2Weight = Annotated[float, Knob(0, 1, 0.001, label="L2 weight", help="larger: the latent code changes less")]
IdWeight = Annotated[
    float,
    Knob(0, 1, 0.001, label="Identity weight", help="larger: the person changes less; 0.005 suits faces"),
]
KeepEvery = Annotated[
    int, Knob(1, 100, 1, label="Keep every", help="so many steps a code is kept, to look at")
]
Patience = Annotated[
    int, Knob(0, 500, 10, label="Patience", help="stop after so many steps without a lower loss; 0 never")
]
StopAfter = Annotated[
    int,
    Knob(0, 2000, 1, label="Stop after", help="so many of the steps, learning rates unchanged; 0: all"),
]


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    clip: Clip,
    identity: FaceIdentity | None,
    latent: Latent | None,
    prompt: str,
    *,
    steps: OptimizerSteps = 300,
    lr: Rate = 0.1,
    l2_lambda: L2Weight = 0.008,
    id_lambda: IdWeight = 0.0,
    space: Space = "w_plus",
    s_unit: Unit = 1.0,
    mode: Mode = "edit",
    clip_preprocess: Preprocess = "upstream",
    views: Views = 0,
    keep_every: KeepEvery = 20,
    patience: Patience = 0,
    stop_after: StopAfter = 0,
) -> Iterator[Step[Optimised]]:
    """Optimise the code of one image towards a text; the defaults are those of the published program.

    The loss is `clip_input.text_loss`, and in mode "edit" also l2_lambda times the *sum* of the squares of
    code - source and id_lambda (1 - cos of the identities). Adam follows `latents.learning_rate`.
    space: W+, or the S codes, of which ToRGB's stay as they are.  s_unit: the code that is optimised in S is
    s / s_unit, so that one step moves s_unit times as far; 1 is published.  mode: "free_generation" starts
    from the mean face where no latent is given.  views: CLIP sees so many random views of the image, other
    ones at each step; 0 shows it the image itself.
    Unlike the published program, which returns the image before the last step, this renders it after.

    Any step's value may be used: its path ends with the code before that step, whose image it has.
    stop_after: end there, with the learning rates of all `steps`; so a stopped run can be repeated.
    Deterministic; the models stay as they are. Raises ValueError for an empty or too long text, for more than
    one latent or none to edit, and where there is an identity weight but no identity network.
    """
    if space not in ("w_plus", "s"):
        raise ValueError(f"Space: {space!r} is none of w_plus, s.")
    latent = _checked(generator, identity, latent, prompt, mode, id_lambda)
    unit = s_unit if space == "s" else 1.0
    weights = l2_lambda / unit**2, id_lambda
    task = _Task(generator, clip, identity, latent, prompt, space, mode, weights, clip_preprocess, views)
    code = task.begin.clone().requires_grad_()
    adam = torch.optim.Adam([code], lr=lr * unit)
    taken = Recording(prompt, space, task.begin, task.source, keep_every)
    best, since = float("inf"), 0
    for step in range(steps):
        adam.param_groups[0]["lr"] = latents.learning_rate(step, steps, lr * unit)
        image, loss, gradient = task.look(code, step)
        code.grad = gradient
        taken.add_losses(*loss)
        if step:
            yield Step(step, steps, taken.value(code, image, step), loss[0])
        adam.step()
        taken.add_code(code)
        best, since = (loss[0], 0) if loss[0] < best else (best, since + 1)
        if (patience and since >= patience) or step + 1 == stop_after:
            break
    done = len(taken.losses)
    image = task.render(code)
    score = None if identity is None else identity.similarity(image, task.source).item()
    last_loss = taken.losses[-1] if done else None
    yield Step(done or 1, done or 1, taken.value(code, image, done, score), last_loss)


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
    """The code that `edit` renders, so that it can be edited further: in the space that was optimised."""
    (positions,) = spread(position=position)
    return latents_at(generator, fitted, positions)


@dataclass(frozen=True, eq=False)
class _Task:
    """One optimisation: its first code, the image of a code, and the loss."""

    generator: StyleGenerator
    clip: Clip
    identity: FaceIdentity | None
    latent: Latent
    prompt: str
    space: str
    mode: str
    weights: tuple[float, float]
    clip_preprocess: str
    views: int

    @cached_property
    def begin(self) -> Tensor:
        """The source's code, flat (1,M)."""
        if self.space == "s":
            return latents.join_channels(self.latent.to_s_codes(self.generator))
        return self.latent.to_w_plus(self.generator).flatten(1)

    @cached_property
    def free(self) -> Tensor | float:
        """Which numbers of a code move: 1, or (M,) of 0 and 1."""
        return latents.editable_channels(self.generator).to(self.begin) if self.space == "s" else 1.0

    @cached_property
    def text(self) -> Tensor:
        return self.clip.text_features([self.prompt])

    @cached_property
    def source(self) -> Tensor:
        return self.latent.image(self.generator)

    def render(self, code: Tensor) -> Tensor:
        if self.space == "s":
            return self.generator.render(latents.split_channels(code, self.generator))
        generator = self.generator
        return generator.render(generator.styles(code.view(1, generator.n_latent, generator.style_dim)))

    @torch.enable_grad()
    def look(self, code: Tensor, step: int) -> tuple[Tensor, tuple[float, float], Tensor]:
        """The image of a code, its loss and CLIP's part of that, and the gradient."""
        image = self.render(code)
        towards = text_loss(
            self.clip, image, self.text, preprocess=self.clip_preprocess, views=self.views, seed=step
        )
        loss = towards
        if self.mode == "edit":
            l2_lambda, id_lambda = self.weights
            loss = loss + l2_lambda * (code - self.begin).square().sum()
            if self.identity is not None and id_lambda:
                loss = loss + id_lambda * self.identity.loss(image, self.source)
        (gradient,) = torch.autograd.grad(loss, [code])
        return image.detach(), (loss.item(), towards.item()), gradient * self.free


def _checked(
    generator: StyleGenerator,
    identity: FaceIdentity | None,
    latent: Latent | None,
    prompt: str,
    mode: str,
    id_lambda: float,
) -> Latent:
    """The latent to begin with. ValueError for what cannot be optimised."""
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the image is to become.")
    if id_lambda and identity is None and mode == "edit":
        raise ValueError("Identity weight: these models have no identity network; set it to 0.")
    if mode not in ("edit", "free_generation"):
        raise ValueError(f"Mode: {mode!r} is none of edit, free_generation.")
    if latent is None and mode == "edit":
        raise ValueError("The latent is missing: pick a seed or project an image, or choose free_generation.")
    latent = latents.mean_face(generator) if latent is None else latent
    if len(latent) != 1:
        raise ValueError(f"One latent is optimised at a time, not {len(latent)}.")
    return latent
