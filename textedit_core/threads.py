"""How the threads of torch's kernels wait for work: asleep, as a busy machine needs."""

import os
from collections.abc import MutableMapping

# The variable that each OpenMP runtime reads, once, when torch loads it: all of them the first (OpenMP 4.5);
# GNU's libgomp, which the Linux wheels of torch bundle, GOMP_SPINCOUNT besides; Intel's and LLVM's, of the
# wheels for Windows and macOS, KMP_BLOCKTIME, the milliseconds before a waiting thread sleeps.
POLICY = "OMP_WAIT_POLICY"
BLOCKTIME = "KMP_BLOCKTIME"
OWN_WORDS = (POLICY, BLOCKTIME, "GOMP_SPINCOUNT", "KMP_LIBRARY")


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait for others sleep; to be called before torch is imported.

    Else they spin, and on a machine with other work keep the core from the thread that they wait for. Nothing
    is changed where one of the variables is set already.
    """
    if not any(name in environment for name in OWN_WORDS):
        environment[POLICY], environment[BLOCKTIME] = "PASSIVE", "0"
