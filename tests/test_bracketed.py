"""Weights in brackets, as other tools write them: found, and told where they go; plain text is left alone."""

import time

import pytest

from textedit_core import bracketed
from textedit_core.models.diffusion.alignment import parse_numbers


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        ("a girl with (pink:1.4) hair", "pink=1.4"),
        ("(pink hair:0.8), [grey] eyes", "pink hair=0.8 grey=0.909"),
        ("((pink)) and [[grey]]", "pink=1.21 grey=0.826"),
        ("(red hat, blue coat: 1.3)", "red hat=1.3 blue coat=1.3"),
        ("((pink:.5))", "pink=0.5"),
        ("(grass:-1)", "grass=-1"),
    ],
)
def test_weights_in_brackets_are_found_and_can_be_typed_as_word_weights(prompt, settings):
    assert bracketed.as_settings(prompt) == settings
    assert len(parse_numbers(settings, "Word weights")) == len(settings.split("=")) - 1
    of_field, of_others = (bracketed.advice(prompt, has) for has in (True, False))
    for said in (of_field, of_others):
        assert settings in said and said.endswith(".") and "\n" not in said
    assert "Prompt-to-Prompt" in of_others and "Prompt-to-Prompt" not in of_field


@pytest.mark.parametrize(
    "prompt",
    [
        "a man (smiling) in a red hat",
        r"a man \(pink:1.4\)",
        "at 10:30 (late)",
        "a :-) face",
        "",
        "()",
        "[]",
        "(:1)",
    ],
)
def test_plain_text_has_none(prompt):
    assert bracketed.weighted(prompt) == {} and bracketed.advice(prompt, False) == ""


@pytest.mark.parametrize("hostile", ["(" * 50_000, "[" * 50_000, "(a" + " " * 50_000, "(a " * 20_000])
def test_a_hostile_prompt_takes_no_time(hostile):
    started = time.perf_counter()
    assert bracketed.advice(hostile, True) == ""
    assert time.perf_counter() - started < 5  # milliseconds; a pattern that goes back takes minutes
