"""Write trained toon models as a bundle: float16 safetensors in the hub's layout, and their manifest."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn
from transformers import CLIPModel, CLIPTokenizer, PreTrainedModel

from textedit_core.models.towers import long_names
from textedit_core.toon.captions import vocabulary
from textedit_core.toon.classifier import load_classifier
from textedit_core.training import upscaler
from textedit_core.training.clip import MEAN, STD
from textedit_core.training.diffusion import build_scheduler

LICENSE = (
    "weights: MIT, trained by this repository; portraits rendered from Avataaars by Pablo Stanley "
    "(free for personal and commercial use)"
)
DESCRIPTION = (
    "Small models of the real classes, trained on portraits that this repository renders with DiceBear's "
    "avataaars. They know the words of vocabulary.txt and nothing else of the world. The StyleGAN2 "
    "generator is no GAN here: it is distilled from the renderer."
)


# Class and library of every part of a pipeline, for diffusers; None is a part that it is to do without.
STABLE_DIFFUSION = {
    "feature_extractor": None,
    "image_encoder": None,
    "safety_checker": None,
    "scheduler": ("diffusers", "DDIMScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}
UPSCALER = {name: part for name, part in STABLE_DIFFUSION.items() if name != "image_encoder"} | {
    "low_res_scheduler": ("diffusers", "DDPMScheduler"),
    "watermarker": None,
}
PAINT_BY_EXAMPLE = {
    "feature_extractor": ("transformers", "CLIPImageProcessor"),
    "image_encoder": ("paint_by_example", "PaintByExampleImageEncoder"),
    "safety_checker": None,
    "scheduler": ("diffusers", "DDIMScheduler"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
}


def write_diffusion(folder: Path, tokenizer: CLIPTokenizer, text_encoder: Any, vae: Any, unet: Any) -> None:
    """The folder of a Stable Diffusion repository, which diffusers' StableDiffusionPipeline reads."""
    build_scheduler().save_pretrained(folder / "scheduler")
    _write_by_text(folder, tokenizer, text_encoder, vae, unet)
    write_model_index(folder, "StableDiffusionPipeline", STABLE_DIFFUSION)


def _write_by_text(folder: Path, tokenizer: CLIPTokenizer, text_encoder: Any, vae: Any, unet: Any) -> None:
    """What every model that draws under a text has: its tokenizer and its networks."""
    tokenizer.save_pretrained(folder / "tokenizer")
    for name, module in (("text_encoder", text_encoder), ("vae", vae), ("unet", unet)):
        _save_half(module, folder / name)


def write_clip(folder: Path, tokenizer: CLIPTokenizer, clip: CLIPModel) -> None:
    """A CLIP repository."""
    tokenizer.save_pretrained(folder)
    _save_half(clip, folder)
    _write_preprocessor(folder, clip.config.vision_config.image_size)


def _write_preprocessor(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": size},
        "crop_size": {"height": size, "width": size}, "image_mean": list(MEAN), "image_std": list(STD),
        "resample": 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=1))


def write_paint_by_example(folder: Path, unet: Any, encoder: Any, vae: Any) -> None:
    """The folder of Paint by Example's repository, which diffusers' PaintByExamplePipeline reads.

    The autoencoder is written here too, though it may be that of another part: without it the folder is no
    whole pipeline.
    """
    build_scheduler().save_pretrained(folder / "scheduler")
    for name, module in (("unet", unet), ("image_encoder", encoder), ("vae", vae)):
        _save_half(module, folder / name)
    _write_preprocessor(folder / "feature_extractor", encoder.config.image_size)
    write_model_index(folder, "PaintByExamplePipeline", PAINT_BY_EXAMPLE)


def write_upscaler(folder: Path, tokenizer: CLIPTokenizer, text_encoder: Any, vae: Any, unet: Any) -> None:
    """The folder of Stable Diffusion's x4 upscaler, which diffusers' StableDiffusionUpscalePipeline reads."""
    upscaler.build_scheduler().save_pretrained(folder / "scheduler")
    upscaler.build_low_res().save_pretrained(folder / "low_res_scheduler")
    _write_by_text(folder, tokenizer, text_encoder, vae, unet)
    write_model_index(folder, "StableDiffusionUpscalePipeline", UPSCALER)


