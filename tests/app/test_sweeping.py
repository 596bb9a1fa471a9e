"""Sweeps as runs, without a server: what is kept, how large they may be, times; and nothing is fetched."""

from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image

from demos.components.sweep import SweepPanel
from demos.context import Context
from demos.runs import common, imagic, paint_by_example, styleclip_directions, sweeping
from textedit_core import images
from textedit_core.models import zoo
from textedit_core.sheet import contact_sheet
from textedit_core.steps import Step


@pytest.fixture
def ctx(tiny_folder) -> Context:
    return Context(zoo, str(tiny_folder), "cpu")


def asked(ctx: Context, size: tuple[int, int], tmp_path) -> common.Ask:
    """What Paint by Example is asked for a picture of this size, its middle painted over."""
    paths = {name: tmp_path / f"{name}.png" for name in ("image", "mask", "exemplar")}
    Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 30).convert("RGB").save(paths["image"])
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    mask.save(paths["mask"])
    Image.new("RGB", (24, 24), "red").save(paths["exemplar"])
    known = paint_by_example.TOOLS | paint_by_example.CROP | paint_by_example.METHOD.knobs
    values = {name: knob.default for name, knob in known.items()} | {"models": ctx.default, "steps": 1}
    given = {"image": str(paths["image"]), "exemplar": str(paths["exemplar"]), "mask": [str(paths["mask"])]}
    return paint_by_example.read(ctx, values | given)


def test_a_score_fetches_no_clip(ctx, tmp_path, monkeypatch):
    ask = asked(ctx, (40, 32), tmp_path)
    far = zoo.HUB["sd"]["clip"]
    models = replace(ask.models, sources={**ask.models.sources, "clip": far})
    monkeypatch.setattr(zoo.Models, "clip", property(lambda self: pytest.fail("CLIP would be fetched")))
    elsewhere = replace(ask, models=models)
    assert paint_by_example.score(elsewhere, ask.source) is None
    assert common.clip_scores(elsewhere, ask.source) is None


def test_the_larger_the_picture_the_fewer_at_once(ctx, tmp_path):
    batch = paint_by_example.METHOD.batch
    ask = asked(ctx, (40, 32), tmp_path)
    sides = {512: 8, 1000: 8, 1500: 3, 2500: 1, 7000: 1}
    empty = torch.empty(1)
    found = {side: batch(replace(ask, source=empty.expand(1, 3, side, side))) for side in sides}
    assert found == sides


def test_a_sweep_keeps_of_a_large_cell_what_the_contact_sheet_needs(ctx, tmp_path):
    ask, axes = asked(ctx, (400, 280), tmp_path), {"guidance_scale": [1.0, 3.0]}
    *_, state = sweeping.run(ctx, ask, "guidance_scale", axes, Event())
    assert [tuple(cell.image.shape) for cell in state.cells] == [(1, 3, 134, 192)] * 2
    whole = [images.as_tensor(Image.open(cell["edit"])) for cell in state.shown]
    assert all(one.shape[-2:] == ask.source.shape[-2:] for one in whole)
    large = [replace(cell, image=one) for cell, one in zip(state.cells, whole, strict=True)]
    sheets = [contact_sheet(cells, "guidance_scale").tobytes() for cells in (large, state.cells)]
    assert sheets[0] == sheets[1]


def test_more_pixels_than_there_is_room_for_are_refused_with_what_to_lower(ctx, tmp_path):
    ask = asked(ctx, (40, 32), tmp_path)
    large = replace(ask, source=torch.empty(1).expand(1, 3, 4000, 5000))
    sweeping.check_room(large, {"seed": [0, 1, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"6 cells of 5000 x 4000 .* at most 5 cells, or a smaller picture"):
        sweeping.check_room(large, {"seed": [0, 1, 2], "guidance_scale": [1.0, 2.0]})


def test_the_time_told_of_a_seed_is_measured(ctx, picture, monkeypatch):
    values = {name: knob.default for name, knob in imagic.METHOD.knobs.items()} | {"models": ctx.default}
    ask = imagic.read(ctx, values | {"image": picture(), "prompt": "a man", "sizing": "crop"})
    clock = iter([10.0, 14.0, 14.0, 20.0, 20.0])
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    ranked = [SimpleNamespace(seed=seed, image=ask.source) for seed in (0, 1, 2)]
    steps = [Step(1, 2, ranked[:2]), Step(2, 2, ranked)]
    ask = replace(ask, method=replace(ask.method, rank=lambda *_: iter(steps)))
    _, cells = last_of(sweeping.best(ctx, ask, None, 3, Event()))
    assert [cell["words"].rpartition(", ")[2] for cell in cells] == ["2.0 s", "2.0 s", "6.0 s"]


def last_of(made):
    *_, value = made
    return value


def test_what_a_knob_on_an_axis_is_set_to_does_not_matter(tiny_folder):
    from demos.tabs.styleclip import build

    ctx = Context(zoo, str(tiny_folder), "cpu")
    with gr.Blocks():
        tab = build(ctx, gr.Dropdown(value=ctx.default)).panels["styleclip_directions"]
    panel: SweepPanel = tab.sweep
    known = styleclip_directions.METHOD.knobs
    values = {name: widget.value for name, widget in tab.inputs.items()}
    values |= {name: knob.default for name, knob in known.items()}
    texts = {"neutral": "a man", "target": "a smiling man", "models": ctx.default}
    values |= texts | {"beta": 1.0, "samples": 1}
    assert "No channel is left" in tab.problems(values)["beta"]
    axes = {"x": "beta", "x_values": "0, 0.01", "y": "", "y_values": ""}
    assert not any(panel.problems(values | axes).values())
    assert "No channel is left" in panel.problems(values | axes | {"x": "alpha"})["beta"]
    assert "2 cells" in panel.say_outlook(**values, **axes)


def test_the_outlook_needs_the_part_of_its_own_tab_only(ctx, tmp_path, monkeypatch):
    asked_for = []
    monkeypatch.setattr(Context, "ready", lambda self, name, part="diffusion": asked_for.append(part))
    method = paint_by_example.METHOD
    panel = SimpleNamespace(method=method, ctx=ctx, tab=None)
    panel.placed = lambda values, axes: values
    axes = {"x": "seed", "x_values": "0, 1", "y": "", "y_values": ""}
    assert "2 cells" in SweepPanel.say_outlook(panel, models=ctx.default, **axes)
    assert asked_for == ["paint_by_example"]
