"""The layout of another picture: rows of a UNet call that use the queries and keys of that picture's rows.

Self-attention says which places of a picture belong together, whatever is shown there. A row that takes its
queries and keys from the source keeps the source's layout and has its own content (arXiv 2211.12572 does so
along an inverted source).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textedit_core.models.diffusion.attention import Control, Place


@dataclass(frozen=True, eq=False)
class LayoutSource:
    """S rows that are added to a call, whose queries and keys other rows use.

    z (S,4,h,w): their noisy latents.  surroundings (1,5,h,w): the further input channels, without a hole.
    rows: for each row of the call which of the S it uses, or None for its own.
    """

    z: Tensor
    surroundings: Tensor
    rows: tuple[int | None, ...]


class SharedSelfAttention(Control):
    """Row k of a call uses the queries and keys of row `rows[k]`."""

    def __init__(self, rows: list[int], device: torch.device):
        self.rows = torch.tensor(rows, device=device)

    def source_rows(self, place: Place) -> Tensor:
        return self.rows


def shared_self_attention(layout: LayoutSource, rows: Tensor, device: torch.device) -> SharedSelfAttention:
    """The control of a call of `rows` (R,), indices into `layout.rows`, and after them the S added rows."""
    count, chosen = len(rows), list[int]()
    for place, row in enumerate(rows.tolist()):
        source = layout.rows[row]
        chosen.append(place if source is None else count + source)
    return SharedSelfAttention([*chosen, *range(count, count + len(layout.z))], device)
