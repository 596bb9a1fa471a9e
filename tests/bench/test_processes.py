"""A benchmark that several processes share: the records of one, and one report."""

import json
import os
import subprocess
import sys

from tests.bench.conftest import QUICK, plain


def test_two_processes_give_what_one_gives_and_the_last_one_reports(bench, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    code, out, told = bench(out="two")
    assert code == 0 and "still at work" in told and not (out / "report.md").exists()
    monkeypatch.setenv("RANK", "0")
    assert bench(out="two")[0] == 0
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    bench(out="one")
    one, two = tmp_path / "one", tmp_path / "two"
    assert plain(one) == plain(two)
    assert {path.name for path in two.glob("lines-*")} == {"lines-0.jsonl", "lines-1.jsonl"}
    means = [json.loads((place / "summary.json").read_text())["rows"] for place in (one, two)]
    for rows in means:
        for row in rows:
            row["means"] = {name: value for name, value in row["means"].items() if "seconds" not in name}
    assert means[0] == means[1]
    for path in (one / "items").rglob("*.png"):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


def test_two_processes_at_once_write_one_report_with_the_records_of_one(bench, folder, tiny_folder, tmp_path):
    """As torchrun starts them: one command, told by the environment which process of how many it is."""
    out = tmp_path / "at-once"
    words = ["bench", str(folder), "--models", str(tiny_folder), "--methods", QUICK, "--out", str(out)]
    command = [sys.executable, "-m", "textedit_core", *words, "--device", "cpu"]
    started = [
        subprocess.Popen(
            command,
            env=os.environ | {"RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [one.communicate(timeout=300)[1] for one in started]
    assert [one.returncode for one in started] == [0, 0], told
    assert [len(path.read_text().splitlines()) for path in sorted(out.glob("lines-*.jsonl"))] == [4, 4]
    bench(out="one")
    assert plain(out) == plain(tmp_path / "one")
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert [row["items"] for row in rows] == [4, 3] and (out / "report.md").is_file()
    assert not list(out.rglob(".*"))


def test_a_share_that_cannot_be_is_refused(bench, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, told = bench()
    assert code == 2 and "no process of several" in told
