"""Paint by Example (arXiv 2211.13227): a painted region becomes what an example picture shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core import masks
from textedit_core.batch import spread
from textedit_core.knobs import Knob, Seed, Steps, batches, takes_any_size
from textedit_core.models.diffusion.ddim import add_noise, clean, ddim_step
from textedit_core.models.diffusion.paint_by_example import PaintByExample
from textedit_core.models.diffusion.plms import Plms
from textedit_core.models.diffusion.structure import LayoutSource
from textedit_core.noise import noise
from textedit_core.steps import Step

# The shares of the square that the masks covered in training.
SMALLEST, LARGEST = 0.02, 0.8

ExampleScale = Annotated[
    float,
    Knob(0, 20, 0.5, label="Guidance λ", help="how closely the region follows the exemplar; 0 ignores it"),
]
Sampler = Annotated[
    Literal["ddim", "plms"], Knob(label="Sampler", help="plms is the paper's, and takes one step more")
]
Grow = Annotated[
    float, Knob(-50, 100, 1, label="Grow mask", help="percent of the mask's longer side; below 0 shrinks it")
]
Context = Annotated[
    float,
    Knob(1, 8, 0.25, label="Surroundings", help="side of the square that is repainted, in sides of the mask"),
]
Feather = Annotated[
    float,
    Knob(0, 25, 0.5, label="Feather", help="soft edge inside the mask, in percent of its longer side"),
]

Structure = Annotated[
    float,
    Knob(0, 1, 0.05, label="Structure", help="share of the steps that keep the source's layout"),
]
StructureBy = Annotated[
    Literal["start", "attention"],
    Knob(
        label="Structure by",
        help="start begins later, with the source under noise; attention lends the source's self-attention, "
        "and is slower",
    ),
]


@takes_any_size  # the picture and its mask are cut and scaled here
@batches("guidance_scale", "structure", "seed")
@torch.no_grad()
def edit(
    model: PaintByExample,
    image: Tensor,
    mask: Tensor,
    exemplar: Tensor,
    *,
    guidance_scale: ExampleScale = 5.0,
    steps: Steps = 50,
    sampler: Sampler = "ddim",
    grow: Grow = 0.0,
    context: Context = 2.0,
    feather: Feather = 3.0,
    structure: Structure = 0.0,
    structure_by: StructureBy = "start",
    seed: Seed = 0,
) -> Iterator[Step[Tensor]]:
    """Repaint the mask (1,1,H,W), 1 = change here, of an image (1,3,H,W) after an exemplar -> (B,3,H,W).

    The image may have any size, the exemplar (1,3,s,s) must be square, both in [-1,1]. A square around the
    mask is brought to the model's size, repainted, brought back and mixed in through a feathered mask: what
    lies outside of the mask is the source to the byte. An image of the model's size is seen whole.

    eps = eps_v + lambda (eps_c - eps_v) for every lambda: 0 ignores the exemplar, 1 is the plain conditional
    model; both cost one UNet row a step, all others two.

    `structure`, a share of the steps from the first on, is not in the paper; 0 is exactly without. "start"
    leaves these steps out and begins with the source, noised as far (SDEdit, arXiv 2108.01073): 1 rebuilds
    the source. With "attention" self-attention uses the queries and keys of the source, noised as far, in
    these steps (after arXiv 2211.12572): what the region shows follows the exemplar, where it lies the
    source. That costs one row a step more for every seed.

    Guidance, structure and seed may be lists of B values.
    Raises ValueError for an empty mask, one too small for a latent, one that leaves nothing, sizes that
    differ, a non-square exemplar, "start" with the sampler plms.
    """
    if sampler not in ("ddim", "plms"):
        raise ValueError(f"Sampler: {sampler!r} is neither ddim nor plms.")
    scales, shares, seeds = spread(guidance_scale=guidance_scale, structure=structure, seed=seed)
    late = structure_by == "start" and any(shares)
    if late and sampler == "plms":
        raise ValueError("Structure by: start needs the sampler ddim, for plms looks back at earlier steps.")
    region = prepare(model, image, mask, grow=grow, context=context, feather=feather)
    surroundings = model.surroundings(region.image, region.mask)
    condition = model.encode_exemplar(exemplar)
    z = noise((1, model.vae.config.latent_channels, *surroundings.shape[2:]), seeds, device=model.device)
    whole = model.surroundings(region.image, torch.zeros_like(region.mask)) if any(shares) else None
    plms = Plms(model.schedule, steps) if sampler == "plms" else None
    run = model.schedule.transitions(steps)
    asked = plms.timesteps if plms else [t for t, _ in run]
    total = len(asked)
    start, until = z, [int(share * total) for share in shares]
    if late:
        z = _begun_later(model, whole, start, asked, until)
    for done, t in enumerate(asked, start=1):
        rows = [row for row, end in enumerate(until) if not late or done > end]
        keeps = [not late and done <= end for end in until]
        if rows:
            index = torch.tensor(rows, device=z.device)
            layout = _layout_source(model, whole, start, t, keeps, seeds)
            of_rows, chosen = [scales[row] for row in rows], z[index]
            eps = model.guided_eps(chosen, t, surroundings, condition, of_rows, layout)
            preview = z.index_copy(0, index, clean(model.schedule, chosen, eps, t))
            moved = plms.step(chosen, eps) if plms else ddim_step(model.schedule, chosen, eps, *run[done - 1])
            z = z.index_copy(0, index, moved)
        if done < total:
            yield Step(done, total, preview=preview if rows else None)
    yield Step(total, total, region.paste(image, model.decode(z)))


def _begun_later(
    model: PaintByExample, whole: Tensor | None, start: Tensor, asked: Sequence[int], until: list[int]
) -> Tensor:
    """The noise (B,4,h,w) of the seeds and, for rows whose first steps are left out, the source under it."""
    assert whole is not None
    source, found = whole[:, :4], start.clone()
    for row, end in enumerate(until):
        if end == len(asked):
            found[row] = source[0]
        elif end:
            found[row] = add_noise(model.schedule, source, start[row : row + 1], asked[end])[0]
    return found


def _layout_source(
    model: PaintByExample, whole: Tensor | None, start: Tensor, t: int, keeps: list[bool], seeds: list[int]
) -> LayoutSource | None:
    """The source noised to t by each seed's own noise, for rows that keep its layout; None if none does."""
    needed = list(dict.fromkeys(seed for seed, one in zip(seeds, keeps, strict=True) if one))
    if whole is None or not needed:
        return None
    noises = start[[seeds.index(seed) for seed in needed]]
    return LayoutSource(
        z=add_noise(model.schedule, whole[:, :4], noises, t),
        surroundings=whole,
        rows=tuple(needed.index(s) if one else None for s, one in zip(seeds, keeps, strict=True)),
    )


