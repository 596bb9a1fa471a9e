"""Rendered portraits as arrays: drawn once by worker processes, kept on disk, the same for the same seeds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from textedit_core.toon.captions import FEWEST, caption
from textedit_core.toon.look import Look, look_of
from textedit_core.toon.open_world import (
    OPEN_HELD_OUT_SEEDS,
    OPEN_SEARCH_SEEDS,
    OPEN_TRAINING_SEEDS,
    portrait_of_seed,
)
from textedit_core.toon.render import render
from textedit_core.toon.world import ATTRIBUTES, HELD_OUT_SEEDS, SEARCH_SEEDS, TRAINING_SEEDS, Scene

World = Literal["closed", "open"]
HELD_OUT: dict[World, range] = {"closed": HELD_OUT_SEEDS, "open": OPEN_HELD_OUT_SEEDS}
SEARCHED: dict[World, range] = {"closed": SEARCH_SEEDS, "open": OPEN_SEARCH_SEEDS}
CLOSED_EVERY = 5  # of the training portraits of the open world, one in so many is of the closed one

CHUNK = 500
FACE_WEIGHT = 2.0  # how much more the middle counts: the face is small, and most words are about it


@dataclass(frozen=True)
class Portraits:
    """images (N,H,W,3) uint8; values (N,A) int8, the value of each attribute, in the open world the nearest;
    labels (N,A): -1 if not visible, or if no value fits; seeds: of each, where there are any."""

    images: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    seeds: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
        """Rows as float images (B,3,H,W) in [-1, 1]."""
        picked = torch.from_numpy(np.ascontiguousarray(self.images[np.sort(rows)])).to(device)
        return picked.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def first(self, count: int) -> Portraits:
        """The first `count` of them."""
        seeds = self.seeds and self.seeds[:count]
        return Portraits(self.images[:count], self.values[:count], self.labels[:count], seeds)

    def scene(self, row: int) -> Scene:
        return Scene(
            **{name: options[self.values[row, i]] for i, (name, options) in enumerate(ATTRIBUTES.items())}
        )

    def look(self, row: int) -> Look:
        """What the portrait was drawn from; without seeds, how the closed world draws its scene."""
        return look_of(self.scene(row)) if self.seeds is None else portrait_of_seed(self.seeds[row]).look

    def captions(
        self, rows: np.ndarray, rng: np.random.Generator, fewest: int = FEWEST
    ) -> tuple[list[str], np.ndarray]:
        """A fresh caption per row, and its labels (B,A) with -1 for attributes the caption does not name."""
        names = list(ATTRIBUTES)
        texts, said = [], np.full((len(rows), len(names)), -1, dtype=np.int64)
        for i, row in enumerate(np.sort(rows)):
            seen = tuple(name for name, label in zip(names, self.labels[row], strict=True) if label >= 0)
            text, named = caption(self.scene(int(row)), rng, fewest, seen)
            texts.append(text)
            for name in named:
                said[i, names.index(name)] = self.labels[row, names.index(name)]
        return texts, said


def training_portraits(
    count: int, size: int, folder: Path, workers: int | None = None, world: World = "closed"
) -> Portraits:
    """The first `count` training scenes. Drawn at about 3 ms each and core, then read from `folder`.

    world: "open" draws one in CLOSED_EVERY from the closed world, so that nothing of it is forgotten.
    """
    return _portraits("training", world, training_seeds(count, world), size, folder, workers)


def training_seeds(count: int, world: World = "closed") -> Sequence[int]:
    """The seeds of the first `count` training scenes of a world."""
    if world == "closed":
        return range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + count)
    starts = (OPEN_TRAINING_SEEDS.start,) * (CLOSED_EVERY - 1) + (TRAINING_SEEDS.start,)
    return [starts[i % CLOSED_EVERY] + i for i in range(count)]


def held_out_portraits(
    count: int, size: int, folder: Path, workers: int | None = None, world: World = "closed"
) -> Portraits:
    """The first `count` scenes of a world that no training ever sees (at most 2,000)."""
    return _portraits("held_out", world, HELD_OUT[world][:count], size, folder, workers)


def _portraits(
    name: str, world: World, seeds: Sequence[int], size: int, folder: Path, workers: int | None
) -> Portraits:
    folder.mkdir(parents=True, exist_ok=True)
    kind = "" if world == "closed" else f"-{world}"
    path = folder / f"{name}{kind}-{len(seeds)}-{size}px.npz"
    if not path.exists():
        chunks = [(seeds[i : i + CHUNK], size) for i in range(0, len(seeds), CHUNK)]
        with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
            images, values, labels = (
                np.concatenate(part) for part in zip(*pool.map(_draw, chunks), strict=True)
            )
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, images=images, values=values, labels=labels)
        os.replace(unfinished, path)
    stored = np.load(path)
    return Portraits(stored["images"], stored["values"], stored["labels"], seeds)


def _draw(chunk: tuple[Sequence[int], int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seeds, size = chunk
    portraits = [portrait_of_seed(seed) for seed in seeds]
    images = np.stack([np.asarray(render(portrait.look, size)) for portrait in portraits])
    values = [
        [options.index(getattr(portrait.scene, name)) for name, options in ATTRIBUTES.items()]
        for portrait in portraits
    ]
    labels = [list(portrait.labels().values()) for portrait in portraits]
    return images, np.array(values, dtype=np.int8), np.array(labels, dtype=np.int8)


def face_weights(side: int, device: torch.device | str) -> torch.Tensor:
    """(1,1,side,side): FACE_WEIGHT over the middle of the picture, 1 elsewhere.

    The best prediction at each place stays the same; only how soon it is learned changes.
    """
    weights = torch.ones(1, 1, side, side, device=device)
    weights[..., side // 4 : side * 13 // 16, side // 4 : side * 3 // 4] = FACE_WEIGHT
    return weights
