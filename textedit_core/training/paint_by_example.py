"""Train the toon Paint by Example (arXiv 2211.13227): the text-to-image UNet learns to fill holes by example.

Trained are the UNet, the mapper, its norm and projection, and the vector of no example; CLIP and the
autoencoder stay as they are. The original took AdamW at 1e-5 after 10,000 steps of warm-up, batch 32, 40
epochs of OpenImages, a plain mean squared error, white noise and uniform timesteps. This recipe departs from
it: 3e-4, twice that for what follows CLIP, a short warm-up; the hole counts more than what is around it,
which is given and soon copied; and, as its text-to-image model had it (`training.diffusion`), the error
weighted over t by min-SNR (arXiv 2303.09556), noise with an offset that is constant over a picture, and the
timesteps of a batch spread over the schedule, not drawn one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPModel

from textedit_core.models.diffusion import autoencoder
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.exemplar import ExemplarEncoder
from textedit_core.models.diffusion.paint_by_example import CHANNELS, PaintByExample
from textedit_core.models.diffusion.single_token import skip_queries_and_keys
from textedit_core.models.towers import copy_weights
from textedit_core.toon.exemplar_data import Boxed, Folder, draw
from textedit_core.training import ranks
from textedit_core.training.clip import MEAN, STD
from textedit_core.training.diffusion import NOISE_OFFSET, build_scheduler, loss_weights, spread_timesteps
from textedit_core.training.loop import Budget, Randomness, train

BATCH = 32
LEARNING_RATE = 3e-4
ENCODER_RATE = 2.0  # of the UNet's: the mapper and what follows begin from nothing
DROPPED = 0.2  # of the exemplars, for the learned vector
VECTOR_SPREAD = 0.02
HOLE_WEIGHT = 3.0  # of the error in the hole, beside 1 outside of it

Ablation = Literal["augmentation", "bottleneck", "guidance"]
ABLATIONS = ("augmentation", "bottleneck", "guidance")


class Painter(nn.Module):
    """What is trained and averaged together."""

    def __init__(self, unet: UNet2DConditionModel, encoder: ExemplarEncoder):
        super().__init__()
        self.unet = unet
        self.encoder = encoder

    def forward(self, rows: Tensor, t: Tensor, exemplars: Tensor, dropped: Tensor) -> Tensor:
        """The noise in rows (B,9,h,w) under exemplars (B,3,s,s), under none where `dropped` (B,) is true."""
        condition = self.encoder(exemplars)
        null = self.encoder.uncond_vector.to(condition).expand_as(condition)
        condition = torch.where(dropped[:, None, None], null, condition)
        return self.unet(rows, t, encoder_hidden_states=condition).sample


def build(unet: UNet2DConditionModel, clip: CLIPModel, all_tokens: bool = False) -> Painter:
    """A painter that begins as the text-to-image UNet, blind to the hole, and as CLIP's vision tower."""
    config = copy.deepcopy(clip.config.vision_config)
    config.projection_dim = unet.config.cross_attention_dim
    config.all_tokens = all_tokens
    encoder = ExemplarEncoder(config)
    copy_weights(clip.vision_model, encoder.model)
    encoder.model.requires_grad_(False)
    nn.init.normal_(encoder.uncond_vector, std=VECTOR_SPREAD)
    return Painter(skip_queries_and_keys(widened(unet)), encoder)


def widened(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of a UNet with five more inputs, masked picture and mask, whose weights begin at zero."""
    wide = UNet2DConditionModel.from_config(unet.config, in_channels=CHANNELS)
    weights = dict(unet.state_dict())
    first = weights["conv_in.weight"]
    weights["conv_in.weight"] = torch.cat(
        [first, first.new_zeros(len(first), CHANNELS - first.shape[1], *first.shape[2:])], dim=1
    )
    wide.load_state_dict(weights)
    return wide


def fit(
    source: Boxed | Folder,
    vae: AutoencoderKL,
    clip: CLIPModel,
    unet: UNet2DConditionModel,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
    ablate: Ablation | None = None,
    on_save: Callable[[Painter, int], None] | None = None,
) -> Painter:
    """Squared error of eps, weighted by HOLE_WEIGHT, and over t as the text-to-image model's was."""
    model = build(unet, clip, all_tokens=ablate == "bottleneck").to(device)
    model.unet.to(memory_format=torch.channels_last)
    vae, size, exemplar_size = (
        vae.to(device).eval(),
        vae.config.sample_size,
        clip.config.vision_config.image_size,
    )
    own = [p for p in model.encoder.parameters() if p.requires_grad]
    groups = [
        {"params": list(model.unet.parameters()), "lr": LEARNING_RATE},
        {"params": own, "lr": LEARNING_RATE * ENCODER_RATE},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.01)
    alphas = build_scheduler().alphas_cumprod.to(device)
    batch, chance = ranks.share(BATCH), 0.0 if ablate == "guidance" else DROPPED

    def loss_of_batch(model: Painter, randomness: Randomness) -> dict[str, Tensor]:
        drawn = draw(source, batch, size, exemplar_size, randomness.numpy, ablate != "augmentation")
        z, masked, keep = latents(vae, drawn.images.to(device), drawn.masks.to(device))
        t = spread_timesteps(batch, len(alphas), randomness.torch)
        eps = torch.randn(z.shape, generator=randomness.torch, device=device)
        flat = torch.randn(*z.shape[:2], 1, 1, generator=randomness.torch, device=device)
        eps = eps + NOISE_OFFSET * flat
        a = alphas[t].view(-1, 1, 1, 1)
        rows = torch.cat([a.sqrt() * z + (1 - a).sqrt() * eps, masked, keep], dim=1)
        dropped = torch.rand(batch, generator=randomness.torch, device=device) < chance
        predicted = model(rows, t, pixels(drawn.exemplars.to(device)), dropped)
        error, weights = (predicted.float() - eps).square(), HOLE_WEIGHT + (1 - HOLE_WEIGHT) * keep
        weighted = (error * weights / weights.mean()).mean(dim=(1, 2, 3))
        return {"loss": (weighted * loss_weights(a.flatten())).mean(), "mse": error.detach().mean()}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device, on_save=on_save)


@torch.no_grad()
def latents(vae: AutoencoderKL, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The latents of pictures and of the pictures with holes, and what is kept at latent size."""
    keep = 1 - masks
    z, masked = autoencoder.encode(vae, torch.cat([images, images * keep])).chunk(2)
    return z, masked, nn.functional.interpolate(keep, z.shape[-2:])


def pixels(exemplars: Tensor) -> Tensor:
    """Exemplars in [-1,1] as the tower wants them."""
    mean, std = (torch.tensor(v, device=exemplars.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((exemplars + 1) / 2 - mean) / std


def as_model(painter: Painter, vae: AutoencoderKL) -> PaintByExample:
    """The painter as the studio uses it."""
    schedule = Schedule.from_config(build_scheduler().config)
    return PaintByExample(
        painter.unet, vae, painter.encoder, torch.tensor(MEAN), torch.tensor(STD), schedule, fingerprint=None
    )
