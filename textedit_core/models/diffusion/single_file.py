"""Stable Diffusion in a single file (.safetensors or .ckpt), in the layout of its first programs."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textedit_core.building import ONE_AT_A_TIME
from textedit_core.models import checkpoint, towers
from textedit_core.models.diffusion import families, published
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.source import Source
from textedit_core.noise import noise

SUFFIXES = (".safetensors", ".ckpt")
UNET = "model.diffusion_model."
TEXTS = {  # family -> part -> what stands before its names
    "sd1": {"text_encoder": "cond_stage_model.transformer."},
    "sd2": {"text_encoder": "cond_stage_model.model."},
    "sdxl": {
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
}
TOKENIZER = Source(  # the one that all three families share but for what it pads with
    "openai/clip-vit-large-patch14", weights=("vocab.json", "merges.txt"), size_gb=0.002, license="MIT"
)
# How a model of SD 2.x is asked for what it predicts: latents of noise by their seeds, their side, and how
# like it (a cosine) the answer of a model of noise must be, and that of a velocity may be.
PROBES, PROBE_SIDE, LIKE_NOISE, UNLIKE_NOISE = (0, 1, 2, 3), 16, 0.9, 0.7
_CROSS = re.compile(re.escape(UNET) + r"input_blocks\.\d+\.1\.transformer_blocks\.0\.attn2\.to_k\.weight")


def is_file(name: str | Path) -> bool:
    """Whether this is the path of a file that may be such a model."""
    try:
        path = Path(name).expanduser()
        return path.suffix.lower() in SUFFIXES and path.is_file()
    except (OSError, ValueError, RuntimeError):  # no path at all, or the home of nobody
        return False


def family_of(shapes: Mapping[str, tuple[int, ...]], where: str) -> str:
    """ "sd1", "sd2" or "sdxl", by the names and shapes of the tensors of a file.

    Raises ValueError, one sentence, for what is no text-to-image model of one of them.
    """
    found = next((name for name in shapes if _CROSS.fullmatch(name)), None)
    first = shapes.get(f"{UNET}input_blocks.0.0.weight")
    if found is None or first is None:
        raise ValueError(f"{where} is {_other_file(shapes)}: {families.INSTEAD}.")
    config: dict[str, Any] = {"in_channels": first[1], "cross_attention_dim": shapes[found][1]}
    if f"{UNET}label_emb.0.0.weight" in shapes:
        config["addition_embed_type"] = "text_time"
    if f"{UNET}time_embed.cond_proj.weight" in shapes:
        config["time_cond_proj_dim"] = shapes[f"{UNET}time_embed.cond_proj.weight"][1]
    families.check(config, where)
    family = published.WIDTHS.get(shapes[found][1])
    if family is None or families.is_xl(config) != (family == "sdxl"):
        raise ValueError(f"{where} is a latent diffusion model of no known family: {families.INSTEAD}.")
    return family


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a file; of a .safetensors only its header is read. ValueError."""
    if path.suffix.lower() != ".safetensors":
        return {name: tuple(value.shape) for name, value in checkpoint.part(_read(path), "").items()}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as held:
            return {name: tuple(held.get_slice(name).get_shape()) for name in held.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"The weights in {path} could not be read: {checkpoint.reason(error)}.") from error


def load(source: Source, dtype: torch.dtype) -> LatentDiffusion:
    """Load the single file that a source names, to the CPU.

    The tokenizer is that of a folder tokenizer/ beside it, else CLIP's of the hub.

    Raises ValueError, one sentence, for a damaged file, for one of another kind, and for one of SD 2.x that
    does not say whether it predicts noise or velocity.
    """
    path = Path(source.repo) / source.weights[0]
    family = family_of(shapes_of(path), str(path))
    told = _told(path)
    # Those of OpenCLIP pad with token 0, "!".
    pads = {"sd1": ({},), "sd2": ({"pad_token": "!"},), "sdxl": ({}, {"pad_token": "!"})}[family]
    words = tokenizer_source(path)
    tokenizers = [words.tokenizer(**pad) for pad in pads]
    state = checkpoint.part(_read(path), "")
    xl = family == "sdxl"
    of_vae = torch.float32 if xl and dtype is torch.float16 else dtype
    parts: dict[str, Any] = {
        part: _network(part, family, state, str(path), of_vae if part == "vae" else dtype)
        for part in published.CONFIGS[family]
    }
    model = LatentDiffusion(
        **parts,
        tokenizer=tokenizers[0],
        schedule=Schedule.from_config(published.SCHEDULER | told),
        fingerprint=f"{source.fingerprint()}-{dtype}",
        tokenizer_2=tokenizers[1] if xl else None,
        zeros_for_empty=xl,
    )
    return _second_generation(model, path, told) if family == "sd2" else model


def _read(path: Path) -> dict[str, Any]:
    return checkpoint.read(path)


def _network(
    part: str, family: str, state: Mapping[str, Tensor], where: str, dtype: torch.dtype
) -> nn.Module:
    """One network of a file, frozen and in eval mode. Raises ValueError that names what is wrong in it."""
    from accelerate import init_empty_weights
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = published.CONFIGS[family][part]
    # No time and no random number for what is replaced.
    with ONE_AT_A_TIME, init_empty_weights(include_buffers=False):
        if part == "unet":
            network: nn.Module = UNet2DConditionModel.from_config(config)
        elif part == "vae":
            network = AutoencoderKL.from_config(config)
        else:
            cls = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
            network = cls(CLIPTextConfig(**config))
    try:
        if part == "unet":
            found = convert_ldm_unet_checkpoint(dict(state), network.config)
        elif part == "vae":
            found = convert_ldm_vae_checkpoint(dict(state), network.config)
        else:
            found = _text(type(network), config, state, TEXTS[family][part])
    except (KeyError, IndexError, AttributeError) as error:  # the converters ask for what is not there
        raise ValueError(f"The weights of {part} in {where} have missing tensors: {error}.") from error
    found = {name: value.to(dtype) for name, value in found.items()}
    checkpoint.fill(network, found, f"{part} in {where}", assign=True)
    return network.eval().requires_grad_(False)


