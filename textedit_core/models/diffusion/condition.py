"""What the UNet of a diffusion model is conditioned on: the embedding of a prompt or an example picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Condition:
    """B conditions, a row each.

    tokens: (B,L,D), the sequence that cross-attention reads.  pooled: (B,P), one vector a row, for models
    whose UNet is given one beside the tokens (SDXL, arXiv 2307.01952); None for all others.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        """B, how many conditions there are."""
        return len(self.tokens)

    def rows(self, which: slice | Tensor) -> Condition:
        """Those rows of B that a slice, or a tensor of indices, picks."""
        return Condition(self.tokens[which], None if self.pooled is None else self.pooled[which])

    def split(self) -> tuple[Condition, ...]:
        """B conditions of one row."""
        return tuple(self.rows(slice(row, row + 1)) for row in range(len(self)))

    def expand(self, rows: int) -> Condition:
        """One row repeated to `rows` rows without a copy; as many as there are already stay as they are."""
        pooled = None if self.pooled is None else self.pooled.expand(rows, -1)
        return Condition(self.tokens.expand(rows, -1, -1), pooled)

    def cat(self, *others: Condition) -> Condition:
        """The rows of this one, then the others'. Raises ValueError if only some have a pooled part."""
        every = (self, *others)
        pooled = [one.pooled for one in every if one.pooled is not None]
        if len(pooled) not in (0, len(every)):
            raise ValueError("A condition with a pooled part and one without cannot be one batch.")
        return Condition(torch.cat([one.tokens for one in every]), torch.cat(pooled) if pooled else None)

    def mix(self, other: Condition, eta: float | Sequence[float]) -> Condition:
        """eta other + (1 - eta) self, tokens and pooled alike: 0 is this one, 1 the other.

        eta: one number, or a list of B for as many rows. Raises ValueError if only one has a pooled part.
        """
        share = torch.as_tensor(eta, dtype=torch.float32, device=self.tokens.device).reshape(-1, 1, 1)
        tokens = share * other.tokens + (1 - share) * self.tokens
        if self.pooled is None and other.pooled is None:
            return Condition(tokens)
        if self.pooled is None or other.pooled is None:
            raise ValueError("A condition with a pooled part and one without cannot be mixed.")
        return Condition(tokens, share[:, 0] * other.pooled + (1 - share[:, 0]) * self.pooled)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Condition:
        """The same on another device, in another type; what is not given stays."""
        pooled = None if self.pooled is None else self.pooled.to(device=device, dtype=dtype)
        return Condition(self.tokens.to(device=device, dtype=dtype), pooled)

    def clone(self) -> Condition:
        """The same values in memory of their own."""
        return Condition(self.tokens.clone(), None if self.pooled is None else self.pooled.clone())

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the values, computed when first asked for."""
        digest = hashlib.sha256()
        add_tensor(digest, self.tokens)
        if self.pooled is not None:
            add_tensor(digest, self.pooled)
        return digest.hexdigest()


def add_tensor(digest: hashlib._Hash, tensor: Tensor) -> None:
    """Feed a tensor's type, shape and bytes to a digest of hashlib."""
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
