"""How much memory a diffusion model may take: levels from fast to low, and which one suits a device.

All levels give the same pictures, to rounding.

fast      everything stays on the device, rows are computed together.
balanced  the autoencoder works on one picture at a time, and where something is optimised activations are
          computed again instead of kept (gradient checkpointing).
low       besides, of a guided step one row is computed at a time, and only the network at work is on the
          device, the others wait in the computer's memory. Pictures larger than those the model was trained
          on are decoded in tiles that overlap; these alone differ, a little, at the tiles' seams.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from textedit_core.choices import LEVELS

SPARE = 0.9  # of a device's free memory, what may be planned with: drivers and fragments take the rest
SMALL = 0.05  # of it, for weights: whatever is done with so small a model fits


def check(level: str) -> str:
    """The level itself. Raises ValueError for any other text."""
    if level not in LEVELS:
        raise ValueError(f"Memory: {level!r} is none of auto, {', '.join(LEVELS)}.")
    return level


def bytes_of(networks: Iterable[nn.Module | None]) -> int:
    """The bytes of the weights and buffers of networks; those that share a tensor count it once."""
    found = {}
    for network in networks:
        if network is not None:
            for one in (*network.parameters(), *network.buffers()):
                found[id(one)] = one.numel() * one.element_size()
    return sum(found.values())


def device_bytes(device: torch.device) -> tuple[int, int]:
    """The free and the whole memory of a device in bytes; of the computer where it has none of its own."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total
    import psutil  # type: ignore[import-untyped]

    seen = psutil.virtual_memory()
    if device.type == "mps":
        most = torch.mps.recommended_max_memory()
        return min(seen.available, most - torch.mps.driver_allocated_memory()), most
    free, total = seen.available, seen.total
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and used is not None and limit < total:  # a container may have less
        free, total = min(free, limit - used), limit
    return max(0, free), total


def _number(path: str) -> int | None:
    """The number in a file of the system; None where it is not there or says "max"."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


class Offload:
    """Keeps one network at a time on the device; the others are in the computer's memory.

    A network that shares weights with the one before it (a tuned copy) finds them where they are.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._at_work: weakref.ref[nn.Module] | None = None

    def bring(self, network: nn.Module) -> None:
        """Put this network on the device, after the one before it has left."""
        before = self._at_work() if self._at_work is not None else None
        if before is network:
            return
        if before is not None:
            before.to("cpu")
        network.to(self.device)
        self._at_work = weakref.ref(network)


def offload_for(level: str, device: torch.device) -> Offload | None:
    """What a model of this level has as `offload`: nothing where there is no memory but the computer's."""
    return Offload(device) if level == "low" and device.type != "cpu" else None


def slice_attention(unet: nn.Module, level: str, device: torch.device) -> None:
    """In `low`, compute attention a head at a time where the device has no kernel that holds no map.

    CUDA and the CPU have such kernels (scaled_dot_product_attention); that of MPS holds every map.
    """
    if level == "low" and device.type == "mps":
        unet.set_attention_slice("max")  # type: ignore[operator]
