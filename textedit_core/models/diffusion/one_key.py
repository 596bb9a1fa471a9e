"""Cross-attention to a single token without queries and keys: softmax over one key is 1 whatever they say."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention, AttentionProcessor


def one_key(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The same UNet, weights shared and not copied, that takes the short way where a condition has one token.

    Exact, and the original keeps its processors. With more tokens than one nothing is different.
    """
    weights = [*unet.parameters(), *unet.buffers()]
    twin = copy.deepcopy(unet, {id(weight): weight for weight in weights})
    twin.set_attn_processor({
        name: OneKey(usual) if name.endswith(".attn2.processor") else usual
        for name, usual in twin.attn_processors.items()
    })  # fmt: skip
    return twin


class OneKey:
    """Stands in for the usual processor of a cross-attention layer, and calls it where it is needed."""

    def __init__(self, usual: AttentionProcessor):
        self.usual = usual

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        plain = encoder_hidden_states is not None and encoder_hidden_states.shape[1] == 1
        if not plain or hidden_states.ndim != 3 or attn.norm_cross:
            return self.usual(attn, hidden_states, encoder_hidden_states, **options)
        out = attn.to_out[1](attn.to_out[0](attn.to_v(encoder_hidden_states)))  # (B,1,C), for every query
        if attn.residual_connection:
            out = out + hidden_states
        return (out / attn.rescale_output_factor).expand_as(hidden_states)
