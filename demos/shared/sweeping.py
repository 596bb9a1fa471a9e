"""Sweeps of any method: the outlook, the cells as they come, the files, the best seeds."""

import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from PIL import ImageOps
from PIL.Image import Resampling
from torch import Tensor

from demos.context import Context, duration
from demos.shared import safety
from demos.shared.common import Ask, Method, describe, present
from demos.shared.fitting import pace_of
from textedit_core import cache, images, record, sweep

MOST_PIXELS = 100_000_000  # of all cells of a sweep: their PNGs lie on the disk of the host for a day
ON_SHEET = (192, 192)  # pixels of a cell on the contact sheet, at most


def axes_of(method: Method, x: str, x_values: str, y: str, y_values: str) -> dict[str, list]:
    """The two axes as {knob: values}; ValueError, a sentence, for values that are none of the knob's."""
    known, axes = method.knobs, {}
    for name, values in ((x, x_values), (y, y_values)):
        if name and not (isinstance(name, str) and name in known):
            raise ValueError("Axis: pick a knob of the list.")
        if name:
            axes[name] = sweep.parse_values(values or "", known[name])
    return axes


def check_room(ask: Ask, axes: dict[str, list]) -> None:
    """ValueError, a sentence, for more cells than there may be of pictures as large as this one."""
    cells = len(sweep.plan(axes, ask.method.edit, ask.method.fit))
    height, width = ask.source.shape[-2:]
    if cells * height * width > MOST_PIXELS:
        raise ValueError(
            f"Source image: {cells} cells of {width} x {height} pixels are more than the "
            f"{MOST_PIXELS // 10**6} megapixels of one sweep; use at most {MOST_PIXELS // (height * width)} "
            "cells, or a smaller picture."
        )


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
    """A sweep under way: axes, folder of its files, and the cells so far, core's and plain data for the page.

    cells: with images no larger than the contact sheet has them; the PNGs have all pixels. One that is
    refused has none.
    """

    x: str
    axes: dict[str, list]
    total: int
    folder: Path
    cells: list[sweep.Cell] = field(default_factory=list)
    shown: list[dict] = field(default_factory=list)
    loss: float | None = None
    stopped: bool = False

    @property
    def refused(self) -> int:
        """How many cells the host's safety checker refuses."""
        return sum(not cell["edit"] for cell in self.shown)


def run(ctx: Context, ask: Ask, x: str, axes: dict[str, list], stop: Event) -> Iterator[Sweeping]:
    """Compute the cells, writing each as a PNG with its settings; on `stop` what has come is kept."""
    method = ask.method
    state = Sweeping(x, axes, len(sweep.plan(axes, method.edit, method.fit)), ctx.folder())

    def keep(cell: sweep.Cell) -> sweep.Cell:
        """Write a cell; only what the contact sheet needs of it stays in memory."""
        state.shown.append(shown := plain(ask, cell, state.folder))
        state.cells.append(replace(cell, image=small(cell.image) if shown["edit"] else None))
        ctx.pace.observe(ask.name, f"{method.name} edit", method.edit_steps(cell.settings), cell.seconds)
        return state.cells[-1]

    given = {"fit": method.fit, "batch_size": method.batch(ask), "keep": keep}
    steps = sweep.sweep(method.edit, axes, *ask.args, **given, **ask.texts, **ask.settings)
    for step in steps:
        state.loss = step.loss
        if stop.is_set() and step.done < step.total:
            state.stopped = True
            yield state
            return
        yield state


def small(image: Tensor) -> Tensor:
    """An image (1,3,H,W) as the contact sheet will have it; a small one as it is."""
    if max(image.shape[-2:]) <= max(ON_SHEET):
        return image
    return images.as_tensor(ImageOps.contain(images.to_pil(image)[0], ON_SHEET, Resampling.BICUBIC))


def plain(ask: Ask, cell: sweep.Cell, folder: Path) -> dict:
    """A cell as plain data: a result, and its place."""
    name = sweep.cell_name(cell).removesuffix(".png")
    return placed(ask.at(cell.settings), cell.image, cell.coords, folder, name, cell.seconds)


def placed(ask: Ask, image: Tensor, coords: dict, folder: Path, name: str, seconds: float) -> dict:
    """One of several results as plain data; one that is refused has no picture, and says so."""
    try:
        result = present(ask, image, folder, name, seconds)
    except safety.Refused:
        result = safety.in_its_place(describe(ask).to_json())
    return result | {"coords": coords}


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
    folder, cells = state.folder, state.cells
    sheet, archive = folder / "contact-sheet.png", folder / "sweep.zip"
    x_axis = sweep.Axis(state.x, tuple(state.axes[state.x]))
    y_axis = sweep.Axis(y, tuple(state.axes[y])) if y else None
    missing = f" ({state.refused} refused by the safety checker)" if state.refused else ""
    sweep.contact_sheet(cells, x_axis, y_axis, ON_SHEET[0], ask.title + missing).save(sheet)
    rows = [
        row | (shown["scores"] or {}) | ({} if shown["edit"] else {"file": "", "refused": True})
        for row, shown in zip(sweep.summary(cells), state.shown, strict=True)
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
        for shown in filter(lambda one: one["edit"], state.shown):
            pack.write(shown["edit"], Path(shown["edit"]).name)
    return str(sheet), str(archive)


def best(ctx: Context, ask: Ask, fitted: Any, seeds: int, stop: Event) -> Iterator[tuple]:
    """Rank `seeds` seeds from the asked one on; yields (step, cells as plain data so far, best first).

    The seeds of a batch share its time. Those that are refused come last.
    """
    folder, shown = ctx.folder(), {}
    spent, began = 0.0, time.monotonic()
    for step in ask.method.rank(ask, fitted, seeds):
        new = [one for one in step.value or () if one.seed not in shown]
        seconds = (time.monotonic() - began) / max(1, len(new))
        for one in new:
            place, name = {"seed": one.seed}, f"seed={one.seed}"
            shown[one.seed] = placed(ask.at(place), one.image, place, folder, name, seconds)
        if new:
            spent, began = spent + seconds * len(new), time.monotonic()
        yield step, sorted((shown[one.seed] for one in step.value or ()), key=lambda cell: not cell["edit"])
        if stop.is_set():
            return
    edit_steps = seeds * ask.method.edit_steps(ask.settings)
    ctx.pace.observe(ask.name, f"{ask.method.name} edit", edit_steps, spent)
