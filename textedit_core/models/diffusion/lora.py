"""LoRA (arXiv 2106.09685) on a text-to-image model: the layouts of files that people have, and how it acts.

A layer W of a UNet or a text encoder becomes W + w (alpha / r) B A, with A of r rows ("down") and B of r
columns ("up"), and w the weight a person gives. Here B A acts beside W: a hook adds it to what the layer
returns. No weight of the model is written, the copy that has the hooks shares them all, and half precision
does not round B A into W.

Layouts: those of diffusers and peft (unet.….lora_A.weight, ….lora.down.weight, ….to_q_lora.down.weight) and
that of kohya's scripts (lora_unet_…, lora_te_…, lora_te1_…, lora_te2_… with .lora_down.weight,
.lora_up.weight and .alpha), for SDXL under the names of its first program too. LyCORIS and DoRA are refused.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models import checkpoint
from textedit_core.models.diffusion import copies, families
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion

NETWORKS = ("unet", "text_encoder", "text_encoder_2")
# How a name ends -> what it is. What stands before is the layer.
_ROLES = (
    (r"\.lora_(?:down|A)(?:\.default)?\.weight", "down"),
    (r"\.lora_(?:up|B)(?:\.default)?\.weight", "up"),
    (r"(?:\.lora(?:_linear_layer)?|_lora)\.down\.weight", "down"),
    (r"(?:\.lora(?:_linear_layer)?|_lora)\.up\.weight", "up"),
    (r"(?:_lora)?\.alpha", "alpha"),
)
_OTHER_KINDS = (  # of LyCORIS (arXiv 2309.14859) and others, by what their names have
    (r"\.hada_", "LoHa"),
    (r"\.lokr_", "LoKr"),
    (r"\.(dora_scale|lora_magnitude_vector)", "DoRA"),
    (r"\.oft_", "OFT"),
    (r"\.lora_mid\.", "LoCon in three factors"),
    (r"\.on_input$", "IA3"),
    (r"\.(diff|diff_b|w_norm|b_norm)$", "whole weights"),
)
_TRANSFORMERS = r"^(transformer\.|lora_transformer_)|(double|single|joint|single_transformer)_blocks"
_FLAT = {"lora_unet_": "unet", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
_FLAT["lora_te_"] = "text_encoder"
_CROSS = re.compile(r"attn2_to_k$")
# A resnet's layers in diffusers -> in the layout of the first programs.
_RESNET = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks_0_0",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
    "conv_out": "out_2",
}


@dataclass(frozen=True, eq=False)
class Factors:
    """down (r,in,...) and up (out,r,...): B A of one layer, and the scale alpha / r."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA as its file has it, on the CPU.

    place: the file, for sentences.  layers: (network, layer) -> factors; a layer has "_" for every ".".
    """

    place: str
    layers: Mapping[tuple[str, str], Factors] = field(default_factory=dict)


def is_lora(names: Iterable[str]) -> bool:
    """Whether tensors of these names are those of a LoRA, of one that is read here or of another kind."""
    marks = [pattern for pattern, role in _ROLES if role != "alpha"] + [kind for kind, _ in _OTHER_KINDS]
    return any(re.search(mark, name) for name in names for mark in marks)


def read(state: Mapping[str, Any], place: str, path: Path | None = None) -> Lora:
    """The LoRA of a file's tensors.  path: of the file, beside and in which an alpha may be told.

    Raises ValueError, one sentence, for another kind of file, and for one that lacks a factor.
    """
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    _check_kind(tensors, place)
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    for name, value in tensors.items():
        network, layer, role = _placed(name, place)
        parts.setdefault((network, layer), {})[role] = value
    told = _told_alphas(path) if path is not None else {}
    layers = {}
    for key, found in parts.items():
        if "down" not in found or "up" not in found or len(found["down"]) != found["up"].shape[1]:
            raise ValueError(f"{place} is an incomplete LoRA: a factor of {key[1]} is missing or cut.")
        rank = len(found["down"])
        alpha = float(found["alpha"]) if "alpha" in found else None
        scale = alpha / rank if alpha is not None else _told_scale(told.get(key[0], {}), key[1], rank)
        layers[key] = Factors(found["down"], found["up"], scale)
    return Lora(place, layers)


def with_loras(model: LatentDiffusion, added: Sequence[tuple[Lora, float]]) -> LatentDiffusion:
    """The model with these LoRAs, each with its weight; the model itself is not changed, and shares all
    weights with what is returned. Its fingerprint stays the model's: whoever knows the files has to tell.

    Raises ValueError, one sentence, for a LoRA of another family; nothing is made then.
    """
    changed: dict[str, Any] = {}
    for number, (lora, weight) in enumerate(added):
        places = _found(model, lora)
        for network in {network for network, _ in places} if weight else ():
            changed.setdefault(network, copies.sharing(getattr(model, network)))
        for (network, name), factors in places.items() if weight else ():
            _attach(changed[network].get_submodule(name), factors, weight, f"lora_{number}")
    return dataclasses.replace(model, **changed) if changed else model


def _attach(layer: nn.Module, factors: Factors, weight: float, name: str) -> None:
    """Have a layer of a copy add B A. The factors are buffers of it, and go where the layer goes."""
    own: Tensor = layer.weight  # type: ignore[assignment]
    down = factors.down if own.ndim == factors.down.ndim else factors.down.flatten(1)
    up = factors.up if own.ndim == factors.up.ndim else factors.up.flatten(1)
    if own.ndim == 4:
        down, up = (one if one.ndim == 4 else one[:, :, None, None] for one in (down, up))
    scaled = (up.float() * (weight * factors.scale)).to(own.device, own.dtype)
    layer.register_buffer(f"{name}_down", down.to(own.device, own.dtype), persistent=False)
    layer.register_buffer(f"{name}_up", scaled, persistent=False)
    layer.register_forward_hook(_adding(name))


def _adding(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    """A hook that adds the product of a layer's own two buffers; it holds no tensor itself."""

    def hook(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        seen = given[0]
        down = layer.get_buffer(f"{name}_down").to(seen.dtype)  # a tuned copy may be of another type
        up = layer.get_buffer(f"{name}_up").to(seen.dtype)
        if isinstance(layer, nn.Conv2d):
            inner = F.conv2d(seen, down, None, layer.stride, layer.padding, layer.dilation)
            return output + F.conv2d(inner, up).to(output.dtype)
        return output + F.linear(F.linear(seen, down), up).to(output.dtype)

    return hook


def _found(model: LatentDiffusion, lora: Lora) -> dict[tuple[str, str], Factors]:
    """(network, name of the layer in it) -> factors. ValueError, one sentence, where one does not fit."""
    known = {network: _names(getattr(model, network)) for network in NETWORKS if getattr(model, network)}
    found: dict[tuple[str, str], Factors] = {}
    strange = []
    for (network, layer), factors in lora.layers.items():
        name = known.get(network, {}).get(layer)
        shape = tuple(getattr(model, network).get_submodule(name).weight.shape) if name else None
        if name is None or shape is None or not _fits(shape, factors):
            strange.append(layer)
        else:
            found[network, name] = factors
    if strange:
        raise ValueError(_misfit(model, lora, strange))
    return found


def _fits(shape: tuple[int, ...], factors: Factors) -> bool:
    """Whether B A has the shape of a layer's weight; a convolution of one pixel may be a matrix."""
    down, up = tuple(factors.down.shape[1:]), (factors.up.shape[0], *factors.up.shape[2:])
    whole = (*shape[:2], *(shape[2:] or (1, 1)))
    return (up[0], *(down if len(down) == 3 else (*down, 1, 1))) == whole and set(up[1:]) <= {1}


def _misfit(model: LatentDiffusion, lora: Lora, strange: list[str]) -> str:
    width = next((one.down.shape[1] for (_, name), one in lora.layers.items() if _CROSS.search(name)), 0)
    own = model.unet.config.cross_attention_dim
    if width in families.TITLES and width != own:
        return (
            f"{lora.place} is a LoRA of {families.TITLES[width]}, and the models it is added to are "
            f"{families.title(model.unet.config)}: choose one of the same family."
        )
    return (
        f"{lora.place} is a LoRA of other models: {len(strange)} of its {len(lora.layers)} layers are not in "
        f"these, or not of this size ({strange[0]})."
    )


def _names(network: nn.Module) -> dict[str, str]:
    """The names that a file may have for each layer, with "_" for every "." -> its name in the network."""
    found: dict[str, str] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            flat = name.replace(".", "_")
            found |= {flat: name, f"text_model_{flat}": name, flat.removeprefix("text_model_"): name}
            if hasattr(network, "down_blocks"):
                found[_first_name(name, network)] = name
    return found


def _first_name(name: str, unet: nn.Module) -> str:
    """The name of a UNet's layer in the layout of the first programs, with "_" for every "."."""
    rows = int(unet.config.layers_per_block) + 1  # type: ignore[union-attr, arg-type]
    inside = re.match(
        r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
    )
    middle = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    if inside:
        side, block, kind, layer, rest = inside[1], int(inside[2]), inside[3], int(inside[4]), inside[5]
        if kind == "downsamplers":
            return f"input_blocks_{(block + 1) * rows}_0_op"
        if kind == "upsamplers":
            attends = hasattr(unet.get_submodule(f"up_blocks.{block}"), "attentions")
            return f"output_blocks_{(block + 1) * rows - 1}_{1 + attends}_conv"
        start = (
            f"input_blocks_{1 + block * rows + layer}"
            if side == "down"
            else f"output_blocks_{block * rows + layer}"
        )
    elif middle:
        kind, rest = middle[1], middle[3]
        start = f"middle_block_{2 * int(middle[2])}" if kind == "resnets" else "middle_block"
        if kind == "resnets":
            return f"{start}_{_RESNET.get(rest, rest)}"
    else:
        return _OUTSIDE.get(name, name.replace(".", "_"))
    flat = _RESNET.get(rest, rest).replace(".", "_")
    return f"{start}_{int(kind == 'attentions')}_{flat}"


def _placed(name: str, place: str) -> tuple[str, str, str]:
    """A tensor's network, layer and role. ValueError, one sentence, for one that belongs to no LoRA."""
    for pattern, found in _ROLES:
        if match := re.search(f"{pattern}$", name):
            role = found
            start = name[: match.start()].removeprefix("base_model.model.")
            break
    else:
        raise ValueError(f"{place} is no LoRA that can be read: it has a tensor {name}.")
    for prefix, network in _FLAT.items():
        if start.startswith(prefix):
            return network, start.removeprefix(prefix), role
    network, _, rest = start.partition(".")
    if network not in NETWORKS:
        text = start.startswith(("text_model.", "encoder."))
        network, rest = "text_encoder" if text else "unet", start.removeprefix("diffusion_model.")
    rest = rest.replace(".processor.", ".")
    if network != "unet":  # as diffusers first named a text encoder's
        rest = re.sub(r"\.to_([qkv])$", r".\1_proj", re.sub(r"\.to_out$", ".out_proj", rest))
    rest = re.sub(r"\.to_out$", ".to_out.0", rest)
    return network, rest.replace(".", "_"), role


def _check_kind(names: Iterable[str], place: str) -> None:
    """ValueError, one sentence, for a file of another kind."""
    for name in names:
        for pattern, kind in _OTHER_KINDS:
            if re.search(pattern, name):
                raise ValueError(
                    f"{place} is no plain LoRA but {kind}, as LyCORIS and other programs train it, which is "
                    f"not read here: choose a LoRA."
                )
        if re.search(_TRANSFORMERS, name):
            raise ValueError(
                f"{place} is a LoRA of a model with a transformer in place of a UNet (as Stable Diffusion 3 "
                f"and Flux have): choose one of Stable Diffusion 1.x, 2.x or XL."
            )


def _told_alphas(path: Path) -> dict[str, dict[str, Any]]:
    """Network -> peft's options, where a file's header (diffusers) or adapter_config.json (peft) has them."""
    beside = path.parent / "adapter_config.json"
    try:
        if path.name.startswith("adapter_model") and beside.is_file():
            return dict.fromkeys(NETWORKS, json.loads(beside.read_text(encoding="utf-8")))
        if path.suffix != ".safetensors":
            return {}
        options = json.loads(checkpoint.header(path).get("lora_adapter_metadata", "{}"))
    except (OSError, ValueError):
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        network, _, option = name.partition(".")
        found.setdefault(network, {})[option] = value
    return found


def _told_scale(options: Mapping[str, Any], layer: str, rank: int) -> float:
    """alpha / r as peft's options tell it, 1 where nothing does: alpha is then r."""
    alpha = options.get("lora_alpha", rank)
    for name, value in (options.get("alpha_pattern") or {}).items():
        if f"_{layer}".endswith("_" + name.replace(".", "_")):
            alpha = value
    return alpha / (math.sqrt(rank) if options.get("use_rslora") else rank)
