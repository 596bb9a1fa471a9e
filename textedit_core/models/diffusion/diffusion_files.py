"""The files of a text-to-image model, as a `LatentDiffusion`: which family they are, and what each has."""

from __future__ import annotations

from pathlib import Path

import torch

from textedit_core.models.diffusion import families, single_file
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.source import Source

WEIGHTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")
WEIGHTS_XL = (*WEIGHTS, "text_encoder_2/model")


def load(source: Source, dtype: torch.dtype) -> LatentDiffusion:
    """Load the model of a folder or a hub repository laid out as diffusers has it, or of a single file.

    It comes on the CPU; `placing.placed` puts it on a device.

    Raises ValueError, one sentence, where it is missing, incomplete, not reachable or no text-to-image model;
    that is seen before any weight is read.
    """
    if source.weights and single_file.is_file(Path(source.repo) / source.weights[0]):
        return single_file.load(source, dtype)
    config, index = source.json("unet/config.json"), source.json("model_index.json", optional=True)
    families.check(config, source.repo, index)
    schedule = Schedule.from_config(source.json("scheduler/scheduler_config.json"))
    xl = families.is_xl(config)

    # These take seconds to import: what is wrong with the model is said before.
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    of_vae = torch.float32 if xl and _overflows(source, dtype) else dtype
    return LatentDiffusion(
        unet=source.network(UNet2DConditionModel, "unet", dtype),
        vae=source.network(AutoencoderKL, "vae", of_vae),
        text_encoder=source.network(CLIPTextModel, "text_encoder", dtype),
        tokenizer=source.tokenizer("tokenizer"),
        schedule=schedule,
        fingerprint=f"{source.fingerprint()}-{dtype}",
        text_encoder_2=(source.network(CLIPTextModelWithProjection, "text_encoder_2", dtype) if xl else None),
        tokenizer_2=source.tokenizer("tokenizer_2") if xl else None,
        zeros_for_empty=xl and bool(index.get("force_zeros_for_empty_prompt", True)),
    )


def _overflows(source: Source, dtype: torch.dtype) -> bool:
    """Whether SDXL's autoencoder would give infinities in this precision, as its configuration says."""
    return dtype is torch.float16 and bool(source.json("vae/config.json").get("force_upcast", True))
