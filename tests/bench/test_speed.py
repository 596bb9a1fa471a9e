"""The speed benchmark on tiny models: both ways give one result, rows are what they are said to be."""

import json

import pytest

from textedit_core import __main__ as cli
from textedit_core.bench import speed


@pytest.fixture(scope="module")
def stages(tiny):
    return {stage.name: stage for stage in speed.measure(tiny, repeats=1, steps=3)}


def test_every_shortcut_gives_the_result_of_the_plain_way(stages):
    compared = [stage for stage in stages.values() if stage.ratio is not None]
    assert len(compared) == 5
    assert all(stage.apart < 1e-3 for stage in compared), {one.name: one.apart for one in compared}
    assert all(stage.seconds > 0 and stage.plain_seconds > 0 for stage in compared)


def test_the_rows_are_those_that_are_needed(stages):
    rows = {name: (stage.rows, stage.plain_rows) for name, stage in stages.items()}
    assert rows["guidance, both rows in one batch"] == (2, 2)
    assert rows["guidance 1, one row"] == (1, 2)
    here, plain = rows["Direct edit, three rows a step"]
    assert plain == 4 * 3 and here <= 3 * 3
    assert rows["eta strip of seven, one batch"] == (7 * 2 * 3, 7 * 2 * 3)
    assert rows["the same SDEdit again, from the cache"] == (0, 2 * int(0.8 * 3))
    assert rows["one UNet row"] == (1, None) and rows["Direct inversion"] == (3, None)


def test_the_command_writes_the_table_and_the_peak(tiny, tmp_path, capsys, monkeypatch):
    from textedit_core.models import zoo

    one = speed.Stage("a", 0.5, 3, "plainly", 1.0, 6, 1e-7)
    monkeypatch.setattr(zoo, "load", lambda name, device="cpu": tiny)
    monkeypatch.setattr(speed, "measure", lambda models, repeats: iter([one, speed.Stage("b", 0.1, 0)]))
    assert cli.main(["bench", "speed", "--device", "cpu", "--out", str(tmp_path / "new")]) == 0
    told = capsys.readouterr().out
    assert "| a | 0.500 | 3 | plainly | 1.000 | 6 | 0.50 | 1e-07 |" in told and "Peak memory" in told
    found = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert [stage["ratio"] for stage in found["stages"]] == [0.5, None] and found["peak_mb"] > 10
