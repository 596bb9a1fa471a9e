"""Train the toon upscaler: a 64 px portrait, and noise, to the latents of its drawing at 256 px.

The class is that of Stable Diffusion's x4 upscaler (`models.diffusion.upscaler`), in small: the text-to-image
model's autoencoder serves both sizes, and the text encoder stays as it is. It learns from crops, and draws
whole pictures: nothing in it depends on the size but attention at a quarter of the side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from textedit_core.models.diffusion.upscaler import CHANNELS, SCALE
from textedit_core.toon.portraits import Portraits
from textedit_core.training import ranks
from textedit_core.training.diffusion import EMPTY_CAPTIONS, spread_timesteps
from textedit_core.training.enlarger import SIDE, as_tensor, rebuild_all, small_crops
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.text import tokens

BATCH = 8
LEARNING_RATE = 1e-3
MOST_NOISE = 300  # the highest noise level of the small picture, a timestep of `build_low_res`
# Most of what it is asked for has neither fault: with both in every other crop it learned edges too slowly.
REBUILT = 0.25  # share of small pictures that are as the autoencoder makes them
NOISED = 0.5  # share of those that have noise
CHUNK = 16
WIDTHS = (64, 96, 128)


class TextUpscaler(nn.Module):
    """What is kept together: the UNet that is trained, and the text encoder that it learned to read."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder.requires_grad_(False)

    def forward(self, z: Tensor, t: Tensor, small: Tensor, level: Tensor, input_ids: Tensor) -> Tensor:
        """v of latents z (B,4,h,w) at timesteps t, beside noised small pictures (B,3,h,w) of levels (B,)."""
        with torch.no_grad():
            text = self.text_encoder(input_ids).last_hidden_state
        seen = torch.cat([z, small], dim=1)
        return self.unet(seen, t, encoder_hidden_states=text, class_labels=level).sample


def build(text_encoder: CLIPTextModel) -> TextUpscaler:
    """An untrained one for latents of any side that four divides.

    The noise level enters as the timestep does, by sines: of a table of a thousand levels, as the published
    model has it, each would be seen too seldom here.
    """
    unet = UNet2DConditionModel(
        sample_size=SCALE * 16,
        in_channels=CHANNELS,
        out_channels=4,
        block_out_channels=WIDTHS,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=2,  # with 48 and one at the full side it stayed 2 dB below bicubic after 34 minutes
        cross_attention_dim=text_encoder.config.hidden_size,
        attention_head_dim=4,
        norm_num_groups=16,
        class_embed_type="timestep",
    )
    return TextUpscaler(unet, text_encoder)


def build_scheduler() -> DDIMScheduler:
    """Of the latents: the published one's v-prediction on Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading", prediction_type="v_prediction",
    )  # fmt: skip


def build_low_res() -> DDPMScheduler:
    """Of the noise in the small picture, as published."""
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")


def fit(
    small: Portraits,
    z: Tensor,
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
) -> TextUpscaler:
    """Mean squared error of v, on crops.

    The small picture is exact or rebuilt, and clean or noised by a level of up to MOST_NOISE.
    z: latents (N,4,H,W) of the large drawings of the portraits, as `encode_large` makes them.
    """
    model, rebuilt = build(text_encoder).to(device), rebuild_all(small, vae, device)
    model.unet.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.unet.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), fused=True)
    alphas = build_scheduler().alphas_cumprod.to(device)
    levels = build_low_res().alphas_cumprod.to(device)
    batch = ranks.share(BATCH)

    def loss_of_batch(model: TextUpscaler, randomness: Randomness) -> dict[str, Tensor]:
        rng, draw = randomness.numpy, randomness.torch
        rows = np.sort(rng.integers(len(z), size=batch))
        texts, _ = small.captions(rows, rng)
        empty = rng.random(batch) < EMPTY_CAPTIONS
        texts = ["" if none else text for none, text in zip(empty, texts, strict=True)]
        source, wanted = paired_crops(small.images, rebuilt, z, rows, rng)
        source, wanted = source.to(device), wanted.to(device)
        level = torch.randint(0, MOST_NOISE + 1, (batch,), generator=draw, device=device)
        level *= torch.rand(batch, generator=draw, device=device) < NOISED
        source = noised(source, levels[level], draw)
        t = spread_timesteps(batch, len(alphas), draw)
        a = alphas[t].view(-1, 1, 1, 1)
        eps = torch.randn(wanted.shape, generator=draw, device=device)
        noisy, v = a.sqrt() * wanted + (1 - a).sqrt() * eps, a.sqrt() * eps - (1 - a).sqrt() * wanted
        ids = tokens(tokenizer, texts, device)["input_ids"]
        predicted = model(noisy, t, source, level, ids).float()
        loss = (predicted - v).square().mean()
        clean = a.sqrt() * noisy - (1 - a).sqrt() * predicted
        return {"loss": loss, "latent": (clean - wanted).detach().square().mean()}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device)


def noised(small: Tensor, alpha: Tensor, generator: torch.Generator) -> Tensor:
    """Small pictures (B,3,h,w) with the noise that alphas (B,) of the low-resolution schedule leave."""
    eps = torch.randn(small.shape, generator=generator, device=small.device)
    a = alpha.view(-1, 1, 1, 1)
    return a.sqrt() * small + (1 - a).sqrt() * eps


def paired_crops(
    exact: np.ndarray, rebuilt: np.ndarray, z: Tensor, rows: np.ndarray, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Crops of SIDE of small pictures (N,h,w,3), in [-1,1], and the same places of the latents (N,4,h,w)."""
    sources, answers = [], []
    for row, y, x, source in small_crops(exact, rebuilt, rows, rng, REBUILT):
        sources.append(source)
        answers.append(z[row, :, y : y + SIDE, x : x + SIDE])
    return as_tensor(sources), torch.stack(answers).float()


@torch.no_grad()
def encode_large(large: Portraits, vae: AutoencoderKL, device: str) -> Tensor:
    """Posterior means x scaling_factor of large drawings, (N,4,H/4,W/4) in half precision."""
    vae, found = vae.to(device), []
    for rows in np.array_split(np.arange(len(large)), -(-len(large) // CHUNK)):
        mean = vae.encode(large.batch(rows, device)).latent_dist.mean
        found.append((mean * vae.config.scaling_factor).half().cpu())
    return torch.cat(found)
