"""Read the attributes from a latent: the teacher that tells the UNet whether it drew what was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.toon.portraits import Portraits
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.readers import attribute_loss, reader

BATCH = 96
LEARNING_RATE = 2e-3
MOST_NOISE = 0.4


class LatentReader(nn.Module):
    """Latents (B,4,h,w), h and w multiples of 4 -> logits of all attributes (B, sum of counts)."""

    def __init__(self, side: int = 16):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 48, 3, padding=1), nn.GroupNorm(8, 48), nn.SiLU(),
            nn.Conv2d(48, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1), nn.GroupNorm(8, 96), nn.SiLU(),
            nn.Conv2d(96, 128, 3, stride=2, padding=1), nn.GroupNorm(8, 128), nn.SiLU(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(128 * (side // 4) ** 2, 256), nn.SiLU(), reader(256)
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.body(z))


def fit(
    z: Tensor, portraits: Portraits, folder: Path, budget: Budget, seed: int, device: str
) -> LatentReader:
    """Cross-entropy of every visible attribute, on latents made noisy and soft as a denoiser's guesses are.

    z: the latents (N,4,h,w) of all portraits.
    """
    model = LatentReader(z.shape[-1]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    labels = torch.from_numpy(portraits.labels.astype(np.int64))

    def loss_of_batch(model: LatentReader, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)))
        guess = softened(z[torch.from_numpy(rows)].to(device), randomness.torch)
        return {"loss": attribute_loss(model(guess), labels[rows].to(device))}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device)


def softened(z: Tensor, generator: torch.Generator) -> Tensor:
    """Each latent blended with its own blur, and noise of up to MOST_NOISE added."""
    amount = torch.rand(2, len(z), 1, 1, 1, generator=generator, device=z.device)
    blur = F.avg_pool2d(F.pad(z, (1,) * 4, mode="replicate"), 3, stride=1)
    grain = torch.randn(z.shape, generator=generator, device=z.device)
    return z.lerp(blur, amount[0]) + MOST_NOISE * amount[1] * grain
