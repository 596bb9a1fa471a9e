"""Read attributes from an embedding, for training: one linear layer for all of them, and its loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.toon.world import ATTRIBUTES

LABEL_SMOOTHING = 0.02


def reader(width: int) -> nn.Linear:
    """(B,width) -> (B, sum of the attributes' counts) logits, in the order of ATTRIBUTES."""
    return nn.Linear(width, sum(len(values) for values in ATTRIBUTES.values()))


def attribute_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over attributes of the cross-entropy of logits (B, sum of counts); labels of -1 do not count.

    0 where no label counts.
    """
    if not (labels >= 0).any():
        return 0 * logits.sum()
    losses, start = [], 0
    for i, values in enumerate(ATTRIBUTES.values()):
        part = logits[:, start : start + len(values)]
        start += len(values)
        if (labels[:, i] >= 0).any():
            losses.append(
                F.cross_entropy(part, labels[:, i], ignore_index=-1, label_smoothing=LABEL_SMOOTHING)
            )
    return torch.stack(losses).mean()
