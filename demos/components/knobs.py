"""Sliders made from the knobs of a method: range, step, label and help are read from its signature."""

import json
from collections.abc import Iterable

import gradio as gr

from textedit_core.knobs import BoundKnob

MOST_STOPS = 5_000


def control(bound: BoundKnob, value=None, **look) -> gr.components.Component:
    """The widget of one knob: choices, a tick box, a slider, or a number box where a slider would be too fine."""
    knob, value = bound.knob, bound.default if value is None else value
    label = f"Preparation {bound.label.lower()}" if bound.name.startswith("fit_") else bound.label
    common = {"value": value, "label": label, "info": knob.help or None, **look}
    if knob.choices:
        return gr.Dropdown(list(knob.choices), **common)
    if bound.type is bool:
        return gr.Checkbox(**common)
    if bound.type is str:
        return gr.Textbox(**common)
    if (knob.maximum - knob.minimum) / knob.step > MOST_STOPS:
        return gr.Number(
            minimum=knob.minimum,
            maximum=knob.maximum,
            step=knob.step,
            min_width=100,
            precision=0 if bound.type is int else None,
            **common,
        )
    return gr.Slider(knob.minimum, knob.maximum, step=knob.step, min_width=100, **common)


def controls(knobs: dict[str, BoundKnob], names: Iterable[str], presets: dict, **look) -> dict:
    """One widget per name, in order, at the preset of the models or else the paper's default."""
    return {name: control(knobs[name], presets.get(name), **look) for name in names}


def checked(knobs: dict[str, BoundKnob], values: dict) -> dict:
    """The widgets' values as the method wants them, each checked against its range (ValueError names it)."""
    return {name: knobs[name].check(value) for name, value in values.items() if name in knobs}


def restored(knobs: dict[str, BoundKnob], values: dict, fallback: dict) -> list:
    """Updates for widgets in the order of `knobs`: the given value, else the fallback, else the default."""
    return [
        gr.update(value=values.get(name, fallback.get(name, bound.default))) for name, bound in knobs.items()
    ]


def settings_of(result: dict) -> dict:
    """The knob values a shown result was made with."""
    return json.loads(result["record"])["knobs"]
