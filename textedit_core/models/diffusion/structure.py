"""Structure from another picture: rows of a UNet call that look around as a lender's rows do.

Self-attention says which places of a picture belong together; that is its layout, apart from what it looks
like. A row that takes its queries and keys from the source keeps the source's layout and its own content
(arXiv 2211.12572 does so along an inverted source).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from textedit_core.models.diffusion.attention import Control, Place


@dataclass(frozen=True, eq=False)
class Lender:
    """The rows that lend their self-attention.

    z (S,4,h,w): their noisy latents.  surroundings (1,5,h,w): what they see, with no hole.  rows: for each
    row of the call which of the S it borrows from, or None.
    """

    z: Tensor
    surroundings: Tensor
    rows: tuple[int | None, ...]


class Borrowed(Control):
    """Row k of a call uses the queries and keys of row `rows[k]`."""

    def __init__(self, rows: list[int], device: torch.device):
        self.rows = torch.tensor(rows, device=device)

    def source_rows(self, place: Place) -> Tensor:
        return self.rows


def borrowed(lender: Lender, rows: Tensor, device: torch.device) -> Borrowed:
    """The control of a call that holds `rows` (R,), indices of the lender's rows, and then the S lenders."""
    count = len(rows)
    chosen = [
        place if lender.rows[row] is None else count + lender.rows[row]
        for place, row in enumerate(rows.tolist())
    ]
    return Borrowed([*chosen, *range(count, count + len(lender.z))], device)
