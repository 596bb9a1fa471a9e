"""Knobs: keyword-only parameters that carry their range and label, read back from a function's signature."""

import inspect
import reprlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from typing import Annotated, Any, Literal, get_args, get_origin

MAX_TEXT = 20_000  # characters of a free text


@dataclass(frozen=True)
class Knob:
    """What a slider, a flag or a sweep needs to know about a parameter.

    A number has `minimum` and `maximum` (both allowed) and the `step` a slider moves by; any value in the
    range is accepted, on the step or not. A text has `choices`, or none if it is free. A switch (bool) has
    neither.
    """

    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    label: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.minimum is None) != (self.maximum is None):
            raise TypeError(f"The knob '{self.label}' needs both a minimum and a maximum, or neither.")


GuidanceScale = Annotated[
    float, Knob(1, 20, 0.5, label="Guidance λ", help="how strongly the prompt pulls; 1 is none")
]
Seed = Annotated[int, Knob(0, 2**31 - 1, 1, label="Seed", help="names the noise: same seed, same result")]
Steps = Annotated[int, Knob(1, 200, 1, label="Sampling steps", help="more steps, finer and slower")]
Eta = Annotated[float, Knob(-0.5, 2, 0.05, label="Eta", help="0 rebuilds the source, 1 follows the prompt")]
Strength = Annotated[float, Knob(0, 1, 0.05, label="Strength", help="how much noise: 0 keeps the source")]


@dataclass(frozen=True)
class BoundKnob:
    """A knob where a function declares it: its name, its type (float, int, str or bool) and its default."""

    name: str
    type: type
    default: Any
    knob: Knob

    @property
    def label(self) -> str:
        """What a person reads: the knob's label, else its name in words."""
        return self.knob.label or self.name.replace("_", " ").capitalize()

    def parse(self, text: str) -> Any:
        """The value a person typed; ValueError, a sentence, when it is none or out of range."""
        text = text.strip()
        try:
            if self.type is bool:
                return _SWITCH[text.lower()]
            return self.check(text if self.type is str else _number(text))
        except (_NotANumber, KeyError):
            raise ValueError(f"{self.label}: {quoted(text)} is not {self.expected}.") from None

    def check(self, value: Any) -> Any:
        """`value` as this knob's type; ValueError, a sentence with label and range, when it does not fit."""
        if self.type in (bool, str):
            fits = isinstance(value, self.type) and (not self.knob.choices or value in self.knob.choices)
        else:
            fits = isinstance(value, Real) and not isinstance(value, bool) and self._in_range(value)
        if not fits:
            raise ValueError(f"{self.label}: {quoted(value)} is not {self.expected}.")
        if self.type is str:
            check_length(value, self.label)
        return self.type(value)

    def _in_range(self, value: Any) -> bool:
        # Compared, not asked of `math`: a whole number may be larger than any float. NaN compares as False.
        if not abs(value) <= sys.float_info.max or (self.type is int and value != int(value)):
            return False
        return self.knob.minimum is None or self.knob.minimum <= value <= self.knob.maximum

    @property
    def expected(self) -> str:
        """Which values are allowed, in words: "a number from 0 to 1"."""
        if self.type is bool:
            return "true or false"
        if self.type is str:
            choices = ", ".join(self.knob.choices)
            return f"one of {choices}" if choices else "a text"
        kind = "a whole number" if self.type is int else "a number"
        low, high = self.knob.minimum, self.knob.maximum
        return kind if low is None else f"{kind} from {low:.10g} to {high:.10g}"


