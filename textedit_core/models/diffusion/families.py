"""The families of Stable Diffusion, told by the configuration of their UNet; all other models are refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

CHANNELS = 4  # of the latents, and of the input of a UNet that is given nothing beside them
# What a UNet with more input channels is given beside the latents.
OTHER_CHANNELS = {
    9: "an inpainting model",
    8: "a model that edits by instructions (InstructPix2Pix)",
    7: "an upscaler",
    5: "a depth-to-image model",
}
REFINER_WIDTH = 1280  # of the text that SDXL's refiner reads: its second text encoder's alone
TITLES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "Stable Diffusion XL"}
INSTEAD = "choose a text-to-image model of Stable Diffusion"


def is_xl(unet: Mapping[str, Any]) -> bool:
    """Whether a UNet's configuration is that of SDXL (arXiv 2307.01952): a pooled text and sizes beside."""
    return unet.get("addition_embed_type") == "text_time"


def title(unet: Mapping[str, Any]) -> str:
    """What the family is called, by the width of the text that the UNet reads."""
    return TITLES.get(unet.get("cross_attention_dim", 0), "a latent diffusion model of its own kind")


def check(unet: Mapping[str, Any], where: str, index: Mapping[str, Any] | None = None) -> None:
    """Raise ValueError, one sentence that names what it is, unless this is a text-to-image UNet.

    unet: its configuration (unet/config.json).  where: the folder, file or repository, for the sentence.
    index: model_index.json, where there is one.
    """
    if found := _other_kind(unet, index or {}):
        raise ValueError(f"{where} is {found}: {INSTEAD}.")


def check_parts(folders: Collection[str], where: str) -> None:
    """Raise ValueError unless a repository with these folders may be a model with a UNet."""
    if "unet" in folders:
        return
    if "transformer" in folders:
        raise ValueError(
            f"{where} has a transformer in place of a UNet (as Stable Diffusion 3 and Flux have): {INSTEAD}."
        )
    raise ValueError(f"{where} is no latent diffusion model, for it has no unet/: {INSTEAD}.")


def presets(name: str) -> dict[str, dict[str, Any]]:
    """Knob values by method for the models of this name: those of Turbo models, {} for all others.

    Turbo models (arXiv 2311.17042) sample in one to four steps and were trained without guidance. Their
    configurations do not tell them from others; their names do.
    """
    if "turbo" not in name.lower():
        return {}
    few: dict[str, Any] = {"steps": 4, "guidance_scale": 1.0}
    return {
        "sdedit": few | {"strength": 0.5},
        "imagic": few,
        "prompt_to_prompt": few | {"fit_guidance_scale": 1.0},
    }


def _other_kind(unet: Mapping[str, Any], index: Mapping[str, Any]) -> str:
    """What a UNet is if it is not text-to-image; "" if it is."""
    name, channels = unet.get("_class_name", "UNet2DConditionModel"), unet.get("in_channels", CHANNELS)
    if name != "UNet2DConditionModel":
        return f"a model with a {name}"
    if channels != CHANNELS:
        kind = OTHER_CHANNELS.get(channels, "a model of another kind")
        return f"{kind} (its UNet takes {channels} channels, not {CHANNELS})"
    if unet.get("time_cond_proj_dim") is not None:
        return "a latent consistency model (its UNet is told the guidance: time_cond_proj_dim is set)"
    if is_xl(unet) and (unet.get("cross_attention_dim") == REFINER_WIDTH or _is_refiner(index)):
        return "the refiner of SDXL (it finishes pictures and reads one text encoder alone)"
    if unet.get("num_class_embeds") is not None:
        return "an upscaler (its UNet is told a noise level: num_class_embeds is set)"
    if unet.get("class_embed_type") is not None:
        return "a model that varies pictures (its UNet is told a class: class_embed_type is set)"
    if unet.get("encoder_hid_dim_type") is not None:
        return "a model with another encoder (encoder_hid_dim_type is set)"
    if unet.get("addition_embed_type") not in (None, "text_time"):
        return f"a model of another kind (addition_embed_type is {unet['addition_embed_type']!r})"
    if "text_encoder" in index and not index["text_encoder"][0] and index.get("image_encoder", [None])[0]:
        return "a model that varies pictures (it has an image encoder and no text encoder)"
    return ""


def _is_refiner(index: Mapping[str, Any]) -> bool:
    return bool(index.get("requires_aesthetics_score"))
