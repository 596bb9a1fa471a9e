"""Measuring the relevance of a person's own generator into a file beside it; a stopped run goes on."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from textedit_core import method
from textedit_core.models import zoo
from textedit_core.models.style.files import relevance_path
from textedit_core.models.style.models import Relevance, digest
from textedit_core.models.style.relevance import CODES_AT_ONCE, work_left
from textedit_core.models.style.relevance_files import measured_relevance, write_relevance
from textedit_core.request import preset
from textedit_core.steps import Step

METHOD = "styleclip_directions"  # whose fit measures it
SAVE_SECONDS = 60.0
UNTOLD = "codes_at_once"  # changes the memory that is needed, and nothing but rounding in what is found


@dataclass(frozen=True)
class Progress:
    """path: of the file.  relevance: what is measured so far, None before the first channel.

    left: seconds that the rest will take at the pace so far, None while that is not known.
    """

    path: Path
    relevance: Relevance | None = None
    left: float | None = None


def measure(models: zoo.Models, settings: Mapping[str, Any] | None = None) -> Iterator[Step[Progress]]:
    """Measure what each channel of the models' generator does to CLIP's features, and keep it in a file.

    settings: knobs of the fit of `styleclip_directions`; others are the models' preset, else as published.
    The file is the one that `zoo.load` finds again (`models.style.naming`). It is written about once a minute
    where a layer has been finished, and at the end or when the run is stopped; where it is there under the
    same settings, the measurement goes on after the last finished layer.
    Raises ValueError for models that bring their relevance otherwise, for a generator in the hub's cache, and
    for a file that was measured under other settings or with another generator or CLIP.
    """
    how, path = method.load(METHOD), _path(models)
    assert how.fit is not None
    generator, clip, chosen = models.generator, models.clip, _settings(models, how, settings or {})
    kept = {name: value for name, value in chosen.items() if name != UNTOLD}
    start, whole = _start(models, path, kept), chosen["measured_by"] == "covariance"
    images = chosen["images" if whole else "samples"]
    batches = -(-images // chosen[UNTOLD])
    sampling = -(-max(chosen["count"], images) // CODES_AT_ONCE)
    saved = start.measured if start else 0
    found, begun = start, batches * saved
    total = 0.0  # of work, from where the pace is measured
    first = written = time.monotonic()
    try:
        measuring = cast(
            Generator[Step[Relevance], None, None], how.fit(generator, clip, **chosen, start=start)
        )
        with closing(measuring) as steps:
            for step in steps:
                found, place, left = step.value or found, step.done - sampling - begun, None
                at = begun + max(place, 0)
                rest = float(batches - at) if whole else work_left(generator, clip, batches, at)
                if place <= 1:  # the first one also prepares what later ones find ready
                    first, total = time.monotonic(), rest
                else:
                    left = (time.monotonic() - first) * rest / max(total - rest, 1.0)
                if found and found.measured > saved and time.monotonic() - written >= SAVE_SECONDS:
                    write_relevance(found, path, kept)
                    saved, written = found.measured, time.monotonic()
                yield Step(step.done, step.total, Progress(path, found, left))
    finally:
        if found and found.measured > saved:
            write_relevance(found, path, kept)


def _path(models: zoo.Models) -> Path:
    """The file to measure into. ValueError where there is no generator, or none of a person's own."""
    if "generator" not in models.sources:
        raise ValueError(f"The model {models.name!r} has no generator part: choose another model.")
    path, source = relevance_path(models.sources["generator"]), models.sources.get("relevance")
    if source is not None and source.weights != (path.name,):
        raise ValueError(f"The models {models.name!r} bring their relevance already.")
    return path


def _settings(models: zoo.Models, how: method.Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for every knob of the fit: what was given, else the models' preset, else as published."""
    known = {name: how.knobs[name] for name in how.fit_knobs}
    chosen = {name: knob.default for name, knob in known.items()} | preset(models, how.name, how.knobs)
    chosen |= {name: known[name].check(value) for name, value in given.items()}
    return {name: chosen[name] for name in known}


def _start(models: zoo.Models, path: Path, settings: Mapping[str, Any]) -> Relevance | None:
    """What the file holds already. ValueError where it was measured in another way."""
    if not path.is_file():
        return None
    start, before = measured_relevance(path, models.generator, digest(models.clip.model))
    knobs = method.load(METHOD).knobs
    before = {name: knobs[name].default for name in settings} | before  # an older file may lack new ones
    if before != settings:
        changed = ", ".join(name for name in settings if before.get(name) != settings[name])
        raise ValueError(f"{path} was measured with another {changed}: give the same, or move the file.")
    return start
