"""Every study that goes over held-out portraits takes the flags that it reads."""

import pytest

from studies import paint_by_example_toon, sharded


@pytest.mark.parametrize("world", ["closed", "open"])
def test_paint_by_example_is_studied_in_either_world(world, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(sharded, "run", lambda options, edits, tell, study: asked.extend(edits))
    monkeypatch.setattr(paint_by_example_toon, "with_sets", lambda rows, models, options: rows)
    words = ["--out", str(tmp_path), "--limit", "2", *(["--world", world] if world == "open" else [])]
    paint_by_example_toon.main(words)
    assert len(asked) == 2 and capsys.readouterr().out.startswith("|")
