"""Sweeps of any method: the outlook, the cells as they come, the files, the best seeds."""

import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from demos.context import Context, duration
from demos.runs.common import Ask, Method, present
from demos.runs.fitting import pace_of
from textedit_core import cache, record, sweep


def axes_of(method: Method, x: str, x_values: str, y: str, y_values: str) -> dict[str, list]:
    """The two axes as {knob: values}; ValueError, a sentence, for values that are none of the knob's."""
    known, axes = method.knobs, {}
    for name, values in ((x, x_values), (y, y_values)):
        if name:
            axes[name] = sweep.parse_values(values or "", known[name])
    return axes


@dataclass(frozen=True)
class Outlook:
    """What a sweep would cost: cells, those the cache has, fits still to do, seconds if they can be told."""

    cells: int
    known: int = 0
    fits: int = 0
    seconds: float | None = None

    @property
    def words(self) -> str:
        """One sentence for the line above Run."""
        new = self.cells - self.known
        parts = [f"{self.cells} cell{'s' * (self.cells != 1)}"]
        if self.known:
            parts.append(f"{self.known} already made" if new else "all already made")
        if self.fits:
            parts.append(f"{self.fits} preparation{'s' * (self.fits != 1)} first")
        if new and self.seconds is None:
            parts.append("time known after the first edit")
        elif new:
            parts.append(f"about {duration(self.seconds)}")
        return ", ".join(parts) + "."


def outlook(ctx: Context, ask: Ask, axes: dict[str, list]) -> Outlook:
    """Count the cells of a sweep, look which the cache has, and guess the time from the runs so far."""
    method, store = ask.method, cache.default
    cells = sweep.plan(axes, method.edit, method.fit)
    known, fits, guesses, edit_steps = 0, {}, [], 0
    for coords in cells:
        cell, name = ask.at(coords), ""
        if method.fit:
            name = cache.key(method.fit, ask.args, cell.fit)
        if name not in fits:
            fits[name] = store.get(name) if name else cache.Entry(None, 0)
            if not fits[name]:
                stages = method.stages(cell.settings)
                guesses += [ctx.pace.guess(ask.name, pace_of(ask, one), one.steps) for one in stages]
        entry = fits[name]
        if entry and store.get(cache.key(method.edit, cell.arguments(entry.value), cell.edit)):
            known += 1
        else:
            edit_steps += method.edit_steps(cell.settings)
    guesses.append(ctx.pace.guess(ask.name, f"{method.name} edit", edit_steps))
    seconds = None if None in guesses else sum(guesses)
    return Outlook(len(cells), known, sum(entry is None for entry in fits.values()), seconds)


@dataclass
class Sweeping:
    """A sweep under way: the axes, and the cells so far, as core's and as plain data for the page."""

    x: str
    axes: dict[str, list]
    total: int
    cells: dict[tuple, sweep.Cell] = field(default_factory=dict)
    shown: list[dict] = field(default_factory=list)
    loss: float | None = None
    stopped: bool = False


def run(ctx: Context, ask: Ask, x: str, axes: dict[str, list], stop: Event) -> Iterator[Sweeping]:
    """Compute the cells, writing each as a PNG with its settings; on `stop` what has come is kept."""
    folder, method = ctx.folder(), ask.method
    state = Sweeping(x, axes, len(sweep.plan(axes, method.edit, method.fit)))
    given = {"fit": method.fit, "batch_size": method.batch(ask)}
    steps = sweep.sweep(method.edit, axes, *ask.args, **given, **ask.texts, **ask.settings)
    for step in steps:
        state.loss = step.loss
        for cell in step.value or ():
            place = tuple(cell.coords.values())
            if place not in state.cells:
                state.cells[place] = cell
                state.shown.append(plain(ask, cell, folder))
                edit_steps = method.edit_steps(cell.settings)
                ctx.pace.observe(ask.name, f"{method.name} edit", edit_steps, cell.seconds)
        if stop.is_set() and step.done < step.total:
            state.stopped = True
            yield state
            return
        yield state


def plain(ask: Ask, cell: sweep.Cell, folder: Path) -> dict:
    """A cell as plain data: a result, and its place."""
    name = sweep.cell_name(cell).removesuffix(".png")
    result = present(ask.at(cell.settings), cell.image, folder, name, cell.seconds)
    return result | {"coords": cell.coords}


def curves(method: Method, axes: dict[str, list], x: str, shown: list[dict]) -> list[tuple]:
    """(x value, mean of each score) at each value of a numeric x that has cells."""
    found = []
    for value in axes[x]:
        rows = [c["scores"] for c in shown if c["coords"][x] == value and c["scores"]]
        if rows and isinstance(value, int | float) and not isinstance(value, bool):
            found.append((value, *(sum(r[key] for r in rows) / len(rows) for key in method.scales)))
    return sorted(found)


def files(ask: Ask, state: Sweeping, y: str) -> tuple[str, str]:
    """Write the contact sheet, and a ZIP of the cells with sweep.json; returns both paths."""
    folder = Path(state.shown[0]["edit"]).parent
    cells = list(state.cells.values())
    sheet, archive = folder / "contact-sheet.png", folder / "sweep.zip"
    x_axis = sweep.Axis(state.x, tuple(state.axes[state.x]))
    y_axis = sweep.Axis(y, tuple(state.axes[y])) if y else None
    sweep.contact_sheet(cells, x_axis, y_axis, title=ask.title).save(sheet)
    rows = [
        row | (shown["scores"] or {}) for row, shown in zip(sweep.summary(cells), state.shown, strict=True)
    ]
    listing = {
        "method": ask.method.name,
        "models": ask.name,
        "prompts": ask.prompts,
        "axes": state.axes,
        "image": record.image_sha(ask.picture) if ask.picture else "",
        "complete": not state.stopped,
        "cells": rows,
    }
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("sweep.json", json.dumps(listing, indent=1))
        pack.write(sheet, "sheet.png")
        for shown in state.shown:
            pack.write(shown["edit"], Path(shown["edit"]).name)
    return str(sheet), str(archive)


def best(ctx: Context, ask: Ask, fitted: Any, seeds: int, stop: Event) -> Iterator[tuple]:
    """Rank `seeds` seeds from the asked one on; yields (step, cells as plain data so far, best first)."""
    folder, start, shown = ctx.folder(), time.monotonic(), {}
    for step in ask.method.rank(ask, fitted, seeds):
        for one in step.value or ():
            if one.seed not in shown:
                place = {"seed": one.seed}
                result = present(ask.at(place), one.image, folder, f"seed={one.seed}", 0.1)
                shown[one.seed] = result | {"coords": place}
        yield step, [shown[one.seed] for one in step.value or ()]
        if stop.is_set():
            return
    edit_steps = seeds * ask.method.edit_steps(ask.settings)
    ctx.pace.observe(ask.name, f"{ask.method.name} edit", edit_steps, time.monotonic() - start)
