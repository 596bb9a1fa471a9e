"""Sweeps: any knobs and texts of a request over lists of values, batched, cached by cell, and streamed."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from textedit_core import cache as caches
from textedit_core.axes import Axis, Cell, find_knob, parse_axis, parse_values
from textedit_core.costs import Costs
from textedit_core.device import on_device
from textedit_core.method import Method
from textedit_core.request import EDITING, FINISHING, Request, finished, project_and_fit
from textedit_core.sheet import cell_name, contact_sheet, summary
from textedit_core.steps import Step

__all__ = [
    "Axis",
    "Cell",
    "cell_name",
    "contact_sheet",
    "parse_axis",
    "parse_values",
    "pictures_told",
    "plan",
    "summary",
    "sweep",
    "sweep_pictures",
]

PICTURE = "image"  # the name of a cell's picture among its coordinates, where there are several


def plan(axes: Mapping[str, Sequence[Any]], method: Method) -> list[dict[str, Any]]:
    """The cells in the order they are computed, each as {name: value}: the costliest axis is the outermost.

    A knob or text of the fit, and the weight of a LoRA, cost most (a new fit for each value), then a text or
    knob of the edit, then one it can batch, then one of what is done with a finished edit.
    ValueError, a sentence, for an unknown name, a value out of range, or an axis without values.
    """
    checked = {}
    for name, values in axes.items():
        knob = find_knob(method.axes, name)
        checked[name] = list(dict.fromkeys(knob.check(value) for value in values))
        if not checked[name]:
            raise ValueError(f"{knob.label}: there are no values to sweep; give at least one.")
    first = (*method.fit_knobs, *method.fit_arguments, *method.weights)
    places = (first, method.texts, set(method.edit_knobs) - set(method.batched), method.batched)
    ordered = sorted(
        checked, key=lambda name: next((k for k, one in enumerate(places) if name in one), len(places))
    )
    found = (
        dict(zip(ordered, values, strict=True))
        for values in itertools.product(*(checked[name] for name in ordered))
    )
    return [{name: cell[name] for name in axes} for cell in found]


def settings_at(
    request: Request, axes: Mapping[str, Sequence[Any]], place: Mapping[str, Any]
) -> dict[str, Any]:
    """A cell of `plan` as settings for `Request.at`: a text as the whole that it stands for.

    As in other programs' "prompt search and replace" the first value of a text's axis is looked for in the
    text of the request, and each value put in its place; where it is not in it, the values are whole texts.
    """
    whole = dict(place)
    for name in request.method.texts:
        if name in place:
            text, value = request.prompts.get(name, ""), place[name]
            words = rf"(?<!\w){re.escape(axes[name][0])}(?!\w)"  # "man" is not in "woman"
            parts = re.split(words, text)
            whole[name] = value.join(parts) if len(parts) > 1 else value
    return whole


def sweep(
    request: Request,
    axes: Mapping[str, Sequence[Any]],
    cache: caches.Cache | None = None,
    *,
    batch_size: int = 8,
    keep: Callable[[Cell], Cell] = lambda cell: cell,
    costs: Costs | None = None,
) -> Iterator[Step[tuple[Cell, ...]]]:
    """Make the request at every point of `axes`, {knob or text: values}; texts as by `settings_at`.

    One Step for every step of the work, so that closing stops it at once: `done` cells of `total`, and as
    value the finished cells in the order of `plan`. Each distinct setting of the fit is fitted once, through
    the cache. Cells that differ only in knobs that the edit can batch are computed up to `batch_size` at a
    time, fewer where memory runs out. Each cell is looked up in the cache and stored there alone, as a
    single edit would be: a wider sweep computes only its new cells, a stopped one keeps what it has. Cells
    that differ only in what is done with a finished edit share it.

    keep: called with each finished cell; what it returns is kept in its place, so that a function which
    writes large images to disk and returns small ones saves memory.
    costs: where seconds and UNet rows are counted.
    ValueError, at once, for a wrong knob or value.
    """
    fixed = sorted(set(axes) & set(request.method.fit_knobs)) if not request.has_fit else []
    if fixed:
        raise ValueError(f"{', '.join(fixed)}: what is fitted is given already; sweep a knob of the edit.")
    cells = []
    for place in plan(axes, request.method):
        whole = settings_at(request, axes, place)
        there = replace(request, settings={**request.settings, **whole}).recorded
        cells.append(Cell(place, there | whole, None, 0.0))
    # It says so where there is no such LoRA, and of a text that cannot change.
    request = request.at(**{name: cells[0].settings[name] for name in axes})
    store = caches.default if cache is None else cache
    counted = Costs(request.models.device, request.inputs) if costs is None else costs
    return _Sweep(request, cells, max(1, batch_size), store, keep, counted).steps()


def sweep_pictures(
    pictures: Mapping[str, Request],
    axes: Mapping[str, Sequence[Any]],
    cache: caches.Cache | None = None,
    *,
    batch_size: int = 8,
    keep: Callable[[Cell], Cell] = lambda cell: cell,
) -> Iterator[Step[tuple[Cell, ...]]]:
    """The sweep of each of several pictures, {name: its request}, one after the other; see `sweep`.

    The name of its picture is the first coordinate of a cell, `PICTURE`; without a name, "", there is none.
    ValueError, at once, where one of the requests cannot be swept.
    """

    def of_picture(name: str, asked: Request) -> Iterator[Step[tuple[Cell, ...]]]:
        def named(cell: Cell) -> Cell:
            return keep(replace(cell, coords={PICTURE: name, **cell.coords}) if name else cell)

        return sweep(asked, axes, cache, batch_size=batch_size, keep=named)

    sweeps = [of_picture(name, asked) for name, asked in pictures.items()]
    total = sum(len(plan(axes, asked.method)) for asked in pictures.values())
    return _one_after_the_other(sweeps, total)


def pictures_told(pictures: Mapping[str, Request]) -> dict[str, Any]:
    """What sweep.json says of the pictures: the `image_sha` of one alone, or of each by its name."""
    found = {name: asked.record.image for name, asked in pictures.items()}
    return {"image": found[""]} if "" in found else {"images": found}


def _one_after_the_other(
    sweeps: Sequence[Iterator[Step[tuple[Cell, ...]]]], total: int
) -> Iterator[Step[tuple[Cell, ...]]]:
    """The steps of several sweeps as those of one with `total` cells."""
    finished: tuple[Cell, ...] = ()
    for steps in sweeps:
        step = None
        for step in steps:
            cells = finished + (step.value or ())
            yield replace(step, done=len(cells), total=total, value=cells)
        finished += step.value if step and step.value else ()


@dataclass
class _Sweep:
    """One sweep under way: what was asked, the planned cells, and by their index those that are finished."""

    request: Request
    planned: list[Cell]
    batch_size: int
    cache: caches.Cache
    keep: Callable[[Cell], Cell]
    costs: Costs
    done: dict[int, Cell] = field(default_factory=dict)
    value: tuple[Cell, ...] = ()

    def steps(self) -> Iterator[Step[tuple[Cell, ...]]]:
        for _, group in self._grouped(range(len(self.planned)), self._of_fit):
            self.request = self.request.at(**self._place(group[0]))
            self.costs.inputs = self.request.inputs
            found, fitted = yield from self._as_own_steps(
                project_and_fit(self.request, self.cache, self.costs)
            )
            self.request = replace(self.request, inputs=found.inputs)  # a latent is found once
            yield from self._edit_group(fitted, group)

    def _as_own_steps(self, steps: Generator[Step[Any], None, Any]) -> Generator[Step[Any], None, Any]:
        """A step of the sweep for each of these steps of a fit; returns what they return."""
        with closing(steps):
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    return end.value
                yield self._progress(step.loss, step.stage)

    def _edit_group(self, fitted: Any, group: list[int]) -> Iterator[Step[Any]]:
        """The cells of one fit: first those the cache has, then the others, alike ones in batches."""
        calls = {index: self._asked(index).edit_call(fitted) for index in group}
        names = {index: call.key() for index, call in calls.items()}
        for index in group:
            entry = self.cache.get(names[index])
            if entry is not None:
                yield from self._finish(index, fitted, entry.value, 0.0)
        yield self._progress()
        missing = {names[index]: index for index in reversed(group) if index not in self.done}
        waiting: deque[list[int]] = deque()
        for _, alike in self._grouped(sorted(missing.values()), self._unbatched):
            waiting.extend(alike[at : at + self.batch_size] for at in range(0, len(alike), self.batch_size))
        while waiting:
            batch = waiting.popleft()
            try:
                arguments, settings = calls[batch[0]].arguments, [calls[one].settings for one in batch]
                places = [[one for one in group if names[one] == names[first]] for first in batch]
                yield from self._edit_batch(arguments, settings, places, names, fitted)
            except torch.cuda.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                half = len(batch) // 2
                waiting.extendleft((batch[half:], batch[:half]))

    def _edit_batch(
        self,
        arguments: tuple[Any, ...],
        settings: list[Mapping[str, Any]],
        batch: list[list[int]],
        names: dict[int, str],
        fitted: Any,
    ) -> Iterator[Step[Any]]:
        """Edits of one batch; each serves the cells of one list of `batch`."""
        merged = {name: [one[name] for one in settings] for name in settings[0]}
        merged = {
            name: values if values.count(values[0]) < len(values) else values[0]
            for name, values in merged.items()
        }
        edit, before, step = self.request.method.edit, self.costs.seconds(EDITING), None
        for step in self.costs.watch(EDITING, on_device(edit, arguments, merged)):
            yield self._progress(step.loss)
        if step is None or step.value is None or len(step.value) != len(batch):
            raise TypeError(f"{edit.__qualname__} did not return {len(batch)} images, one a setting.")
        seconds = (self.costs.seconds(EDITING) - before) / len(batch)
        for row, cells in enumerate(batch):
            image = step.value[row : row + 1].clone()
            self.cache.put(names[cells[0]], caches.Entry(image, step.total, step.loss))
            for index in cells:
                yield from self._finish(index, fitted, image, seconds if index == cells[0] else 0.0)
        yield self._progress()

    def _finish(
        self, index: int, fitted: Any, edit: torch.Tensor, seconds: float
    ) -> Iterator[Step[tuple[Cell, ...]]]:
        """Keep a cell, once what is asked has been done with its edit, which took `seconds`."""
        asked, before = self._asked(index), self.costs.seconds(FINISHING)
        image = yield from self._as_own_steps(finished(asked, fitted, edit, self.cache, self.costs))
        seconds += self.costs.seconds(FINISHING) - before
        unfinished = None if image is edit else edit
        cell = replace(self.planned[index], image=image, seconds=seconds, unfinished=unfinished)
        self.done[index] = self.keep(cell)
        self.value = tuple(self.done[one] for one in sorted(self.done))
        if image is not edit and len(self.done) < len(self.planned):
            yield self._progress()  # what is done with an edit may take as long as the edit

    def _progress(self, loss: float | None = None, stage: str = EDITING) -> Step[tuple[Cell, ...]]:
        return Step(len(self.done), len(self.planned), self.value, loss, stage)

    def _place(self, index: int) -> dict[str, Any]:
        """What a cell changes, by name, its texts whole."""
        planned = self.planned[index]
        return {name: planned.settings[name] for name in planned.coords}

    def _asked(self, index: int) -> Request:
        """The request of a cell; weights of LoRAs are those of its group already."""
        place = self._place(index)
        texts = {name: place.pop(name) for name in self.request.method.texts if name in place}
        return replace(self.request.with_texts(texts), settings={**self.request.settings, **place})

    def _of_fit(self, index: int) -> dict[str, Any]:
        method, settings = self.request.method, self.planned[index].settings
        names = (*method.fit_knobs, *method.fit_arguments, *method.weights)
        return {name: settings[name] for name in names if name in settings}

    def _unbatched(self, index: int) -> dict[str, Any]:
        method, settings = self.request.method, self.planned[index].settings
        names = (*method.texts, *method.edit_knobs)
        return {name: settings[name] for name in names if name in settings and name not in method.batched}

    def _grouped(
        self, indexes: Sequence[int], kind: Callable[[int], dict[str, Any]]
    ) -> list[tuple[dict[str, Any], list[int]]]:
        """Neighbours that are of one kind; `plan` puts those together."""
        return [(same, list(group)) for same, group in itertools.groupby(indexes, kind)]
