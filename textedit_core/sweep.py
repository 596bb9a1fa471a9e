"""Sweeps: any knobs of a method over lists of values, batched, cached cell by cell, and streamed."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from textedit_core import cache as caches
from textedit_core.axes import Axis, Cell, find_knob, parse_axis, parse_values
from textedit_core.knobs import divide, hand_over, knobs, method_knobs, positionals
from textedit_core.sheet import cell_name, contact_sheet, summary
from textedit_core.steps import Step

__all__ = [
    "Axis",
    "Cell",
    "cell_name",
    "contact_sheet",
    "parse_axis",
    "parse_values",
    "plan",
    "summary",
    "sweep",
]


def plan(axes: Mapping[str, Sequence], edit: Callable, fit: Callable | None = None) -> list[dict[str, Any]]:
    """The cells in the order they are computed, each as {knob: value}: the costliest axis is the outermost.

    A knob of the fit costs most (a new fit for each value), then a knob of the edit, then one it can batch.
    ValueError, a sentence, for an unknown knob, a value out of range, or an axis without values.
    """
    settings = method_knobs(edit, fit)
    of_edit, batched = knobs(edit), getattr(edit, "batched", ())
    checked = {}
    for name, values in axes.items():
        knob = find_knob(settings, name)
        checked[name] = list(dict.fromkeys(knob.check(value) for value in values))
        if not checked[name]:
            raise ValueError(f"{knob.label}: there are no values to sweep; give at least one.")
    ordered = sorted(checked, key=lambda name: (name in of_edit) + (name in batched))
    found = (
        dict(zip(ordered, values, strict=True))
        for values in itertools.product(*(checked[name] for name in ordered))
    )
    return [{name: cell[name] for name in axes} for cell in found]


def sweep(
    edit: Callable,
    axes: Mapping[str, Sequence],
    *args: Any,
    fit: Callable | None = None,
    batch_size: int = 8,
    cache: caches.Cache | None = None,
    keep: Callable[[Cell], Cell] = lambda cell: cell,
    **fixed: Any,
) -> Iterator[Step[tuple[Cell, ...]]]:
    """Run `edit` at every point of `axes`, {knob: values}, other knobs as in `fixed` or at their defaults.

    `args` are the positional arguments of `edit`. With `fit` they are the fit's: each distinct setting of the
    fit is fitted once, through the cache, and `edit` gets the value where it takes it (`knobs.hand_over`);
    knobs are named as by `knobs.method_knobs`, and a text that `edit` alone takes is given by its name.

    One Step for every step of the work, so that closing stops it at once: `done` cells of `total`, and as
    value the finished cells in the order of `plan`. Cells that differ only in knobs of `edit.batched` are
    computed up to `batch_size` at a time, fewer where memory runs out. Each cell is looked up in the cache
    and stored there alone, as `cached(edit, ...)` would: a wider sweep computes only its new cells, a stopped
    one keeps what it has. `keep` is called with each finished cell; what it returns stands in the value: one
    that writes large images to disk and returns small ones saves their memory. ValueError, at once, for a
    wrong knob or value.
    """
    known = method_knobs(edit, fit)
    coords = plan(axes, edit, fit)
    texts = {name: fixed.pop(name) for name in positionals(edit) if name in fixed}
    base = {name: bound.default for name, bound in known.items()}
    base |= {name: find_knob(known, name).check(value) for name, value in fixed.items()}
    given = dict(zip(positionals(fit or edit), args, strict=False)) | texts
    planned = [Cell(place, base | place, None, 0.0) for place in coords]
    store = caches.default if cache is None else cache
    return _Run(edit, fit, args, given, planned, max(1, batch_size), store, keep).steps()


@dataclass
class _Run:
    """One sweep under way: what was asked, the planned cells, and by their index those that are finished."""

    edit: Callable
    fit: Callable | None
    args: tuple
    given: dict[str, Any]
    planned: list[Cell]
    batch_size: int
    cache: caches.Cache
    keep: Callable[[Cell], Cell]
    finished: dict[int, Cell] = field(default_factory=dict)
    value: tuple[Cell, ...] = ()

    def steps(self) -> Iterator[Step[tuple[Cell, ...]]]:
        for fit_settings, group in self._grouped(range(len(self.planned)), self._of_fit):
            if self.fit is None:
                arguments = tuple(self.given[name] for name in positionals(self.edit) if name in self.given)
            else:
                fitted = None
                for step in caches.cached(self.fit, *self.args, cache=self.cache, **fit_settings):
                    fitted = step.value
                    yield self._progress(step.loss)
                arguments = hand_over(self.edit, self.given, fitted)
            yield from self._edit_group(arguments, group)

    def _edit_group(self, arguments: tuple, group: list[int]) -> Iterator[Step]:
        """The cells of one fit: first those the cache has, then the others, alike ones in batches."""
        names = {index: caches.key(self.edit, arguments, self._of_edit(index)) for index in group}
        for index in group:
            entry = self.cache.get(names[index])
            if entry is not None:
                self._finish(index, entry.value, 0.0)
        yield self._progress()
        waiting = deque()
        for _, alike in self._grouped([one for one in group if one not in self.finished], self._unbatched):
            waiting.extend(alike[at : at + self.batch_size] for at in range(0, len(alike), self.batch_size))
        while waiting:
            batch = waiting.popleft()
            try:
                yield from self._edit_batch(arguments, batch, names)
            except torch.cuda.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                half = len(batch) // 2
                waiting.extendleft((batch[half:], batch[:half]))

    def _edit_batch(self, arguments: tuple, batch: list[int], names: dict[int, str]) -> Iterator[Step]:
        settings = [self._of_edit(index) for index in batch]
        merged = {name: [one[name] for one in settings] for name in settings[0]}
        merged = {
            name: values if values.count(values[0]) < len(values) else values[0]
            for name, values in merged.items()
        }
        seconds, started, step = 0.0, time.perf_counter(), None
        with closing(self.edit(*arguments, **merged)) as steps:
            for step in steps:
                seconds += time.perf_counter() - started
                yield self._progress(step.loss)
                started = time.perf_counter()
        if step is None or step.value is None or len(step.value) != len(batch):
            raise TypeError(f"{self.edit.__qualname__} did not return {len(batch)} images, one a setting.")
        for row, index in enumerate(batch):
            image = step.value[row : row + 1].clone()
            self.cache.put(names[index], caches.Entry(image, step.total, step.loss))
            self._finish(index, image, seconds / len(batch))
        yield self._progress()

    def _finish(self, index: int, image: torch.Tensor, seconds: float) -> None:
        self.finished[index] = self.keep(replace(self.planned[index], image=image, seconds=seconds))
        self.value = tuple(self.finished[one] for one in sorted(self.finished))

    def _progress(self, loss: float | None = None) -> Step[tuple[Cell, ...]]:
        return Step(len(self.finished), len(self.planned), self.value, loss)

    def _of_fit(self, index: int) -> dict[str, Any]:
        return divide(self.planned[index].settings, self.edit, self.fit)[0]

    def _of_edit(self, index: int) -> dict[str, Any]:
        return divide(self.planned[index].settings, self.edit, self.fit)[1]

    def _unbatched(self, index: int) -> dict[str, Any]:
        batched = getattr(self.edit, "batched", ())
        return {name: value for name, value in self._of_edit(index).items() if name not in batched}

    def _grouped(self, indexes: Sequence[int], kind: Callable[[int], dict]) -> list[tuple[dict, list[int]]]:
        """Neighbours that are of one kind; `plan` puts those together."""
        return [(same, list(group)) for same, group in itertools.groupby(indexes, kind)]
