"""Where the cache keeps things: bounds of memory and disk, broken files, threads and processes."""

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from tests.core import fakes
from textedit_core import cache as caches
from textedit_core.cache import Cache, Entry, cached, key
from textedit_core.record import Record
from textedit_core.steps import Step, last

IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)


def tensors(value: float, count: int = 1000) -> torch.Tensor:
    return torch.full((count,), float(value))


def test_the_least_recently_used_goes_first():
    cache = Cache(items=2)
    for name in "ab":
        cache.put(name, Entry(name, 1))
    assert cache.get("a")
    cache.put("c", Entry("c", 1))
    assert [bool(cache.get(name)) for name in "abc"] == [True, False, True]


def test_memory_is_bounded_in_bytes():
    cache = Cache(memory_bytes=10_000)
    for number in range(5):
        cache.put(str(number), Entry({"weights": (tensors(number), "text")}, 1))  # 4000 bytes each
    assert [number for number in range(5) if cache.get(str(number))] == [3, 4]


def test_of_huge_values_two_are_kept_in_memory_alone(tmp_path):
    cache = Cache(huge_bytes=3000, memory_bytes=10_000, folder=tmp_path)
    cache.put("small", Entry(tensors(0, 10), 1))
    for name in "abc":
        cache.put(name, Entry(tensors(1, 5000), 1))
    assert [bool(cache.get(name)) for name in ("small", "a", "b", "c")] == [True, False, True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["small.pt"]


def test_late_only_what_leaves_memory_is_written_and_comes_back(tmp_path):
    cache = Cache(memory_bytes=10_000, folder=tmp_path, late=True)
    for number in range(3):
        cache.put(str(number), Entry(tensors(number), 1))  # 4000 bytes each
    assert [path.name for path in tmp_path.iterdir()] == ["0.pt"]
    assert torch.equal(cache.get("0").value, tensors(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pt", "1.pt"], "it took the place of 1"
    written = (tmp_path / "0.pt").stat().st_ino
    assert all(cache.get(str(number)).value[0] == number for number in (1, 2, 0))
    assert (tmp_path / "0.pt").stat().st_ino == written, "what is there already is not written again"


def test_the_folder_gives_back_what_it_got(tmp_path):
    record = Record("imagic", "toon", {"prompt": "x"}, {"eta": 0.5})
    value = Step(1, 2, {"w": (tensors(1), None, True), "list": [1, 2.5, "three"], "record": record}, 0.25)
    Cache(folder=tmp_path).put("name", Entry(value, 7, 0.5))
    entry = Cache(folder=tmp_path).get("name")
    assert (entry.total, entry.loss) == (7, 0.5)
    found = entry.value
    assert (found.done, found.total, found.loss) == (1, 2, 0.25)
    assert torch.equal(found.value["w"][0], tensors(1)) and found.value["w"][1:] == (None, True)
    assert found.value["list"] == [1, 2.5, "three"] and found.value["record"] == record


def test_a_view_is_stored_without_its_storage(tmp_path):
    Cache(folder=tmp_path).put("row", Entry(torch.zeros(1000, 1000)[:1], 1))
    assert (tmp_path / "row.pt").stat().st_size < 20_000


def test_values_of_other_packages_stay_in_memory(tmp_path):
    cache = Cache(folder=tmp_path)
    cache.put("name", Entry(fakes.Fitted(1.0, "x"), 1))
    assert cache.get("name").value == fakes.Fitted(1.0, "x")
    assert not list(tmp_path.iterdir())


def test_a_broken_file_is_a_miss_and_is_made_again(tmp_path):
    model, path = fakes.Model(), tmp_path / f"{key(fakes.paint, (fakes.Model(), IMAGE, 'x'), {})}.pt"
    value = last(cached(fakes.paint, model, IMAGE, "x", cache=Cache(folder=tmp_path)))
    whole = path.read_bytes()
    for broken in (b"", b"text", whole[:10], whole[: len(whole) // 2], whole[:-1], b"\0" * len(whole)):
        path.write_bytes(broken)
        again = last(cached(fakes.paint, model, IMAGE, "x", cache=Cache(folder=tmp_path)))
        assert torch.equal(again, value) and path.read_bytes() == whole
    assert len(model.calls) == 7


def test_a_file_of_another_shape_is_a_miss_and_no_code_in_it_runs(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    contents = [
        Bomb(),
        {"__dataclass__": ["os", "system"], "fields": {}},
        3,
        {"value": 1},
        {"__dataclass__": ["textedit_core.record", "Record"], "fields": {"nothing": 1}},
        {"__dataclass__": ["textedit_core.cache", "Cache"], "fields": {}},
    ]
    for content in contents:
        torch.save(content, tmp_path / "name.pt")
        assert Cache(folder=tmp_path).get("name") is None
    assert not (tmp_path / "exploded").exists()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = Cache(folder=tmp_path / "file" / "folder")
    cache.put("name", Entry(1, 1))
    assert cache.get("name").value == 1 and cache.get("other") is None
    assert "not kept on disk" in caplog.text


def test_the_folder_is_trimmed_to_its_size_oldest_first(tmp_path):
    size = _one_file(tmp_path / "probe")
    cache = Cache(folder=tmp_path / "cache", disk_bytes=3 * size)
    for age, name in zip((40, 30, 20), "abc", strict=True):
        cache.put(name, Entry(tensors(1), 1))
        os.utime(tmp_path / "cache" / f"{name}.pt", (time.time() - age,) * 2)
    assert Cache(folder=tmp_path / "cache").get("a")  # read just now, so "b" is the oldest
    cache.put("d", Entry(tensors(1), 1))
    assert sorted(path.stem for path in (tmp_path / "cache").iterdir()) == ["a", "c", "d"]


def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path):
    for name in ("old.tmp", "new.tmp"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / "old.tmp", (time.time() - 2 * caches._STALE_SECONDS,) * 2)
    Cache(folder=tmp_path).put("name", Entry(1, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["name.pt", "new.tmp"]


def _one_file(folder: Path) -> int:
    Cache(folder=folder).put("a", Entry(tensors(1), 1))
    return (folder / "a.pt").stat().st_size


def test_threads_share_the_memory():
    cache, errors = Cache(items=40), []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 3000):
                cache.put(str(number % 97), Entry(number % 97, 1))
                entry = cache.get(str(number % 89))
                assert entry is None or entry.value == number % 89
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        _together(work, 4)
    finally:
        sys.setswitchinterval(interval)
    assert not errors and len(cache._memory) == 40


def _together(work, count: int) -> None:
    threads = [threading.Thread(target=work, args=(start,)) for start in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_a_folder(tmp_path):
    cache, errors = Cache(items=3, memory_bytes=20_000, folder=tmp_path, disk_bytes=40_000), []

    def work(start: int) -> None:
        try:
            for number in itertools.islice(itertools.cycle(range(8)), start, start + 40):
                entry = cache.get(str(number))
                assert entry is None or entry.value.unique().tolist() == [number]
                cache.put(str(number), Entry(tensors(number), 1))
        except BaseException as error:
            errors.append(error)

    _together(work, 6)
    assert not errors
    assert len(cache._memory) <= 3 and not list(tmp_path.glob("*.tmp"))


WRITER = """
import sys, torch
from textedit_core.cache import Cache, Entry
torch.set_num_threads(1)
cache = Cache(items=1, folder=sys.argv[1], disk_bytes=400_000)
for turn in range(60):
    cache.put(f"{turn % 6}", Entry(torch.full((20_000,), float(turn % 6)), 1))
"""


def test_two_processes_share_a_folder(tmp_path, caplog):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)]) for _ in range(2)]
    found = 0
    while any(writer.poll() is None for writer in writers):
        for number in range(6):
            entry = Cache(folder=tmp_path).get(str(number))
            assert entry is None or entry.value.unique().tolist() == [number]
            found += entry is not None
    assert [writer.returncode for writer in writers] == [0, 0]
    assert found > 0 and "cannot be read" not in caplog.text
    assert not list(tmp_path.glob("*.tmp"))
