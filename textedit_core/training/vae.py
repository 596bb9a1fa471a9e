"""Train the toon autoencoder: an AutoencoderKL that halves the side twice (64 px -> 16 x 16 x 4)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from textedit_core.toon.portraits import Portraits, face_weights
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train, trained

NOTE = "scaling.json"
BATCH = 8  # many small steps: on a CPU the time per picture is the same
LEARNING_RATE = 2e-3  # decayed to zero
KL_WEIGHT = 1e-6
MSE_WEIGHT = 6.0  # a missing tear is a large error in few pixels, which L1 hardly feels
CHANNELS = {64: (12, 32, 64), 128: (16, 32, 64, 96)}  # x4 at 64 px, x8 at 128 px: 16 x 16 latents in both


def build(size: int) -> AutoencoderKL:
    channels = CHANNELS[size]
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
        sample_size=size,
    )
    with (
        torch.no_grad()
    ):  # start almost without noise in the latents, or the first minutes go into removing it
        vae.quant_conv.bias[4:] = -8.0
        vae.quant_conv.weight[4:] *= 0.1
    return vae


def fit(
    portraits: Portraits, size: int, folder: Path, budget: Budget, seed: int, device: str
) -> AutoencoderKL:
    """L1 + 6 MSE + gradient L1 (sharp outlines) + a little KL, the face counting more."""
    vae = build(size).to(device)
    face = face_weights(size, device).sqrt()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0)

    def loss_of_batch(vae: AutoencoderKL, randomness: Randomness) -> dict[str, Tensor]:
        image = portraits.batch(randomness.numpy.integers(len(portraits), size=ranks.share(BATCH)), device)
        posterior = vae.encode(image).latent_dist
        decoded = vae.decode(posterior.sample(randomness.torch)).sample
        difference = (decoded - image) * face
        error = difference.square().mean()
        sharp = difference.abs().mean() + MSE_WEIGHT * error + edges(decoded, image)
        loss = sharp + KL_WEIGHT * posterior.kl().mean()
        return {"loss": loss, "psnr": 10 * torch.log10(4 / error.detach())}

    vae = train(folder, vae, optimizer, loss_of_batch, budget, seed=seed, device=device)
    set_scaling_factor(vae, portraits)
    return vae


@torch.no_grad()
def set_scaling_factor(vae: AutoencoderKL, portraits: Portraits) -> None:
    """scaling_factor = 1 / std of the latents, so that the diffusion model sees unit variance."""
    z = vae.encode(portraits.batch(np.arange(min(512, len(portraits))), vae.device)).latent_dist.mean
    vae.register_to_config(scaling_factor=float(1 / z.std()))


def keep_scaling_factor(vae: AutoencoderKL, folder: Path) -> None:
    """Note the factor beside the training in `folder`: it then needs no portraits to be known again."""
    note = (trained(folder) or {}) | {"scaling_factor": vae.config.scaling_factor}
    unfinished = folder / f"{NOTE}.part"
    unfinished.write_text(json.dumps(note))
    os.replace(unfinished, folder / NOTE)


def kept_scaling_factor(folder: Path) -> float | None:
    """The factor noted in `folder`; None where there is none, or of a training that has gone on since."""
    if not (folder / NOTE).exists():
        return None
    note = json.loads((folder / NOTE).read_text())
    now = trained(folder)
    return note["scaling_factor"] if now and note["steps"] == now["steps"] else None


def edges(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the horizontal and vertical differences of two images (B,3,H,W)."""
    return F.l1_loss(a.diff(dim=-1), b.diff(dim=-1)) + F.l1_loss(a.diff(dim=-2), b.diff(dim=-2))
