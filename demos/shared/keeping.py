"""How much of what was made a host keeps, in its memory and on its disk."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from textedit_core.cache import Cache
from textedit_core.models.diffusion.memory import device_bytes

MIB = 2**20
SHARE, LEAST, MOST = 1 / 192, 128 * MIB, 1024 * MIB  # of the machine's memory; between these
DISK_SHARE, DISK_MOST = 1 / 2, 8 * 2**30  # of what is free on the disk of temporary files
PREFIX = "textedit-cache-"


def cache_of_host(memory_mb: int | None = None, disk_mb: int | None = None) -> Cache:
    """A cache for an app: what is not used for a while goes to a folder, which ends with the process.

    memory_mb, disk_mb: the most that it takes of either, in MiB; of the disk 0 for nothing. Unless given, a
    192nd part of the machine's memory, but between 128 and 1024 MiB; and half of the free disk, up to 8 GiB.
    """
    memory = memory_mb * MIB if memory_mb is not None else usual_memory(device_bytes(torch.device("cpu"))[1])
    if disk_mb == 0:
        return Cache(memory_bytes=memory)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    disk = disk_mb * MIB if disk_mb is not None else int(min(DISK_MOST, free * DISK_SHARE))
    return Cache(memory_bytes=memory, folder=own_folder(), disk_bytes=disk, late=True)


def usual_memory(total: int) -> int:
    """The bytes for results where nobody set them, in a machine with this many."""
    return int(min(MOST, max(LEAST, total * SHARE)))


def own_folder() -> Path:
    """A folder of this process, that nobody else can read; those of processes that ended are removed."""
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{PREFIX}*-*"):
        number = left.name.removeprefix(PREFIX).partition("-")[0]
        if number.isdigit() and (int(number) == os.getpid() or not psutil.pid_exists(int(number))):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    atexit.register(_removed, folder, os.getpid())
    return folder


def _removed(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not by a fork, such as a worker on ZeroGPU
        with suppress(OSError):
            shutil.rmtree(folder)
