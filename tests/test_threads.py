"""How torch's threads wait: set before torch loads by every way in, and only where nobody chose."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from textedit_core import threads

ROOT = Path(__file__).parents[1]
# The four ways in, each ended by a mistake or by its help once it has set what it sets.
WAYS = {
    "textedit": "from textedit_core.__main__ import main\nmain(['edit', '--help'])",
    "bench": "from textedit_core.__main__ import main\nmain(['bench', '--help'])",
    "training": "from textedit_core.training.__main__ import main\nmain(['--help'])",
    "page": (
        "import app, types\n"
        "ended = types.ModuleType('demos.app')\n"
        "ended.__getattr__ = lambda name: sys.exit(0)\n"
        "sys.modules['demos.app'] = ended\n"
        "sys.argv[1:] = []\napp.main()"
    ),
}


def chosen(script: str, **given: str) -> list[str]:
    """The variables after a script, and whether it had loaded torch, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in threads.OWN_WORDS} | given
    script = (
        f"import os, sys\ntry: exec({script!r})\nexcept SystemExit: pass\n"
        f"print([os.environ.get(name) for name in {threads.OWN_WORDS}], 'torch' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_lets_threads_sleep_before_torch_is_there(way):
    assert chosen(WAYS[way]) == "['PASSIVE', '0', None, None] False"


@pytest.mark.parametrize("name", threads.OWN_WORDS)
def test_what_a_person_has_set_stays(name):
    environment = {name: "7", "HOME": "/"}
    threads.wait_asleep(environment)
    assert environment == {name: "7", "HOME": "/"}


def test_a_library_user_s_process_is_left_as_it_is():
    assert chosen("import textedit_core").startswith("[None, None, None, None]")


@pytest.mark.skipif(sys.platform != "linux", reason="asks GNU's runtime what it has read")
def test_the_runtime_of_torch_has_read_it():
    script = "from textedit_core import threads\nthreads.wait_asleep()\nimport torch\ntorch.ones(9).sum()"
    environment = {name: value for name, value in os.environ.items() if name not in threads.OWN_WORDS}
    ran = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
    )
    if "OMP_WAIT_POLICY" not in ran.stderr:
        pytest.skip("this torch does not say what its OpenMP runtime has read")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ran.stderr


ARENAS = """
import threading
from textedit_core import threads
if {share}: threads.share_arenas()
kept, held = [], threading.Barrier(9)
def work():
    kept.append([bytes(1000) for _ in range(3000)])
    held.wait()
[threading.Thread(target=work).start() for _ in range(8)]
held.wait()
starts = (line.split("-")[0] for line in open("/proc/self/maps") if "rw-p" in line and "/" not in line)
print(sum(int(start, 16) % 2**26 == 0 for start in starts))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of GNU's C library")
def test_a_host_allocates_in_few_places():
    found = []
    for share in (True, False):
        script = ARENAS.format(share=share)
        ran = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
        )
        found.append(int(ran.stdout))
    assert found[0] < threads.ARENAS < found[1], "the first of them is no mapping of its own"
