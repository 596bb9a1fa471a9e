"""Gaussian noise named by a seed: the same numbers on every device, alone or in a batch."""

from collections.abc import Sequence

import torch


def noise(
    shape: Sequence[int],
    seed: int | Sequence[int],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Standard normal noise of `shape`, drawn in float32 on the CPU and then moved.

    With one seed, all of `shape` comes from it. With B seeds the result is (B, *shape[1:]) and row i is
    `noise((1, *shape[1:]), seeds[i])`, so that a seed gives the same picture alone and in a batch;
    shape[0] must then be 1 or B (ValueError otherwise).
    """
    if isinstance(seed, Sequence):
        if not seed or shape[0] not in (1, len(seed)):
            raise ValueError(
                f"Noise for {len(seed)} seeds cannot have the shape {tuple(shape)}: "
                "its first size must be 1 or the number of seeds."
            )
        rows = [noise((1, *shape[1:]), one, device=device, dtype=dtype) for one in seed]
        return torch.cat(rows)
    generator = torch.Generator("cpu").manual_seed(int(seed))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32).to(device=device, dtype=dtype)
