"""What follows what on the page: notes, knobs without use, examples, weights, names on tiles, captions."""

from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from tests.demos.test_preparing import asked, tabs  # noqa: F401  the tabs that prepare


@pytest.fixture
def p2p(tabs):  # noqa: F811
    return tabs["prompt_to_prompt"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "the same words; Keep to source 1 rebuilds the picture."),
        ({"keep": 1}, "the same words, so the picture is rebuilt."),
        ({"inversion": "npi"}, "the same words, so the picture is rebuilt."),
        ({"weights": "man=2"}, "the same words, weighed."),
        ({"weights": "man=2", "inversion": "npi"}, "the same words, weighed."),
        ({"weights": "man=1", "keep": 1}, "the same words, so the picture is rebuilt."),
        ({"weights": "man="}, "the same words."),
    ],
)
def test_the_note_on_the_same_words_says_what_becomes_of_the_picture(p2p, given, says):
    values = {"inversion": "direct", "keep": 0, "weights": ""} | given
    said = p2p.say_type(p2p.ctx.default, "a man", "a man", "auto", *values.values())
    assert f"Read from the prompts: {says}" in said


def test_knobs_that_an_inversion_has_no_use_for_are_hidden_and_cost_no_inversion(p2p, picture):
    from demos.inversion.inverting import USED_BY_SOME
    from demos.shared.tab import fit_key

    def shown(inversion: str) -> set:
        updates = zip(USED_BY_SOME, p2p.show_used(inversion), strict=True)
        return {name for name, update in updates if update["visible"] is True}

    assert shown("direct") == {"keep_to_source"} and shown("npi") == set()
    assert shown("ddim") == {"fit_guidance_scale"} and shown("null_text") == set(USED_BY_SOME) - {
        "keep_to_source"
    }
    at_first = {name for name in USED_BY_SOME if p2p.controls[name].visible is True}
    assert at_first == shown(p2p.controls["inversion"].value)

    source = picture()

    def read(**given):
        return p2p.view.read(p2p.ctx, asked(p2p, source, **given))

    turned = {"null_lr": 0.5, "inner_steps": 3, "fit_guidance_scale": 2.0, "mixed_precision": "no"}
    for kind in ("direct", "npi"):
        assert fit_key(read(inversion=kind)) == fit_key(read(inversion=kind, **turned))
    keys = {fit_key(read(inversion="null_text", **more)) for more in ({}, turned)}
    assert len(keys) == 2
    assert read(inversion="npi", keep_to_source=0.7).settings["keep_to_source"] == 0
    assert read(inversion="direct", keep_to_source=0.7).settings["keep_to_source"] == 0.7


def test_an_example_begins_from_what_suits_the_models_and_leaves_the_seed(tabs, monkeypatch):  # noqa: F811
    tab = tabs["imagic"]
    start = tab.at_first(tab.ctx.default)
    assert start["embedding_steps"] == 3 and start["eta"] == tab.knobs["eta"].default and "seed" not in start
    strip = tab.examples
    example = replace(strip.examples[0], knobs={"eta": 0.45})
    monkeypatch.setattr(strip, "examples", [example, *strip.examples[1:]])
    found = strip.values(0, tab.from_example, start)
    assert found["eta"] == 0.45 and found["image"] == str(example.image)
    plain = next(k for k, one in enumerate(strip.examples) if not one.knobs)
    found = strip.values(plain, tab.from_example, start)
    assert set(tab.knobs) - set(found) == {"seed"} and found["eta"] == tab.knobs["eta"].default


def test_weights_stay_while_the_prompt_is_written_and_go_before_the_edit(p2p):
    weights = p2p.weights
    assert isinstance(weights.draw("a ti", "tiger=2"), str), "the field is not written at a keystroke"
    assert 'value="2"' in weights.draw("a tiger", "tiger=2")
    assert weights.prune("a lion", "tiger=2 lion=3") == "lion=3"
    assert weights.prune("a lion", "lion=3") == gr.skip(), "a field in hand is left alone"
    assert weights.prune("a lion", "lion=") == gr.skip(), "as is one with a mistake"
    root = p2p.edit_button
    while root.parent is not None:
        root = root.parent
    fields = {p2p.controls["word_weights"]._id}
    prunes = {k for k, one in root.fns.items() if getattr(one.fn, "__func__", None) is type(weights).prune}
    assert all({one._id for one in root.fns[k].outputs} == fields for k in prunes)
    edits = [one for one in root.fns.values() if one.api_name == "prompt_to_prompt_edit"]
    assert edits[0].trigger_after in prunes, "the edit follows the pruning"


