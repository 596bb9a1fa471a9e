"""Train the toon identity network: who is in a portrait, whatever the mood, glasses, clothes or pose.

A person of this world is a hair style (or hat), a hair colour, a skin and a beard; the other attributes come
and go. Every person's prototype is the sum of four learned vectors, so that a few portraits of each of the
thousands of persons are enough, and persons alike in three of four are told apart from the first step on.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models.style.identity import IRSE50
from textedit_core.toon.portraits import Portraits
from textedit_core.toon.world import ATTRIBUTES, Scene, edited
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train

PERSON = ("top", "hair_color", "skin", "beard")
PASSING = tuple(name for name in ATTRIBUTES if name not in PERSON)

BATCH = 32
LEARNING_RATE = 2e-3
MARGIN, SCALE = 0.2, 16.0  # on the cosine of the right person, as in CosFace (arXiv 1801.09414)


class Shape(TypedDict):
    """Arguments of `IRSE50`."""

    size: int
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    dim: int
    dropout: float


# The arguments of IRSE50: what config.json of a bundle's identity/ holds. At 64 px the crop has 47 pixels.
SHAPE: Shape = {"size": 48, "depths": (1, 1, 1, 1), "widths": (24, 48, 72, 96), "dim": 64, "dropout": 0.1}


class Recognition(nn.Module):
    """The network and, while training, the vectors that prototypes are sums of."""

    def __init__(self, network: IRSE50 | None = None):
        super().__init__()
        self.network = network or IRSE50(**SHAPE)
        counts = [len(ATTRIBUTES[name]) + 1 for name in PERSON]  # one more, for what is not seen
        tables = [nn.Embedding(count, SHAPE["dim"]) for count in counts]
        self.vectors = nn.ModuleList(tables)
        for table in tables:
            nn.init.normal_(table.weight, std=1 / math.sqrt(SHAPE["dim"]))

    def prototypes(self, persons: Tensor) -> Tensor:
        """persons (N,4) of value indices, -1 where not seen -> unit vectors (N,dim)."""
        parts = [table(column) for table, column in zip(self.vectors, (persons + 1).T, strict=True)]
        return F.normalize(torch.stack(parts).sum(dim=0), dim=1)


def persons_of(portraits: Portraits) -> Tensor:
    """(N,4): who is in each portrait, the label of each of PERSON, -1 for what is not seen."""
    columns = [list(ATTRIBUTES).index(name) for name in PERSON]
    return torch.from_numpy(portraits.labels[:, columns].astype(np.int64))


def fit(portraits: Portraits, folder: Path, budget: Budget, seed: int, device: str) -> IRSE50:
    """Softmax over all persons that occur, with a margin on the cosine of the right one."""
    model = Recognition().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    everyone, names = (part.to(device) for part in persons_of(portraits).unique(dim=0, return_inverse=True))

    def loss_of_batch(model: Recognition, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)))
        cosines = model.network.embed(portraits.batch(rows, device)) @ model.prototypes(everyone).T
        right = names[torch.from_numpy(rows).to(device)]
        found = (cosines.argmax(dim=1) == right).float().mean()
        cosines = cosines - MARGIN * F.one_hot(right, len(everyone))
        return {"loss": F.cross_entropy(SCALE * cosines, right), "found": found}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device).network


def same_person(scene: Scene, other: Scene) -> Scene:
    """The person of `scene` on another occasion: with the mood, glasses, clothes, pose... of `other`."""
    return edited(scene, **{name: getattr(other, name) for name in PASSING})


def another_person(scene: Scene, rng: np.random.Generator) -> Scene:
    """Somebody alike: one of the four attributes that make the person, a visible one, is changed."""
    name = str(rng.choice([name for name in PERSON if scene.visible(name)]))
    others = [value for value in ATTRIBUTES[name] if value != getattr(scene, name)]
    return edited(scene, **{name: str(rng.choice(others))})
