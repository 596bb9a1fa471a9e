"""The attribute classifier: a small net that reads every attribute of a portrait; for evaluation only."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from textedit_core.building import building
from textedit_core.toon.world import ATTRIBUTES

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


def load_classifier(folder: Path, size: int = 64) -> AttributeClassifier:
    """The attribute classifier of a bundle, in float32. ValueError where the bundle has none."""
    from safetensors.torch import load_file

    path = folder / "classifier" / "model.safetensors"
    if not path.exists():
        raise ValueError(
            f"The bundle has no attribute classifier ({path} is missing): train with --only classifier."
        )
    with building():
        model = AttributeClassifier(size)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    return model.eval()


def accuracy(read: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of right values per attribute over the pictures where it is visible, and their mean ("mean")."""
    right = {}
    for i, name in enumerate(ATTRIBUTES):
        seen = labels[:, i] >= 0
        if seen.any():
            right[name] = float((read[:, i] == labels[:, i])[seen].float().mean())
    return right | {"mean": sum(right.values()) / max(len(right), 1)}
