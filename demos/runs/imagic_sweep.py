"""Imagic's sweeps: the outlook, the cells as they come, the files, the best seeds."""

import json
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from demos.context import Context, duration
from demos.runs import imagic as runs
from textedit_core import cache, images, record, sweep
from textedit_core.knobs import divide
from textedit_core.methods import imagic


def axes_of(x: str, x_values: str, y: str, y_values: str) -> dict[str, list]:
    """The two axes as {knob: values}; ValueError, a sentence, for values that are none of the knob's."""
    axes = {}
    for name, values in ((x, x_values), (y, y_values)):
        if name:
            axes[name] = sweep.parse_values(values or "", runs.KNOBS[name])
    return axes


@dataclass(frozen=True)
class Outlook:
    """What a sweep would cost: cells, those the cache has, fits still to do, seconds if they can be told."""

    cells: int
    known: int
    fits: int
    seconds: float | None

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


def outlook(ctx: Context, ask: runs.Ask, axes: dict[str, list]) -> Outlook:
    """Count the cells of a sweep, look which the cache has, and guess the time from the runs so far."""
    cells = sweep.plan(axes, imagic.edit, imagic.fit)
    known, fits, fit_steps, edit_steps = 0, {}, 0, 0
    for coords in cells:
        fit, edit = divide(ask.settings | coords, imagic.edit, imagic.fit)
        name = cache.key(imagic.fit, (ask.models.diffusion, ask.image, ask.prompt), fit)
        if name not in fits:
            fits[name] = cache.default.get(name)
            fit_steps += 0 if fits[name] else fit["embedding_steps"] + fit["finetune_steps"]
        entry = fits[name]
        if entry and cache.default.get(cache.key(imagic.edit, (ask.models.diffusion, entry.value), edit)):
            known += 1
        else:
            edit_steps += edit["steps"]
    guesses = [
        ctx.pace.guess(ask.name, kind, steps) for kind, steps in (("fit", fit_steps), ("edit", edit_steps))
    ]
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


def run(ctx: Context, ask: runs.Ask, x: str, axes: dict[str, list], stop: Event) -> Iterator[Sweeping]:
    """Compute the cells, writing each as a PNG with its settings; on `stop` what has come is kept."""
    folder = ctx.folder()
    state = Sweeping(x, axes, len(sweep.plan(axes, imagic.edit, imagic.fit)))
    common = {
        "source": runs.save_plain(ask.picture, folder, "source"),
        "reconstruction": runs.save_plain(runs.reconstruction(ask), folder, "reconstruction"),
    }
    steps = sweep.sweep(
        imagic.edit, axes, ask.models.diffusion, ask.image, ask.prompt, fit=imagic.fit, **ask.settings
    )
    for step in steps:
        state.loss = step.loss
        for cell in step.value or ():
            place = tuple(cell.coords.values())
            if place not in state.cells:
                state.cells[place] = cell
                state.shown.append(plain(ask, cell, folder) | common)
                ctx.pace.observe(ask.name, "edit", cell.settings["steps"], cell.seconds)
        if stop.is_set() and step.done < step.total:
            state.stopped = True
            yield state
            return
        yield state


def plain(ask: runs.Ask, cell: sweep.Cell, folder: Path) -> dict:
    """A cell as plain data: its PNG, record, place and scores."""
    scores = runs.score(ask, cell.image)
    about = runs.describe(ask, cell.settings)
    path = runs.save(images.to_pil(cell.image)[0], folder, sweep.cell_name(cell).removesuffix(".png"), about)
    return {
        "edit": path,
        "record": about.to_json(),
        "coords": cell.coords,
        "scores": scores,
        "baseline": None,
        "words": runs.score_words(scores, cell.seconds),
    }


def curves(state_axes: dict[str, list], x: str, shown: list[dict]) -> list[tuple[float, float, float]]:
    """(x value, mean CLIP score, mean similarity) at each value of a numeric x that has cells."""
    found = []
    for value in state_axes[x]:
        rows = [c["scores"] for c in shown if c["coords"][x] == value and c["scores"]]
        if rows and isinstance(value, int | float) and not isinstance(value, bool):
            found.append((value, *(sum(r[k] for r in rows) / len(rows) for k in ("clip", "similarity"))))
    return sorted(found)


def suggestion(x: str, found: list[tuple[float, float, float]]) -> float | None:
    """The eta at the knee of the two curves, where x is eta and there is something to choose from."""
    if x != "eta" or len(found) < 3:
        return None
    return found[imagic.suggest_eta(*zip(*found, strict=True))][0]


def files(ask: runs.Ask, state: Sweeping, y: str) -> tuple[str, str]:
    """Write the contact sheet, and a ZIP of the cells with sweep.json; returns both paths."""
    folder = Path(state.shown[0]["edit"]).parent
    cells = list(state.cells.values())
    sheet, archive = folder / "contact-sheet.png", folder / "sweep.zip"
    x_axis = sweep.Axis(state.x, tuple(state.axes[state.x]))
    y_axis = sweep.Axis(y, tuple(state.axes[y])) if y else None
    sweep.contact_sheet(cells, x_axis, y_axis, title=ask.prompt).save(sheet)
    rows = [
        row | (shown["scores"] or {}) for row, shown in zip(sweep.summary(cells), state.shown, strict=True)
    ]
    listing = {
        "method": "imagic",
        "models": ask.name,
        "prompt": ask.prompt,
        "axes": state.axes,
        "image": record.image_sha(ask.picture),
        "complete": not state.stopped,
        "cells": rows,
    }
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("sweep.json", json.dumps(listing, indent=1))
        pack.write(sheet, "sheet.png")
        for shown in state.shown:
            pack.write(shown["edit"], Path(shown["edit"]).name)
    return str(sheet), str(archive)


def best(ctx: Context, ask: runs.Ask, fitted: imagic.ImagicFit, seeds: int, stop: Event) -> Iterator[tuple]:
    """Rank `seeds` seeds from the asked one on; yields (step, cells as plain data so far, best first)."""
    folder, start = ctx.folder(), time.monotonic()
    common = {
        "source": runs.save_plain(ask.picture, folder, "source"),
        "reconstruction": runs.save_plain(runs.reconstruction(ask), folder, "reconstruction"),
    }
    models, shown = ask.models, {}
    for step in cache.cached(
        imagic.rank_seeds, models.diffusion, models.clip, fitted, ask.image, seeds=seeds, **ask.edit
    ):
        for one in step.value or ():
            if one.seed not in shown:
                shown[one.seed] = ranked(ask, one, folder) | common
        yield step, [shown[one.seed] for one in step.value or ()]
        if stop.is_set():
            return
    ctx.pace.observe(ask.name, "edit", seeds * ask.edit["steps"], time.monotonic() - start)


def ranked(ask: runs.Ask, one: imagic.RankedSeed, folder: Path) -> dict:
    """A ranked seed as plain data."""
    about = runs.describe(ask, ask.settings | {"seed": one.seed})
    scores = {"clip": one.clip_score, "similarity": one.similarity}
    path = runs.save(images.to_pil(one.image)[0], folder, f"seed={one.seed}", about)
    return {
        "edit": path,
        "record": about.to_json(),
        "coords": {"seed": one.seed},
        "scores": scores,
        "baseline": None,
        "words": runs.score_words(scores, 0.1),
    }
