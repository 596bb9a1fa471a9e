"""The Text2LIVE tab through its API: any size, what a Stop keeps, the live view, sweeps, mistakes."""

import time

import numpy as np
import pytest
import torch
from gradio_client import handle_file
from PIL import Image

from demos.context import Context
from demos.text2live.runs import VIEW, keep, live
from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named, pixels
from textedit_core import cache
from textedit_core.methods import text2live
from textedit_core.models import zoo
from textedit_core.request import FITTING, known_fit, run
from textedit_core.steps import last

TEXTS = {"source_prompt": "a man in a blue hat", "prompt": "a man in a red hat"}


def ask(path: str, **more) -> dict:
    return {"image": handle_file(path)} | TEXTS | more


@pytest.fixture
def asked(tiny_folder, picture):
    """A request of the tab for a picture that is not square, on models in memory."""
    ctx = Context(zoo, str(tiny_folder), "cpu")
    values = {name: knob.default for name, knob in VIEW.knobs.items()} | ctx.presets("", VIEW.name)
    return VIEW.read(ctx, values | {"models": ctx.default, "image": picture(size=(48, 40))} | TEXTS)


def test_an_edit_has_the_size_of_the_source_and_strength_0_is_the_source(client, picture):
    source = picture(size=(48, 40))
    out = named(client, "/text2live_edit", client.predict(**ask(source), api_name="/text2live_edit"))
    shown = {name: pixels(out[name]).shape for name in ("Source", "Layer", "Opacity", "Edit")}
    assert set(shown.values()) == {(40, 48, 3)}
    record = settings_in(out["Edit"])
    assert record == out["Settings"]
    assert record["prompts"] == TEXTS and record["knobs"]["strength"] == 1 and record["knobs"]["steps"] == 3
    assert "CLIP score" in out["Scores"]
    same = client.predict(**ask(source, strength=0), api_name="/text2live_edit")[0]
    assert (pixels(same) == pixels(source)).all() and (pixels(out["Edit"]) != pixels(source)).any()


def test_a_stopped_fit_is_kept_as_the_one_that_was_asked_to_stop_there(asked):
    steps = run(asked)
    step = next(one for one in steps if one.stage == FITTING and one.done == 2)
    steps.close()
    assert known_fit(asked) is None
    kept = asked.at(**keep(asked, step))
    assert kept.settings["stop_after"] == 2
    found = known_fit(kept)
    assert found is not None and found.total == 2
    cache.default.clear()
    again = last(run(kept))
    assert again.fitted.fingerprint == found.value.fingerprint
    assert VIEW.stages(kept.settings)[0].steps == 2 and VIEW.stages(asked.settings)[0].steps == 3


def test_stop_on_the_page_keeps_the_steps_so_far(client, picture, tiny_folder):
    path = picture(7)
    job = client.submit(**ask(path, steps=3000), api_name="/text2live_prepare")
    while not any("step 2 of 3000" in str(shown[0]) for shown in job.outputs()):
        assert not job.done(), job.result()
        time.sleep(0.02)
    client.predict(api_name="/text2live_stop")
    status = job.result(timeout=60)[0]
    assert "Edit uses them." in status
    out = client.predict(**ask(path, steps=3000), api_name="/text2live_edit")
    knobs = settings_in(named(client, "/text2live_edit", out)["Edit"])["knobs"]
    assert knobs["steps"] == 3000 and 2 <= knobs["stop_after"] < 3000
    assert f"Kept {knobs['stop_after']} of 3000" in status


def test_the_live_view_is_layer_opacity_and_result_at_the_size_of_the_layer():
    draw = torch.Generator().manual_seed(0)
    colour, source = (torch.rand(1, 3, *size, generator=draw) * 2 - 1 for size in ((8, 12), (16, 24)))
    layer = text2live.Layer(colour, torch.ones(1, 1, 8, 12), source)
    seen = live(layer)
    assert seen.shape == (1, 3, 8, 36)
    assert torch.allclose(seen[..., :12], colour, atol=1e-6)
    assert (seen[..., 12:24] == 1).all() and torch.allclose(seen[..., 24:], colour, atol=1e-6)
    clear = live(text2live.Layer(colour, torch.zeros(1, 1, 8, 12), source))
    assert (clear[..., 12:24] == -1).all() and clear[..., 24:].std() > 0


def test_a_sweep_over_strength_learns_one_layer(client, picture, monkeypatch):
    fits, real = [], text2live.LayerNetwork

    def network(*size):
        fits.append(size)
        return real(*size)

    monkeypatch.setattr(text2live, "LayerNetwork", network)
    axes = {"x": "strength", "x_values": "0, 0.5, 1", "y": ""}
    client.predict(**ask(picture(9), **axes), api_name="/text2live_sweep")
    assert len(fits) == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"image": None}, "Add a source image first."),
        ({"source_prompt": " "}, "Write the source prompt: what does the picture show now?"),
        ({"prompt": ""}, "Write the prompt: what should the edited picture show?"),
        ({"prompt": "red " * 100}, "This prompt has 100 tokens"),
        ({"layer_text": "red " * 100}, "This layer text has 100 tokens"),
        ({"stop_after": -1}, "Stop after"),
    ],
)
def test_a_mistake_is_answered_beside_its_field(client, picture, changed, says):
    with pytest.raises(Exception, match=says):
        client.predict(**ask(picture()) | changed, api_name="/text2live_edit")


def test_a_picture_of_8_px_is_answered_in_a_sentence(client, tmp_path):
    path = tmp_path / "small.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    with pytest.raises(Exception, match="shorter side is 8 px"):
        client.predict(**ask(str(path), scales=4), api_name="/text2live_edit")
