"""Train the toon latent diffusion model: UNet2DConditionModel and its CLIPTextModel together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from textedit_core.models.towers import copy_weights
from textedit_core.toon.portraits import Portraits, face_weights
from textedit_core.training import ranks
from textedit_core.training.latent_reader import LatentReader
from textedit_core.training.loop import Budget, Randomness, train
from textedit_core.training.readers import attribute_loss
from textedit_core.training.text import tokens

BATCH = 32
LEARNING_RATE = 3e-4
WORDS_RATE = 3.0  # of that, for cross-attention: what reads the words is the last to learn
TEXT_RATE = 0.3  # the text encoder arrives trained, from CLIP
EMPTY_CAPTIONS = 0.1  # classifier-free guidance needs the empty prompt to mean any portrait
MIN_SNR = 5.0
MOST_WEIGHT = 16.0  # of one timestep, in units of plain eps error
# Noise that is constant over the picture. Without it the model reads the colours from the mean of the start
# noise, which even the last training step betrays (A_999 > 0): 256 latents do not average it out.
NOISE_OFFSET = 0.15
# The named attributes must be readable in the predicted clean latent, where it is more than noise. The square
# error alone teaches a small feature (a mouth is 3 of 256 latents) only after hours.
LABEL_WEIGHT = 0.1
READABLE = 0.02  # smallest alpha_t at which the prediction is read
CHANNELS = (64, 128, 192)


class TextToLatent(nn.Module):
    """What is trained and averaged together."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder

    def forward(self, z: Tensor, t: Tensor, input_ids: Tensor) -> Tensor:
        text = self.text_encoder(input_ids).last_hidden_state
        return self.unet(z, t, encoder_hidden_states=text).sample


def build_unet(text_width: int, channels: tuple[int, ...] = CHANNELS) -> UNet2DConditionModel:
    """16 x 16 x 4 latents, cross-attention at 16 and 8, one residual layer a block, four heads."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_text_encoder(clip: CLIPModel) -> CLIPTextModel:
    """A copy of CLIP's text tower: from scratch, the UNet hardly follows the words for a long time."""
    encoder = CLIPTextModel(clip.config.text_config)
    copy_weights(clip.text_model, encoder)
    return encoder


def build_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule, so that every fact about it holds here too."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading", prediction_type="epsilon",
    )  # fmt: skip


def fit(
    portraits: Portraits,
    z: Tensor,
    clip: CLIPModel,
    tokenizer: CLIPTokenizer,
    reader: LatentReader | None,
    folder: Path,
    budget: Budget,
    seed: int,
    device: str,
    on_save: Callable[[TextToLatent, int], None] | None = None,
) -> TextToLatent:
    """Mean squared error of eps, weighted by `loss_weights` and a little toward the face; and, with a reader,
    the cross-entropy of the caption's attributes as it reads them from the predicted clean latent.

    z: the latents (N,4,h,w) of the portraits.
    """
    model = TextToLatent(build_unet(clip.config.text_config.hidden_size), build_text_encoder(clip)).to(device)
    model.unet.to(memory_format=torch.channels_last)  # a fifth faster on CPU
    optimizer = torch.optim.AdamW(parameter_groups(model), betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    reader = reader and reader.to(device)
    alphas = build_scheduler().alphas_cumprod.to(device)
    face = face_weights(z.shape[-1], device)
    batch = ranks.share(BATCH)

    def loss_of_batch(model: TextToLatent, randomness: Randomness) -> dict[str, Tensor]:
        rows = np.sort(randomness.numpy.integers(len(portraits), size=batch))
        texts, said = portraits.captions(rows, randomness.numpy)
        empty = randomness.numpy.random(batch) < EMPTY_CAPTIONS
        texts = ["" if none else text for none, text in zip(empty, texts, strict=True)]
        t = spread_timesteps(batch, len(alphas), randomness.torch)
        eps = torch.randn(batch, *z.shape[1:], generator=randomness.torch, device=device)
        flat = torch.randn(batch, z.shape[1], 1, 1, generator=randomness.torch, device=device)
        eps = eps + NOISE_OFFSET * flat
        a = alphas[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * z[torch.from_numpy(rows)].to(device) + (1 - a).sqrt() * eps
        predicted = model(noisy, t, tokens(tokenizer, texts, device)["input_ids"])
        error = ((predicted.float() - eps).square() * face).mean(dim=(1, 2, 3))
        loss = (error * loss_weights(a.flatten())).mean()
        if reader is None:
            return {"loss": loss, "mse": error.detach().mean()}
        clean = (noisy - (1 - a).sqrt() * predicted.float()) / a.sqrt()
        asked = torch.from_numpy(said).to(device)
        asked[torch.from_numpy(empty).to(device) | (a.flatten() < READABLE)] = -1
        drawn = attribute_loss(reader(clean), asked)
        return {"loss": loss + LABEL_WEIGHT * drawn, "mse": error.detach().mean(), "drawn": drawn.detach()}

    return train(folder, model, optimizer, loss_of_batch, budget, seed=seed, device=device, on_save=on_save)


def parameter_groups(model: TextToLatent) -> list[dict[str, Any]]:
    """For the optimizer: the UNet without its cross-attention, its cross-attention, the text encoder."""
    words = [weight for name, weight in model.unet.named_parameters() if ".attn2." in name]
    rest = [weight for name, weight in model.unet.named_parameters() if ".attn2." not in name]
    return [
        {"params": rest, "lr": LEARNING_RATE},
        {"params": words, "lr": LEARNING_RATE * WORDS_RATE},
        {"params": list(model.text_encoder.parameters()), "lr": LEARNING_RATE * TEXT_RATE},
    ]


@torch.no_grad()
def encode_all(portraits: Portraits, vae: AutoencoderKL, device: str) -> Tensor:
    """Posterior means x scaling_factor of all portraits, (N,4,16,16): encoded once."""
    chunks = np.array_split(np.arange(len(portraits)), max(1, len(portraits) // 256))
    z = torch.zeros(
        len(portraits), 4, *(vae.encode(portraits.batch(chunks[0][:1], device)).latent_dist.mean.shape[2:])
    )
    for rows in chunks[ranks.rank() :: ranks.count()]:
        z[rows] = vae.encode(portraits.batch(rows, device)).latent_dist.mean.cpu()
    return ranks.filled(z) * vae.config.scaling_factor


def loss_weights(alpha_t: Tensor) -> Tensor:
    """Min-SNR 5 (arXiv 2303.09556) on the error of v = sqrt(A) eps - sqrt(1-A) x0, said for the error of eps.

    Where the noise is strong the words decide what is drawn, but an eps that ignores them errs by little
    there: weighted evenly in eps, the model learns textures for hours before it learns to read.
    """
    snr = alpha_t / (1 - alpha_t)
    return (snr.clamp(max=MIN_SNR) / snr * (1 + 1 / snr)).clamp(max=MOST_WEIGHT)


def spread_timesteps(count: int, total: int, generator: torch.Generator) -> Tensor:
    """One timestep from each of `count` equal parts of 0..total-1, in random order: less noise in the loss.

    The order matters: the portraits of a batch are sorted.
    """
    device = generator.device
    parts = torch.randperm(count, generator=generator, device=device)
    offset = torch.rand(count, generator=generator, device=device)
    return ((parts + offset) / count * total).long().clamp(max=total - 1)
