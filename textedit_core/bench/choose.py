"""`--choose AIM`: the best settings of a benchmark by a stated aim, and the presets.json they make."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textedit_core.bench.measure import MEASURES
from textedit_core.bench.plan import Bench
from textedit_core.bench.report import Report, Row
from textedit_core.request import preset

FILE = "presets.json"  # in the folder of the results
HOW_TO = "write measures joined by +, then limits, such as 'asked+unasked' or 'psnr_answer, asked>=0.7'"
_LIMIT = re.compile(r"(\w+)\s*(>=|<=)\s*([-+]?\d*\.?\d+)")


@dataclass(frozen=True)
class Aim:
    """What counts as best: the largest sum of the means of `measures`, of those within all `limits`.

    text: as it was typed.  measures: names in `bench.measure.MEASURES`; where less is better,
    the sign is turned.
    limits: (measure, ">=" or "<=", value), in the measure's own units (shares from 0 to 1, not percent).
    """

    text: str
    measures: tuple[str, ...]
    limits: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Aim:
        """ "psnr_answer, asked>=0.7" as an aim. ValueError, a sentence, for anything else."""
        first, *rest = (part.strip() for part in text.split(","))
        measures = tuple(name.strip() for name in first.split("+"))
        limits = []
        for part in rest:
            found = _LIMIT.fullmatch(part)
            if found is None:
                raise ValueError(f"--choose: '{part}' is no limit; {HOW_TO}.")
            limits.append((found[1], found[2], float(found[3])))
        for name in (*measures, *(limit[0] for limit in limits)):
            if name not in MEASURES:
                raise ValueError(f"--choose: '{name}' is no measure; there are {', '.join(MEASURES)}.")
        return cls(text, measures, tuple(limits))

    def value(self, row: Row) -> float | None:
        """How well a row does, more being better; None where it lacks a measure or breaks a limit."""
        for name, sign, bound in self.limits:
            mean = row.means.get(name)
            if mean is None or (mean < bound if sign == ">=" else mean > bound):
                return None
        total = 0.0
        for name in self.measures:
            mean = row.means.get(name)
            if mean is None:
                return None
            total += mean if MEASURES[name].better == "up" else -mean
        return total


def best(rows: tuple[Row, ...], aim: Aim) -> Row | None:
    """The best of the rows, the first of equals; None where none is within the limits."""
    found = [(value, row) for row in rows if (value := aim.value(row)) is not None]
    return max(found, key=lambda one: one[0])[1] if found else None


def chosen(bench: Bench, report: Report, aim: Aim) -> dict[str, Row | None]:
    """The best row of each method, over all its contestants and their axes."""
    methods = dict.fromkeys(contestant.method for contestant in bench.contestants)
    of = {contestant.label: contestant.method for contestant in bench.contestants}
    return {method: best(tuple(row for row in report.rows if of[row.label] == method), aim)
            for method in methods}  # fmt: skip


def presets(bench: Bench, rows: Mapping[str, Row | None]) -> dict[str, dict[str, Any]]:
    """The models' presets with the chosen settings of each method in place of what it had for them.

    The settings are those typed for the contestant and those of its axes; a `seed` is no preset unless it
    was swept. Methods without a chosen row keep their preset.
    """
    found = {name: dict(values) for name, values in bench.models.presets.items()}
    for method, row in rows.items():
        if row is None:
            continue
        one = next(contestant for contestant in bench.contestants if contestant.label == row.label)
        typed = {name: one.settings[name] for name in one.settings if name in one.typed and name != "seed"}
        found[method] = preset(bench.models, one.loaded.name, one.loaded.knobs) | typed | dict(row.coords)
    return found


def words(aim: Aim, rows: Mapping[str, Row | None]) -> list[str]:
    """A sentence a method: what was chosen, and its means."""
    told = []
    for method, row in rows.items():
        if row is None:
            reason = "each breaks a limit or lacks a measure"
            told.append(f"By the aim '{aim.text}' no setting of {method} is left: {reason}.")
            continue
        names = [name for name in MEASURES if row.means.get(name) is not None]
        means = ", ".join(f"{name} {row.means[name]:.4g}" for name in names)
        told.append(f"By the aim '{aim.text}' the best of {method} is {row.name}: {means}.")
    return told


def to_json(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a presets.json."""
    return json.dumps(found, indent=1) + "\n"