@dataclass(frozen=True, eq=False)
class Region:
    """The part of a picture that is repainted.

    where: its box in the picture.  image (1,3,h,w), mask (1,1,h,w): the box at the model's size, the mask of
    0 and 1.  blend: (1,1,H',W'), how much of the result is taken, at the size of the box; 0 outside the mask.
    """

    where: masks.Box
    image: Tensor
    mask: Tensor
    blend: Tensor

    def paste(self, source: Tensor, result: Tensor) -> Tensor:
        """The source (1,3,H,W) with B results (B,3,h,w) in its place: (B,3,H,W)."""
        left, top, right, bottom = self.where
        pictures = source.to(result).repeat(len(result), 1, 1, 1)
        result = _resized(result, self.blend.shape[2:]).clamp(-1, 1)
        kept = pictures[..., top:bottom, left:right]
        pictures[..., top:bottom, left:right] = torch.lerp(kept, result, self.blend.to(result))
        return pictures


def prepare(
    model: PaintByExample,
    image: Tensor,
    mask: Tensor,
    *,
    grow: float = 0.0,
    context: float = 2.0,
    feather: float = 3.0,
) -> Region:
    """What `edit` works on, for a preview too: the mask as it will be used, its crop, its blend.

    Raises ValueError as `edit`.
    """
    if image.ndim != 4 or image.shape[:2] != (1, 3):
        raise ValueError(f"Image: one picture (1,3,H,W) is needed, not {tuple(image.shape)}.")
    if mask.shape != (1, 1, *image.shape[2:]):
        raise ValueError(
            f"Mask: its size {_size(mask)} is not the image's {_size(image)}; use a mask of the same picture."
        )
    mask = masks.binary(mask.to(model.device))
    side = masks.longest_side(mask)  # refuses an empty mask
    mask = masks.grown(mask, round(side * grow / 100))
    if not mask.any():
        raise ValueError(f"Grow mask: nothing of the mask is left at {grow:g} %; shrink it less.")
    if mask.all():
        raise ValueError("Mask: it covers the whole picture, and leaves nothing to fit in with; paint less.")
    side = masks.longest_side(mask)
    where = masks.crop_around(mask, max(model.size, round(side * context)))
    shape = _working_size(where, model.size, model.latent_scale)
    cut = masks.crop(mask, where)
    working = masks.binary(_resized(cut, shape))
    if not F.interpolate(working, [side // model.latent_scale for side in shape]).any():
        raise ValueError("Mask: it is too small for this model; grow it.")
    rise = round(side * feather / 100 * shape[0] / cut.shape[2])  # at the model's size: a photo's is slow
    return Region(
        where=where,
        image=_resized(masks.crop(image.to(model.device), where), shape).clamp(-1, 1),
        mask=working,
        blend=_blend(cut, masks.feathered(working, rise)) if rise else cut,
    )


def advice(region: Region) -> str | None:
    """A sentence about a mask that is outside of what the model saw in training, else None."""
    share = masks.coverage(region.mask)
    if share < SMALLEST:
        return (
            f"The mask covers {100 * share:.1f} % of the part that is worked on; the model was trained on "
            f"{100 * SMALLEST:.0f} % and more: grow the mask, or cut the picture closer around it."
        )
    if share > LARGEST:
        return (
            f"The mask covers {100 * share:.0f} % of the part that is worked on; the model was trained on "
            f"{100 * LARGEST:.0f} % at most: raise the surroundings, or paint less."
        )
    return None


def _blend(cut: Tensor, feathered: Tensor) -> Tensor:
    """A feathered mask at the size of the mask it came from, 0 outside of that and 1 somewhere inside."""
    blend = cut * _resized(feathered, cut.shape[2:]).clamp(0, 1)
    return blend / blend.amax()  # brought to a photo's size, a stroke of one pixel stays below 1


def _working_size(where: masks.Box, size: int, multiple: int) -> tuple[int, int]:
    """(h, w) of a box whose longer side is brought to `size`, both rounded to a multiple of `multiple`."""
    height, width = where[3] - where[1], where[2] - where[0]
    scale = size / max(height, width)
    height, width = (max(1, round(side * scale / multiple)) * multiple for side in (height, width))
    return height, width


def _resized(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Antialiased bicubic; what has the shape already is not touched."""
    if tuple(image.shape[2:]) == tuple(shape):
        return image
    return F.interpolate(image, list(shape), mode="bicubic", antialias=True, align_corners=False)


def _size(image: Tensor) -> str:
    return " x ".join(str(side) for side in image.shape[:1:-1])
