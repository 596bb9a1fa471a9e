"""Attention of a UNet under a control: maps are computed only where they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import Attention, AttentionProcessor


@dataclass(frozen=True)
class Place:
    """An attention layer: its name in the UNet, and the grid its queries lie on."""

    name: str
    height: int
    width: int

    @property
    def side(self) -> int:
        """The shorter side of the grid, so that a limit means the same at any aspect."""
        return min(self.height, self.width)


class Control:
    """What is changed in the attention of one UNet call of B rows; this class changes nothing."""

    def source_rows(self, place: Place) -> Tensor | None:
        """(B,), for each row whose queries and keys it uses in a self-attention layer; None: its own."""
        return None

    def map_rows(self, place: Place) -> slice | None:
        """The rows whose cross-attention maps go through `edit_maps`; None: no row's."""
        return None

    def edit_maps(self, maps: Tensor, place: Place) -> Tensor:
        """The maps (rows,heads,queries,L), float32, to use in place of these."""
        return maps


@contextmanager
def attention_control(unet: UNet2DConditionModel, control: Control, size: tuple[int, int]) -> Iterator[None]:
    """Apply `control` to the UNet calls inside the block, on latents of `size` (h, w); restored afterwards.

    Raises ValueError for a UNet without transformer blocks, which it could not change.
    """
    originals = dict(unet.attn_processors)
    own = {
        name: _Processor(control, name.removesuffix(".processor"), size, usual)
        for name, usual in originals.items()
        if name.endswith((".attn1.processor", ".attn2.processor"))
    }
    if not own:
        raise ValueError("This UNet has no attention layer that a prompt reaches: choose another model.")
    try:
        unet.set_attn_processor(originals | own)
        yield
    finally:
        unet.set_attn_processor(dict(originals))


def grid(queries: int, size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of a layer with so many queries in a UNet that halves latents, rounding up.

    Raises ValueError if no level has as many.
    """
    height, width = size
    while height * width > queries and (height, width) != (1, 1):
        height, width = (height + 1) // 2, (width + 1) // 2
    if height * width != queries:
        raise ValueError(f"No level of a UNet on {size[0]} x {size[1]} latents has {queries} places.")
    return height, width


class _Processor:
    """Replaces the `usual` processor of one layer, and calls it where that may be cheaper."""

    def __init__(self, control: Control, name: str, size: tuple[int, int], usual: AttentionProcessor):
        self.control, self.name, self.size, self.usual = control, name, size, usual

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        place = Place(self.name, *grid(hidden_states.shape[1], self.size))
        one_token = encoder_hidden_states is not None and encoder_hidden_states.shape[1] == 1
        if one_token and self.control.map_rows(place) is None:  # it may compute neither
            return self.usual(
                attn, hidden_states, encoder_hidden_states, attention_mask=attention_mask, temb=temb
            )
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q, k, v = (
            states.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for states in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        q, k = (norm(x) if norm is not None else x for norm, x in ((attn.norm_q, q), (attn.norm_k, k)))
        if attention_mask is not None:
            mask = attn.prepare_attention_mask(attention_mask, context.shape[1], len(context))
            attention_mask = mask.unflatten(0, (-1, attn.heads))
        if encoder_hidden_states is None:
            rows = self.control.source_rows(place)
            q, k = (q, k) if rows is None else (q[rows], k[rows])
            out = F.scaled_dot_product_attention(q, k, v, attention_mask, scale=attn.scale)
        else:
            out = self._cross(q, k, v, attention_mask, attn.scale, place)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(-2).to(q.dtype)))
        if attn.residual_connection:
            out = out + hidden_states
        return out / attn.rescale_output_factor

    def _cross(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, place: Place
    ) -> Tensor:
        """Cross-attention: with the control's maps in the rows it asks for, without maps in the others."""
        rows = self.control.map_rows(place)
        if rows is None:
            return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)
        first, end, _ = rows.indices(len(q))
        parts = []
        for part in (slice(0, first), slice(first, end), slice(end, len(q))):
            of_part = None if mask is None else mask[part]
            if part == slice(first, end):
                scores = (q[part] * scale) @ k[part].transpose(-1, -2)
                scores = scores.float() if of_part is None else scores.float() + of_part.float()
                with torch.autocast(q.device.type, enabled=False):  # it would round the maps
                    maps = self.control.edit_maps(torch.softmax(scores, dim=-1), place)
                parts.append(maps.to(v.dtype) @ v[part])
            elif part.start < part.stop:
                parts.append(F.scaled_dot_product_attention(q[part], k[part], v[part], of_part, scale=scale))
        return torch.cat(parts)
