"""The cells of a sweep as HTML: the grid over two axes, the ranking of seeds; and which axes are refused."""

import functools
import html
import itertools
import json

from demos.shared import knobs, sweeping
from demos.shared.marks import Tile, bar, enlargeable, strip, table
from demos.shared.view import MethodView
from textedit_core import sweep
from textedit_core.method import load

AXES = ("x", "y", "z")
NO_AXIS = "{} axis: pick a knob of the list."


def sweep_problems(view: MethodView, most: int):
    """For `validator`: the sentences for axes that cannot be swept, by field."""

    def fits(axis: str, name) -> bool:
        return isinstance(name, str) and (name in view.sweepable or (axis != "x" and not name))

    def find(values: dict) -> dict[str, str]:
        problems, count = knobs.problems(view.knobs)(values), len(values.get("pictures") or "1")
        if wrong := {name: NO_AXIS.format(name.upper()) for name in AXES if not fits(name, values[name])}:
            return problems | wrong
        for axis, other in (("y", "x"), ("z", "x"), ("z", "y")):
            if values[axis] and values[axis] == values[other]:
                problems[axis] = f"Choose another knob than {other.upper()} has, or none."
        for axis in AXES:
            try:
                axes = sweeping.axes_of(view, (values[axis], values[f"{axis}_values"]))
                count *= len(axes.get(values[axis], [0]))
            except ValueError as error:
                problems[f"{axis}_values"] = str(error)
        if count > most:
            problems["x_values"] = (
                f"{count} cells are more than the {most} this host allows; use fewer values."
            )
        return problems

    return find


def status(state: sweeping.Sweeping) -> str:
    """The bar above the grid."""
    doing = "editing" if state.shown else "preparing and editing the first"  # some fits have no loss to tell
    doing = doing if state.loss is None else f"preparing, loss {state.loss:.3g}"
    return bar(len(state.shown), state.total, f"{len(state.shown)} of {state.total} cells, {doing}")


def score_lines(view: MethodView, cell: dict) -> tuple[str, ...]:
    """The scores, short enough for a tile."""
    scores = cell["scores"] or {}
    return tuple(view.scores[key].short.format(value) for key, value in scores.items())


def grid(
    view: MethodView, axes: dict[str, list], x: str, cells: list[dict], marked: float | None = None
) -> str:
    """The grid as HTML: both values on each cell, its scores, grey squares for what is still to come.

    x: the columns; the next axis is the rows, and there is a grid for all values of further ones.
    """
    names = view.labels | {sweep.PICTURE: "Picture"}
    y, *others = [name for name in axes if name != x] or [""]
    xs, ys = axes[x], axes.get(y, [None])
    rows = [shown(value) if y else "" for value in ys]
    column = xs.index(marked) if marked is not None else None
    found: dict[tuple, dict] = {place: {} for place in itertools.product(*(axes[name] for name in others))}
    for index, cell in enumerate(cells):
        spot = (ys.index(cell["coords"][y]) if y else 0, xs.index(cell["coords"][x]))
        tiles = found[tuple(cell["coords"][name] for name in others)]
        tiles[spot] = cell_tile(view, cell, index, own_source=sweep.PICTURE in axes)
    drawn = ""
    for place, tiles in found.items():
        title = ", ".join(f"{names[name]} {shown(v)}" for name, v in zip(others, place, strict=True))
        one = table([shown(v) for v in xs], rows, tiles, names[x], names[y] if y else "", column)
        drawn += f"<section><h4>{html.escape(title)}</h4>{one}</section>" if title else one
    return enlargeable(f'<div class="grids">{drawn}</div>' if others else drawn, source_of(cells))


def cell_tile(view: MethodView, cell: dict, index: int, own_source: bool) -> Tile:
    """One cell of the grid; own_source: whether it has another source than its neighbours."""
    place = place_words(cell)
    label = f"{place}, {cell['words']}" if cell["edit"] else cell["words"]
    source = cell["pictures"].get("source", "") if own_source else ""
    return Tile(cell["edit"], label, (place, *score_lines(view, cell)), index, source)


def source_of(cells: list[dict]) -> str:
    """The file of the picture that all cells were made of, "" while there is none."""
    return cells[0]["pictures"]["source"] if cells else ""


def place_words(cell: dict) -> str:
    """Where a cell stands: each knob on an axis, as the page calls it, and its value."""
    names = short_labels(json.loads(cell["record"])["method"])
    return " · ".join(f"{names.get(name, name)} {shown(value)}" for name, value in cell["coords"].items())


@functools.cache
def short_labels(method: str) -> dict[str, str]:
    """The labels of a method's knobs by name, as they stand within a line: "eta", "LoRA rank"."""
    labels = {name: in_line(knob.label) for name, knob in load(method).axes.items()}
    return labels | {sweep.PICTURE: "picture"}


def in_line(label: str) -> str:
    """A label without its capital, unless the first word is written with others too."""
    first = label.split()[0]
    return label if first[1:] != first[1:].lower() else label[:1].lower() + label[1:]


def shown(value) -> str:
    """A knob's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranking(view: MethodView, cells: list[dict]) -> str:
    """Cells of one knob, the seed, best first."""
    tiles = []
    for place, cell in enumerate(cells):
        seed = f"seed {cell['coords']['seed']}"
        name = f"{place + 1}. {seed}" if place else f"best {seed}"
        name, label = (name, f"{name}, {cell['words']}") if cell["edit"] else (seed, cell["words"])
        tiles.append(Tile(cell["edit"], label, (name, *score_lines(view, cell)), place))
    return enlargeable(strip(tiles), source_of(cells))
