"""StyleCLIP's latent optimizer (arXiv 2103.17249, section 4): one image, one text, a few hundred steps."""

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
from textedit_core.models.style.clip_input import Preprocess, Views, augmented, features
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import FaceIdentity, StyleGenerator
from textedit_core.steps import Step

Space = Annotated[
    Literal["w_plus", "s"], Knob(label="Space", help="s, the channels themselves, changes less beside")
]
Mode = Annotated[
    Literal["edit", "free_generation"], Knob(label="Mode", help="edit keeps near the source; free does not")
]
Unit = Annotated[
    float, Knob(0.01, 100, 0.01, label="Unit of S", help="in space s: how much wider S spreads than W")
]


@dataclass(frozen=True, eq=False)
class Optimised:
    """The way from a source to a text.

    prompt: the text.  space: "w_plus" or "s".  path: (K,M) the codes kept along the way, flat: the source
    first, the latest last.  places: (K,) after which step each was.  image: (1,3,H,W), the latest rendered.
    source: (1,3,H,W).  losses, clip_losses: of every step.  identity: cosine to the source, None until the
    end or without an identity network.
    """

    prompt: str
    space: str
    path: Tensor
    places: tuple[int, ...]
    image: Tensor
    source: Tensor
    losses: tuple[float, ...] = ()
    clip_losses: tuple[float, ...] = ()
    identity: float | None = None

    @cached_property
    def fingerprint(self) -> str:
        return Latent(self.path[None]).fingerprint + f"-{self.space}-{self.places}"

    def latent(self, generator: StyleGenerator, position: float = 1.0) -> Latent:
        """The code at a place of the path: 0 is the source, 1 the result."""
        code = self._at(position).to(generator.device, generator.dtype)
        if self.space == "s":
            return Latent(s_codes=tuple(latents.parted(code, generator)))
        return Latent(code.view(1, generator.n_latent, generator.style_dim))

    def _at(self, position: float) -> Tensor:
        """The code (1,M) at a place, straight between those that were kept."""
        if not 0 <= position <= 1:
            raise ValueError(f"Position must lie between 0 and 1, not {position}.")
        step = position * self.places[-1]
        after = next(k for k, place in enumerate(self.places) if place >= step)
        if self.places[after] == step:
            return self.path[after : after + 1]
        first, second = self.places[after - 1 : after + 1]
        return torch.lerp(
            self.path[after - 1 : after], self.path[after : after + 1], (step - first) / (second - first)
        )


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    clip: Clip,
    identity: FaceIdentity | None,
    latent: Latent | None,
    prompt: str,
    *,
    steps: Annotated[int, Knob(0, 2000, 10, label="Steps", help="the paper takes 200 to 300")] = 300,
    lr: Annotated[float, Knob(1e-4, 1, 1e-3, label="Learning rate")] = 0.1,
    l2_lambda: Annotated[
        float, Knob(0, 1, 0.001, label="Stay near", help="weight of the distance from the source's code")
    ] = 0.008,
    id_lambda: Annotated[
        float, Knob(0, 1, 0.001, label="Same person", help="weight of the identity; 0.005 suits faces")
    ] = 0.0,
    space: Space = "w_plus",
    s_unit: Unit = 1.0,
    mode: Mode = "edit",
    clip_preprocess: Preprocess = "upstream",
    views: Views = 0,
    keep_every: Annotated[int, Knob(1, 100, 1, label="Keep every", help="steps, for the strip")] = 20,
    patience: Annotated[
        int, Knob(0, 500, 10, label="Patience", help="stop after so many steps without a gain; 0 never")
    ] = 0,
    stop_after: Annotated[
        int, Knob(0, 2000, 1, label="Stop after", help="steps of the planned ones; 0 goes to the end")
    ] = 0,
) -> Iterator[Step[Optimised]]:
    """Optimise the code of one image towards a text; the defaults are those of the published program.

    The loss is 1 - cos(image, text) in CLIP, and in "edit" also l2_lambda times the *sum* of the squares of
    code - source and id_lambda (1 - cos of the identities). Adam follows `latents.learning_rate`.
    space: W+, or the S codes, of which ToRGB's stay as they are.  s_unit: in S the learning rate is so many
    times, and a distance counts as so many times less; 1 is published.  mode: "free_generation" starts from
    the mean face where no latent is given.  views: CLIP sees so many chance views of the image, other ones
    at each step (`clip_input.augmented`), and the loss is their mean; 0 shows it the image itself.
    Unlike the published program, whose result is one step old, this one renders it after the last step.

    Any step's value may be used: its path ends with the code before that step, whose image it has.
    stop_after: end there, under the rates of the planned steps; so a stopped run can be made again.
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
    path, places, losses, clip_losses = [task.begin], [0], [], []

    def value(image: Tensor, at: int, score: float | None = None) -> Optimised:
        extra = [] if places[-1] == at else [code.detach().clone()]
        kept = torch.cat([*path, *extra]), (*places, *([at] if extra else []))
        return Optimised(prompt, space, *kept, image, task.source, tuple(losses), tuple(clip_losses), score)

    best, since = float("inf"), 0
    for step in range(steps):
        adam.param_groups[0]["lr"] = latents.learning_rate(step, steps, lr * unit)
        image, loss, gradient = task.look(code, step)
        code.grad = gradient
        losses.append(loss[0])
        clip_losses.append(loss[1])
        if step:
            yield Step(step, steps, value(image, step), loss[0])
        adam.step()
        if (step + 1) % keep_every == 0:
            path.append(code.detach().clone())
            places.append(step + 1)
        best, since = (loss[0], 0) if loss[0] < best else (best, since + 1)
        if (patience and since >= patience) or step + 1 == stop_after:
            break
    done = len(losses)
    image = task.render(code)
    score = None if identity is None else identity.similarity(image, task.source).item()
    yield Step(done or 1, done or 1, value(image, done, score), losses[-1] if losses else None)


@batches("position")
@torch.no_grad()
def edit(
    generator: StyleGenerator,
    fitted: Optimised,
    *,
    position: Annotated[
        float, Knob(0, 1, 0.01, label="Position", help="0 is the source, 1 the result")
    ] = 1.0,
) -> Iterator[Step[Tensor]]:
    """The image at a place of the way from the source to the text -> (B,3,H,W); straight between kept codes.

    Position may be a list of B values. Raises ValueError outside 0..1.
    """
    (positions,) = spread(position=position)
    codes = [fitted.latent(generator, one).styles(generator) for one in positions]
    yield Step(1, 1, generator.render([torch.cat(rows) for rows in zip(*codes, strict=True)]))


@dataclass(frozen=True, eq=False)
class _Task:
    """One optimisation: where it begins, what a code looks like, and its loss."""

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
            return latents.joined(self.latent.styles(self.generator))
        return self.latent.wide(self.generator).flatten(1)

    @cached_property
    def free(self) -> Tensor | float:
        """Which numbers of a code move: 1, or (M,) of 0 and 1."""
        return latents.editable(self.generator).to(self.begin) if self.space == "s" else 1.0

    @cached_property
    def text(self) -> Tensor:
        return self.clip.text_features([self.prompt])

    @cached_property
    def source(self) -> Tensor:
        return self.latent.image(self.generator)

    def render(self, code: Tensor) -> Tensor:
        if self.space == "s":
            return self.generator.render(latents.parted(code, self.generator))
        generator = self.generator
        return generator.render(generator.styles(code.view(1, generator.n_latent, generator.style_dim)))

    @torch.enable_grad()
    def look(self, code: Tensor, step: int) -> tuple[Tensor, tuple[float, float], Tensor]:
        """The image of a code, its loss and CLIP's part of that, and the gradient."""
        image = self.render(code)
        seen = augmented(image, self.views, seed=step)
        towards = 1 - (features(self.clip, seen, self.clip_preprocess) @ self.text.T).mean()
        loss = towards
        if self.mode == "edit":
            l2_lambda, id_lambda = self.weights
            loss = loss + l2_lambda * (code - self.begin).square().sum()
            if id_lambda:
                loss = loss + id_lambda * (1 - self.identity.similarity(image, self.source)).mean()
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
        raise ValueError("The target text is empty: say what the image is to become.")
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
