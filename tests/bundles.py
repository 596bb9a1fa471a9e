"""A complete bundle of tiny random models, laid out like the shipped one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
)

from tests.style_bundle import write_tiny_style
from textedit_core.models.diffusion.exemplar import ExemplarEncoder
from textedit_core.training.tokenizer import build_tokenizer

SENTENCE = "a portrait photo of the man and woman person with in red green blue hat glasses smiling sad"
WORDS = SENTENCE.split()
MAX_LENGTH = 32


def write_tiny_bundle(folder: Path, size: int = 32, seed: int = 0) -> Path:
    """Write all folders of a bundle, manifest.json, presets.json and vocabulary.txt.

    The models are for pictures of `size` pixels. The weights are random but fixed by `seed`, float16 on disk,
    and large enough that the text and the timestep matter.
    """
    folder = Path(folder)
    tokenizer = build_tokenizer(WORDS, folder / "diffusion" / "tokenizer", MAX_LENGTH)
    build_tokenizer(WORDS, folder / "clip", MAX_LENGTH)
    text = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_LENGTH,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": 24,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = tiny_clip(text, size)
        parts = {
            "diffusion/unet": tiny_unet(size // 4),
            "diffusion/vae": tiny_vae(size),
            "diffusion/text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
            "clip": clip,
        }
        for name, module in parts.items():
            stir(module)
            module.half().save_pretrained(folder / name, safe_serialization=True)
        parts = {
            "paint_by_example/unet": tiny_unet(size // 4, in_channels=9),
            "paint_by_example/image_encoder": tiny_exemplar_encoder(size),
        }
        for name, module in parts.items():
            stir(module)
            module.half().save_pretrained(folder / name)
        write_tiny_style(folder, size, clip)
    for part in ("diffusion", "paint_by_example"):
        tiny_scheduler().save_pretrained(folder / part / "scheduler")
    for place in ("clip", "paint_by_example/feature_extractor"):
        CLIPImageProcessor(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ).save_pretrained(folder / place)
    write_descriptions(folder)
    return folder


def write_tiny_upscaler(folder: Path, seed: int = 0) -> Path:
    """Stable Diffusion's x4 upscaler as diffusers lays it out, tiny and random, in float32."""
    tokenizer = build_tokenizer(WORDS, folder / "tokenizer", MAX_LENGTH)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_LENGTH,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = tiny_unet(16, in_channels=7, num_class_embeds=1000)
        vae = tiny_vae(64)
        vae.register_to_config(scaling_factor=0.08333)
        parts = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(text)}
        for name, module in parts.items():
            stir(module)
            module.save_pretrained(folder / name, safe_serialization=True)
    scheduler = tiny_scheduler()
    scheduler.register_to_config(prediction_type="v_prediction")
    scheduler.save_pretrained(folder / "scheduler")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(folder / "low_res_scheduler")
    return folder


def tiny_unet(latent_size: int, in_channels: int = 4, **more: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=latent_size,
        in_channels=in_channels,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
        **more,
    )


def tiny_vae(size: int) -> AutoencoderKL:
    return AutoencoderKL(
        sample_size=size,
        block_out_channels=(8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
        scaling_factor=0.7,
    )


def tiny_clip(text: dict, size: int) -> CLIPModel:
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": size,
        "patch_size": size // 4,
        "projection_dim": 24,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))


def tiny_exemplar_encoder(size: int) -> ExemplarEncoder:
    """Nine layers of the tower, so that there are two blocks."""
    return ExemplarEncoder(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=9,
            num_attention_heads=2,
            image_size=size,
            patch_size=size // 4,
            projection_dim=32,
        )
    )


def tiny_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def stir(module: torch.nn.Module) -> None:
    """Give every weight matrix a spread of 1/sqrt(inputs), so that no path is near zero."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim >= 2:
                fan_in = 1 if "embedding" in name else weight[0].numel()
                weight.normal_(std=fan_in**-0.5)


def write_descriptions(folder: Path) -> None:
    """manifest.json with the sha256 of every file, presets.json, vocabulary.txt."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "name": "tiny",
        "size": 32,
        "license": "none: random numbers",
        "description": "Random models for tests",
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        },
    }
    presets = {
        "imagic": {"embedding_steps": 3, "finetune_steps": 3, "finetune_lr": 1e-3, "steps": 3},
        "sdedit": {"steps": 4},
        "projection": {"steps": 3},
        "paint_by_example": {"steps": 3},
        "text2live": {"steps": 3, "scales": 2, "channels": 8, "views": 2},
        "styleclip_optimizer": {"steps": 3, "keep_every": 1},
        "tedigan": {"steps": 3, "keep_every": 1},
        "styleclip_mapper": {"steps": 2},
        "styleclip_directions": {"samples": 1, "count": 10},
        "latent_directions": {"samples": 100},
        "styleflow": {"solver": "rk4", "steps": 4},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    (folder / "presets.json").write_text(json.dumps(presets, indent=1))
    (folder / "vocabulary.txt").write_text("\n".join(WORDS) + "\n")
