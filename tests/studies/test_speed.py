"""The speed benchmark on tiny models: both ways give one result, rows are what they are said to be."""

import dataclasses
import json

import pytest
import torch

from studies import speed, speed_images


@pytest.fixture(scope="module")
def stages(tiny):
    return {stage.name: stage for stage in speed.measure(tiny, repeats=1, steps=3)}


def test_every_shortcut_gives_the_result_of_the_plain_way(stages):
    compared = [stage for stage in stages.values() if stage.ratio is not None]
    assert len(compared) == 8
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


def test_only_the_plain_way_asks_for_queries_of_one_token(tiny):
    model = tiny.paint_by_example
    processors, layers = dict(model.unet.attn_processors), []
    (stage,) = speed_images.painting(speed.Clock(model, 1))
    assert model.unet.attn_processors == processors and (stage.rows, stage.plain_rows) == (1, 1)
    handles = [one.to_q.register_forward_hook(lambda *_: layers.append(1))
               for name, one in model.unet.named_modules() if name.endswith("attn2")]  # fmt: skip
    try:
        clock = Recorded(model, 1)
        next(speed_images.painting(clock))
        clock.run()
        assert not layers
        clock.plain()
        assert len(layers) == len(handles) > 0
    finally:
        [handle.remove() for handle in handles]


def test_models_without_the_parts_have_no_such_stage(tiny):
    sources = {name: one for name, one in tiny.sources.items() if name in ("diffusion", "clip")}
    few = dataclasses.replace(tiny, sources=sources)
    few.__dict__["diffusion"] = tiny.diffusion
    names = [stage.name for stage in speed.measure(few, repeats=1, steps=1)]
    assert "one UNet row" in names and not any("Example" in name or "alpha" in name for name in names)


class Recorded(speed.Clock):
    """Keeps what it is to time."""

    def stage(self, name, run, plain_way="", plain=None):
        self.run, self.plain = torch.no_grad()(run), torch.no_grad()(plain)


def test_the_command_writes_the_table_and_the_peak(tiny, tmp_path, capsys, monkeypatch):
    from textedit_core.models import zoo

    one = speed.Stage("a", 0.5, 3, "plainly", 1.0, 6, 1e-7)
    monkeypatch.setattr(zoo, "load", lambda name, device="cpu": tiny)
    monkeypatch.setattr(speed, "measure", lambda models, repeats: iter([one, speed.Stage("b", 0.1, 0)]))
    assert speed.main(["--device", "cpu", "--out", str(tmp_path / "new")]) is None
    told = capsys.readouterr().out
    assert "| a | 0.500 | 3 | plainly | 1.000 | 6 | 0.50 | 1e-07 |" in told and "Peak memory" in told
    found = json.loads((tmp_path / "new" / "speed.json").read_text())
    assert [stage["ratio"] for stage in found["stages"]] == [0.5, None] and found["peak_mb"] > 10
