"""Sweeps as runs, without a server: what is kept, how large they may be, times; and nothing is fetched."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image

from demos.context import Context
from demos.imagic import runs as imagic
from demos.paint_by_example import runs as paint_by_example
from demos.paint_by_example.tab import build as paint_tab
from demos.shared import sweeping
from demos.shared.cells import grid, ranking
from demos.shared.sweep import SweepPanel
from demos.shared.view import clip_scores
from demos.styleclip import directions as styleclip_directions
from textedit_core import costs, images
from textedit_core.models import zoo
from textedit_core.request import Request, Result
from textedit_core.sheet import contact_sheet
from textedit_core.steps import Step

VIEW = paint_by_example.VIEW


@pytest.fixture
def ctx(tiny_folder) -> Context:
    return Context(zoo, str(tiny_folder), "cpu")


def asked(ctx: Context, size: tuple[int, int], tmp_path) -> Request:
    """What Paint by Example is asked for a picture of this size, its middle painted over."""
    paths = {name: tmp_path / f"{name}.png" for name in ("image", "mask", "exemplar")}
    Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 30).convert("RGB").save(paths["image"])
    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    mask.save(paths["mask"])
    Image.new("RGB", (24, 24), "red").save(paths["exemplar"])
    known = paint_by_example.TOOLS.knobs | paint_by_example.CROP.knobs | VIEW.knobs
    values = {name: knob.default for name, knob in known.items()} | {"models": ctx.default, "steps": 1}
    given = {"image": str(paths["image"]), "exemplar": str(paths["exemplar"]), "mask": [str(paths["mask"])]}
    return VIEW.read(ctx, values | given)


def with_image(ask: Request, image: torch.Tensor) -> Request:
    return replace(ask, inputs={**ask.inputs, "image": image})


def test_a_score_fetches_no_clip(ctx, tmp_path, monkeypatch):
    ask = asked(ctx, (40, 32), tmp_path)
    far = zoo.HUB["sd"]["clip"]
    models = replace(ask.models, sources={**ask.models.sources, "clip": far})
    monkeypatch.setattr(zoo.Models, "clip", property(lambda self: pytest.fail("CLIP would be fetched")))
    image = ask.inputs["image"]
    elsewhere = Result(image, replace(ask, models=models, prompts={"prompt": "a man"}), known_source=image)
    assert paint_by_example.score(elsewhere) is None
    assert clip_scores(elsewhere) is None


def test_the_larger_the_picture_the_fewer_at_once(ctx, tmp_path):
    batch = VIEW.batch
    ask = asked(ctx, (40, 32), tmp_path)
    sides = {512: 8, 1000: 8, 1500: 3, 2500: 1, 7000: 1}
    empty = torch.empty(1)
    found = {side: batch(with_image(ask, empty.expand(1, 3, side, side))) for side in sides}
    assert found == sides


def test_a_sweep_keeps_of_a_large_cell_what_the_contact_sheet_needs(ctx, tmp_path):
    ask, axes = asked(ctx, (400, 280), tmp_path), {"guidance_scale": [1.0, 3.0]}
    *_, state = sweeping.run(ctx, VIEW, {"": ask}, "guidance_scale", axes, Event())
    assert [tuple(cell.image.shape) for cell in state.cells] == [(1, 3, 134, 192)] * 2
    whole = [images.native_tensor(Image.open(cell["edit"])) for cell in state.shown]
    assert all(one.shape[-2:] == ask.inputs["image"].shape[-2:] for one in whole)
    large = [replace(cell, image=one) for cell, one in zip(state.cells, whole, strict=True)]
    sheets = [contact_sheet(cells, "guidance_scale").tobytes() for cells in (large, state.cells)]
    assert sheets[0] == sheets[1]


def test_more_pixels_than_there_is_room_for_are_refused_with_what_to_lower(ctx, tmp_path):
    ask = asked(ctx, (40, 32), tmp_path)
    large = with_image(ask, torch.empty(1).expand(1, 3, 4000, 5000))
    sweeping.check_room({"": large}, {"seed": [0, 1, 2, 3, 4]})
    axes = {"seed": [0, 1, 2], "guidance_scale": [1.0, 2.0]}
    with pytest.raises(ValueError, match=r"6 cells of 5000 x 4000 .* 5 cells, or a smaller picture\.$"):
        sweeping.check_room({"": large}, axes)
    settings = {**large.settings, "keep_details": 0.5, "upscale": "none"}
    detailed = replace(large, settings=settings, picture=Image.new("L", (5000, 4000)))
    with pytest.raises(ValueError, match=r"or a smaller picture, or Keep details 0\.$"):
        sweeping.check_room({"": detailed}, axes)


def test_the_time_told_of_a_seed_is_measured(ctx, picture, monkeypatch):
    values = {name: knob.default for name, knob in imagic.VIEW.knobs.items()} | {"models": ctx.default}
    ask = imagic.VIEW.read(ctx, values | {"image": picture(), "prompt": "a man", "sizing": "crop"})
    clock = iter([10.0, 14.0, 15.0, 21.0, 22.0, 22.0])  # before and after each step, and the end
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    ranked = [SimpleNamespace(seed=seed, image=ask.inputs["image"]) for seed in (0, 1, 2)]
    steps = [Step(1, 2, ranked[:2]), Step(2, 2, ranked)]
    view = replace(imagic.VIEW, rank=lambda *_: (step for step in steps))
    _, cells = last_of(sweeping.best(ctx, view, ask, None, 3, Event()))
    assert [cell["words"].rpartition(", ")[2] for cell in cells] == ["2.0 s", "2.0 s", "6.0 s"]


class EverySecond:
    """A checker that refuses the second picture it sees, the fourth, ...; or all."""

    def __init__(self, period: int = 2):
        self.seen, self.period = 0, period

    def refuses(self, images: torch.Tensor) -> bool:
        self.seen += 1
        return self.seen % self.period == 0


def test_a_refused_cell_is_marked_and_the_others_go_on(tiny_folder, tmp_path):
    ctx = Context(zoo, str(tiny_folder), "cpu", checker=EverySecond())
    ask, axes = asked(ctx, (40, 32), tmp_path), {"guidance_scale": [1.0, 3.0, 5.0]}
    *_, state = sweeping.run(ctx, VIEW, {"": ask}, "guidance_scale", axes, Event())
    assert [bool(cell["edit"]) for cell in state.shown] == [True, False, True] and state.refused == 1
    refused = state.shown[1]
    assert refused["coords"] == {"guidance_scale": 3.0} and refused["scores"] is None
    assert refused["words"] == "The safety checker of this host refuses this picture, so it is not shown."
    drawn = grid(VIEW, axes, "guidance_scale", state.shown)
    assert re.findall(r'data-cell="(\d)"', drawn) == ["0", "2"] and drawn.count("<img") == 2
    assert drawn.count(refused["words"]) == 1 and "waiting told" in drawn
    assert [x for x, *_ in sweeping.curves(VIEW, axes, "guidance_scale", state.shown)] == [1.0, 5.0]
    _, archive = sweeping.files({"": ask}, state)
    written = {Path(cell["edit"]).name for cell in state.shown if cell["edit"]}
    assert {one.name for one in state.folder.glob("*, guidance*.png")} == written and len(written) == 2
    with zipfile.ZipFile(archive) as pack:
        assert set(pack.namelist()) == {"sweep.json", "sheet.png", *written}
        listing = json.loads(pack.read("sweep.json"))
    assert [one.get("refused", False) for one in listing["cells"]] == [False, True, False]
    with gr.Blocks():
        panel = paint_tab(ctx, gr.Dropdown(value=ctx.default)).sweep
    ended = panel.finished({"": ask}, state)
    assert (
        "3 cells, 1 refused by the safety checker." in ended[panel.status]
        and ended[panel.downloads]["visible"]
    )
    assert listing["complete"] and listing["cells"][1]["file"] == ""


def test_a_sweep_of_refused_cells_alone_still_ends_with_its_files(tiny_folder, tmp_path):
    ctx = Context(zoo, str(tiny_folder), "cpu", checker=EverySecond(1))
    ask, axes = asked(ctx, (40, 32), tmp_path), {"seed": [0, 1]}
    *_, state = sweeping.run(ctx, VIEW, {"": ask}, "seed", axes, Event())
    sheet, archive = sweeping.files({"": ask}, state)
    assert state.refused == 2 and Path(sheet).is_file()
    with zipfile.ZipFile(archive) as pack:
        assert set(pack.namelist()) == {"sweep.json", "sheet.png"}


def test_refused_seeds_come_last(tiny_folder, picture):
    ctx = Context(zoo, str(tiny_folder), "cpu", checker=EverySecond())
    values = {name: knob.default for name, knob in imagic.VIEW.knobs.items()} | {"models": ctx.default}
    ask = imagic.VIEW.read(ctx, values | {"image": picture(), "prompt": "a man", "sizing": "crop"})
    ranked = [SimpleNamespace(seed=seed, image=ask.inputs["image"]) for seed in (7, 8, 9)]
    view = replace(imagic.VIEW, rank=lambda *_: (step for step in [Step(1, 1, ranked)]))
    _, cells = last_of(sweeping.best(ctx, view, ask, None, 3, Event()))
    assert [cell["coords"]["seed"] for cell in cells] == [7, 9, 8] and not cells[-1]["edit"]
    drawn = ranking(imagic.VIEW, cells)
    assert drawn.count("<img") == 2 and cells[-1]["words"] in drawn and "3. seed 8" not in drawn


def last_of(made):
    *_, value = made
    return value


def test_what_a_knob_on_an_axis_is_set_to_does_not_matter(tiny_folder):
    from demos.styleclip.tab import build

    ctx = Context(zoo, str(tiny_folder), "cpu")
    with gr.Blocks():
        tab = build(ctx, gr.Dropdown(value=ctx.default)).panels["styleclip_directions"]
    panel: SweepPanel = tab.sweep
    known = styleclip_directions.VIEW.knobs
    values = {name: widget.value for name, widget in tab.inputs.items()}
    values |= {name: knob.default for name, knob in known.items()}
    texts = {"neutral": "a man", "prompt": "a smiling man", "models": ctx.default}
    values |= texts | {"beta": 1.0, "samples": 1}
    assert "No channel is left" in tab.problems(values)["beta"]
    axes = {"x": "beta", "x_values": "0, 0.01"} | {"y": "", "y_values": "", "z": "", "z_values": ""}
    assert not any(panel.problems(values | axes).values())
    assert "No channel is left" in panel.problems(values | axes | {"x": "alpha"})["beta"]
    assert "2 cells" in panel.say_outlook(**values, **axes)


def test_the_outlook_needs_the_part_of_its_own_tab_only(ctx, tmp_path, monkeypatch):
    asked_for = []
    monkeypatch.setattr(Context, "ready", lambda self, name, part="diffusion": asked_for.append(part))
    axes = {"x": "seed", "x_values": "0, 1"} | {"y": "", "y_values": "", "z": "", "z_values": ""}
    panel = SimpleNamespace(view=VIEW, ctx=ctx, tab=None, asking=axes)
    panel.axes_of = lambda values: SweepPanel.axes_of(panel, values)
    assert "2 cells" in SweepPanel.say_outlook(panel, models=ctx.default, **axes)
    assert asked_for == ["paint_by_example"]
