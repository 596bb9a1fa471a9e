"""The Comparators tab through its API and its handlers: edits, what is shown, sweeps, recall, mistakes."""

import json

import pytest
from gradio_client import handle_file

from tests.demos import techniques
from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named, pixels
from tests.demos.test_styleclip_tab import SAMPLE, TEXTS
from tests.demos.test_sweep_panel import file_of, unpacked

NAME = "latent_directions"


@pytest.fixture(scope="module")
def tab(tiny_folder):
    return techniques.built(tiny_folder, NAME, "generator", "clip")


def asked(tab, **more) -> dict:
    """The values of every widget of the tab as it is at first, with both texts."""
    return techniques.asked(tab, **TEXTS | more)


def edit(client, **more) -> dict:
    found = client.predict(**SAMPLE | TEXTS | more, api_name=f"/{NAME}_edit")
    return named(client, f"/{NAME}_edit", found)


@pytest.mark.parametrize("technique", ["ganspace", "interfacegan", "stylespace"])
def test_each_technique_edits_and_strength_zero_is_the_source(client, technique):
    out = edit(client, technique=technique, strength=4, latent_seed=3)
    record = settings_in(out["Edit"])
    assert record == out["Settings"] and record["method"] == NAME
    assert record["knobs"]["technique"] == technique and record["knobs"]["latent_seed"] == 3
    assert record["prompts"] == ({} if technique == "ganspace" else TEXTS)
    assert (pixels(out["Edit"]) != pixels(out["Source"])).any()
    still = edit(client, technique=technique, strength=0, latent_seed=3)
    assert (pixels(still["Edit"]) == pixels(still["Source"])).all()


def test_it_says_what_an_edit_went_along(client):
    told = {
        "ganspace": ({"component": 2}, "Component 2 of 16: "),
        "interfacegan": ({}, "Across the boundary found from 100 samples"),
        "stylespace": ({"channel": "5:3"}, "Channel 3 of layer 5 (convs.2), turned up"),
    }
    for technique, (knobs, words) in told.items():
        assert words in edit(client, technique=technique, **knobs)["Edit status"]


def test_what_is_prepared_serves_every_latent_and_strength(client, monkeypatch):
    from textedit_core.models.style import interfacegan

    rendered = []
    real = interfacegan.fit_svm
    monkeypatch.setattr(interfacegan, "fit_svm", lambda *given: rendered.append(1) or real(*given))
    status, *_ = client.predict(
        **SAMPLE, **TEXTS, technique="interfacegan", latent_seed=3, api_name=f"/{NAME}_prepare"
    )
    assert "Prepared for" in status
    for more in ({"latent_seed": 3}, {"latent_seed": 4, "strength": -2}, {"last_layer": 3}):
        edit(client, technique="interfacegan", **more)
    assert rendered == [1]


def test_a_knob_without_use_costs_no_new_preparation(tab):
    from demos.shared.tab import fit_key

    first = tab.view.read(tab.ctx, asked(tab, technique="ganspace"))
    for more in ({"share": 0.3}, {"channel": "7"}, {"prompt": "a sad man"}, {"latent_seed": 9}):
        assert fit_key(tab.view.read(tab.ctx, asked(tab, technique="ganspace", **more))) == fit_key(first)
    other = tab.view.read(tab.ctx, asked(tab, technique="ganspace", samples=300))
    assert fit_key(other) != fit_key(first)
    assert fit_key(tab.view.read(tab.ctx, asked(tab))) == fit_key(first)


SHOWN = {
    "ganspace": {"component", "first_layer", "last_layer"},
    "interfacegan": {"texts", "first_layer", "last_layer", "share"},
    "stylespace": {"texts", "channel"},
}


@pytest.mark.parametrize("technique", SHOWN)
def test_knobs_are_shown_where_the_technique_uses_them(tab, technique):
    from demos.styleclip.comparators import KNOBS_USED_BY_SOME

    updates = dict(zip(("texts", *KNOBS_USED_BY_SOME), tab.show_used(technique), strict=True))
    assert {name for name, one in updates.items() if one["visible"] is True} == SHOWN[technique]
    if technique == "ganspace":  # as the tab is at first
        names = dict(zip(("texts", *KNOBS_USED_BY_SOME), tab.used_by_some, strict=True))
        assert {name for name, one in names.items() if one.visible is True} == SHOWN[technique]


def test_strengths_are_swept_in_one_batch_and_techniques_beside_each_other(client, monkeypatch):
    from textedit_core.methods import latent_directions as method

    rows, real = [], method.edit

    def watched(*args, **knobs):  # as the method's own, to the cache
        rows.append(len(knobs["strength"]) if isinstance(knobs["strength"], list) else 1)
        return real(*args, **knobs)

    for name in ("batched", "__wrapped__", "__name__", "__qualname__", "__module__"):
        setattr(watched, name, real if name == "__wrapped__" else getattr(real, name))
    monkeypatch.setattr(method, "edit", watched)
    axes = {"x": "strength", "x_values": "-2, 0, 2"}
    axes |= {"y": "technique", "y_values": "interfacegan, stylespace, ganspace"}
    *_, archive = client.predict(**SAMPLE, **TEXTS, **axes, api_name=f"/{NAME}_sweep")
    cells = unpacked(file_of(archive))[0]["cells"]
    assert len(cells) == 9 and rows == [3, 3, 3]


@pytest.mark.parametrize(
    ("more", "field", "says"),
    [
        ({"technique": "interfacegan", "prompt": " "}, "prompt", "Write what it is to show"),
        ({"technique": "stylespace", "neutral": ""}, "neutral", "Write what the picture shows now"),
        ({"technique": "interfacegan", "prompt": "a  man"}, "prompt", "Both texts are the same"),
        ({"component": 17}, "component", "choose at most 16"),
        ({"first_layer": 9}, "first_layer", "have the layers 0 to 7"),
        ({"first_layer": 3, "last_layer": 2}, "first_layer", "no more than the last"),
        ({"technique": "stylespace", "channel": "99"}, "channel", "'99' is no rank from 1 to 48"),
        ({"technique": "stylespace", "channel": "99:1"}, "channel", "'99' is no layer from 0 to 10"),
    ],
)
def test_a_mistake_is_a_sentence_beside_its_field(tab, more, field, says):
    found = tab.problems(asked(tab, **more))
    assert says in found[field] and [name for name, words in found.items() if words] == [field]


def test_what_a_technique_does_not_use_may_be_anything(tab):
    assert not any(tab.problems(asked(tab, neutral="", prompt="", channel="abc")).values())
    assert not any(tab.problems(asked(tab, technique="stylespace", channel="5:3", prompt="")).values())
    ask = tab.view.read(tab.ctx, asked(tab, technique="stylespace", first_layer=17, last_layer=0))
    assert (ask.settings["first_layer"], ask.settings["last_layer"]) == (0, 17)


def test_recall_restores_the_technique_and_its_knobs(client):
    chosen = {"technique": "stylespace", "channel": "6:2", "strength": -5.5, "latent_seed": 8}
    out = edit(client, **chosen)
    found = client.predict(file=handle_file(out["Edit"]), api_name="/recall")
    assert "Settings restored" in found[0]
    flat = json.dumps(found)
    assert all(json.dumps(value) in flat for value in chosen.values())
