"""Axes: what a person types as values, and a sentence for what is none."""

import time
from typing import Annotated

import pytest

from tests.core import fakes
from textedit_core.axes import Axis, parse_axis, parse_values, written
from textedit_core.knobs import Knob, knobs, method_knobs


def texts(
    *,
    words: Annotated[str, Knob()] = "",
    sharp: Annotated[bool, Knob()] = False,
    tune: Annotated[str, Knob(choices=("full", "lora"))] = "full",
): ...


SETTINGS = method_knobs(fakes.edit, fakes.fit) | knobs(texts)


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("eta", "0, 0.5, 1", [0.0, 0.5, 1.0]),
        ("eta", "0,1", [0.0, 1.0]),
        ("eta", "0.7", [0.7]),
        ("eta", "0-1 [5]", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("eta", "0:1:5", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("eta", "0:0.3:4", [0.0, 0.1, 0.2, 0.3]),
        ("eta", "-0.5-0.5 [3]", [-0.5, 0.0, 0.5]),
        ("eta", "-0.5 - -0.1 [2]", [-0.5, -0.1]),
        ("eta", "-0.5:2:2", [-0.5, 2.0]),
        ("eta", "1:0:3", [1.0, 0.5, 0.0]),
        ("eta", "0.1:0.9:1", [0.1]),
        ("eta", "1e-1:.2:2", [0.1, 0.2]),
        ("eta", "0, 0:1:3, 2,", [0.0, 0.5, 1.0, 2.0]),
        ("seed", "0-3", [0, 1, 2, 3]),
        ("seed", "3-1", [3, 2, 1]),
        ("seed", "0-10 [3]", [0, 5, 10]),
        ("seed", "5, 5, 5.0", [5]),
        ("rounds", "1:3:9", [1, 2, 3]),
        ("words", 'a cat, "a dog, wet"', ["a cat", "a dog, wet"]),
        ("words", "a-b [2]", ["a-b [2]"]),
        ("tune", "full,lora", ["full", "lora"]),
        ("sharp", "on, off", [True, False]),
    ],
)
def test_values(name, text, values):
    found = parse_values(text, SETTINGS[name])
    assert found == values
    assert all(type(value) is SETTINGS[name].type for value in found)
    assert parse_values(written(found), SETTINGS[name]) == found, "what is written is read as the same"


def test_texts_may_stand_on_lines_of_their_own():
    typed = 'a cat, wet\n\n  a "dog"\n'
    assert parse_values(typed, SETTINGS["words"]) == ["a cat, wet", 'a "dog"']
    assert written(["a cat, wet", 'a "dog"', "ox"]) == '"a cat, wet", "a ""dog""", ox'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("eta", "", "Eta: there are no values"),
        ("eta", " , ,", "Eta: there are no values"),
        ("eta", "0:3:4", "from -0.5 to 2"),
        ("eta", "0:1", "'0:1' is not a number"),
        ("eta", "0:1:0", "0 values"),
        ("eta", "0-1", "'0-1' is not a number"),
        ("eta", "0-1 [999999999999]", "999999999999 values"),
        ("eta", "zero", "'zero'"),
        ("seed", "0-2147483647", "2147483648 values"),
        ("seed", "0.5", "whole number"),
        ("tune", "full, half", "one of full, lora"),
        ("sharp", "2", "true or false"),
    ],
)
def test_mistakes_are_sentences(name, text, says):
    with pytest.raises(ValueError) as refusal:
        parse_values(text, SETTINGS[name])
    assert says in str(refusal.value) and str(refusal.value).endswith(".")


def test_an_axis_is_a_knob_and_its_values():
    assert parse_axis("eta=0:1:3", SETTINGS) == Axis("eta", (0.0, 0.5, 1.0))
    assert parse_axis(" fit-seed = 1,2", SETTINGS) == Axis("fit_seed", (1, 2))
    with pytest.raises(ValueError, match="no knob called 'mood' here; use one of rounds"):
        parse_axis("mood=1", SETTINGS)
    with pytest.raises(ValueError, match="NAME=VALUES"):
        parse_axis("eta", SETTINGS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eta", "1\r2"),
        ("eta", "9" * 30_000),
        ("seed", "0-1e999 [3]"),
        ("seed", f"0-1 [{'9' * 5000}]"),
        ("seed", f"{'9' * 5000}-1"),
        ("eta", "0-1e9 [3]"),
        ("eta", "-1e308:1e308:3"),
        ("eta", "nan"),
        ("eta", "1e400"),
        ("seed", "1e400"),
        ("tune", "x" * 10_000),
        ("words", "w" * 30_000),
    ],
)
def test_no_text_however_hostile_is_more_than_one_short_sentence(name, text):
    with pytest.raises(ValueError) as refusal:
        parse_values(text, SETTINGS[name])
    said = str(refusal.value)
    assert said.startswith(f"{SETTINGS[name].label}: ") and said.endswith(".") and len(said) < 250


def test_a_long_text_is_read_in_no_time():
    began = time.process_time()
    with pytest.raises(ValueError):
        parse_values("1" * 19_000 + "x", SETTINGS["eta"])
    assert time.process_time() - began < 0.5
