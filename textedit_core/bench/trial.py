"""One item by one contestant: its inputs, its fit, its cells, their pictures, measures and costs."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from textedit_core.axes import Cell
from textedit_core.bench.item import Pictures
from textedit_core.bench.measure import measure
from textedit_core.bench.plan import PROJECTING, Contestant, parts_of, picture_of
from textedit_core.cache import Cache, cached
from textedit_core.images import as_tensor, mask_to_pil, to_pil
from textedit_core.jobs import INPUTS, REQUIRED, WHOLE, presets
from textedit_core.knobs import divide, hand_over, knobs, positionals
from textedit_core.models import zoo
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.record import Record, image_sha, save_png
from textedit_core.sheet import cell_name
from textedit_core.steps import last
from textedit_core.sweep import sweep

if TYPE_CHECKING:
    from textedit_core.bench.run import Bench

SHOWN = ("image", "mask", "exemplar", "answer")


def do(bench: Bench, pictures: Pictures, contestant: Contestant, name: str) -> dict[str, Any]:
    """One item by one contestant: {"cells": [{"coords", "file", "metrics"}], "pictures", seconds, UNet rows}.

    Every setting of the fit is fitted once; the cells on it are computed in batches where the method can.
    A fit that no picture goes into serves all items, and what finds a picture's latent counts as its fit. An
    edit of `any_size` gets the image and its mask as large as they are, and is measured so.
    """
    edit, fit = contestant.edit, contestant.fit
    settings = contestant.settings_for(pictures.item)
    cells, fits, edits = [], _Meter(bench.models), _Meter(bench.models)
    given = _given(bench, pictures, contestant, fits)
    of_edit = {axis: values for axis, values in contestant.axes.items() if axis in knobs(edit)}
    of_fit = {axis: values for axis, values in contestant.axes.items() if axis not in of_edit}
    if fit and (brought := _brought(bench, contestant, given)):
        fit, given = None, given | brought
    kinds = [contestant.kinds[one][0] for one in positionals(fit)] if fit else []
    cache = Cache() if {"image", "mask", "latent"} & set(kinds) else bench.cache
    for values in itertools.product(*of_fit.values()):
        coords = dict(zip(of_fit, values, strict=True))
        fit_settings, edit_settings = divide(settings | coords, edit, contestant.fit)
        if fit:
            first = tuple(given[one] for one in positionals(fit))
            with fits.running(given):
                fitted = last(cached(fit, *first, cache=cache, **fit_settings))
            arguments = hand_over(edit, given, fitted)
        else:
            arguments = tuple(given[one] for one in positionals(edit))
        with edits.running(given):
            steps = sweep(
                edit, of_edit, *arguments, batch_size=bench.batch_size, cache=Cache(), **edit_settings
            )
            found = last(steps)
        cells += [
            Cell(coords | one.coords, settings | coords | one.coords, one.image, one.seconds) for one in found
        ]
    size = None if _whole(pictures, edit) else cells[0].image.shape[-1]
    written = [_written(bench, pictures, contestant, name, cell, size) for cell in cells]
    costs = {"edit_seconds": edits.seconds, "edit_rows": edits.rows}
    if fits.used:
        costs |= {"fit_seconds": fits.seconds, "fit_rows": fits.rows}
    return {"cells": written, **costs, **_shown(bench, pictures, size)}


def _given(bench: Bench, pictures: Pictures, contestant: Contestant, fits: _Meter) -> dict[str, Any]:
    """Everything the method takes by position, by name. ValueError for a picture that cannot be read."""
    given, models, texts = {}, bench.models, contestant.texts_for(pictures.item)
    there = parts_of([contestant], models)
    for name, (kind, default) in contestant.kinds.items():
        if kind not in INPUTS and kind != "latent":
            given[name] = getattr(models, kind) if kind in there else default
    size = next(part.size for part in given.values() if hasattr(part, "size"))
    for name, (kind, default) in contestant.kinds.items():
        if kind == "text":
            given[name] = texts[name] or ("" if default is REQUIRED else default)
        elif kind == "latent":
            with fits.running(given):
                given[name] = _latent(models, pictures.get("image", size))
        elif kind in INPUTS:
            what = name if name in ("mask", "exemplar") else "image"
            has = picture_of(pictures.item, name) is not None
            side = None if name in WHOLE and _whole(pictures, contestant.edit) else size
            if what == "exemplar" and pictures.item.squash:
                side = given["model"].exemplar_size  # squashed once, as in training
            given[name] = pictures.get(what, side).to(models.device) if has else default
    return given


def _whole(pictures: Pictures, edit: Callable) -> bool:
    """Whether the edit sees the picture as large as it is, as `jobs.read_job` would give it."""
    return getattr(edit, "any_size", False) and pictures.can_be_whole()


def _latent(models: zoo.Models, image: Tensor) -> Any:
    """The code at which the models' generator gives the image (1,3,H,W), by their preset."""
    from textedit_core.methods import projection

    parts = [getattr(models, part) if part in models.sources else None for part in PROJECTING]
    chosen = presets(models, "projection", knobs(projection.fit))
    steps = projection.fit(models.generator, *parts, image.to(models.device), **chosen)
    return last(steps).latent


