"""What a host keeps of results: the usual amounts, and a folder that ends with the process."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from demos.shared import keeping

GIB = 2**30


def test_the_usual_memory_is_a_share_within_bounds():
    found = [keeping.usual_memory(total) // keeping.MIB for total in (2 * GIB, 24 * GIB, 48 * GIB, 512 * GIB)]
    assert found == [128, 128, 256, 1024]


def test_a_host_sets_both_amounts(tmp_path, monkeypatch):
    monkeypatch.setattr(keeping.tempfile, "tempdir", str(tmp_path))
    cache = keeping.cache_of_host(300, 50)
    assert (cache.memory_bytes, cache.disk_bytes, cache.late) == (300 * 2**20, 50 * 2**20, True)
    assert cache.folder.parent == tmp_path and cache.folder.stat().st_mode & 0o077 == 0
    assert keeping.cache_of_host(300, 0).folder is None


def test_the_folder_goes_with_its_process_and_those_of_the_dead_are_removed(tmp_path):
    code = "from demos.shared.keeping import own_folder; print(own_folder())"
    env = os.environ | {"TMPDIR": str(tmp_path)}
    gone = next(number for number in range(2**22 - 1, 1, -1) if not psutil.pid_exists(number))
    dead, alive = (tmp_path / f"{keeping.PREFIX}{number}-x" for number in (gone, os.getpid()))
    dead.mkdir()
    alive.mkdir()
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()).parent == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == [alive.name]