def drop_copies(folder: Path, original: Path) -> None:
    """Drop the text model, and the autoencoder, of `folder` if byte for byte those of `original`, which serve
    both. What is left is no whole pipeline of diffusers, so its index goes too."""
    for parts in (("tokenizer", "text_encoder"), ("vae",)):
        if all(_files(folder / part) == _files(original / part) for part in parts):
            for part in parts:
                shutil.rmtree(folder / part)
            (folder / "model_index.json").unlink(missing_ok=True)


def _files(folder: Path) -> dict[str, bytes]:
    """What is in every file of a folder, by its path from there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_model_index(folder: Path, pipeline: str, parts: Mapping[str, tuple[str, str] | None]) -> None:
    """model_index.json: what `DiffusionPipeline.from_pretrained` needs to read the folder as a pipeline."""
    index = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__}
    index |= {"requires_safety_checker": False}  # none is written, and portraits need none
    index |= {name: list(part or (None, None)) for name, part in parts.items()}
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_classifier(folder: Path, classifier: nn.Module) -> None:
    """The attribute classifier of the tests and benchmarks."""
    folder.mkdir(parents=True, exist_ok=True)
    _save_tensors(folder / "model.safetensors", classifier.state_dict())


def write_network(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """A part of our own: config.json, mostly the arguments of a class, and its tensors in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    _save_tensors(folder / "model.safetensors", tensors)


def write_mapper(path: Path, weights: Mapping[str, torch.Tensor], prompt: str) -> None:
    """A StyleCLIP mapper as one file that knows its prompt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _save_tensors(path, weights, {"prompt": prompt})


def write_manifest(folder: Path, **facts: Any) -> None:
    """manifest.json with the sha256 of every file but the model card and the presets, and vocabulary.txt.

    facts: size, scores, seed...
    """
    (folder / "vocabulary.txt").write_text("\n".join(vocabulary()) + "\n")
    own = {"manifest.json", "presets.json", "README.md"}
    files = sorted(p for p in folder.rglob("*") if p.is_file() and str(p.relative_to(folder)) not in own)
    manifest = {
        "name": "toon", "description": DESCRIPTION, "license": LICENSE, "commit": _commit(), **facts,
        "files": {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def replace(made: Path, folder: Path) -> None:
    """Move what a bundle holds to `folder`, in place of what has the same name there; the rest stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(made.iterdir()):
        if (folder / path.name).is_dir():
            shutil.rmtree(folder / path.name)
        shutil.move(path, folder / path.name)
    made.rmdir()


def adoptable(folder: Path, size: int) -> dict[str, nn.Module]:
    """Part -> the module to go on training: the attribute classifier, if the bundle holds it."""
    held = (folder / "classifier" / "model.safetensors").exists()
    return {"classifier": load_classifier(folder, size)} if held else {}


def _save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    from safetensors.torch import save_file

    half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    save_file({k: v.detach().clone().contiguous() for k, v in half.items()}, path, metadata)


def _save_half(module: Any, folder: Path) -> None:
    """Save in float16 without touching the module, a CLIP tower under the names of published checkpoints."""
    import copy

    if folder.exists() and folder.name in ("text_encoder", "vae", "unet"):
        shutil.rmtree(folder)
    half = copy.deepcopy(module).to(torch.float16)
    # Git and a Space take files of up to 10 MB without further settings.
    if not isinstance(module, PreTrainedModel):
        half.save_pretrained(folder, max_shard_size="9MB")
        return
    state = long_names(type(module), half.state_dict())
    half.save_pretrained(folder, max_shard_size="9MB", state_dict=state, save_original_format=False)
    run_in_float32(folder / "config.json")


def run_in_float32(config: Path) -> None:
    """Have transformers make a float32 model of a float16 file, as diffusers does with its own parts."""
    facts = json.loads(config.read_text()) | {"dtype": "float32"}
    config.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def _commit() -> str:
    try:
        run = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return run.stdout.strip()
