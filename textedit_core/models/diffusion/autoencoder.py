"""The autoencoder of a latent diffusion model: images to scaled latents and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

DECODE_ROWS = 4  # the decoder's activations at 512 px take about 2.5 GB a row


def latent_scale(vae: AutoencoderKL) -> int:
    """Pixels per latent along a side: 8 for Stable Diffusion."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def encode(vae: AutoencoderKL, image: Tensor) -> Tensor:
    """The posterior mean of (B,3,H,W) images in [-1,1], times the scaling factor: float32 (B,4,h,w).

    Raises ValueError unless the sides are multiples of `latent_scale`.
    """
    scale = latent_scale(vae)
    if image.ndim != 4 or image.shape[1] != 3 or image.shape[2] % scale or image.shape[3] % scale:
        raise ValueError(
            f"An image must be (B,3,H,W), its sides multiples of {scale}, not {tuple(image.shape)}."
        )
    posterior = vae.encode(image.to(vae.encoder.conv_in.weight)).latent_dist
    return posterior.mean.float() * vae.config.scaling_factor


def decode(vae: AutoencoderKL, z: Tensor, rows: int = DECODE_ROWS, tiled: bool = False) -> Tensor:
    """(B,4,h,w) latents -> (B,3,H,W) float32 images, about [-1,1] but not clamped.

    rows: how many are decoded at once.  tiled: decode latents of more places than those it was trained on in
    tiles that overlap.
    """
    z = (z / vae.config.scaling_factor).to(vae.decoder.conv_in.weight)
    native = (vae.config.sample_size // latent_scale(vae)) ** 2
    if tiled and z.shape[2] * z.shape[3] > native:
        return torch.cat([vae.tiled_decode(row, return_dict=False)[0].float() for row in z.split(1)])
    return torch.cat([vae.decode(some).sample.float() for some in z.split(rows)])
