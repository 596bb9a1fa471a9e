"""Sliders made from the knobs of a method: range, step, label and help are read from its signature."""

import json
from collections.abc import Callable, Iterable

import gradio as gr

from demos.shared.sent import as_sent
from textedit_core.knobs import BoundKnob

MOST_STOPS = 5_000


def control(bound: BoundKnob, value=None, **look) -> gr.components.Component:
    """The widget of one knob: choices, a tick box, a slider, or a number box where that is too fine."""
    knob, value = bound.knob, bound.default if value is None else value
    common = {"value": value, "label": bound.label, "info": knob.help or None, **look}
    if knob.choices:
        return as_sent(gr.Dropdown(list(knob.choices), **common))
    if bound.type is bool:
        return gr.Checkbox(**common)
    if bound.type is str:
        return gr.Textbox(**common)
    fine = (knob.maximum - knob.minimum) / knob.step > MOST_STOPS
    kind = gr.Number if fine else gr.Slider
    return as_sent(kind(minimum=knob.minimum, maximum=knob.maximum, step=knob.step, min_width=100, **common))


def controls(knobs: dict[str, BoundKnob], names: Iterable[str], presets: dict, **look) -> dict:
    """One widget per name, in order, at the preset of the models or else the paper's default."""
    return {name: control(knobs[name], presets.get(name), **look) for name in names}


def problems(knobs: dict[str, BoundKnob]) -> Callable[[dict], dict[str, str]]:
    """For a validator: the sentence of each knob whose value does not fit."""

    def find(values: dict) -> dict[str, str]:
        found = {}
        for name in knobs.keys() & values.keys():
            try:
                knobs[name].check(values[name])
            except ValueError as error:
                found[name] = str(error)
        return found

    return find


def restored(knobs: dict[str, BoundKnob], values: dict, fallback: dict) -> list:
    """Values for widgets in the order of `knobs`: the given one, else the fallback, else the default."""
    return [values.get(name, fallback.get(name, bound.default)) for name, bound in knobs.items()]


def settings_of(result: dict) -> dict:
    """The knob values a shown result was made with."""
    return json.loads(result["record"])["knobs"]
