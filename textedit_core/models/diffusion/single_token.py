"""Cross-attention to a single token, which needs no queries and keys: a softmax over one key is always 1."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention, AttentionProcessor


def skip_queries_and_keys(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A copy of a UNet that computes no queries and keys where a condition has one token; weights are shared.

    The result is the same, and the original keeps its attention processors. With more tokens than one both
    do the same.
    """
    weights = [*unet.parameters(), *unet.buffers()]
    twin = copy.deepcopy(unet, {id(weight): weight for weight in weights})
    twin.set_attn_processor({
        name: SingleTokenAttention(usual) if name.endswith(".attn2.processor") else usual
        for name, usual in twin.attn_processors.items()
    })  # fmt: skip
    return twin


class SingleTokenAttention:
    """Replaces the `usual` processor of a cross-attention layer, and calls it for more tokens than one."""

    def __init__(self, usual: AttentionProcessor):
        self.usual = usual

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        single = encoder_hidden_states is not None and encoder_hidden_states.shape[1] == 1
        if not single or hidden_states.ndim != 3 or attn.norm_cross:
            return self.usual(attn, hidden_states, encoder_hidden_states, **options)
        out = attn.to_out[1](attn.to_out[0](attn.to_v(encoder_hidden_states)))  # (B,1,C), for every query
        if attn.residual_connection:
            out = out + hidden_states
        return (out / attn.rescale_output_factor).expand_as(hidden_states)