def test_sdedit_follows_the_presets_of_its_own(tabs, monkeypatch, picture):  # noqa: F811
    from demos.imagic import runs
    from textedit_core import large

    tab = tabs["imagic"]
    monkeypatch.setattr(type(tab.ctx), "presets", lambda *_: {"strength": 0.7, "guidance_scale": 4.0})
    assert tab.suit_baseline("any") == [0.7, 4.0]
    monkeypatch.undo()
    ask = tab.view.read(tab.ctx, asked(tab, picture(), guidance_scale=6.0, seed=5, keep_details=0.5))
    chosen = runs.beside(ask, {"sdedit_strength": 0.7, "sdedit_guidance_scale": 4.0})
    plain = {name: knob.default for name, knob in large.KNOBS.items()}
    shared = plain | {"steps": 3, "seed": 5, "keep_details": 0.5}
    assert chosen.settings == {"strength": 0.7, "guidance_scale": 4.0} | shared
    assert chosen.inputs["image"].equal(ask.inputs["image"]) and chosen.prompts == ask.prompts


def test_lora_is_offered_where_peft_is_and_the_hint_names_what_is_there(monkeypatch):
    from demos.imagic import runs

    labels = {knob.label for knob in runs.VIEW.knobs.values()}
    for installed in (True, False):
        monkeypatch.setattr(runs.importlib.util, "find_spec", lambda name, there=installed: there or None)
        assert ("lora" in runs.tunings()) is installed and "full" in runs.tunings()
        hint = runs.memory_hint()
        assert ("'lora'" in hint) is installed and "'attention'" in hint and " under Tuned weights" in hint
        assert "turn on Checkpointing" in hint and {"Tuned weights", "Checkpointing"} <= labels


def test_tiles_and_pins_call_the_knobs_as_the_page_does():
    import json

    from demos.shared.cells import in_line, place_words
    from demos.shared.results import pin_captions

    made = json.dumps({"method": "prompt_to_prompt", "knobs": {"cross_replace_steps": 0.4}, "prompts": {}})
    cell = {"record": made, "coords": {"cross_replace_steps": 0.4, "steps": 3}}
    assert place_words(cell) == "cross-attention steps 0.4 · sampling steps 3"
    assert pin_captions(cell, ("cross_replace_steps",)) == ("", "cross-attention steps 0.4")
    cell = {"record": json.dumps({"method": "imagic"}), "coords": {"eta": 1.0, "seed": 1}}
    assert place_words(cell) == "eta 1 · seed 1"
    assert (in_line("LoRA rank"), in_line("Guidance λ")) == ("LoRA rank", "guidance λ")


@pytest.mark.parametrize(
    ("caption", "first"),
    [
        ("a happy man with glasses", "a happy man with glasses and a red hat"),
        ("a man", "a man with sunglasses"),
        ("a man with an eyepatch and a beanie", "a man with an eyepatch and a beanie and a beard"),
        ("a man with a hat on a wall", "a man with a hat on a wall with sunglasses"),
    ],
)
def test_added_words_are_of_a_kind_that_is_not_there_and_joined_as_one_speaks(caption, first):
    from demos.inversion.rewriting import candidates

    assert candidates("add", caption, lambda text: True)[0] == first


def test_a_cell_sent_to_the_tab_fixes_the_seed_and_says_where_attention_comes_from(tabs):  # noqa: F811
    from demos.inversion.attention import attention

    tab = tabs["imagic"]
    assert tab.seeds.mode in tab.send_outputs
    record = '{"method": "imagic", "knobs": %s, "prompts": {}}'
    values = dict.fromkeys(tab.knobs, 1)
    cell = {"edit": "e.png", "pictures": {"source": "s.png", "reconstruction": "r.png"}, "captions": {}}
    cell |= {"record": record % str(values).replace("'", '"'), "words": "", "scores": None}
    sent = tab.send(cell)
    assert sent[tab.seeds.mode] == "fixed" and set(sent) <= set(tab.send_outputs)
    assert "Press Edit to see them" in attention(cell)
    assert attention({"maps": {}, "mask": None}) == ""


def test_a_sweep_that_first_prepares_does_not_say_that_it_edits():
    from demos.shared.cells import status
    from demos.shared.sweeping import Sweeping

    assert "0 of 4 cells, preparing and editing the first" in status(Sweeping("eta", {}, 4, Path()))
    assert "editing" not in status(Sweeping("eta", {}, 4, Path(), loss=0.5))
    assert "1 of 4 cells, editing" in status(Sweeping("eta", {}, 4, Path(), shown=[{}]))