def _brought(bench: Bench, contestant: Contestant, given: dict[str, Any]) -> dict[str, Any]:
    """What the models bring of what the fit would make, unless a setting of the fit was asked for."""
    if (contestant.typed | set(contestant.axes)) - set(knobs(contestant.edit)):
        return {}
    left = set(positionals(contestant.edit)) - set(given)
    found = {one: bench.models.pretrained(one, given.get("prompt", "")) for one in left & set(zoo.PRETRAINED)}
    return {one: value for one, value in found.items() if value is not None}


def _written(
    bench: Bench, pictures: Pictures, contestant: Contestant, name: str, cell: Cell, size: int | None
) -> dict[str, Any]:
    """Save a cell's picture with its settings, and measure it as saved."""
    picture, item = to_pil(cell.image)[0], pictures.item
    place = f" {cell_name(cell)}" if cell.coords else ".png"
    path = Path("items") / item.name / f"{contestant.method}-{name[:8]}{place}"
    texts = contestant.texts_for(item)
    sha = image_sha(to_pil(pictures.get("image", size))[0])
    about = Record(contestant.method, bench.models.name, texts, cell.settings, sha, bench.resize)
    _save(picture, bench.out / path, about)
    values = measure(bench.models, pictures, as_tensor(picture), size, bench.extras)
    return {"coords": cell.coords, "file": path.as_posix(), "metrics": values}


def _shown(bench: Bench, pictures: Pictures, size: int | None) -> dict[str, Any]:
    """Save what the item has, as the methods saw it: {"pictures": {name: file}}."""
    files = {}
    for name in SHOWN:
        tensor = pictures.get(name, size)
        if tensor is None:
            continue
        digest = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:8]
        path = Path("items") / pictures.item.name / f"{name}-{digest}.png"
        if not (bench.out / path).is_file():
            _save((mask_to_pil if name == "mask" else to_pil)(tensor)[0], bench.out / path)
        files[name] = path.as_posix()
    return {"pictures": files}


def _save(picture: Image.Image, path: Path, about: Record | None = None) -> None:
    """Write a PNG so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    save_png(picture, unfinished, about) if about else picture.save(unfinished, format="PNG")
    os.replace(unfinished, path)


@dataclass(eq=False)
class _Meter:
    """Seconds and UNet rows of the blocks it ran; rows is None where no UNet is at work."""

    models: zoo.Models
    seconds: float = 0.0
    rows: int | None = None
    used: bool = False

    @contextmanager
    def running(self, given: dict[str, Any]) -> Iterator[None]:
        counted = [part for part in given.values() if hasattr(part, "unet")]
        with ExitStack() as stack:
            counts = [stack.enter_context(count_rows(part)) for part in counted]
            started = _now(self.models.device)
            yield
            self.seconds = round(self.seconds + _now(self.models.device) - started, 4)
        self.used = True
        if counts:
            self.rows = (self.rows or 0) + sum(count.rows for count in counts)


def _now(device: torch.device) -> float:
    """Seconds on a clock, all work that the device was given done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
