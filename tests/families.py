"""Repositories of tiny random models of each family of Stable Diffusion, laid out as diffusers has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.bundles import MAX_LENGTH, WORDS, stir, tiny_vae
from textedit_core.training.tokenizer import build_tokenizer

SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
WIDTH, WIDTH_2 = 32, 48  # of the two text encoders
POOLED, SIZES = 24, 8  # of the pooled text, and of the embedding of each of six numbers
PIPELINES = {
    "sd1": "StableDiffusionPipeline",
    "sd2": "StableDiffusionPipeline",
    "sd2_v": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
}
FAMILIES = tuple(PIPELINES)


def write_tiny_family(folder: Path, family: str, size: int = 32, **unet: Any) -> Path:
    """Write a repository of one of FAMILIES for pictures of `size` pixels, float32; `unet` goes to its UNet.

    "sd2_v" predicts velocities, with zero terminal SNR and trailing timesteps.
    """
    folder, xl = Path(folder), family == "sdxl"
    tokenizer = build_tokenizer(WORDS, folder / "tokenizer", MAX_LENGTH)
    parts: dict[str, torch.nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts["unet"] = tiny_unet(family, size // 4, **unet)
        parts["vae"] = tiny_vae(size)
        parts["text_encoder"] = CLIPTextModel(text_config(tokenizer, WIDTH))
        if xl:
            parts["text_encoder_2"] = CLIPTextModelWithProjection(text_config(tokenizer, WIDTH_2))
        for name, module in parts.items():
            stir(module)
            module.save_pretrained(folder / name)
    if family.startswith("sd2"):
        padded_with_zero(folder / "tokenizer")
    if xl:
        # The same one: of equally good merges, learning takes now this and now that one first.
        shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
        padded_with_zero(folder / "tokenizer_2")
    velocity = family == "sd2_v"
    DDIMScheduler(
        **SCHEDULER,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction" if velocity else "epsilon",
        timestep_spacing="trailing" if velocity else "leading",
        rescale_betas_zero_snr=velocity,
    ).save_pretrained(folder / "scheduler")
    index = {"_class_name": PIPELINES[family], **({"force_zeros_for_empty_prompt": True} if xl else {})}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def tiny_unet(family: str, latent_size: int, **options: Any) -> UNet2DConditionModel:
    attends, plain = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
    first = plain if family == "sdxl" else attends
    more: dict[str, Any] = {"attention_head_dim": 2, "cross_attention_dim": WIDTH}
    if family.startswith("sd2"):
        more |= {"attention_head_dim": (2, 4), "use_linear_projection": True}
    if family == "sdxl":
        more |= {
            "attention_head_dim": (2, 4),
            "use_linear_projection": True,
            "cross_attention_dim": WIDTH + WIDTH_2,
            "transformer_layers_per_block": (1, 2),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZES,
            "projection_class_embeddings_input_dim": POOLED + 6 * SIZES,
        }
    return UNet2DConditionModel(
        **{
            "sample_size": latent_size,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "down_block_types": (first[0], attends[0]),
            "up_block_types": (attends[1], first[1]),
            "norm_num_groups": 8,
            **more,
            **options,
        }
    )


def text_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=0,
        projection_dim=POOLED,
    )


def padded_with_zero(folder: Path) -> None:
    """Pad with token 0, "!", as OpenCLIP does and SD 2.x with it."""
    CLIPTokenizer.from_pretrained(folder, pad_token="!").save_pretrained(folder)


def vae_of(folder: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(folder, subfolder="vae")
