"""The report of a benchmark as data: means over the items, and every item with its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textedit_core.bench import sets
from textedit_core.bench.item import Item
from textedit_core.bench.measure import MEASURES
from textedit_core.bench.plan import Bench, Contestant
from textedit_core.images import files_in

COSTS = {"fit_seconds": "fit, s", "edit_seconds": "edit, s", "fit_rows": "fit, UNet rows",
         "edit_rows": "edit, UNet rows"}  # fmt: skip
# An item, a contestant, and what was recorded of the two.
Outcome = tuple[Item, Contestant, dict[str, Any]]
SETS = {"frechet": "Frechet distance", "qs": "QS"}


@dataclass(frozen=True)
class Row:
    """One line of the table: a contestant at one place of its axes, and its means by name; None: not defined.

    items: how many it edited.  files: its pictures.
    """

    label: str
    coords: Mapping[str, Any]
    items: int
    means: Mapping[str, float | None]
    files: tuple[str, ...]

    @property
    def name(self) -> str:
        place = ", ".join(f"{name} {_short(value)}" for name, value in self.coords.items())
        return f"{self.label}, {place}" if place else self.label


@dataclass(frozen=True)
class Entry:
    """One item: its texts, its pictures [(title, file, words)], and who did not edit it [(label, reason)]."""

    name: str
    group: str
    texts: Mapping[str, str]
    pictures: tuple[tuple[str, str, str], ...]
    missing: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """Everything a report says. groups: those of the items, where there are several, with their rows."""

    title: str
    command: str
    rows: tuple[Row, ...]
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    groups: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)

    def columns(self) -> list[tuple[str, str]]:
        """The columns that any row has, as (name, heading)."""
        headings = {name: one.heading for name, one in MEASURES.items()} | SETS | COSTS
        known = {name for row in self.rows for name in row.means}
        return [(name, text) for name, text in headings.items() if name in known]


def number(row: Row, name: str) -> str:
    """A mean as the table has it; a dash where the row has none."""
    value = row.means.get(name)
    if value is None:
        return "–"
    if name in MEASURES:
        return f"{value * MEASURES[name].scale:.{MEASURES[name].digits}f}"
    return f"{value:.0f}" if name.endswith("_rows") else f"{value:.2f}"


def gather(bench: Bench, records: Sequence[Outcome], command: str, reference: Path | None = None) -> Report:
    """The report of these (item, contestant, record)."""
    rows = _rows(bench, records)
    notes = [
        f"{len(bench.items)} items of {bench.name}, models {bench.models.name}; a mean is over the items a "
        "method could edit and for which the measure is defined. Measured on the pictures as saved.",
        *_protocol(bench),
    ]
    rows, about_sets = _with_sets(bench, records, rows, reference)
    by_item: dict[str, list[tuple[Contestant, dict[str, Any]]]] = {item.name: [] for item in bench.items}
    for item, contestant, record in records:
        by_item[item.name].append((contestant, record))
    entries = tuple(_entry(item, by_item[item.name]) for item in bench.items)
    broken = sum("error" in record for _, _, record in records)
    if broken:
        notes.append(f"{broken} edits broke off with an error; each is told with its item.")
    names = list(dict.fromkeys(item.group for item in bench.items))
    groups = {name: _rows(bench, [one for one in records if one[0].group == name])
              for name in names if name and len(names) > 1}  # fmt: skip
    return Report(f"Benchmark {bench.name}", command, rows, entries, (*notes, *about_sets), groups)


def _protocol(bench: Bench) -> list[str]:
    """Notes on what the set prescribes for all its items: settings, and how exemplars become square."""
    told = []
    for contestant in bench.contestants:
        found = [contestant.own_of(item) for item in bench.items if not contestant.lacks(item)]
        alike = {name: value for name, value in (found[0] if found else {}).items()
                 if all(one.get(name) == value for one in found)}  # fmt: skip
        words = ", ".join(f"{name} {_short(value)}" for name, value in alike.items())
        if words:
            told.append(f"The set's own settings, where nothing else is typed: {contestant.label}: {words}.")
    if all(item.squash for item in bench.items):
        told.append("The set's exemplars are squashed to a square; with --resize they are cut or padded.")
    return told


def _rows(bench: Bench, records: Sequence[Outcome]) -> tuple[Row, ...]:
    rows = []
    for contestant in bench.contestants:
        done = [record for _, one, record in records if one is contestant and "cells" in record]
        places: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
        for record in done:
            for cell in record["cells"]:
                places.setdefault(json.dumps(cell["coords"], sort_keys=True), []).append((record, cell))
        for found in places.values():
            means = {name: _mean([cell["metrics"].get(name) for _, cell in found]) for name in MEASURES
                     if any(name in cell["metrics"] for _, cell in found)}  # fmt: skip
            for cost in COSTS:
                share = [_per_cell(record, cost) for record, _ in found if record.get(cost) is not None]
                means |= {cost: _mean(share)} if share else {}
            files = tuple(cell["file"] for _, cell in found)
            rows.append(Row(contestant.label, found[0][1]["coords"], len(found), means, files))
        if not done:
            rows.append(Row(contestant.label, {}, 0, {}, ()))
    return tuple(rows)


def _per_cell(record: dict[str, Any], cost: str) -> float:
    """The cost of the edits for one cell of a sweep, or the whole cost of a fit, which every cell needs."""
    return record[cost] / len(record["cells"]) if cost.startswith("edit") else record[cost]


def _with_sets(
    bench: Bench, records: Sequence[Outcome], rows: tuple[Row, ...], folder: Path | None
) -> tuple[tuple[Row, ...], list[str]]:
    """The rows with Frechet distance and QS, where CLIP and enough pictures are there, and notes on them."""
    if "clip" not in bench.models.sources:
        return rows, []
    shown = {item.name: record["pictures"] for item, _, record in records if "cells" in record}
    true = "answer" if shown and all("answer" in files for files in shown.values()) else "image"
    if folder:
        files, words = files_in(folder, "--reference"), f"the pictures of {folder.name}"
    else:
        files = [bench.out / pictures[true] for pictures in shown.values()]
        words = "the true answers" if true == "answer" else "the sources"
    clip, resize = bench.models.clip, bench.resize
    against = sets.reference(clip, files, resize)
    if against is None:
        return rows, []
    measured = []
    for row in rows:
        own = [bench.out / file for file in row.files]
        found = sets.measure_set(clip, own, resize, against) if own else {}
        measured.append(Row(row.label, row.coords, row.items, {**row.means, **found}, row.files))
    note = f"Frechet distance and QS are on CLIP features of {len(files)} reference pictures, {words}"
    return tuple(measured), [f"{note}; {against.words()}. They compare only between sets of one size."]


def _entry(item: Item, done: Sequence[tuple[Contestant, dict[str, Any]]]) -> Entry:
    pictures: list[tuple[str, str, str]] = []
    missing: list[tuple[str, str]] = []
    seen: set[str] = set()
    for contestant, record in done:
        for title, file in record.get("pictures", {}).items():
            if file not in seen:
                pictures.insert(len(seen), ("source" if title == "image" else title, file, ""))
                seen.add(file)
        for cell in record.get("cells", ()):
            row = Row(contestant.label, cell["coords"], 1, {}, ())
            pictures.append((row.name, cell["file"], _words(cell["metrics"])))
        reason = record.get("skipped") or record.get("error")
        missing += [(contestant.label, reason)] if reason else []
    texts = {name: getattr(item, name) for name in ("prompt", "caption", "target") if getattr(item, name)}
    return Entry(item.name, item.group, texts, tuple(pictures), tuple(missing))


def _words(measured: Mapping[str, float | None]) -> str:
    """The main measures of one picture in a line."""
    short = {"asked": "asked {:.0f}", "unasked": "kept {:.2f}", "clip_score": "CLIP {:.1f}",
             "psnr_answer": "{:.1f} dB to the answer", "psnr_source": "{:.1f} dB to the source"}  # fmt: skip
    return ", ".join(text.format(measured[name]) for name, text in short.items()
                     if measured.get(name) is not None)  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
