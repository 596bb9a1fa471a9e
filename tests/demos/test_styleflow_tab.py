"""The StyleFlow tab: sliders and their text, edits, the chain, sweeps, and mistakes."""

import gradio as gr
import pytest

from tests.demos import techniques
from tests.demos.conftest import settings_in
from tests.demos.techniques import asked
from tests.demos.test_imagic_tab import named, pixels
from tests.demos.test_styleclip_tab import SAMPLE

NAME = "styleflow"


def edit(client, **more) -> dict:
    found = client.predict(**SAMPLE | more, api_name=f"/{NAME}_edit")
    return named(client, f"/{NAME}_edit", found)


@pytest.fixture(scope="module")
def tab(tiny_folder):
    return techniques.built(tiny_folder, NAME, "generator", "clip", "flow")


def test_an_edit_says_what_clip_reads_and_accepted_edits_are_plain_data(client):
    first = edit(client, attributes="smiling 1", latent_seed=3)
    record = settings_in(first["Edit"])
    assert record["method"] == NAME and record["knobs"]["attributes"] == "smiling 1"
    assert (pixels(first["Edit"]) != pixels(first["Source"])).any()
    assert "CLIP reads smiling 0." in first["Edit status"] and "→" in first["Edit status"]
    chained = edit(client, attributes="", accepted="smiling 1", latent_seed=3)
    assert (pixels(chained["Edit"]) == pixels(first["Edit"])).all()
    status, *_ = client.predict(
        **SAMPLE, attributes="smiling", x="strength", x_values="0, 1", y="", y_values="",
        latent_seed=3, api_name=f"/{NAME}_sweep",
    )  # fmt: skip
    assert "2 cells" in status


def test_there_is_a_slider_for_each_attribute_of_the_models(tab):
    labels = [one.label for one in tab.sliders if one.visible is True]
    assert labels == ["smiling", "red hat"] and tab.names.value == "smiling, red hat"
    names, *updates = tab.name_sliders(tab.ctx.default)
    assert names == "smiling, red hat" and [one["visible"] for one in updates[:3]] == [True, True, "hidden"]
    assert [one["visible"] for one in tab.name_sliders("of no such name")[1:]] == ["hidden"] * 8


def test_accept_adds_what_is_shown_and_undo_puts_it_back(tab):
    from textedit_core.request import run
    from textedit_core.steps import last

    made = last(
        run(tab.view.read(tab.ctx, asked(tab, attributes="smiling 0.5", strength=2, accepted="red hat")))
    )
    shown = {"record": made.record.to_json()}
    attributes, accepted = (tab.controls[name] for name in ("attributes", "accepted"))
    (updates,) = tab.accept(tab.ctx.default, shown)
    assert (updates[attributes], updates[accepted]) == ("", "red hat; smiling 1")
    (updates,) = tab.undo(updates[accepted])
    assert (updates[attributes], updates[accepted]) == ("smiling 1", "red hat")
    for wrong in (tab.accept(tab.ctx.default, None), tab.undo(" ")):
        with pytest.raises(gr.Error):
            list(wrong)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({}, "attributes", "Nothing is to change yet"),
        ({"attributes": "sad"}, "attributes", "has no attribute 'sad'; it has smiling, red hat"),
        ({"accepted": "sad"}, "accepted", "Accepted edits: this flow has no attribute"),
        ({"attributes": "smiling", "first_layer": 9}, "first_layer", "these models have the layers 0 to 7"),
        (
            {"attributes": "smiling", "first_layer": 3, "last_layer": 2},
            "first_layer",
            "no more than the last",
        ),
    ],
)
def test_a_mistake_stands_beside_its_field(tab, change, field, words):
    found = tab.problems(asked(tab, **change))
    assert set(found) == {field} and words in found[field]
    assert not tab.problems(asked(tab, attributes="smiling, red hat -1"))


def test_models_without_a_flow_are_told_of(tab, tiny_folder, tmp_path):
    import shutil

    shutil.copytree(tiny_folder, tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / "flow")
    found = tab.problems(asked(tab, models=str(tmp_path / "models"), attributes="smiling"))
    assert "flow" in found["models"]