def _text(
    cls: type, config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """The weights of a text encoder: transformers' own names, or those of OpenCLIP."""
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if prefix.endswith(".transformer."):
        own.pop("text_model.embeddings.position_ids", None)
        return towers.installed_names(cls, own)
    found: dict[str, Tensor] = {}
    for name, value in own.items():
        if name in ("logit_scale", "attn_mask"):
            continue
        layer = re.match(r"transformer\.resblocks\.(\d+)\.", name)
        if layer and int(layer[1]) >= config["num_hidden_layers"]:
            continue  # SD 2.x reads the states before the last layer, which is not kept
        if name == "text_projection":
            found["text_projection.weight"] = value.T.contiguous()
            continue
        for old, new in OPEN_CLIP.items():
            name = name.replace(old, new)
        if ".in_proj_" in name:
            start, kind = name.split(".in_proj_")
            for each, rows in zip("qkv", value.chunk(3), strict=True):
                found[f"text_model.{start}.{each}_proj.{kind}"] = rows.contiguous()
        else:
            found[f"text_model.{name}"] = value
    if cls.__name__ == "CLIPTextModel":
        found.pop("text_projection.weight", None)
    return towers.installed_names(cls, found)


OPEN_CLIP = {  # OpenCLIP's names -> those of transformers
    "transformer.resblocks.": "encoder.layers.",
    ".attn.": ".self_attn.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    "ln_final.": "final_layer_norm.",
    "token_embedding.": "embeddings.token_embedding.",
    "positional_embedding": "embeddings.position_embedding.weight",
}


def _told(path: Path) -> dict[str, Any]:
    """What a file says of its prediction: in itself, in its header, or in NAME.yaml beside it; {} if nothing.

    A .yaml that does not name it is that of a model of noise, as the first programs have it.
    """
    told = checkpoint.header(path) if path.suffix.lower() == ".safetensors" else {}
    config = path.with_suffix(".yaml")
    yaml = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    kind = re.search(r"^\s*parameterization:\s*[\"']?(\w+)", yaml, re.MULTILINE)
    named = told.get("modelspec.prediction_type") or (kind[1] if kind else "")
    shapes = shapes_of(path)
    if "v_pred" in shapes or named in ("v", "v_prediction", "velocity"):
        zero = "ztsnr" in shapes
        more = {"rescale_betas_zero_snr": zero, "timestep_spacing": "trailing" if zero else "leading"}
        return {"prediction_type": "v_prediction", **more}
    return {"prediction_type": "epsilon"} if named or yaml else {}


def _second_generation(model: LatentDiffusion, path: Path, told: Mapping[str, Any]) -> LatentDiffusion:
    """A model of SD 2.x with what was published in two kinds: its prediction, and with that its size.

    Raises ValueError for one that neither says what it predicts nor answers like one of the two.
    """
    if not told:
        kind = prediction_of(model)
        if not kind:
            raise ValueError(
                f"{path} is Stable Diffusion 2.x and does not say whether it predicts noise or velocity, and "
                f"its answers do not tell: put {path.with_suffix('.yaml').name} beside it, with the line "
                "parameterization: v, or parameterization: eps."
            )
        told = {"prediction_type": kind}
        model = dataclasses.replace(model, schedule=Schedule.from_config(published.SCHEDULER | told))
    if told["prediction_type"] == "v_prediction":
        model.unet.register_to_config(sample_size=published.SIDE_OF_VELOCITY)
    return model


@torch.no_grad()
def prediction_of(model: LatentDiffusion) -> str:
    """ "epsilon" or "v_prediction", by what the UNet answers to noise alone; "" where that is not clear.

    At the last timestep next to nothing of a picture is left, and a model of noise gives back what it is
    given: the cosine between the two is above 0.99 (0.999 for the toon model). A velocity is there the
    picture, negated, which has little to do with the noise.
    """
    unet = model.unet
    if model.dtype is torch.float16:  # in which CPUs take fifty times as long for a convolution
        unet = copy.deepcopy(unet).to(torch.bfloat16)
    z = noise((len(PROBES), families.CHANNELS, PROBE_SIDE, PROBE_SIDE), PROBES, dtype=unet.dtype)
    tokens = model.encode_text([""]).expand(len(z)).tokens.to(unet.dtype)
    answer = unet(z, model.schedule.train_steps - 1, encoder_hidden_states=tokens).sample
    likeness = torch.cosine_similarity(answer.float().flatten(), z.float().flatten(), dim=0).item()
    if likeness > LIKE_NOISE:
        return "epsilon"
    return "v_prediction" if answer.any() and abs(likeness) < UNLIKE_NOISE else ""


def tokenizer_source(path: str | Path) -> Source:
    """Where the tokenizer of a file comes from: a folder tokenizer/ beside it, else CLIP's of the hub."""
    beside = Path(path).expanduser().parent / "tokenizer"
    return Source(str(beside)) if beside.is_dir() else TOKENIZER


def _other_file(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What a file without such a UNet seems to be."""
    if any("lora" in name for name in shapes):
        return "a LoRA, not a model"
    if any("joint_blocks" in name or "double_blocks" in name for name in shapes):
        return "a model with a transformer in place of a UNet (as Stable Diffusion 3 and Flux have)"
    if any(name.startswith("down_blocks.") for name in shapes):
        return "one part of a model in diffusers' layout: name its whole folder"
    return "no Stable Diffusion in a single file"
