"""Networks are made one at a time in a process.

While diffusers and transformers read a network, they take from PyTorch, for all threads, what gives a network
its parameters and what fills these. A network that another thread makes meanwhile would have no tensors, or
numbers that nobody drew. And the weights that a seed draws come from the one generator of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ONE_AT_A_TIME = threading.RLock()


@contextmanager
def building(seed: int | None = None) -> Iterator[None]:
    """Make a network on the CPU in here, alone; the process's random numbers are afterwards as they were.

    seed: of the weights that it draws; None where they are replaced by those of a file.
    """
    with ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        yield
