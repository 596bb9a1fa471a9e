"""One item by one contestant: its inputs, its fit, its cells, their pictures, measures and costs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from textedit_core.axes import Cell
from textedit_core.bench.item import Pictures
from textedit_core.bench.measure import measure
from textedit_core.bench.plan import Bench, Contestant, picture_of
from textedit_core.cache import Cache
from textedit_core.costs import Cost, Costs
from textedit_core.images import mask_to_pil, native_tensor, to_pil
from textedit_core.method import Method
from textedit_core.record import Record, image_sha, save_png
from textedit_core.request import EDITING, Projected, Request, preset_of_projection, request
from textedit_core.sheet import cell_name
from textedit_core.steps import last
from textedit_core.sweep import sweep

SHOWN = ("image", "mask", "exemplar", "answer")


def run_trial(bench: Bench, pictures: Pictures, contestant: Contestant, name: str) -> dict[str, Any]:
    """One item by one contestant: {"cells": [{"coords", "file", "metrics"}], "pictures", seconds, UNet rows}.

    Every setting of the fit is fitted once; the cells on it are computed in batches where the method can.
    A fit that takes no picture is made once for all items. A projection of the picture counts as a part of
    the fit. An edit of `any_size` gets the image and its mask at their native size, and is measured at it.
    """
    asked = _request(bench, pictures, contestant)
    costs = Costs(bench.models.device, asked.inputs)
    serves_all = asked.has_fit and not _fit_uses_picture(asked.method)
    cache = bench.cache if serves_all else Cache()
    cells = last(sweep(asked, contestant.axes, cache, batch_size=bench.batch_size, costs=costs))
    size = None if _at_native_size(pictures, asked.method) else _image_of(cells[0]).shape[-1]
    written = [_cell_record(bench, pictures, contestant, name, cell, size) for cell in cells]
    return {"cells": written, **_costs_of(costs.stages), **_saved_inputs(bench, pictures, size)}


def _request(bench: Bench, pictures: Pictures, contestant: Contestant) -> Request:
    """The request for an item. ValueError for a picture that cannot be read."""
    how, models, item = contestant.loaded, bench.models, pictures.item
    size = next(getattr(models, how.inputs[name].kind).size for name in _SIZED if name in how.inputs)
    given: dict[str, Any] = {name: text for name, text in contestant.texts_for(item).items() if text}
    given |= {name: "" for name in how.texts if name not in given and how.inputs[name].required}
    for one in how.inputs.values():
        if one.kind == "latent":
            given[one.name] = Projected(pictures.source(size).to(models.device), preset_of_projection(models))
        elif one.kind in ("image", "mask") and picture_of(item, one.name) is not None:
            what = one.name if one.name in ("mask", "exemplar") else "image"
            side = None if one.name in ("image", "mask") and _at_native_size(pictures, how) else size
            if what == "exemplar" and item.squash:
                side = models.paint_by_example.exemplar_size  # squashed once, as in training
            given[one.name] = pictures.get(what, side)
    settings = contestant.settings_for(item)
    asked = {name: settings[name] for name in settings if name in contestant.typed or name in how.edit_knobs}
    made = request(how, models, given, asked, resize=bench.resize, swept=contestant.axes)
    plain = {name: how.knobs[name].default for name in how.finish_knobs}  # edits are measured as made
    return made.at(**settings, **plain)


_SIZED = ("model", "generator", "clip")  # the inputs that say how large pictures are: the first there is


def _fit_uses_picture(how: Method) -> bool:
    """Whether the fit of a method depends on the picture."""
    return any(how.inputs[name].kind in ("image", "mask", "latent") for name in how.fit_arguments)


def _at_native_size(pictures: Pictures, how: Method) -> bool:
    """Whether the edit takes the picture at its native size, as `request` would give it."""
    return how.any_size and pictures.can_be_whole()


def _costs_of(stages: dict[str, Cost]) -> dict[str, Any]:
    """The costs as they are recorded; a projection counts as a part of the fit."""
    edit = stages.get(EDITING, Cost(cached=True))
    found: dict[str, Any] = {"edit_seconds": round(edit.seconds, 4), "edit_rows": edit.rows}
    before = [cost for stage, cost in stages.items() if stage != EDITING]
    if before:
        rows = [cost.rows for cost in before if cost.rows is not None]
        found["fit_seconds"] = round(sum(cost.seconds for cost in before), 4)
        found["fit_rows"] = sum(rows) if rows else None
    return found


def _cell_record(
    bench: Bench, pictures: Pictures, contestant: Contestant, name: str, cell: Cell, size: int | None
) -> dict[str, Any]:
    """Save a cell's picture with its settings, and measure it as saved."""
    picture, item = to_pil(_image_of(cell))[0], pictures.item
    place = f" {cell_name(cell)}" if cell.coords else ".png"
    path = Path("items") / item.name / f"{contestant.method}-{name[:8]}{place}"
    texts = contestant.texts_for(item)
    sha = image_sha(to_pil(pictures.source(size))[0])
    about = Record(contestant.method, bench.models.name, texts, cell.settings, sha, bench.resize)
    _save(picture, bench.out / path, about)
    values = measure(bench.models, pictures, native_tensor(picture), size, bench.extras)
    return {"coords": cell.coords, "file": path.as_posix(), "metrics": values}


def _image_of(cell: Cell) -> Tensor:
    assert cell.image is not None  # it is finished, and nothing was dropped
    return cell.image


def _saved_inputs(bench: Bench, pictures: Pictures, size: int | None) -> dict[str, Any]:
    """Save the item's pictures as the methods saw them: {"pictures": {name: file}}."""
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
    """Write a PNG under another name first, so that the file is complete once it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    save_png(picture, unfinished, about) if about else picture.save(unfinished, format="PNG")
    os.replace(unfinished, path)
