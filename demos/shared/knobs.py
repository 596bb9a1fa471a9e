"""Widgets made from the knobs of a method: range, step, label and help are read from its signature."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from demos.shared.sent import as_sent
from textedit_core.knobs import BoundKnob, knobs

MOST_STOPS = 5_000  # positions of a slider; a finer knob is a number box


def control(bound: BoundKnob, value: Any = None, **look) -> gr.components.Component:
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


def controls(known: Mapping[str, BoundKnob], names: Iterable[str], presets: Mapping, **look) -> dict:
    """One widget per name, in order, at the preset of the models or else the paper's default."""
    return {name: control(known[name], presets.get(name), **look) for name in names}


def problems(known: Mapping[str, BoundKnob]) -> Callable[[dict], dict[str, str]]:
    """For a validator: the sentence of each knob whose value does not fit."""

    def find(values: dict) -> dict[str, str]:
        found = {}
        for name in known.keys() & values.keys():
            try:
                known[name].check(values[name])
            except ValueError as error:
                found[name] = str(error)
        return found

    return find


def restored(known: Mapping[str, BoundKnob], values: Mapping, presets: Mapping) -> list:
    """Values for widgets in the order of `known`: the given one, else the preset, else the default."""
    return [values.get(name, presets.get(name, bound.default)) for name, bound in known.items()]


def settings_of(result: dict) -> dict:
    """The knob values a shown result was made with."""
    return json.loads(result["record"])["knobs"]


def models_of(result: dict) -> str:
    """The name of the models a shown result was made with."""
    return json.loads(result["record"])["models"]


@dataclass(frozen=True)
class KnobGroup:
    """The knobs of one function, on the page under a prefix that tells them from others of the same name.

    knobs: by their name on the page, in order; a name without the prefix is the function's own.
    """

    prefix: str
    knobs: dict[str, BoundKnob]

    @classmethod
    def of(
        cls,
        function: Callable,
        prefix: str = "",
        without: Collection[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> "KnobGroup":
        """The knobs of a function but those `without`, some under other labels; both by its own names."""
        found = {}
        for name, bound in knobs(function).items():
            label = (labels or {}).get(name, bound.label)
            if name not in without:
                found[prefix + name] = replace(bound, knob=replace(bound.knob, label=label))
        return cls(prefix, found)

    def own(self, name: str) -> str:
        """The function's own name of a knob."""
        return name.removeprefix(self.prefix)

    def values(self, presets: Mapping[str, Any]) -> dict[str, Any]:
        """What the widgets start from: the presets, by the function's own names, else the defaults."""
        return {name: presets.get(self.own(name), bound.default) for name, bound in self.knobs.items()}

    def widgets(self, presets: Mapping[str, Any], names: Iterable[str] | None = None, **look) -> dict:
        """A widget for each of `names`, all unless given, at these presets."""
        return controls(self.knobs, self.knobs if names is None else names, self.values(presets), **look)

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of the widgets by name; defaults for what is not there. ValueError for a misfit."""
        return {name: bound.check(values.get(name, bound.default)) for name, bound in self.knobs.items()}

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same by the function's own names: what it is called with."""
        return {self.own(name): value for name, value in self.checked(values).items()}
