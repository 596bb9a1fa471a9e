"""Gaussian latents that name scenes: z ~ N(0, I) -> the values of all attributes, the way back, and w codes.

A fixed rotation turns z; each attribute owns a block of the turned coordinates, and the largest of a block
says its value. So every plain randn has a true portrait, and a portrait has many z, each still N(0, I).
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from textedit_core.noise import noise
from textedit_core.toon.world import ATTRIBUTES, WEIGHTS

STYLE_DIM = 112  # of z and w; 106 coordinates of z and 97 of w are used
ROTATION_SEED = 64
# A w code holds ON at the scene's values and OFF elsewhere, which makes it about as large as N(0, 1). OFF is
# not 0: StyleCLIP's mappers divide every coordinate by its size over the layers, and see little but its sign.
ON, OFF = 2.5, -0.35


def _slots(name: str) -> tuple[int, ...]:
    """The value that each coordinate of an attribute's block stands for.

    The first value has as many coordinates as its share in the world (WEIGHTS) asks for, the others one each.
    """
    rest = len(ATTRIBUTES[name]) - 1
    share = WEIGHTS.get(name, 1 / (rest + 1))
    return (0,) * max(1, round(share * rest / (1 - share))) + tuple(range(1, rest + 1))


SLOTS: dict[str, tuple[int, ...]] = {name: _slots(name) for name in ATTRIBUTES}
COUNTS = [len(values) for values in ATTRIBUTES.values()]


@functools.cache
def rotation(dim: int = STYLE_DIM) -> Tensor:
    """The fixed orthogonal matrix (dim,dim) that mixes the attributes in z."""
    q, r = torch.linalg.qr(noise((dim, dim), ROTATION_SEED, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def values_of(z: Tensor) -> Tensor:
    """z (B,D) -> the values (B,A) it names, indices into each of ATTRIBUTES."""
    blocks = (z @ rotation(z.shape[1]).to(z)).split([*map(len, SLOTS.values()), _unused(z.shape[1])], dim=1)
    named = [
        torch.tensor(slots, device=z.device)[block.argmax(dim=1)]
        for slots, block in zip(SLOTS.values(), blocks, strict=False)
    ]
    return torch.stack(named, dim=1)


def draw(values: Tensor, generator: torch.Generator) -> Tensor:
    """A z (B,STYLE_DIM) for each row of values (B,A): `values_of` gives them back, exactly.

    y ~ N(0, I), and in each block the largest coordinate changes places with the wanted one. Where the
    largest is says nothing about the numbers, so over scenes as `values_of` spreads them z is N(0, I) again.
    """
    device = generator.device
    y = torch.randn(len(values), STYLE_DIM, generator=generator, device=device)
    rows, start = torch.arange(len(y), device=device), 0
    for column, slots in zip(values.to(device).T, SLOTS.values(), strict=True):
        block = y[:, start : start + len(slots)]
        lot = torch.rand(block.shape, generator=generator, device=device)
        own = column[:, None] == torch.tensor(slots, device=device)
        wanted, largest = lot.masked_fill(~own, -1).argmax(dim=1), block.argmax(dim=1)
        top, low = block[rows, largest], block[rows, wanted]
        block[rows, largest], block[rows, wanted] = low, top
        start += len(slots)
    return y @ rotation().T.to(device)


def code(values: Tensor) -> Tensor:
    """The w (B,STYLE_DIM) of scenes with the values (B,A): a sum over attributes, each in its own places."""
    starts = torch.tensor([sum(COUNTS[:i]) for i in range(len(COUNTS))], device=values.device)
    w = torch.full((len(values), STYLE_DIM), OFF, device=values.device)
    return w.scatter_(1, values.long() + starts, ON)


def read_code(w: Tensor) -> Tensor:
    """The values (B,A) that w codes (B,STYLE_DIM) are nearest to."""
    blocks = w[:, : sum(COUNTS)].split(COUNTS, dim=1)
    return torch.stack([block.argmax(dim=1) for block in blocks], dim=1)


def mean_code() -> Tensor:
    """The mean w of all z, (1,STYLE_DIM): the centre of truncation."""
    w = torch.full((1, STYLE_DIM), OFF)
    start = 0
    for count, slots in zip(COUNTS, SLOTS.values(), strict=True):
        share = torch.tensor(slots).bincount(minlength=count) / len(slots)
        w[0, start : start + count] += (ON - OFF) * share
        start += count
    return w


def _unused(dim: int) -> int:
    used = sum(map(len, SLOTS.values()))
    if dim < used:
        raise ValueError(f"A latent that names scenes has at least {used} coordinates, not {dim}.")
    return dim - used
