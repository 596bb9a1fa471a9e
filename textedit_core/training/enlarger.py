"""Train the toon enlarger: 64 px portraits and what the autoencoder makes of them, to 256 px drawings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from textedit_core.models.enlarger import EnlargerNetwork
from textedit_core.toon.portraits import Portraits
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.vae import edges

BATCH = 8
SIDE = 32  # of the small crops
LEARNING_RATE = 1e-3
REBUILT = 0.5  # share of the crops that are from what the autoencoder makes of a portrait: edits come from it
MSE_WEIGHT = 2.0
CHUNK = 64
# The arguments of `EnlargerNetwork`: what config.json of a bundle's enlarger/ holds.
SHAPE = {"width": 48, "blocks": 8, "scale": 4}


def build() -> EnlargerNetwork:
    return EnlargerNetwork(**SHAPE)


def fit(
    small: Portraits,
    large: Portraits,
    vae: AutoencoderKL,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
) -> EnlargerNetwork:
    """L1 + 2 MSE + gradient L1 to the large drawing, from crops of the small one, exact or rebuilt in turn.

    small and large: the same portraits, drawn at two sizes, the second `scale` times the first.
    """
    network, rebuilt = build().to(device), rebuild_all(small, vae, device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0)

    def loss_of_batch(network: EnlargerNetwork, randomness: Randomness) -> dict[str, Tensor]:
        rng = randomness.numpy
        rows = rng.integers(len(small), size=ranks.share(BATCH))
        source, wanted = paired_crops(small.images, rebuilt, large.images, rows, rng)
        drawn, wanted = network(source.to(device)), wanted.to(device)
        error = (drawn - wanted).square().mean()
        loss = (drawn - wanted).abs().mean() + MSE_WEIGHT * error + edges(drawn, wanted)
        return {"loss": loss, "psnr": 10 * torch.log10(4 / error.detach())}

    return train(folder, network, optimizer, loss_of_batch, budget, seed=seed, device=device)


def paired_crops(
    exact: np.ndarray, rebuilt: np.ndarray, large: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Crops of SIDE of the small pictures (N,h,w,3) and the same places of the large ones, in [-1,1]."""
    scale = large.shape[1] // exact.shape[1]
    sources, answers = [], []
    for row, y, x, source in small_crops(exact, rebuilt, rows, rng):
        sources.append(source)
        answers.append(large[row, scale * y : scale * (y + SIDE), scale * x : scale * (x + SIDE)])
    return as_tensor(sources), as_tensor(answers)


def small_crops(
    exact: np.ndarray, rebuilt: np.ndarray, rows: np.ndarray, rng: np.random.Generator, share: float = REBUILT
) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """(row, top, left, crop of SIDE) of small pictures (N,h,w,3), this share of them rebuilt, by chance."""
    for row in rows:
        y, x = rng.integers(exact.shape[1] - SIDE + 1, size=2)
        picture = rebuilt if rng.random() < share else exact
        yield row, y, x, picture[row, y : y + SIDE, x : x + SIDE]


@torch.no_grad()
def rebuild_all(portraits: Portraits, vae: AutoencoderKL, device: str) -> np.ndarray:
    """What the autoencoder makes of every portrait, (N,H,W,3) uint8."""
    vae = vae.to(device)
    rebuilt = []
    for start in range(0, len(portraits), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(portraits)))
        mean = vae.encode(portraits.batch(rows, device)).latent_dist.mean
        decoded = vae.decode(mean).sample.clamp(-1, 1)
        rebuilt.append(((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(rebuilt)


def as_tensor(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures (h,w,3) of one size in 8 bits as (B,3,h,w) in [-1,1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
