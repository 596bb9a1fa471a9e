"""Which precision models are in, and how what is optimised with a model in half precision stays exact."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

MIXED = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def automatic(device: torch.device) -> torch.dtype:
    """The precision of diffusion models unless one is asked for: float16 on an accelerator, float32 on a CPU.

    Stable Diffusion is published for float16. What overflows in it (the autoencoder of SDXL) is float32
    then, see `diffusion_files`.
    """
    return torch.float32 if device.type == "cpu" else torch.float16


def of_training(dtype: torch.dtype, mixed_precision: str) -> torch.dtype | None:
    """In which precision a model of this dtype is run while something is optimised; None for float32 alone.

    mixed_precision: one of MIXED; "no" runs a model in half precision in its own. Raises ValueError for
    anything else.
    """
    if mixed_precision not in MIXED:
        raise ValueError(f"Mixed precision: {mixed_precision!r} is none of {', '.join(MIXED)}.")
    return MIXED[mixed_precision] or (None if dtype is torch.float32 else dtype)


def autocast(device: torch.device, half: torch.dtype | None) -> AbstractContextManager[None]:
    """Runs layers with weights of two precisions in `half`; None changes nothing."""
    return torch.autocast(device.type, dtype=half) if half is not None else nullcontext()


def scaler(device: torch.device, half: torch.dtype | None) -> torch.amp.GradScaler:
    """Scales losses so that no gradient is lost below the smallest number of float16; else does nothing."""
    return torch.amp.GradScaler(device.type, enabled=half is torch.float16)
