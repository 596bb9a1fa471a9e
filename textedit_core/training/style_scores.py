"""Measure the toon generator, e4e and identity network on held-out scenes: numbers of the manifest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from textedit_core import images, metrics
from textedit_core.models.style.encoders import E4e
from textedit_core.models.style.identity import IRSE50
from textedit_core.models.style.stylegan2 import Generator
from textedit_core.toon import latent_world
from textedit_core.toon.classifier import AttributeClassifier, accuracy
from textedit_core.toon.portraits import Portraits
from textedit_core.toon.render import render
from textedit_core.toon.world import Scene
from textedit_core.training.identity import another_person, same_person

ROWS = 50  # portraits at a time


@torch.no_grad()
def generator_scores(
    generator: Generator, reader: AttributeClassifier, portraits: Portraits, seed: int = 0
) -> dict[str, Any]:
    """How G(map(z)) answers for the scene that z names, one z per portrait.

    attribute_accuracy: of the attributes that can be seen, read from the image.  psnr_db: to the portrait.
    mapping_accuracy: of all attributes, read from w itself.
    """
    chance = torch.Generator().manual_seed(seed)
    values = torch.from_numpy(portraits.values.astype(np.int64))
    w = generator.map(latent_world.draw(values, chance))
    drawn = torch.cat([generator(generator.widen(some)) for some in w.split(ROWS)]).clamp(-1, 1)
    image = portraits.batch(np.arange(len(portraits)))
    return {
        "attribute_accuracy": accuracy(_read(reader, drawn), torch.from_numpy(portraits.labels).long()),
        "psnr_db": float(metrics.psnr(drawn, image).mean()),
        "mapping_accuracy": accuracy(latent_world.read_code(w), values)["mean"],
    }


@torch.no_grad()
def encoder_scores(
    encoder: E4e, generator: Generator, reader: AttributeClassifier, portraits: Portraits
) -> dict[str, Any]:
    """How G(e4e(portrait)) answers for the portrait: attribute_accuracy and psnr_db."""
    image = portraits.batch(np.arange(len(portraits)))
    drawn = torch.cat([generator(encoder.encode(some)) for some in image.split(ROWS)]).clamp(-1, 1)
    return {
        "attribute_accuracy": accuracy(_read(reader, drawn), torch.from_numpy(portraits.labels).long()),
        "psnr_db": float(metrics.psnr(drawn, image).mean()),
    }


@torch.no_grad()
def identity_scores(network: IRSE50, portraits: Portraits, seed: int = 0) -> dict[str, float]:
    """How well the cosine with a portrait tells the same person on another occasion from somebody else.

    auc: the chance that the same person comes out above a random other one; auc_alike: above one who differs
    in a single attribute. same, other, alike: the mean cosines. All are on another occasion, the same one.
    """
    rng = np.random.default_rng(seed)
    scenes = [portraits.scene(row) for row in range(len(portraits))]
    occasions = [scenes[i] for i in rng.permutation(len(scenes))]
    others = [scenes[i] for i in rng.permutation(len(scenes))]
    shown = {
        "same": [same_person(scene, then) for scene, then in zip(scenes, occasions, strict=True)],
        "other": [same_person(scene, then) for scene, then in zip(others, occasions, strict=True)],
        "alike": [
            same_person(another_person(scene, rng), then)
            for scene, then in zip(scenes, occasions, strict=True)
        ],
    }
    source = _embedded(network, portraits.batch(np.arange(len(portraits))))
    size = portraits.images.shape[1]
    cosines = {
        name: (_embedded(network, _rendered(some, size)) * source).sum(1) for name, some in shown.items()
    }
    return {
        "auc": above(cosines["same"], cosines["other"]),
        "auc_alike": above(cosines["same"], cosines["alike"]),
        **{name: float(values.mean()) for name, values in cosines.items()},
    }


def above(high: Tensor, low: Tensor) -> float:
    """Area under the ROC curve: the chance that one of `high` is above one of `low`, ties counting half."""
    difference = high[:, None] - low[None]
    return float((difference > 0).double().mean() + 0.5 * (difference == 0).double().mean())


def _rendered(scenes: list[Scene], size: int) -> Tensor:
    return torch.cat([images.square_tensor(render(scene, size), size) for scene in scenes])


def _embedded(network: IRSE50, image: Tensor) -> Tensor:
    return torch.cat([network.embed(some) for some in image.split(ROWS)])


def _read(reader: AttributeClassifier, image: Tensor) -> Tensor:
    return torch.cat([reader.read(some) for some in image.split(ROWS)])
