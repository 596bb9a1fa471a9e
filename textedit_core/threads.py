"""What the threads of a process need: those of torch's kernels to wait asleep, all to share their memory."""

import ctypes
import os
import sys
from collections.abc import MutableMapping

# The variable that each OpenMP runtime reads, once, when torch loads it: all of them the first (OpenMP 4.5);
# GNU's libgomp, which the Linux wheels of torch bundle, GOMP_SPINCOUNT besides; Intel's and LLVM's, of the
# wheels for Windows and macOS, KMP_BLOCKTIME, the milliseconds before a waiting thread sleeps.
POLICY = "OMP_WAIT_POLICY"
BLOCKTIME = "KMP_BLOCKTIME"
OWN_WORDS = (POLICY, BLOCKTIME, "GOMP_SPINCOUNT", "KMP_LIBRARY")
ARENAS = 2  # of the allocator; the heavy work of a host is one thread at a time
_M_ARENA_MAX = -8  # the parameter's number in GNU's malloc.h


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for others sleep; to be called before torch is imported.

    Else they spin, and on a machine with other work keep the core from the thread that they wait for. Nothing
    is changed where one of the variables is set already.
    """
    if not any(name in environment for name in OWN_WORDS):
        environment[POLICY], environment[BLOCKTIME] = "PASSIVE", "0"


def share_arenas() -> None:
    """Let all threads allocate in a few places; for a process that serves for hours, before it has threads.

    GNU's C library gives each thread a place of its own, up to eight for each core, and what is free in one
    is of no use to the others: an app held 400 MB so after an hour of visits. Other libraries have no such.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
