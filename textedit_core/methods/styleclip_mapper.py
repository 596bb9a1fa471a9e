"""StyleCLIP's latent mapper (arXiv 2103.17249, section 5): trained once a text, then quick for any image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from textedit_core.batch import spread
from textedit_core.knobs import Knob, Seed, batches
from textedit_core.models.clip import Clip
from textedit_core.models.style.clip_input import Preprocess, Views
from textedit_core.models.style.files import read_mapper
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.mapper import LEVELS, LevelsMapper, StyleSpaceMapper
from textedit_core.models.style.mapper_training import train
from textedit_core.models.style.models import FaceIdentity, StyleGenerator, StyleMapper
from textedit_core.steps import Step

__all__ = ["LevelsMapper", "edit", "edited_latent", "fit", "read_mapper"]

Kind = Annotated[
    Literal["levels", "single", "s"],
    Knob(label="Mapper", help="one network a level, one for all, or one for each S code"),
]
Coarse = Annotated[bool, Knob(label="Coarse", help="layers 0 to 3: pose, hair, shape of the face")]
Medium = Annotated[bool, Knob(label="Medium", help="layers 4 to 7: features of the face, expression")]
Fine = Annotated[bool, Knob(label="Fine", help="layers from 8 on: colours")]
_WEIGHT = 0, 10, 0.01


def fit(
    generator: StyleGenerator,
    clip: Clip,
    identity: FaceIdentity | None,
    prompt: str,
    *,
    steps: Annotated[int, Knob(1, 200_000, 10, label="Training steps")] = 50_000,
    lr: Annotated[
        float, Knob(1e-4, 50, 1e-3, label="Learning rate", help="of Ranger, for weights of 100")
    ] = 0.5,
    images_a_step: Annotated[int, Knob(1, 64, 1, label="Images a step")] = 2,
    clip_lambda: Annotated[float, Knob(*_WEIGHT, label="Text", help="weight of CLIP")] = 1.0,
    id_lambda: Annotated[float, Knob(*_WEIGHT, label="Same person", help="weight of the identity")] = 0.1,
    l2_lambda: Annotated[float, Knob(*_WEIGHT, label="Stay near", help="weight of the change")] = 0.8,
    kind: Kind = "levels",
    coarse: Coarse = True,
    medium: Medium = True,
    fine: Fine = True,
    truncation: Annotated[float, Knob(0, 1, 0.05, label="Truncation", help="of the training images")] = 1.0,
    clip_preprocess: Preprocess = "upstream",
    views: Views = 0,
    seed: Seed = 0,
    start: StyleMapper | None = None,
) -> Iterator[Step[StyleMapper]]:
    """Train a mapper for a text on random codes; the defaults are those of the published mappers.

    See `models.mapper_training.train`: the losses, resuming from `start`, and what an unfinished value is.
    Levels are of the kind "levels" alone. Raises ValueError as `train`, and where no level is chosen.
    """
    levels = _chosen(coarse, medium, fine)
    if kind == "levels" and not levels:
        raise ValueError("Levels: no level is chosen; choose coarse, medium or fine.")
    yield from train(
        generator,
        clip,
        identity,
        prompt,
        steps=steps,
        lr=lr,
        batch_size=images_a_step,
        clip_lambda=clip_lambda,
        id_lambda=id_lambda,
        l2_lambda=l2_lambda,
        kind=kind,
        levels=levels,
        truncation=truncation,
        clip_preprocess=clip_preprocess,
        views=views,
        seed=seed,
        start=start,
    )


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
    ] = 0.1,
) -> Iterator[Step[Tensor]]:
    """Edit images by a trained mapper, w + strength M(w) -> (B,3,H,W).

    Levels that are left out are not changed; those of a mapper of S codes are the layers' places in W+.
    All knobs may be lists of B values, for a latent of one image or of B.
    Raises ValueError for a mapper of another generator.
    """
    yield Step(
        1, 1, edited_latent(generator, mapper, latent, coarse, medium, fine, strength).image(generator)
    )


@torch.no_grad()
def edited_latent(
    generator: StyleGenerator,
    mapper: StyleMapper,
    latent: Latent,
    coarse: bool | list = True,
    medium: bool | list = True,
    fine: bool | list = True,
    strength: float | list = 0.1,
) -> Latent:
    """The code that `edit` makes its images of, so that it can be edited further."""
    rows = spread(coarse=coarse, medium=medium, fine=fine, strength=strength)
    strengths = torch.tensor(rows[3], device=generator.device, dtype=generator.dtype).view(-1, 1)
    shares = [
        [row[_level(k)] * 1.0 for k in range(generator.n_latent)] for row in zip(*rows[:3], strict=True)
    ]
    scale = strengths * torch.tensor(shares, device=generator.device, dtype=generator.dtype)  # (B,n)
    network = _fitting(mapper, generator)
    if isinstance(network, StyleSpaceMapper):
        s_codes = latent.styles(generator)
        pairs = zip(generator.layers, s_codes, network(s_codes), strict=True)
        return Latent(s_codes=tuple(s + scale[:, layer.w, None] * change for layer, s, change in pairs))
    w_plus = latent.wide(generator)
    return Latent(w_plus + scale[:, :, None] * network(w_plus))


def _fitting(mapper: StyleMapper, generator: StyleGenerator) -> nn.Module:
    """The network in place. ValueError if its widths are not the generator's."""
    network = mapper.network.to(generator.device, generator.dtype)
    if isinstance(network, StyleSpaceMapper):
        widths = {f"mapper_{k}": layer.channels for k, layer in enumerate(generator.layers)}
    else:
        widths = {}
    for name, weight in mapper.weights.items():
        width = widths.get(name.split(".")[0], None if widths else generator.style_dim)
        if weight.shape[0] != width:
            raise ValueError(f"The mapper for {mapper.prompt!r} belongs to another generator.")
    return network


def _level(row: int) -> int:
    """Which level a row of W+ belongs to: 0, 1 or 2."""
    return next(k for k, rows in enumerate(LEVELS.values()) if row < (rows.stop or row + 1))


def _chosen(*switches: bool) -> tuple[str, ...]:
    """The names of the levels that are on, as the files spell them."""
    return tuple(level for level, on in zip(LEVELS, switches, strict=True) if on)
