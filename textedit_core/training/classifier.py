"""Train the attribute classifier of the toon world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.portraits import Portraits
from textedit_core.training import ranks
from textedit_core.training.clip import attribute_loss, shifted
from textedit_core.training.loop import Budget, Randomness, train

BATCH = 64
LEARNING_RATE = 2e-3


def fit(
    portraits: Portraits, size: int, folder: Path, budget: Budget, seed: int, device: str
) -> AttributeClassifier:
    """Cross-entropy on shifted, slightly noisy, blurred portraits: it must read decoded pictures too."""
    model = AttributeClassifier(size).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    labels = torch.from_numpy(portraits.labels.astype(np.int64))

    def loss_of_batch(model: AttributeClassifier, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)))
        image = shifted(portraits.batch(rows, device), size // 32, randomness.torch)
        if randomness.numpy.random() < 0.5:  # what an autoencoder loses: half the resolution, blended back
            soft = nn.functional.interpolate(
                nn.functional.avg_pool2d(image, 2), scale_factor=2, mode="bilinear", align_corners=False
            )
            image = image.lerp(soft, float(randomness.numpy.random()))
        grain = torch.randn(image.shape, generator=randomness.torch, device=image.device)
        loss = attribute_loss(model(image + 0.04 * grain), labels[rows].to(device))
        return {"loss": loss}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device)
