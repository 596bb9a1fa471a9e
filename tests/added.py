"""LoRA files of tiny random models in the layouts that people have, and what the weights are with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tests.ldm_layout import unet_names
from textedit_core.models.towers import long_names

RANK, ALPHA = 3, 1.5
ENDS = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "ff.net.2", "q_proj", "out_proj", "fc1")
CONVOLUTIONS = ("resnets.0.conv1", "downsamplers.0.conv", "conv_in", "time_emb_proj", "upsamplers.0.conv")
Layers = dict[tuple[str, str], tuple[Tensor, Tensor]]


def layers_of(model, seed: int = 0, convolutions: bool = True, texts: bool = True) -> Layers:
    """(network, layer) -> random factors down and up, for some layers of every kind."""
    draw, found = torch.Generator().manual_seed(seed), {}
    for network in ("unet", "text_encoder", "text_encoder_2"):
        module = getattr(model, network) if texts or network == "unet" else None
        for name, layer in module.named_modules() if module is not None else ():
            ends = ENDS + (CONVOLUTIONS if convolutions else ())
            if isinstance(layer, nn.Linear | nn.Conv2d) and name.endswith(ends):
                out, *shape = layer.weight.shape
                down = torch.randn((RANK, *shape), generator=draw) / RANK
                up = torch.randn((out, RANK, *[1] * len(shape[1:])), generator=draw) / 8
                found[network, name] = down, up
    return found


def written(layers: Layers, layout: str, model) -> dict[str, Tensor]:
    """The state dict of a LoRA in a layout: peft, diffusers, processors (of the UNet's attention), kohya, or
    first (kohya's with the UNet's first names)."""
    two, state = model.text_encoder_2 is not None, {}
    first = dict(zip(model.unet.state_dict(), unet_names(model.unet), strict=True))
    for (network, name), (down, up) in layers.items():
        long = name
        if network != "unet":
            long = next(iter(long_names(type(getattr(model, network)), {f"{name}.x": down}))).removesuffix(
                ".x"
            )
        if layout == "peft":
            state |= {f"{network}.{long}.lora_A.weight": down, f"{network}.{long}.lora_B.weight": up}
        elif layout == "diffusers":
            part = "lora_linear_layer" if network != "unet" else "lora"
            state |= {f"{network}.{long}.{part}.down.weight": down, f"{network}.{long}.{part}.up.weight": up}
        elif layout == "processors":
            place, _, end = name.partition(".attn")
            number, _, end = end.partition(".")
            start = f"unet.{place}.attn{number}.processor.{end.removesuffix('.0')}_lora"
            state |= {f"{start}.down.weight": down, f"{start}.up.weight": up}
        else:
            own = (
                first[f"{name}.weight"].removesuffix(".weight")
                if layout == "first" and network == "unet"
                else long
            )
            short = {"unet": "unet", "text_encoder": "te1" if two else "te", "text_encoder_2": "te2"}[network]
            flat = f"lora_{short}_{own.replace('.', '_')}"
            state |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
            state[f"{flat}.alpha"] = torch.tensor(ALPHA)
    return {name: value.contiguous().clone() for name, value in state.items()}


def merged(model, layers: Layers, scale: float) -> Mapping[str, dict[str, Tensor]]:
    """Network -> its state dict with scale B A added to each layer."""
    found = {}
    for network in {network for network, _ in layers}:
        state = {name: value.clone() for name, value in getattr(model, network).state_dict().items()}
        for (own, name), (down, up) in layers.items():
            if own == network:
                delta = torch.einsum("or,r...->o...", up.flatten(1), down)
                state[f"{name}.weight"] += scale * delta.reshape(state[f"{name}.weight"].shape)
        found[network] = state
    return found
