"""The parts of toon portraits as examples for Paint by Example, and edits with a known answer."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from textedit_core import images
from textedit_core.masks import Box
from textedit_core.toon.exemplar_data import Boxed, filled, fits, padded, scaled, stacked
from textedit_core.toon.look import SAYS, Look
from textedit_core.toon.open_world import OPEN_HELD_OUT_SEEDS, portrait_of_seed
from textedit_core.toon.portraits import HELD_OUT, Portraits, World
from textedit_core.toon.render import parts, render
from textedit_core.toon.world import ATTRIBUTES, Scene, edited

CHUNK = 200
# The attributes that an exemplar of each part shows; the first is the one that is asked for.
SHOWS = {
    "top": ("top", "hair_color", "hat_color"),
    "glasses": ("glasses",),
    "beard": ("beard",),
    "face": ("mood",),
    "garment": ("garment", "clothes_color"),
}


def part_boxes(
    portraits: Portraits, count: int, size: int, folder: Path, workers: int | None = None
) -> Boxed:
    """The boxes of all parts of the first `count` portraits, found once and kept in `folder`.

    A portrait takes six drawings, 20 to 50 ms on one core.
    """
    closed = portraits.seeds is None or max(portraits.seeds) < OPEN_HELD_OUT_SEEDS.start
    path = folder / f"parts{'' if closed else '-open'}-{count}-{size}px.npz"
    if not path.exists():
        looks = [portraits.look(row) for row in range(count)]
        chunks = [(start, looks[start : start + CHUNK], size) for start in range(0, count, CHUNK)]
        with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
            found = [one for chunk in pool.map(_find, chunks) for one in chunk]
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        boxes = stacked([box for _, box in found])
        np.savez(unfinished, rows=np.array([row for row, _ in found], dtype=np.int32), boxes=boxes)
        os.replace(unfinished, path)
    stored = np.load(path)
    return Boxed(portraits.images[:count], stored["rows"], stored["boxes"])


def _find(chunk: tuple[int, Sequence[Look], int]) -> list[tuple[int, Box]]:
    start, looks, size = chunk
    found = []
    for row, look in enumerate(looks, start=start):
        found += [(row, box) for box, _ in parts(look, size).values() if fits(box, size, size)]
    return found


@dataclass(frozen=True)
class PartEdit:
    """One part of a held-out portrait to become that of another portrait: both scenes, the part, the answer.

    box: where to repaint: it holds the part as it is, and as it is to be.  example_box: of the exemplar.
    look, other_look: how the portraits are drawn.
    """

    scene: Scene
    other: Scene
    part: str
    box: Box
    example_box: Box
    look: Look = field(repr=False)
    other_look: Look = field(repr=False)

    @property
    def asked(self) -> str:
        """The attribute that the result is to take from the other portrait."""
        return SHOWS[self.part][0]

    @property
    def answer(self) -> Scene:
        """The true answer in words: the portrait with the other's part."""
        return replaced(self.scene, self.other, self.part)

    def source(self, size: int) -> Tensor:
        """The portrait, (1,3,size,size) in [-1,1]."""
        return images.square_tensor(render(self.look, size), size)

    def wanted(self, size: int) -> Tensor:
        """The true answer as a picture, (1,3,size,size) in [-1,1]."""
        return images.square_tensor(render(redrawn(self.look, self.other_look, self.part), size), size)

    def mask(self, size: int) -> Tensor:
        """(1,1,size,size), 1 = repaint. The boxes are those of this size."""
        return filled(self.box, size, size)

    def exemplar(self, size: int, exemplar_size: int) -> Tensor:
        """The other portrait's part with its rim, squashed to a square as in training, in [-1,1]."""
        return scaled(images.native_tensor(cut_out(self.other_look, self.example_box, size)), exemplar_size)

    def right(self, read: Tensor) -> Tensor:
        """Which of the values (B,A) that a classifier read are as wanted, for the asked attribute: (B,)."""
        place = list(ATTRIBUTES).index(self.asked)
        return read[:, place] == ATTRIBUTES[self.asked].index(getattr(self.other, self.asked))


def cut_out(scene: Scene | Look, box: Box, size: int) -> Image.Image:
    """What is in a box of the portrait drawn at this size, with the rim that an exemplar has."""
    return render(scene, size).crop(padded(box, size, size))


def replaced(scene: Scene, other: Scene, part: str) -> Scene:
    """The scene with one part of another."""
    return edited(scene, **{name: getattr(other, name) for name in SHOWS[part]})


def redrawn(look: Look, other: Look, part: str) -> Look:
    """The look with one part of another."""
    return dataclasses.replace(
        look, **{piece: getattr(other, piece) for name in SHOWS[part] for piece in SAYS[name]}
    )


@lru_cache(maxsize=4)
def held_out_part_edits(count: int, size: int, world: World = "closed") -> tuple[PartEdit, ...]:
    """`count` edits on held-out portraits, the parts in turn; the two portraits differ in what is asked."""
    edits: list[PartEdit] = []
    seeds, seed = HELD_OUT[world], 0
    while len(edits) < count:
        part = list(SHOWS)[len(edits) % len(SHOWS)]
        one = portrait_of_seed(seeds[seed % 2_000])
        other = portrait_of_seed(seeds[(seed * 7 + 1_001) % 2_000])
        seed += 1
        if seed > 100 * count + 4_000:
            raise ValueError(f"There are only {len(edits)} such edits in the held-out portraits.")
        asked = SHOWS[part][0]
        alike = getattr(one.scene, asked) == getattr(other.scene, asked)
        if alike or asked not in other.named or asked not in one.named:
            continue
        example = parts(other.look, size).get(part)
        wanted = parts(redrawn(one.look, other.look, part), size).get(part)
        if example is None or wanted is None or not fits(example[0], size, size):
            continue
        box, own = wanted[0], parts(one.look, size).get(part)
        if own is not None:
            (left, top), (right, bottom) = map(min, box[:2], own[0][:2]), map(max, box[2:], own[0][2:])
            box = left, top, right, bottom
        if fits(box, size, size):
            edits.append(PartEdit(one.scene, other.scene, part, box, example[0], one.look, other.look))
    return tuple(edits)
