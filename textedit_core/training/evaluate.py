"""Measure the toon models on held-out scenes: the numbers of the manifest."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textedit_core import metrics
from textedit_core.images import to_pil
from textedit_core.models.clip import Clip
from textedit_core.models.diffusion.ddim import ddim_step
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.enlarger import Enlarger, bicubic
from textedit_core.noise import noise
from textedit_core.toon.captions import describe
from textedit_core.toon.classifier import AttributeClassifier, accuracy
from textedit_core.toon.portraits import Portraits
from textedit_core.toon.world import ATTRIBUTES, Scene

log = logging.getLogger(__name__)

SAMPLING_STEPS = 25
GUIDANCE_SCALE = 3.0


@torch.no_grad()
def autoencoder_psnr(diffusion: LatentDiffusion, portraits: Portraits, rows: int = 100) -> float:
    """Mean over portraits of 10 log10(4 / MSE) in dB, images in [-1, 1], decoded from the posterior mean.

    rows: how many are decoded at once.
    """
    values = []
    for some in np.array_split(np.arange(len(portraits)), max(1, len(portraits) // rows)):
        image = portraits.batch(some)
        decoded = diffusion.decode(diffusion.encode(image)).clamp(-1, 1)
        values.append(metrics.psnr(decoded, image))
    return float(torch.cat(values).mean())


@torch.no_grad()
def enlarger_psnr(
    enlarger: Enlarger, diffusion: LatentDiffusion, small: Portraits, large: Portraits
) -> dict[str, dict[str, float]]:
    """dB to the large drawing, from the exact small picture and from what the autoencoder makes of it.

    {"exact", "rebuilt"}, each {"psnr_db": of the enlarger, "bicubic_db": of bicubic enlargement}: means over
    the portraits. small and large are the same ones.
    """
    found: dict[str, dict[str, list[Tensor]]] = {
        kind: {"psnr_db": [], "bicubic_db": []} for kind in ("exact", "rebuilt")
    }
    for some in np.array_split(np.arange(len(small)), max(1, len(small) // 8)):
        image, wanted = small.batch(some), large.batch(some)
        rebuilt = diffusion.decode(diffusion.encode(image)).clamp(-1, 1)
        for kind, source in (("exact", image), ("rebuilt", rebuilt)):
            found[kind]["psnr_db"].append(metrics.psnr(enlarger.enlarge(source), wanted))
            found[kind]["bicubic_db"].append(metrics.psnr(bicubic(source, enlarger.scale), wanted))
    return {
        kind: {name: float(torch.cat(rows).mean()) for name, rows in figures.items()}
        for kind, figures in found.items()
    }


@torch.no_grad()
def zero_shot_accuracy(clip: Clip, portraits: Portraits) -> dict[str, float]:
    """Per attribute: the share of portraits whose image embedding is nearest the text of the true value.

    One text a value ("a person with round glasses"); only values a caption can name alone are offered.
    """
    images = torch.cat([
        clip.image_features(portraits.batch(rows))
        for rows in np.array_split(np.arange(len(portraits)), max(1, len(portraits) // 100))
    ])  # fmt: skip
    read = torch.full((len(portraits), len(ATTRIBUTES)), -1)
    for i, name in enumerate(ATTRIBUTES):
        read[:, i] = (images @ clip.text_features(attribute_texts(name)).T).argmax(dim=1)
    return accuracy(read, torch.from_numpy(portraits.labels.astype(np.int64)))


def attribute_texts(name: str) -> list[str]:
    """One plain caption per value of an attribute, in the order of ATTRIBUTES."""
    carrier = {"hat_color": {"top": "beanie"}}.get(name, {})
    return [describe(Scene(**(carrier | {name: value})), (name,)) for value in ATTRIBUTES[name]]


@torch.no_grad()
def generate(
    diffusion: LatentDiffusion,
    texts: list[str],
    seed: int,
    steps: int = SAMPLING_STEPS,
    scale: float = GUIDANCE_SCALE,
) -> Tensor:
    """One picture per text (B,3,H,W), by DDIM with classifier-free guidance."""
    side = diffusion.unet.config.sample_size
    z = noise((len(texts), 4, side, side), [seed + i for i in range(len(texts))])
    text, null = diffusion.encode_text(texts), diffusion.encode_text([""])
    for t, t_to in diffusion.schedule.transitions(steps):
        eps = diffusion.guided_eps(z, t, text, null, scale)
        z = ddim_step(diffusion.schedule, z, eps, t, t_to)
    return diffusion.decode(z).clamp(-1, 1)


def sample_accuracy(
    diffusion: LatentDiffusion, classifier: AttributeClassifier, portraits: Portraits, seed: int = 0
) -> dict[str, float]:
    """Accuracy of the attributes a caption names, read by the classifier from a sample of that caption."""
    rng = np.random.default_rng(seed)
    read, asked = [], []
    for rows in np.array_split(np.arange(len(portraits)), max(1, len(portraits) // 32)):
        texts, said = portraits.captions(rows, rng)
        read.append(classifier.read(generate(diffusion, texts, seed + int(rows[0]))))
        asked.append(torch.from_numpy(said))
    return accuracy(torch.cat(read), torch.cat(asked))


def classifier_accuracy(classifier: AttributeClassifier, portraits: Portraits) -> dict[str, float]:
    chunks = np.array_split(np.arange(len(portraits)), max(1, len(portraits) // 200))
    read = torch.cat([classifier.read(portraits.batch(rows)) for rows in chunks])
    return accuracy(read, torch.from_numpy(portraits.labels.astype(np.int64)))


def grid(images: Tensor, columns: int) -> Image.Image:
    """Pictures (B,3,H,W) side by side on one sheet."""
    pictures = to_pil(images)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * width, i // columns * height))
    return sheet


def save_grid(images: Tensor, columns: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images, columns).save(path)
