"""Training by several processes that share one model: torchrun --nproc_per_node N -m textedit_core.training.

On a busy CPU two processes of one thread each do more than one process with two threads, whose threads mostly
wait for each other on such small layers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def join() -> None:
    """Join the processes that torchrun started; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def share(batch: int) -> int:
    """This process's part of a batch."""
    return max(1, batch // count())


def agreed(value: float) -> float:
    """The first process's value, in all of them."""
    if count() == 1:
        return value
    box = torch.tensor(value, dtype=torch.float64)
    dist.broadcast(box, src=0)
    return box.item()


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over the processes, in one exchange."""
    if count() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= count()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def filled(rows: Tensor) -> Tensor:
    """Rows that each process filled in part (zeros elsewhere), complete in all of them."""
    if count() > 1:
        dist.all_reduce(rows)
    return rows
