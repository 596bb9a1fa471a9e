"""The pieces of the page that need no server: charts, grids, examples, hints, pace, stops, flags."""

import asyncio
import errno
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from demos.shared import checks
from textedit_core.record import Record

ROOT = Path(__file__).parents[2]


def test_help_comes_within_half_a_second():
    """Of its own work: what it waits for others on a busy machine does not count."""
    before = os.times()
    done = subprocess.run([sys.executable, "app.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    after = os.times()
    own = after.children_user - before.children_user + after.children_system - before.children_system
    assert 0 < own < 0.5
    assert all(flag in done.stdout for flag in ("--port", "--host", "--share", "--device", "--models"))


def test_a_wrong_models_flag_is_one_sentence(capsys):
    from demos.app import create_app
    from textedit_core.models import zoo

    with pytest.raises(ValueError, match="no model 'nowhere'"):
        create_app(zoo, models="nowhere")


def test_what_people_write_cannot_become_markup():
    from demos.shared.marks import Tile, bar, note, strip, table

    evil = "<img src=x onerror=alert(1)>\"'"
    tile = Tile("/tmp/a.png", evil, (evil,), 0)
    for text in (
        note(evil),
        bar(1, 2, evil),
        strip([tile]),
        table([evil], [evil], {(0, 0): tile}, evil, evil),
    ):
        assert "<img src=x" not in text and 'onerror=alert(1)>"' not in text


def test_examples_are_read_from_an_index_and_absent_without_one(tmp_path):
    from demos import examples

    assert examples.read("imagic", tmp_path) == []
    folder = tmp_path / "imagic"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    rows = [
        {"image": "a.png", "label": "red hat", "prompt": "a man with a red hat", "knobs": {"eta": 0.8}},
        {"image": "gone.png", "label": "gone", "prompt": "nothing"},
    ]
    (folder / "index.json").write_text(json.dumps(rows))
    (one,) = examples.read("imagic", tmp_path)
    assert (one.label, one.fields, one.knobs) == ("red hat", {"prompt": "a man with a red hat"}, {"eta": 0.8})


def test_unknown_words_are_a_hint_with_the_nearest_known_ones(tiny_folder):
    from demos.context import Context
    from demos.shared.checks import word_hint
    from textedit_core.models import zoo

    ctx = Context(zoo, str(tiny_folder), "cpu")
    hint = word_hint(ctx, ctx.default, "a woman with a hats and a zzzz")
    assert "hats" in hint and "close: hat" in hint and "zzzz" in hint and "hint" in hint
    assert word_hint(ctx, ctx.default, "a woman with a red hat") == ""
    assert word_hint(ctx, "sd", "a woman with a zzzz") == ""


def test_weights_in_the_brackets_of_a_prompt_are_told_beside_it(tiny_folder):
    import gradio as gr

    from demos.context import Context
    from demos.inversion.tab import NullTextTab
    from demos.shared.prompt import PromptBox
    from textedit_core.models import zoo

    ctx = Context(zoo, str(tiny_folder), "cpu")
    with gr.Blocks():
        models = gr.Dropdown([ctx.default])
        weighed = NullTextTab(ctx, models).prompt
        plain = PromptBox(ctx, models, "Prompt", "prompt")
    said = weighed.say_hint(ctx.default, "a woman with a (red:1.4) hat")
    assert "red=1.4" in said and "as word weights" in said and "Prompt-to-Prompt" not in said
    assert "Prompt-to-Prompt alone" in plain.say_hint(ctx.default, "a woman with a (red:1.4) hat")
    assert weighed.say_hint(ctx.default, "a woman with a red hat") == ""
    both = weighed.say_hint(ctx.default, "a zzzz with a (red:1.4) hat")
    assert "does not know" in both and "red=1.4" in both and both.count("<p") == 2


def test_every_knob_gets_a_widget_with_its_range_and_default():
    import gradio as gr

    from demos.imagic import runs
    from demos.shared.knobs import controls

    known = runs.VIEW.knobs
    with gr.Blocks():
        made = controls(known, known, {"eta": 1.1})
    assert list(made) == list(known)
    assert made["eta"].value == 1.1 and made["guidance_scale"].value == known["guidance_scale"].default
    for name, widget in made.items():
        knob = known[name].knob
        assert widget.label == known[name].label
        if knob.minimum is not None:
            assert (widget.minimum, widget.maximum) == (knob.minimum, knob.maximum)
        if knob.choices:
            assert [value for _, value in widget.choices] == list(knob.choices)


def test_charts_place_the_extremes_and_the_suggested_value():
    from demos.shared import charts

    assert charts.losses([("1", (), 0), ("2", (), 5)]) == ""
    assert charts.losses([("1 embedding", (3.0, 1.0), 2), ("2", (), 0)]).count("<polyline") == 2
    drawn = charts.scores("Eta", [(0, 20, 0.9), (0.5, 22, 0.8), (1, 26, 0.5)], ("left", "right"), 0.5)
    assert (
        drawn.count("<circle") == 6
        and "suggested 0.5" in drawn
        and "left and right against Eta" in drawn
        and 'class="rule"' in drawn
    )
    assert re.findall(r'number (?:first|second)">([^<]+)<', drawn) == ["26.00", "20.00", "0.90", "0.50"]
    level = charts.scores("Eta", [(0, 1.0, 1.0), (1, 1.0, 1.0)], ("left", "right"))
    assert level.count(">1.00<") == 2, "similarity is never above 1"
    assert charts.running_mean([4, 2, 6], 1.0) == [4, 3, 4]


def test_the_pace_is_learned_per_models_and_kind():
    from demos.context import Pace

    pace = Pace()
    assert pace.guess("toon", "edit", 10) is None and pace.guess("toon", "edit", 0) == 0
    pace.observe("toon", "edit", 10, 20.0)
    assert pace.guess("toon", "edit", 5) == 10 and pace.guess("sd", "edit", 5) is None
    pace.observe("toon", "edit", 10, 40.0)
    assert pace.guess("toon", "edit", 1) == 3


def test_stop_reaches_the_run_of_its_own_session_only_and_waits_for_its_end():
    from demos.context import Stops

    stops, ended = Stops(), threading.Event()

    def work():
        with stops.running("mine") as flag:
            started.set()
            flag.wait(5)
            time.sleep(0.1)
            ended.set()

    started = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    started.wait(5)
    with stops.running("other") as other:
        assert stops.ask("mine") and ended.is_set() and not other.is_set()
    assert not stops.ask("mine")
    thread.join()


def test_result_folders_are_unguessable_and_old_ones_are_swept_out(tmp_path, monkeypatch):
    from demos.context import Context
    from textedit_core.models import zoo

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    ctx = Context(zoo)
    old = ctx.folder()
    assert len(old.name) >= 32
    os.utime(old, (0, 0))
    fresh = ctx.folder()
    assert fresh.is_dir() and not old.exists()


def test_a_program_may_leave_out_what_is_empty_on_a_fresh_page():
    import gradio as gr

    from demos.shared.leave_out import may_leave_out

    def handler(request: gr.Request, *, weight: float, **values):
        """Says what it was given."""
        yield str(values)

    with gr.Blocks() as page:
        inputs = {"image": gr.Image(), "seed": gr.Number(3), "prompt": gr.Textbox(), "weight": gr.Number(1)}
        run = may_leave_out(handler, inputs)
        gr.Button().click(run, inputs_kwargs=inputs, outputs=gr.HTML(), api_name="run")
    about = page.get_api_info()["named_endpoints"]["/run"]
    given = {one["parameter_name"]: one["parameter_default"] for one in about["parameters"]}
    assert given == {"image": None, "seed": 3, "prompt": None, "weight": 1}
    assert all(one["parameter_has_default"] for one in about["parameters"])
    assert about["description"] == "Says what it was given."
    assert list(run(None, weight=1, image=None)) == ["{'image': None}"]


@pytest.mark.parametrize(
    ("method", "prompts", "knobs", "more", "name"),
    [
        ("imagic", {"prompt": "a man, with a hat"}, {"seed": 3}, "", "imagic, a man with a hat, seed 3"),
        ("imagic", {"prompt": "a man"}, {"seed": 3}, "eta=0.5", "imagic, a man, eta=0.5"),
        ("tedigan", {"prompt": "x/../y: é*?"}, {"latent_seed": 0}, "", "tedigan, x y, seed 0"),
        ("sdedit", {"prompt": "λ"}, {}, "", "sdedit"),
        ("paint_by_example", {}, {"seed": 1}, "", "paint_by_example, seed 1"),
    ],
)
def test_a_file_is_called_by_method_prompt_and_seed(method, prompts, knobs, more, name):
    from demos.shared.present import file_name

    assert file_name(Record(method, "toon", prompts, knobs), more) == name
    assert len(file_name(Record(method, "toon", {"prompt": "long " * 100}, knobs), more)) < 100


def test_a_full_disk_is_a_sentence_and_other_errors_of_an_upload_stay(caplog):
    full, other = OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EACCES, "no")
    assert checks.sentence(full) == checks.FULL and checks.sentence(other) == checks.SORRY
    answer = asyncio.run(checks.say_full(None, full))
    assert answer.status_code == 507 and json.loads(answer.body) == {"detail": checks.FULL}
    with pytest.raises(OSError, match="no"):
        asyncio.run(checks.say_full(None, other))
