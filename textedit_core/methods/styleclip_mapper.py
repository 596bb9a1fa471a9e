"""StyleCLIP's latent mapper (arXiv 2103.17249, section 5): trained once for a text; it edits any image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.batch import spread
from textedit_core.knobs import Knob, Seed, batches
from textedit_core.models.clip import Clip
from textedit_core.models.style.clip_input import Preprocess, Views, text_loss
from textedit_core.models.style.files import read_mapper
from textedit_core.models.style.latents import Latent, check_rows
from textedit_core.models.style.mapper import LEVELS, LevelsMapper, StyleSpaceMapper, new_mapper
from textedit_core.models.style.models import FaceIdentity, StyleGenerator, StyleMapper
from textedit_core.models.style.ranger import Ranger, restore_state, saved_state
from textedit_core.noise import noise
from textedit_core.steps import Step

__all__ = ["LevelsMapper", "edit", "edited_latent", "fit", "read_mapper"]

STRENGTH = 0.1  # of the change that the network is trained for, as published

Kind = Annotated[
    Literal["levels", "single", "s"],
    Knob(label="Mapper", help="a network for each level, one for all layers of W+, or one for each S code"),
]
Coarse = Annotated[bool, Knob(label="Coarse", help="layers 0 to 3: pose, hair, shape of the face")]
Medium = Annotated[bool, Knob(label="Medium", help="layers 4 to 7: features of the face, expression")]
Fine = Annotated[bool, Knob(label="Fine", help="layers from 8 on: colours")]
_WEIGHT = 0, 10, 0.01
TrainingSteps = Annotated[int, Knob(1, 200_000, 10, label="Training steps")]
Rate = Annotated[float, Knob(1e-4, 50, 1e-3, label="Learning rate", help="of the optimiser, Ranger")]
ImagesAStep = Annotated[int, Knob(1, 64, 1, label="Images a step")]
ClipWeight = Annotated[float, Knob(*_WEIGHT, label="CLIP weight", help="of the distance from the text")]
IdWeight = Annotated[float, Knob(*_WEIGHT, label="Identity weight", help="larger: the person changes less")]
L2Weight = Annotated[float, Knob(*_WEIGHT, label="L2 weight", help="larger: the latent code changes less")]
Truncation = Annotated[float, Knob(0, 1, 0.05, label="Truncation", help="of the samples it is trained on")]


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    clip: Clip,
    identity: FaceIdentity | None,
    prompt: str,
    *,
    steps: TrainingSteps = 50_000,
    lr: Rate = 0.5,
    images_a_step: ImagesAStep = 2,
    clip_lambda: ClipWeight = 1.0,
    id_lambda: IdWeight = 0.1,
    l2_lambda: L2Weight = 0.8,
    kind: Kind = "levels",
    coarse: Coarse = True,
    medium: Medium = True,
    fine: Fine = True,
    truncation: Truncation = 1.0,
    clip_preprocess: Preprocess = "upstream",
    views: Views = 0,
    seed: Seed = 0,
    start: StyleMapper | None = None,
) -> Iterator[Step[StyleMapper]]:
    """Train M on w -> w + 0.1 M(w) for random w; the defaults are those of the published mappers.

    The loss is clip_lambda `text_loss` + id_lambda (1 - cos of the identities) + l2_lambda mean((w' - w)^2),
    in StyleSpace the sum of that mean over the layers. The levels are of the kind "levels" alone.
    start: an earlier value under the same settings; training goes on as if it had never been stopped.

    Step k is trained on the noise seeds k B, k B + 1, ... of B images a step, shifted by `seed`. The value of
    an unfinished step shares its tensors with the training, and is valid until the next step is drawn.
    The models stay as they are. Raises ValueError for an empty or too long prompt, where no level is chosen,
    and where there is an identity weight but no identity network.
    """
    levels = tuple(level for level, on in zip(LEVELS, (coarse, medium, fine), strict=True) if on)
    _check(identity, prompt, id_lambda, kind, levels)
    network = new_mapper(generator.network, kind, levels, seed).to(generator.device, generator.dtype)
    weights = LossWeights(clip_lambda, id_lambda, l2_lambda)
    objective = _Objective(generator, clip, identity, prompt, weights, clip_preprocess, views)
    samples = _Samples(generator, images_a_step, truncation, seed)
    yield from _train(network, Ranger(network.parameters(), lr=lr), objective, samples, steps, start)


@batches("coarse", "medium", "fine", "strength")
@torch.no_grad()
def edit(
    generator: StyleGenerator,
    mapper: StyleMapper,
    latent: Latent,
    *,
    coarse: Coarse = True,
    medium: Medium = True,
    fine: Fine = True,
    strength: Annotated[
        float, Knob(-1, 1, 0.01, label="Strength", help="0 keeps the source; mappers are trained at 0.1")
    ] = STRENGTH,
) -> Iterator[Step[Tensor]]:
    """Edit images by a trained mapper, w + strength M(w) -> (B,3,H,W).

    Levels that are left out are not changed; an S code belongs to the level of the row of W+ it is made from.
    All knobs may be lists of B values, for a latent of one image or of B.
    Raises ValueError for a mapper of another generator.
    """
    edited = edited_latent(generator, mapper, latent, coarse, medium, fine, strength)
    yield Step(1, 1, edited.image(generator))


@torch.no_grad()
def edited_latent(
    generator: StyleGenerator,
    mapper: StyleMapper,
    latent: Latent,
    coarse: bool | list[bool] = True,
    medium: bool | list[bool] = True,
    fine: bool | list[bool] = True,
    strength: float | list[float] = STRENGTH,
) -> Latent:
    """The code that `edit` renders, so that it can be edited further."""
    *levels, strengths = spread(coarse=coarse, medium=medium, fine=fine, strength=strength)
    check_rows(len(latent), len(strengths))
    kept = [[float(row[_level(k)]) for k in range(generator.n_latent)] for row in zip(*levels, strict=True)]
    scale = torch.tensor(strengths, device=generator.device, dtype=generator.dtype).view(-1, 1)
    scale = scale * torch.tensor(kept, device=generator.device, dtype=generator.dtype)  # (B,n)
    network = _network_for(mapper, generator)
    if isinstance(network, StyleSpaceMapper):
        s_codes = latent.to_s_codes(generator)
        pairs = zip(generator.layers, s_codes, network(s_codes), strict=True)
        return Latent(s_codes=tuple(s + scale[:, layer.w, None] * change for layer, s, change in pairs))
    w_plus = latent.to_w_plus(generator)
    return Latent(w_plus + scale[:, :, None] * network(w_plus))


# --- training ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossWeights:
    """The weights of the three losses of a mapper."""

    clip_lambda: float
    id_lambda: float
    l2_lambda: float


@dataclass(frozen=True, eq=False)
class _Objective:
    """What a mapper is trained for: the losses of the images that it makes of W+ codes."""

    generator: StyleGenerator
    clip: Clip
    identity: FaceIdentity | None
    prompt: str
    weights: LossWeights
    clip_preprocess: str
    views: int

    @cached_property
    def text(self) -> Tensor:
        """The prompt's unit features (1,D) in CLIP."""
        return self.clip.text_features([self.prompt])

    def loss(self, network: nn.Module, w_plus: Tensor, seed: int) -> Tensor:
        """The weighted sum over a batch of codes (B,n,D), a scalar; the random views are by the seed."""
        generator, weights = self.generator, self.weights
        with torch.no_grad():
            before = generator.styles(w_plus)
            source = generator.render(before) if weights.id_lambda else None
        if isinstance(network, StyleSpaceMapper):
            after = [s + STRENGTH * change for s, change in zip(before, network(before), strict=True)]
            pairs = zip(after, before, strict=True)
            l2 = torch.stack([F.mse_loss(new, old) for new, old in pairs]).sum()
        else:
            moved = w_plus + STRENGTH * network(w_plus)
            after, l2 = generator.styles(moved), F.mse_loss(moved, w_plus)
        image = generator.render(after)
        loss = weights.l2_lambda * l2 + weights.clip_lambda * text_loss(
            self.clip, image, self.text, preprocess=self.clip_preprocess, views=self.views, seed=seed
        )
        if source is not None and self.identity is not None:
            loss = loss + weights.id_lambda * self.identity.loss(image, source)
        return loss


@dataclass(frozen=True, eq=False)
class _Samples:
    """The W+ codes of each training step, by seed."""

    generator: StyleGenerator
    count: int
    truncation: float
    seed: int

    def seeds(self, step: int) -> list[int]:
        return [(self.seed + step * self.count + row) % 2**31 for row in range(self.count)]

    def w_plus(self, step: int) -> Tensor:
        """The codes (B,n,D) of a step."""
        generator, network = self.generator, self.generator.network
        z = noise((1, generator.style_dim), self.seeds(step), device=generator.device, dtype=generator.dtype)
        return network.widen(network.truncate(network.map(z), self.truncation, generator.latent_avg))


def _train(
    network: nn.Module,
    ranger: Ranger,
    objective: _Objective,
    samples: _Samples,
    steps: int,
    start: StyleMapper | None,
) -> Iterator[Step[StyleMapper]]:
    """Descend on the objective from `start` or from the beginning, to the step `steps`."""
    losses: list[float] = []
    begun, prompt = 0, objective.prompt
    if start is not None:
        _resume(network, ranger, start)
        losses.extend(start.losses)
        begun = start.steps
    if begun >= steps:  # nothing is left to do
        yield Step(1, 1, start)
    for step in range(begun, steps):
        losses.append(_descend(network, ranger, objective, samples.w_plus(step), samples.seeds(step)[0]))
        state = saved_state(network, ranger)
        trained = StyleMapper(network.state_dict(), prompt, step + 1, tuple(losses), state)
        yield Step(step + 1, steps, trained, losses[-1])


@torch.enable_grad()
def _descend(network: nn.Module, ranger: Ranger, objective: _Objective, w_plus: Tensor, seed: int) -> float:
    """One step of the optimiser; the loss before it."""
    loss = objective.loss(network, w_plus, seed)
    # A generator of less than 64 pixels has no fine layers.
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        parameter.grad = gradient
    ranger.step()
    return loss.item()


def _resume(network: nn.Module, ranger: Ranger, start: StyleMapper) -> None:
    """Copy the weights and the optimiser's state of `start`, which stays as it is."""
    own = network.state_dict()
    if {name: w.shape for name, w in own.items()} != {name: w.shape for name, w in start.weights.items()}:
        raise ValueError("The mapper to go on from is of another kind, or for another generator: start anew.")
    if start.steps and not start.optimizer:
        raise ValueError("The mapper to go on from has no state of its optimiser: start anew.")
    network.load_state_dict(start.weights)
    restore_state(network, ranger, start.optimizer)


def _check(
    identity: FaceIdentity | None, prompt: str, id_lambda: float, kind: str, levels: tuple[str, ...]
) -> None:
    """ValueError for what cannot be trained."""
    if kind == "levels" and not levels:
        raise ValueError("Levels: no level is chosen; choose coarse, medium or fine.")
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the images are to become.")
    if id_lambda and identity is None:
        raise ValueError("Identity weight: these models have no identity network; set it to 0.")


def _network_for(mapper: StyleMapper, generator: StyleGenerator) -> nn.Module:
    """The mapper's network, on the generator's device. ValueError if its widths are not the generator's."""
    network = mapper.network.to(generator.device, generator.dtype)
    widths: dict[str, int] = {}  # of the networks of single S codes, by their names in the state dict
    if isinstance(network, StyleSpaceMapper):
        widths = {f"mapper_{k}": channels for k, channels in enumerate(generator.channel_counts)}
    for name, weight in mapper.weights.items():
        width = widths.get(name.split(".")[0], None if widths else generator.style_dim)
        if weight.shape[0] != width:
            raise ValueError(f"The mapper for {mapper.prompt!r} belongs to another generator.")
    return network


def _level(row: int) -> int:
    """Which level a row of W+ belongs to: 0, 1 or 2."""
    return next(k for k, rows in enumerate(LEVELS.values()) if row < (rows.stop or row + 1))
