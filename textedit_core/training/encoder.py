"""Train the toon e4e: portrait -> W+ code, by the exact codes of a rendered world and by the image.

No code names a portrait of the open world, whose colours and poses lie between the words. Such portraits are
met by the image alone; e4e's delta loss (arXiv 2102.02766, section 3.2.1) keeps the layers of their codes
alike, for codes whose layers differ much rebuild better and edit worse.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from textedit_core.models.style import latents
from textedit_core.models.style.encoders import E4e
from textedit_core.models.style.stylegan2 import Generator
from textedit_core.toon import latent_world
from textedit_core.toon.portraits import Portraits, face_weights
from textedit_core.training import ranks
from textedit_core.training.generator import picture_loss
from textedit_core.training.loop import Budget, Randomness, train

BATCH = 16
DRAWN = 4  # rows of a batch that go through the generator too; that costs more than all the rest
LEARNING_RATE = 2e-3
CODE_WEIGHT = 2.0
OPEN_DRAWN = 6  # portraits of the open world beside a batch, all through the generator
DELTA_WEIGHT = 0.05


class Shape(TypedDict):
    """Arguments of `E4e`."""

    style_dim: int
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    input_size: int


# The arguments of E4e next to the generator's size: what config.json of a bundle's encoder/ holds.
SHAPE: Shape = {"style_dim": latent_world.STYLE_DIM, "depths": (1, 1, 2, 1), "widths": (32, 48, 64, 112),
         "input_size": 64}  # fmt: skip


def build(size: int) -> E4e:
    """An untrained encoder for generators of `size` pixels; its codes are differences from the mean code."""
    network = E4e(size, **SHAPE)
    network.latent_avg.copy_(latent_world.mean_code().expand_as(network.latent_avg))
    return network


def fit(
    portraits: Portraits,
    generator: Generator,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
    open_portraits: Portraits | None = None,
) -> E4e:
    """MSE to the code of the scene in every layer, and `picture_loss` of what the generator makes of it.

    What cannot be seen, like a bald man's hair colour, is met on average alone. open_portraits: others, which
    no code names; each batch has OPEN_DRAWN of them.
    """
    network = build(generator.size).to(device)
    generator = generator.to(device).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    values = torch.from_numpy(portraits.values.astype(np.int64))
    face = face_weights(generator.size, device).sqrt()

    def loss_of_batch(network: E4e, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)))
        image = portraits.batch(rows, device)
        found = network.encode(image)
        code = latent_world.code(values[torch.from_numpy(rows)].to(device))
        error = (found - generator.widen(code)).square().mean()
        some = torch.from_numpy(randomness.numpy.permutation(len(rows))[:DRAWN]).to(device)
        drawn = picture_loss(generator(found[some]), image[some], face)
        loss = drawn["loss"] + CODE_WEIGHT * error
        told = {"code": error.detach(), "psnr": drawn["psnr"]}
        if open_portraits is not None:
            rows = randomness.numpy.integers(len(open_portraits), size=ranks.share(OPEN_DRAWN))
            image = open_portraits.batch(rows, device)
            found = network.encode(image)
            drawn = picture_loss(generator(found), image, face)
            loss = loss + drawn["loss"] + DELTA_WEIGHT * latents.spread(found)
            told["open_psnr"] = drawn["psnr"]
        return {"loss": loss, **told}

    return train(folder, network, optimizer, loss_of_batch, budget, seed=seed, device=device)