def quoted(value: Any) -> str:
    """The repr of a value, for a message; at most 80 characters of it."""
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def check_length(text: str, label: str) -> None:
    """ValueError, a sentence that starts with `label`, for a text of more than 20,000 characters."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"{label}: {len(text):,} characters are too many; use at most {MAX_TEXT:,}.")


def knobs(*functions: Callable[..., Any]) -> dict[str, BoundKnob]:
    """The knobs of the functions in order of appearance: every keyword-only parameter with a `Knob`.

    Where two functions have a knob of one name the first one's is returned; TypeError if type or range
    differ, if a default is missing or does not fit, or if the type is none of float, int, str and bool.
    """
    found: dict[str, BoundKnob] = {}
    for function in functions:
        for name, bound in _own_knobs(function).items():
            known = found.setdefault(name, bound)
            if (known.type, known.knob) != (bound.type, bound.knob):
                raise TypeError(f"The knob '{name}' of {function.__qualname__} means something else before.")
    return found


def method_knobs(edit: Callable[..., Any], fit: Callable[..., Any] | None = None) -> dict[str, BoundKnob]:
    """Every setting of a method under a name of its own: the knobs of `fit`, then those of `edit`.

    A knob that both have (their seeds, mostly) is two settings: `seed` is the edit's, `fit_seed` the fit's.
    So an edit can be repeated over seeds on one fit, and a result's settings say how to make it again.
    """
    own = _own_knobs(edit)
    settings = {}
    for name, bound in _own_knobs(fit).items() if fit else ():
        if name in own:
            bound = replace(bound, knob=replace(bound.knob, label=f"{bound.label} of the fit"))
            name = f"fit_{name}"
        settings[name] = replace(bound, name=name)
    return settings | own


def positionals(function: Callable[..., Any]) -> list[str]:
    """The names of a method function's positional parameters, in order: the model, the image, the prompts."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.items()
    return [name for name, parameter in parameters if parameter.kind in kinds]


def batches(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare that an edit takes a list of values for these knobs; for all of its knobs without names.

    All lists have one length B, single values stand for every row, and row i of the (B,3,H,W) result equals,
    to rounding, the edit with the i-th values alone. Readable afterwards as `edit.batched`.
    """

    def declare(edit: Callable[..., Any]) -> Callable[..., Any]:
        unknown = set(names) - set(knobs(edit))
        if unknown:
            raise TypeError(f"{edit.__qualname__} has no knob called {sorted(unknown)} to batch over.")
        marked: Any = edit
        marked.batched = names or tuple(knobs(edit))
        return edit

    return declare


def takes_any_size(edit: Callable[..., Any]) -> Callable[..., Any]:
    """Declare that an edit takes its picture and mask at their native size, instead of square.

    Readable afterwards as `edit.any_size`.
    """
    marked: Any = edit
    marked.any_size = True
    return edit


@lru_cache(maxsize=256)  # a sweep asks for every cell
def _own_knobs(function: Callable[..., Any]) -> dict[str, BoundKnob]:
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = parameter.annotation
        if isinstance(hint, str) and parameter.kind is parameter.KEYWORD_ONLY:
            hint = eval(hint, scope)  # source text, under `from __future__ import annotations`
        if parameter.kind is parameter.KEYWORD_ONLY and get_origin(hint) is Annotated:
            kind, *notes = get_args(hint)
            for knob in (note for note in notes if isinstance(note, Knob)):
                found[name] = _bound(function, parameter, kind, knob)
    return found


def _bound(function: Callable[..., Any], parameter: inspect.Parameter, kind: Any, knob: Knob) -> BoundKnob:
    who = f"The knob '{parameter.name}' of {function.__qualname__}"
    if get_origin(kind) is Literal:
        kind, knob = str, replace(knob, choices=knob.choices or get_args(kind))
    if kind not in (float, int, str, bool):
        raise TypeError(f"{who} must be a float, int, str or bool.")
    if parameter.default is parameter.empty:
        raise TypeError(f"{who} needs a default.")
    bound = BoundKnob(parameter.name, kind, parameter.default, knob)
    try:
        return replace(bound, default=bound.check(parameter.default))
    except ValueError as error:
        raise TypeError(f"{who} has a default that does not fit: {error}") from None


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60

_SWITCH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class _NotANumber(Exception):
    """A text that is no number, told apart from a number out of range."""


def _number(text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise _NotANumber
