"""Sweeps of any method: the outlook, the cells as they come, the files, the best seeds."""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from PIL import ImageOps
from PIL.Image import Image, Resampling
from torch import Tensor

from demos.context import Context, duration
from demos.shared import safety
from demos.shared.fit import pace_of
from demos.shared.present import file_name, present
from demos.shared.view import MethodView
from textedit_core import cache, images, sweep
from textedit_core.axes import written
from textedit_core.costs import Cost, Costs
from textedit_core.record import save_png
from textedit_core.request import EDITING, Request, Result, finish, located, source_of
from textedit_core.steps import Step, last

MOST_PIXELS = 100_000_000  # of all cells of a sweep: their PNGs lie on the disk of the host for a day
ON_SHEET = (192, 192)  # pixels of a cell on the contact sheet, at most


def axes_of(view: MethodView, *typed: tuple[str, str]) -> dict[str, list]:
    """The axes as {knob: values}, of (knob, values as typed) each; one without a knob is left out.

    ValueError, a sentence, for values that are none of the knob's.
    """
    known, axes = view.sweepable, {}
    for name, values in typed:
        if name and not (isinstance(name, str) and name in known):
            raise ValueError("Axis: pick a knob of the list.")
        if name:
            axes[name] = sweep.parse_values(values or "", known[name])
    return axes


def by_name(paths: Sequence[str]) -> dict[str, str]:
    """Several pictures by their names, which are those of their files; a name that is there gets a number."""
    found: dict[str, str] = {}
    for path in paths:
        name = plain = Path(path).name
        number = 1
        while name in found:
            number += 1
            name = f"{Path(plain).stem} ({number}){Path(plain).suffix}"
        found[name] = path
    return found


