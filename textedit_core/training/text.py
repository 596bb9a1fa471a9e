"""Teach the toon text tower to read before it meets a picture: which attributes does this caption name?

Captions cost nothing, so this takes minutes where learning to read through pictures takes hours. CLIP and the
UNet's text encoder both start from this tower.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextModel, CLIPTokenizer

from textedit_core.models.towers import copy_weights
from textedit_core.toon.portraits import Portraits
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.readers import attribute_loss, reader

BATCH = 192
LEARNING_RATE = 1e-3


class ReadingText(nn.Module):
    """The text tower and, while training, a linear reader of the attributes on its pooled state."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        self.tower = CLIPTextModel(config.text_config)
        self.read = reader(config.text_config.hidden_size)


def reading(clip: CLIPModel) -> ReadingText:
    """CLIP's text tower with a reader that has not learned yet."""
    module = ReadingText(clip.config)
    copy_weights(clip.text_model, module.tower)
    return module


def fit(
    portraits: Portraits,
    tokenizer: CLIPTokenizer,
    config: CLIPConfig,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
) -> CLIPTextModel:
    """Cross-entropy of every named attribute, read from the caption alone."""
    model = ReadingText(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)

    def loss_of_batch(model: ReadingText, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)))
        texts, said = portraits.captions(rows, randomness.numpy, fewest=1)
        named = torch.from_numpy(said).to(device)
        logits = model.read(model.tower(**tokens(tokenizer, texts, device, padding="longest")).pooler_output)
        return {"loss": attribute_loss(logits, named)}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device).tower


def tokens(
    tokenizer: CLIPTokenizer, texts: list[str], device: torch.device | str, padding: str = "max_length"
) -> dict[str, Tensor]:
    return dict(tokenizer(texts, padding=padding, truncation=True, return_tensors="pt").to(device))


def copy_tower(tower: CLIPTextModel, clip: CLIPModel) -> CLIPModel:
    """Put the tower's weights into `clip`, in place."""
    copy_weights(tower, clip.text_model)
    return clip
