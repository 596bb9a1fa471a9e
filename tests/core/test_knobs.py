"""Knobs: read from signatures, parsed and checked with sentences, split between a fit and its edit."""

from functools import wraps
from typing import Annotated, Literal

import pytest
import torch

from tests.core import fakes
from textedit_core.knobs import (
    BoundKnob,
    Eta,
    Knob,
    Steps,
    Strength,
    batches,
    knobs,
    method_knobs,
)


def everything(
    model,
    image,
    prompt="",
    *,
    eta: Eta = 0.5,
    count: Annotated[int, Knob(0, 10, 1)] = 3,
    kind: Annotated[str, Knob(choices=("full", "lora"))] = "full",
    how: Annotated[Literal["slow", "fast"], Knob(label="Way")] = "slow",
    note: Annotated[str, Knob()] = "",
    sharp: Annotated[bool, Knob()] = False,
    other: int = 1,
):
    yield


KNOBS = knobs(everything)


def test_they_are_the_annotated_keyword_only_parameters_in_order():
    assert list(KNOBS) == ["eta", "count", "kind", "how", "note", "sharp"]
    assert [knob.default for knob in KNOBS.values()] == [0.5, 3, "full", "slow", "", False]
    assert KNOBS["how"].type is str and KNOBS["how"].knob.choices == ("slow", "fast")
    assert (KNOBS["how"].label, KNOBS["count"].label) == ("Way", "Count")


def test_they_are_read_once_and_what_a_caller_gets_is_its_own():
    assert knobs(everything)["eta"] is KNOBS["eta"]
    for found in (knobs(everything), method_knobs(everything)):
        found.clear()
    assert list(knobs(everything)) == list(method_knobs(everything)) == list(KNOBS)


def test_they_are_read_through_decorators_and_from_annotations_as_text():
    scope = {"Eta": Eta}
    exec(
        "from __future__ import annotations\n"
        "def late(model, missing: NotImported, *, eta: Eta = 1) -> AlsoMissing: yield",
        scope,
    )

    @wraps(scope["late"])
    def wrapped(*args, **kwargs):
        yield from scope["late"](*args, **kwargs)

    assert knobs(wrapped)["eta"] == knobs(torch.no_grad()(scope["late"]))["eta"]
    assert knobs(wrapped)["eta"].default == 1.0


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("eta", "0.25", 0.25),
        ("eta", " -0.5 ", -0.5),
        ("eta", "2", 2.0),
        ("eta", "1e-1", 0.1),
        ("count", "7", 7),
        ("count", "7.0", 7),
        ("count", "1e1", 10),
        ("kind", "lora", "lora"),
        ("how", "fast", "fast"),
        ("note", "a, b", "a, b"),
        ("sharp", "true", True),
        ("sharp", "OFF", False),
        ("sharp", "1", True),
    ],
)
def test_what_a_person_types(name, text, value):
    parsed = KNOBS[name].parse(text)
    assert parsed == value and type(parsed) is KNOBS[name].type


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("eta", "2.01", "Eta: 2.01 is not a number from -0.5 to 2."),
        ("eta", "high", "'high' is not a number"),
        ("eta", "", "Eta: ''"),
        ("eta", "nan", "Eta: nan"),
        ("eta", "inf", "Eta: inf"),
        ("count", "2.5", "whole"),
        ("count", "-1", "from 0 to 10"),
        ("count", "99999999999999999999999", "from 0 to 10"),
        ("kind", "attention", "one of full, lora"),
        ("how", "", "Way: '' is not one of slow, fast."),
        ("sharp", "maybe", "true or false"),
    ],
)
def test_mistakes_are_sentences_with_label_and_range(name, text, says):
    with pytest.raises(ValueError) as refusal:
        KNOBS[name].parse(text)
    assert says in str(refusal.value) and str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("eta", True),
        ("eta", "1"),
        ("eta", None),
        ("count", [1]),
        ("count", float("nan")),
        ("kind", 1),
        ("sharp", 1),
        ("note", None),
        ("count", 10**400),
        ("eta", -(10**400)),
        ("eta", "x" * 100_000),
        ("count", {"a": ["x" * 500] * 500}),
        ("kind", "y" * 5000),
        ("note", "z" * 20_001),
    ],
)
def test_values_of_a_wrong_kind_are_refused_in_a_short_sentence(name, value):
    with pytest.raises(ValueError, match=KNOBS[name].label) as refusal:
        KNOBS[name].check(value)
    assert len(str(refusal.value)) < 300


def test_a_seed_from_a_slider_is_whole_and_the_largest_is_named():
    seed = knobs(fakes.edit)["seed"]
    assert seed.check(3.0) == 3 and type(seed.check(3.0)) is int
    assert seed.check(2**31 - 1) == 2**31 - 1
    with pytest.raises(ValueError, match="2147483647"):
        seed.check(2**31)


def test_any_value_in_range_is_accepted_off_the_step_too():
    assert knobs(fakes.edit)["eta"].check(0.123456) == 0.123456


def test_two_functions_may_share_a_knob_but_not_a_name():
    def other(model, *, eta: Strength = 0.5): ...

    def same(model, *, eta: Eta = 1.0): ...

    assert knobs(everything, same)["eta"].default == 0.5
    with pytest.raises(TypeError, match="'eta'"):
        knobs(everything, other)


def without_default(*, eta: Eta): ...
def with_a_wrong_default(*, eta: Eta = 3): ...
def of_a_wrong_type(*, eta: Annotated[list, Knob(0, 1)] = 0): ...


@pytest.mark.parametrize("function", [without_default, with_a_wrong_default, of_a_wrong_type])
def test_a_knob_that_cannot_work_is_found_at_once(function):
    with pytest.raises(TypeError, match="'eta'"):
        knobs(function)


def test_half_a_range_is_refused():
    with pytest.raises(TypeError):
        Knob(minimum=0)


def test_batches_is_readable_and_names_only_knobs():
    assert fakes.edit.batched == ("eta", "seed")
    assert batches("steps")(torch.no_grad()(everything_else)).batched == ("steps",)
    with pytest.raises(TypeError, match="sigma"):
        batches("sigma")(everything_else)


def everything_else(model, *, steps: Steps = 3): ...


def test_the_settings_of_a_method_have_a_name_each():
    settings = method_knobs(fakes.edit, fakes.fit)
    assert list(settings) == ["rounds", "fit_seed", "eta", "steps", "seed"]
    assert all(knob.name == name for name, knob in settings.items())
    assert settings["fit_seed"].label != settings["seed"].label
    assert list(method_knobs(fakes.edit)) == ["eta", "steps", "seed"]


def test_a_label_is_made_of_the_name_where_none_is_given():
    assert BoundKnob("self_replace_steps", float, 0.5, Knob(0, 1)).label == "Self replace steps"
