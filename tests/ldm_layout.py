"""The names that a diffusers model's weights have in a single file of Stable Diffusion's first programs."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from textedit_core.models.towers import long_names

RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
UNET = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}


def single_file(model: object) -> dict[str, Tensor]:
    """All weights of a LatentDiffusion in the names of a single file."""
    unet, vae = model.unet, model.vae
    state = {f"model.diffusion_model.{name}": value for name, value in unet_names(unet).items()}
    state |= {f"first_stage_model.{name}": value for name, value in vae_names(vae).items()}
    text = model.text_encoder
    if model.text_encoder_2 is not None:
        state |= clip_names(text, "conditioner.embedders.0.transformer.")
        state |= open_clip_names(model.text_encoder_2, "conditioner.embedders.1.model.")
    elif model.tokenizer.pad_token == "!":
        state |= open_clip_names(text, "cond_stage_model.model.")
    else:
        state |= clip_names(text, "cond_stage_model.transformer.")
    return {name: value.contiguous().clone() for name, value in state.items()}


def unet_names(unet: nn.Module) -> dict[str, Tensor]:
    layers = unet.config.layers_per_block + 1
    found = {}
    for name, value in unet.state_dict().items():
        new = name
        if down := re.match(r"down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.(\d+)\.(.*)", name):
            block, kind, layer, rest = int(down[1]), down[2], int(down[3]), down[4]
            if kind == "downsamplers":
                new = f"input_blocks.{(block + 1) * layers}.0.{rest.replace('conv.', 'op.')}"
            else:
                new = f"input_blocks.{1 + block * layers + layer}.{int(kind == 'attentions')}.{rest}"
        elif up := re.match(r"up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)\.(.*)", name):
            block, kind, layer, rest = int(up[1]), up[2], int(up[3]), up[4]
            if kind == "upsamplers":
                attends = hasattr(unet.up_blocks[block], "attentions")
                new = f"output_blocks.{(block + 1) * layers - 1}.{1 + attends}.{rest}"
            else:
                new = f"output_blocks.{block * layers + layer}.{int(kind == 'attentions')}.{rest}"
        else:
            new = renamed(name, UNET)
        if "resnets." in name:
            new = renamed(new, RESNET)
        found[new] = value
    return found


def vae_names(vae: nn.Module) -> dict[str, Tensor]:
    levels, found = len(vae.config.block_out_channels), {}
    for name, value in vae.state_dict().items():
        new = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", new)
        new = re.sub(
            r"up_blocks\.(\d+)\.resnets\.", lambda part: f"up.{levels - 1 - int(part[1])}.block.", new
        )
        new = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0\.",
            lambda part: f"up.{levels - 1 - int(part[1])}.upsample.",
            new,
        )
        new = re.sub(r"mid_block\.resnets\.(\d)\.", lambda part: f"mid.block_{int(part[1]) + 1}.", new)
        new = new.replace("conv_shortcut.", "nin_shortcut.").replace("conv_norm_out.", "norm_out.")
        if "mid_block.attentions.0." in new:
            new = new.replace("mid_block.attentions.0.", "mid.attn_1.").replace("group_norm.", "norm.")
            new = new.replace("to_out.0.", "proj_out.")
            new = re.sub(r"to_([qkv])\.", r"\1.", new)
            if value.ndim == 2:  # convolutions of one pixel there
                value = value[:, :, None, None]
        found[new] = value
    return found


def clip_names(text: nn.Module, prefix: str) -> dict[str, Tensor]:
    long = long_names(type(text), text.state_dict())
    ids = {f"{prefix}text_model.embeddings.position_ids": torch.arange(32)[None]}
    return {f"{prefix}{name}": value for name, value in long.items()} | ids


def open_clip_names(text: nn.Module, prefix: str) -> dict[str, Tensor]:
    """OpenCLIP's names; of an encoder without projection, a last layer and a projection that are not read."""
    long = {
        name.removeprefix("text_model."): value
        for name, value in long_names(type(text), text.state_dict()).items()
    }
    found = {}
    for name, value in long.items():
        if match := re.match(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", name):
            parts = [long[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
            found[f"transformer.resblocks.{match[1]}.attn.in_proj_{match[2]}"] = torch.cat(parts)
        elif "k_proj" in name or "v_proj" in name:
            continue
        elif name == "text_projection.weight":
            found["text_projection"] = value.T
        else:
            new = name.replace("encoder.layers.", "transformer.resblocks.").replace("self_attn.", "attn.")
            new = new.replace("layer_norm1.", "ln_1.").replace("layer_norm2.", "ln_2.")
            new = new.replace("mlp.fc1.", "mlp.c_fc.").replace("mlp.fc2.", "mlp.c_proj.")
            new = new.replace("final_layer_norm.", "ln_final.").replace("embeddings.token_", "token_")
            found[new.replace("embeddings.position_embedding.weight", "positional_embedding")] = value
    found["logit_scale"] = torch.tensor(1.0)
    if "text_projection" not in found:
        last = text.config.num_hidden_layers
        found[f"transformer.resblocks.{last}.ln_1.weight"] = torch.ones(4)
        found["text_projection"] = torch.ones(4, 4)
    return {f"{prefix}{name}": value for name, value in found.items()}


def renamed(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        if name.startswith(old) or f".{old}" in name:
            return name.replace(old, new)
    return name
