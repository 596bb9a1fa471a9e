"""Rendered portraits as arrays: drawn once by worker processes, kept on disk, the same for the same seeds."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from textedit_core.toon.captions import FEWEST, caption
from textedit_core.toon.render import render
from textedit_core.toon.world import ATTRIBUTES, HELD_OUT_SEEDS, TRAINING_SEEDS, Scene, scene_of_seed

CHUNK = 500
FACE_WEIGHT = 2.0  # how much more the middle counts: the face is small, and most words are about it


@dataclass(frozen=True)
class Portraits:
    """images (N,H,W,3) uint8; values (N,A) int8, the value of each attribute; labels: -1 if not visible."""

    images: np.ndarray
    values: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
        """Rows as float images (B,3,H,W) in [-1, 1]."""
        picked = torch.from_numpy(np.ascontiguousarray(self.images[np.sort(rows)])).to(device)
        return picked.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)

    def scene(self, row: int) -> Scene:
        return Scene(
            **{name: options[self.values[row, i]] for i, (name, options) in enumerate(ATTRIBUTES.items())}
        )

    def captions(
        self, rows: np.ndarray, rng: np.random.Generator, fewest: int = FEWEST
    ) -> tuple[list[str], np.ndarray]:
        """A fresh caption per row, and its labels (B,A) with -1 for attributes the caption does not name."""
        names = list(ATTRIBUTES)
        texts, said = [], np.full((len(rows), len(names)), -1, dtype=np.int64)
        for i, row in enumerate(np.sort(rows)):
            text, named = caption(self.scene(int(row)), rng, fewest)
            texts.append(text)
            for name in named:
                said[i, names.index(name)] = self.labels[row, names.index(name)]
        return texts, said


def training_portraits(count: int, size: int, folder: Path, workers: int | None = None) -> Portraits:
    """The first `count` training scenes. Drawn at about 3 ms each and core, then read from `folder`."""
    return _portraits(
        "training", range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + count), size, folder, workers
    )


def held_out_portraits(count: int, size: int, folder: Path, workers: int | None = None) -> Portraits:
    """The first `count` scenes that no training ever sees (at most 2,000)."""
    return _portraits("held_out", HELD_OUT_SEEDS[:count], size, folder, workers)


def _portraits(name: str, seeds: range, size: int, folder: Path, workers: int | None) -> Portraits:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{len(seeds)}-{size}px.npz"
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
    return Portraits(stored["images"], stored["values"], stored["labels"])


def _draw(chunk: tuple[range, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    seeds, size = chunk
    scenes = [scene_of_seed(seed) for seed in seeds]
    images = np.stack([np.asarray(render(scene, size)) for scene in scenes])
    values = [
        [options.index(getattr(scene, name)) for name, options in ATTRIBUTES.items()] for scene in scenes
    ]
    labels = [list(scene.labels().values()) for scene in scenes]
    return images, np.array(values, dtype=np.int8), np.array(labels, dtype=np.int8)


def face_weights(side: int, device: torch.device | str) -> torch.Tensor:
    """(1,1,side,side): FACE_WEIGHT over the middle of the picture, 1 elsewhere.

    The best prediction at each place stays the same; only how soon it is learned changes.
    """
    weights = torch.ones(1, 1, side, side, device=device)
    weights[..., side // 4 : side * 13 // 16, side // 4 : side * 3 // 4] = FACE_WEIGHT
    return weights
