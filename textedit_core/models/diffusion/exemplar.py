"""The image encoder of Paint by Example (arXiv 2211.13227): a picture as one token for the UNet.

A CLIP vision tower gives one class token, a few transformer blocks map it, a projection brings it to the
UNet's width. Attention over a single key is that key's value whatever the query says, so that queries and
keys of these blocks are never computed; the public files hold them, and they are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPPreTrainedModel

from textedit_core.models import towers
from textedit_core.models.source import POSITION_IDS


class ExemplarEncoder(CLIPPreTrainedModel):
    """Pixels (B,3,S,S), normalised as CLIP wants them -> (B,1,D), the condition of the UNet.

    `state_dict()` has the public keys: model.*, mapper.blocks.N.*, final_layer_norm.*, proj_out.*,
    uncond_vector; those of the tower, model.*, as the installed transformers names them (see `towers`). The
    config is CLIP's of the tower; projection_dim is D, and a tower of L layers has (L + 1) // 5 blocks (five
    for ViT-L/14). With `all_tokens: true` in the config every token of the tower goes through, (B,L,D): the
    paper's ablation "without the bottleneck".
    """

    config_class = CLIPVisionConfig
    main_input_name = "pixel_values"

    def __init__(self, config: CLIPVisionConfig):
        super().__init__(config)
        width = config.hidden_size
        self.model = CLIPVisionModel(config)
        self.mapper = Mapper(width, (config.num_hidden_layers + 1) // 5)
        self.final_layer_norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, config.projection_dim)
        self.uncond_vector = nn.Parameter(torch.zeros(1, 1, config.projection_dim))
        self._register_load_state_dict_pre_hook(_accept_old_names)
        self.post_init()

    @property
    def all_tokens(self) -> bool:
        return bool(getattr(self.config, "all_tokens", False))

    def forward(self, pixel_values: Tensor) -> Tensor:
        seen = self.model(pixel_values=pixel_values)
        if self.all_tokens:
            states = towers.layers(self.model).post_layernorm(seen.last_hidden_state)
        else:
            states = seen.pooler_output[:, None]
        return self.condition(states)

    def condition(self, states: Tensor) -> Tensor:
        """The trained part: the tower's normalised states (B,L,C) -> (B,L,D)."""
        return self.proj_out(self.final_layer_norm(self.mapper(states)))


class Mapper(nn.Module):
    def __init__(self, width: int, depth: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, states: Tensor) -> Tensor:
        for block in self.blocks:
            states = block(states)
        return states


class Block(nn.Module):
    """A pre-norm transformer block: one head, an MLP of four times the width with erf GELU, residuals."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = OneHead(width)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.attn1(self.norm1(states))
        return states + self.ff(self.norm3(states))


class OneHead(nn.Module):
    """Self-attention with one head; of a single token it is to_out(to_v(token)), exactly."""

    def __init__(self, width: int):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, states: Tensor) -> Tensor:
        mixed = self.to_v(states)
        if states.shape[1] > 1:
            mixed = F.scaled_dot_product_attention(self.to_q(states), self.to_k(states), mixed)
        return self.to_out[0](mixed)


class FeedForward(nn.Module):
    """The MLP, numbered as in the public files, where a dropout that is never used stands between."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.ModuleList([Projection(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, states: Tensor) -> Tensor:
        for layer in self.net:
            states = layer(states)
        return states


class Projection(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, states: Tensor) -> Tensor:
        return F.gelu(self.proj(states))


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of any age under the names of this version, without position ids, which are no weights."""
    renamed = towers.installed_names(ExemplarEncoder, state)
    return {name: value for name, value in renamed.items() if not name.endswith(POSITION_IDS)}


def _accept_old_names(state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    if prefix == "":
        renamed = current_names(state)
        state.clear()
        state.update(renamed)
