"""Train the toon CLIP: contrastive, with the known labels as a second teacher of both towers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from textedit_core.toon.portraits import Portraits
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.readers import attribute_loss, reader
from textedit_core.training.text import tokens

BATCH = 48
LEARNING_RATE = 1e-3
LABEL_WEIGHT = 1.0
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)  # [-1, 1] images go in as they are


def build(size: int, vocab_size: int, max_length: int) -> CLIPModel:
    text = {
        "vocab_size": vocab_size, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "max_position_embeddings": max_length, "projection_dim": 128,
        "bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1, "pad_token_id": vocab_size - 1,
        "hidden_act": "gelu",
    }  # fmt: skip
    vision = {
        "image_size": size, "patch_size": size // 8, "hidden_size": 128, "intermediate_size": 384,
        "num_hidden_layers": 5, "num_attention_heads": 4, "projection_dim": 128, "hidden_act": "gelu",
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


class LabelledCLIP(nn.Module):
    """CLIP and, while training, one linear reader per attribute on each tower's embedding."""

    def __init__(self, clip: CLIPModel):
        super().__init__()
        self.clip = clip
        width = clip.config.projection_dim
        self.read_image = reader(width)
        self.read_text = reader(width)


def fit(
    portraits: Portraits,
    tokenizer: CLIPTokenizer,
    size: int,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
    start: CLIPModel | None = None,
) -> CLIPModel:
    """Contrastive loss + attribute classification from both embeddings: small features need it.

    Captions of a single attribute are among them, for that is what a zero-shot reader is asked with.

    start: what an untrained folder begins from, usually a model whose text tower can read (text.py).
    """
    model = LabelledCLIP(start or build(size, len(tokenizer), tokenizer.model_max_length)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    labels = torch.from_numpy(portraits.labels.astype(np.int64))

    def loss_of_batch(model: LabelledCLIP, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)))
        texts, said = portraits.captions(rows, randomness.numpy, fewest=1)
        image = shifted(portraits.batch(rows, device), size // 16, randomness.torch)
        image_out = model.clip.get_image_features(image).pooler_output
        text_out = model.clip.get_text_features(**tokens(tokenizer, texts, device)).pooler_output
        seen = attribute_loss(model.read_image(image_out), labels[rows].to(device))
        read = attribute_loss(model.read_text(text_out), torch.from_numpy(said).to(device))
        logits = (
            model.clip.logit_scale.exp().clamp(max=100) * F.normalize(image_out) @ F.normalize(text_out).T
        )
        contrast = contrastive_loss(logits, torch.from_numpy(said).to(device), labels[rows].to(device))
        return {"loss": contrast + LABEL_WEIGHT * (seen + read), "contrast": contrast.detach(),
                "seen": seen.detach(), "read": read.detach()}  # fmt: skip

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device).clip


def contrastive_loss(logits: Tensor, said: Tensor, labels: Tensor) -> Tensor:
    """Symmetric cross-entropy of image-text logits (B,B); a caption matches all portraits it is true of.

    Short captions ("a sad man in blue clothes") are true of several portraits of a batch; calling those
    wrong, as plain InfoNCE does, would teach noise.
    """
    true = ((said[None] == labels[:, None]) | (said[None] < 0)).all(dim=2).float()  # (image, text)
    by_image = -(F.log_softmax(logits, dim=1) * true).sum(1) / true.sum(1)
    by_text = -(F.log_softmax(logits, dim=0) * true).sum(0) / true.sum(0)
    return (by_image.mean() + by_text.mean()) / 2


def shifted(images: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """The batch moved by up to `reach` pixels each way (one draw a batch), edges repeated."""
    dx, dy = torch.randint(0, 2 * reach + 1, (2,), generator=generator, device=generator.device).tolist()
    height, width = images.shape[-2:]
    return F.pad(images, (reach,) * 4, mode="replicate")[..., dy : dy + height, dx : dx + width]
