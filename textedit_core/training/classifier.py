"""The attribute classifier: a small conv net with a head per attribute, for evaluation only (not the app)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from textedit_core.training import ranks
from textedit_core.training.clip import attribute_loss, shifted
from textedit_core.training.data import Portraits
from textedit_core.training.loop import Budget, train
from textedit_core.training.world import ATTRIBUTES

BATCH = 64
LEARNING_RATE = 2e-3
CHANNELS = (24, 48, 96, 128)


class AttributeClassifier(nn.Module):
    """Images (B,3,64,64) in [-1,1] -> concatenated logits of all attributes (B, sum of counts)."""

    def __init__(self, size: int = 64):
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for channels in CHANNELS:
            layers += [
                nn.Conv2d(width, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
                nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels), nn.ReLU(),
            ]  # fmt: skip
            width = channels
        self.body = nn.Sequential(*layers)
        cells = (size // 2 ** len(CHANNELS)) ** 2
        self.head = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(width * cells, 384), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(384, sum(len(values) for values in ATTRIBUTES.values())),
        )  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))

    @torch.no_grad()
    def read(self, image: Tensor) -> Tensor:
        """The most likely value of every attribute: (B,A) indices into ATTRIBUTES' values."""
        parts = self(image).split([len(values) for values in ATTRIBUTES.values()], dim=1)
        return torch.stack([part.argmax(dim=1) for part in parts], dim=1)


def fit(
    portraits: Portraits, size: int, folder: Path, budget: Budget, seed: int, device: str
) -> AttributeClassifier:
    """Cross-entropy on shifted, slightly noisy, blurred portraits: it must read decoded pictures too."""
    model = AttributeClassifier(size).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    labels = torch.from_numpy(portraits.labels.astype(np.int64))

    def loss_of_batch(model, randomness):
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


def accuracy(read: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of right values per attribute over the pictures where it is visible, and their mean ("mean")."""
    right = {}
    for i, name in enumerate(ATTRIBUTES):
        seen = labels[:, i] >= 0
        if seen.any():
            right[name] = float((read[:, i] == labels[:, i])[seen].float().mean())
    return right | {"mean": sum(right.values()) / max(len(right), 1)}
