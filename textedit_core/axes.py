"""The axes of a sweep, read from what a person types, and the cells on them."""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from textedit_core.knobs import BoundKnob, check_length, quoted

MAX_VALUES = 200
_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)"
_COUNT = r"(\d{1,18})"  # no more digits than a count can have: Python refuses to read thousands of them
_RANGES = (rf"{_NUMBER}\s*-\s*{_NUMBER}\s*\[\s*{_COUNT}\s*\]", rf"{_NUMBER}\s*:\s*{_NUMBER}\s*:\s*{_COUNT}")
_WHOLE_RANGE = rf"{_COUNT}\s*-\s*{_COUNT}"


@dataclass(frozen=True)
class Axis:
    """A knob, by its name in `Method.knobs`, and the values it takes."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Cell:
    """One result: its place on the axes, all settings of the method (to make it again), the image (1,3,H,W)
    in [-1,1], and the seconds it took, 0 if the cache had it.

    The image is None of a cell that is only planned, and where whoever keeps the cells has dropped it.
    unfinished: the edit at the models' own size, where the image is what was made of it; else None.
    """

    coords: dict[str, Any]
    settings: dict[str, Any]
    image: torch.Tensor | None
    seconds: float
    unfinished: torch.Tensor | None = None


def find_knob(settings: Mapping[str, BoundKnob], name: str) -> BoundKnob:
    """The knob of this name; ValueError, a sentence with the names there are, when there is none."""
    if name not in settings:
        raise ValueError(f"There is no knob called {quoted(name)} here; use one of {', '.join(settings)}.")
    return settings[name]


def parse_axis(text: str, settings: Mapping[str, BoundKnob]) -> Axis:
    """An axis written as NAME=VALUES, the values as `parse_values` reads them; ValueError, a sentence."""
    name, equals, values = text.partition("=")
    if not equals:
        raise ValueError(f"Axis: {quoted(text)} has no values; write it as NAME=VALUES, such as seed=0,1,2.")
    name = name.strip().replace("-", "_")
    return Axis(name, tuple(parse_values(values, find_knob(settings, name))))


def parse_values(text: str, knob: BoundKnob) -> list[Any]:
    """The distinct values in `text`: "0, 0.5, 1"; five from 0 to 1 as "0-1 [5]" or "0:1:5"; whole ones "0-7".

    A text with a comma in it is put in double quotes, or each text on a line of its own. ValueError, a
    sentence, for anything that is not a value of the knob, and for more than 200 values.
    """
    check_length(text, knob.label)
    lines = text.strip().splitlines()
    try:
        if knob.type is str and len(lines) > 1:
            parts = [line.strip() for line in lines]
        else:
            parts = [part.strip() for part in next(csv.reader([text], skipinitialspace=True), [])]
    except csv.Error:
        raise ValueError(f"{knob.label}: write the values in one line, as 0, 0.5, 1 or as 0-1 [5].") from None
    values = [value for part in parts if part for value in _expand(part, knob)]
    distinct = list(dict.fromkeys(values))
    if not distinct:
        raise ValueError(f"{knob.label}: there are no values; write them as 0, 0.5, 1 or as 0-1 [5].")
    _check_count(len(distinct), knob)
    return distinct


def written(values: Sequence[Any]) -> str:
    """Values in a line that `parse_values` reads as these again."""
    return ", ".join(map(_typed, values))


def _typed(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = " ".join(str(value).split())
    return '"' + text.replace('"', '""') + '"' if {",", '"'} & set(text) else text


def _expand(part: str, knob: BoundKnob) -> list[Any]:
    if knob.type not in (int, float):
        return [knob.parse(part)]
    found = next(filter(None, (re.fullmatch(pattern, part) for pattern in _RANGES)), None)
    whole = re.fullmatch(_WHOLE_RANGE, part) if knob.type is int else None
    if whole:
        first, final = (knob.check(int(one)) for one in whole.groups())
        count = abs(final - first) + 1
    elif found:
        first, final = (_end(float(one), knob) for one in found.groups()[:2])
        count = int(found.group(3))
    else:
        return [knob.parse(part)]
    _check_count(count, knob)
    values = [first + (final - first) * index / max(1, count - 1) for index in range(count)]
    return [knob.check(round(value) if knob.type is int else round(value, 10)) for value in values]


def _end(value: float, knob: BoundKnob) -> float:
    """An end of a range; ValueError for one that is too large for the knob, or for any number."""
    knob.check(round(value) if knob.type is int and math.isfinite(value) else value)
    return value


def _check_count(count: int, knob: BoundKnob) -> None:
    if not 1 <= count <= MAX_VALUES:
        raise ValueError(f"{knob.label}: {count} values are not possible; use 1 to {MAX_VALUES}.")