def check_room(asked: Mapping[str, Request], axes: dict[str, list]) -> None:
    """ValueError, a sentence, for more cells than there may be of pictures as large as these.

    asked: the request of each picture, by its name; "" where there is one alone.
    """
    sizes = [one.at(**cell).shown_size for one in asked.values() for cell in sweep.plan(axes, one.method)]
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    cells = len(sizes)
    if sum(high * wide for high, wide in sizes) > MOST_PIXELS:
        detailed = any(one.settings.get("keep_details") for one in asked.values())
        raise ValueError(
            f"Source image: {cells} cells of {width} x {height} pixels are more than the "
            f"{MOST_PIXELS // 10**6} megapixels of one sweep; use at most {MOST_PIXELS // (height * width)} "
            f"cells, or a smaller picture{', or Keep details 0' * detailed}."
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


def outlook(ctx: Context, view: MethodView, asked: Mapping[str, Request], axes: dict[str, list]) -> Outlook:
    """Count the cells of a sweep, look which the cache has, and guess the time from the runs so far."""
    each = [outlook_of(ctx, view, one, axes) for one in asked.values()]
    seconds = [one.seconds for one in each]
    counts = {name: sum(getattr(one, name) for one in each) for name in ("cells", "known", "fits")}
    return Outlook(**counts, seconds=None if None in seconds else sum(seconds))


def outlook_of(ctx: Context, view: MethodView, asked: Request, axes: dict[str, list]) -> Outlook:
    """The outlook of the sweep of one picture."""
    cells, found = sweep.plan(axes, asked.method), located(asked)
    if found is None:  # its picture has not been projected
        return Outlook(len(cells))
    store, models = cache.default, asked.models.name
    known, fits, guesses, edit_steps = 0, {}, [], 0
    for coords in cells:
        cell = found.at(**sweep.settings_at(found, axes, coords))
        name = cell.fit_call().key() if cell.has_fit else ""
        if name not in fits:
            fits[name] = store.get(name) if name else cache.Entry(cell.fitted, 0)
            if not fits[name]:
                stages = view.stages(cell.settings)
                guesses += [ctx.pace.guess(models, pace_of(view, one), one.steps) for one in stages]
        entry = fits[name]
        if entry and store.get(cell.edit_call(entry.value).key()):
            known += 1
        else:
            edit_steps += view.edit_steps(cell.settings)
    guesses.append(ctx.pace.guess(models, f"{view.name} edit", edit_steps))
    seconds = None if None in guesses else sum(guesses)
    return Outlook(len(cells), known, sum(entry is None for entry in fits.values()), seconds)


@dataclass
class Sweeping:
    """A sweep under way: axes, folder of its files, and the cells so far, core's and plain data for the page.

    axes: with that of the pictures where there are several.  x: the columns.
    cells: with images no larger than the contact sheet has them; the PNGs have all pixels. One that is
    refused has none.  sources: what they were made of, as small, by the names of the pictures.
    """

    x: str
    axes: dict[str, list]
    total: int
    folder: Path
    cells: list[sweep.Cell] = field(default_factory=list)
    shown: list[dict] = field(default_factory=list)
    sources: dict[str, Image] = field(default_factory=dict)
    loss: float | None = None
    stopped: bool = False

    @property
    def y(self) -> str:
        """The axis of the rows: the first beside x; "" where there is none."""
        return next((name for name in self.axes if name != self.x), "")

    @property
    def refused(self) -> int:
        """How many cells the host's safety checker refuses."""
        return sum(not cell["edit"] for cell in self.shown)


def all_axes(asked: Mapping[str, Request], axes: dict[str, list]) -> dict[str, list]:
    """The axes of a sweep, with that of the pictures as the last where there are several."""
    return axes | ({} if "" in asked else {sweep.PICTURE: list(asked)})


def run(
    ctx: Context, view: MethodView, asked: Mapping[str, Request], x: str, axes: dict[str, list], stop: Event
) -> Iterator[Sweeping]:
    """Compute the cells, writing each as a PNG with its settings; on `stop` what has come is kept.

    asked: the request of each picture, by its name; "" where there is one alone.
    """
    total = sum(len(sweep.plan(axes, one.method)) for one in asked.values())
    state, sources = Sweeping(x, all_axes(asked, axes), total, ctx.folder()), dict[str, Tensor]()

    def keep(cell: sweep.Cell) -> sweep.Cell:
        """Write a cell; only what the contact sheet needs of it stays in memory."""
        picture = cell.coords.get(sweep.PICTURE, "")
        mine = asked[picture]
        if picture not in sources:
            sources.clear()  # the pictures come one after the other
            sources[picture] = source_of(located(mine))  # any projection has been made by now
            state.sources[picture] = images.to_pil(small(sources[picture]))[0]
        source, name = sources[picture], sweep.cell_name(cell).removesuffix(".png")
        made = result_of(mine.at(**cell.settings), cell.image, source, cell.seconds, cell.unfinished)
        state.shown.append(shown := placed(view, made, cell.coords, state.folder, name))
        state.cells.append(replace(cell, image=small(cell.image) if shown["edit"] else None, unfinished=None))
        steps = view.edit_steps(cell.settings)
        ctx.pace.observe(mine.models.name, f"{view.name} edit", steps, cell.seconds)
        return state.cells[-1]

    at_once = min(map(view.batch, asked.values()))
    for step in sweep.sweep_pictures(asked, axes, batch_size=at_once, keep=keep):
        state.loss = step.loss
        if stop.is_set() and step.done < step.total:
            state.stopped = True
            yield state
            return
        yield state


def result_of(
    asked: Request, image: Tensor, source: Tensor, seconds: float, unfinished: Tensor | None = None
) -> Result:
    """A picture that was made as one of several; `seconds`: 0 where it is from the cache."""
    costs = {EDITING: Cost(seconds, cached=not seconds)}
    return Result(image, asked, asked.fitted, costs, unfinished=unfinished, known_source=source)


def small(image: Tensor) -> Tensor:
    """An image (1,3,H,W) as the contact sheet will have it; a small one as it is."""
    if max(image.shape[-2:]) <= max(ON_SHEET):
        return image
    return images.native_tensor(ImageOps.contain(images.to_pil(image)[0], ON_SHEET, Resampling.BICUBIC))


def placed(view: MethodView, result: Result, coords: dict, folder: Path, name: str) -> dict:
    """One of several results as plain data; one that is refused has no picture, and says so."""
    try:
        shown = present(view, result, folder, name)
    except safety.Refused:
        shown = safety.refused(result.record.to_json())
    return shown | {"coords": coords}


def curves(view: MethodView, axes: dict[str, list], x: str, shown: list[dict]) -> list[tuple]:
    """(x value, mean of each score) at each value of a numeric x that has cells."""
    found = []
    for value in axes[x]:
        rows = [c["scores"] for c in shown if c["coords"][x] == value and c["scores"]]
        if rows and isinstance(value, int | float) and not isinstance(value, bool):
            found.append((value, *(sum(r[key] for r in rows) / len(rows) for key in view.scores)))
    return sorted(found)


def files(
    asked: Mapping[str, Request], state: Sweeping, lines: Sequence[Sequence[str]] = ()
) -> tuple[str, str]:
    """Write the contact sheet, and a ZIP of the cells with sweep.json; returns both paths.

    lines: what stands under each cell of the sheet. The sheet carries the settings and the axes, for Recall.
    """
    folder, cells, y, (first, *_) = state.folder, state.cells, state.y, asked.values()
    named = file_name(first.record, "sweep of " + " ".join(state.axes))
    sheet, archive = folder / f"{named}.png", folder / f"{named}.zip"
    x_axis = sweep.Axis(state.x, tuple(state.axes[state.x]))
    y_axis = sweep.Axis(y, tuple(state.axes[y])) if y else None
    missing = f" ({state.refused} refused by the safety checker)" if state.refused else ""
    title = " → ".join(filter(None, first.prompts.values())) + missing
    more = {"lines": lines, "sources": {name or "source": one for name, one in state.sources.items()}}
    drawn = sweep.contact_sheet(cells, x_axis, y_axis, ON_SHEET[0], title, **more)
    axes = {name: written(values) for name, values in state.axes.items() if name != sweep.PICTURE}
    save_png(drawn, sheet, first.record, axes)
    rows = [
        row
        | {"file": Path(shown["edit"]).name if shown["edit"] else ""}
        | (shown["scores"] or {})
        | ({} if shown["edit"] else {"refused": True})
        for row, shown in zip(sweep.summary(cells), state.shown, strict=True)
    ]
    listing = {
        "method": first.method.name,
        "models": first.models.name,
        "prompts": dict(first.prompts),
        "axes": state.axes,
        **sweep.pictures_told(asked),
        "complete": not state.stopped,
        "cells": rows,
    }
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("sweep.json", json.dumps(listing, indent=1))
        pack.write(sheet, "sheet.png")
        for shown in filter(lambda one: one["edit"], state.shown):
            pack.write(shown["edit"], Path(shown["edit"]).name)
    return str(sheet), str(archive)


def best(
    ctx: Context, view: MethodView, asked: Request, fitted: Any, seeds: int, stop: Event
) -> Iterator[tuple[Step, list[dict]]]:
    """Rank `seeds` seeds from the asked one on; yields (step, cells as plain data so far, best first).

    The seeds of a batch share its time. Those that are refused come last.
    """
    folder, shown, source = ctx.folder(), {}, source_of(asked)
    costs, spent = Costs(asked.models.device, asked.inputs), 0.0
    ranked: tuple = ()
    for step in costs.watch(EDITING, view.rank(asked, fitted, seeds)):
        ranked = step.value or ranked
        new = [one for one in ranked if one.seed not in shown]
        seconds = (costs.seconds(EDITING) - spent) / max(1, len(new))
        for one in new:
            alone = located(asked.at(seed=one.seed))
            done = last(finish(alone, fitted, one.image, costs=costs))
            made = result_of(alone, done.image, source, seconds, done.unfinished)
            cell = placed(view, made, {"seed": one.seed}, folder, f"seed={one.seed}")
            shown[one.seed] = cell | {"seconds": seconds}
        if new:
            spent = costs.seconds(EDITING)
        yield step, sorted((shown[one.seed] for one in ranked), key=lambda cell: not cell["edit"])
        if stop.is_set():
            return
    edit_steps = seeds * view.edit_steps(asked.settings)
    ctx.pace.observe(asked.models.name, f"{view.name} edit", edit_steps, spent)


def files_of_ranking(
    ctx: Context, asked: Request, cells: list[dict], lines: Sequence[Sequence[str]]
) -> tuple[str, str]:
    """The contact sheet and the ZIP of ranked seeds, best first; see `files`."""
    state = Sweeping("seed", {"seed": [cell["coords"]["seed"] for cell in cells]}, len(cells), ctx.folder())
    for cell in cells:
        image = small(images.native_tensor(images.open_image(cell["edit"]))) if cell["edit"] else None
        settings = json.loads(cell["record"])["knobs"]
        state.cells.append(sweep.Cell(cell["coords"], settings, image, cell["seconds"]))
    state.shown = cells
    if source := next((cell["pictures"]["source"] for cell in cells if cell["edit"]), None):
        state.sources[""] = images.to_pil(small(images.native_tensor(images.open_image(source))))[0]
    return files({"": asked}, state, lines)
