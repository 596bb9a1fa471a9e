"""The cells of a sweep as HTML: the grid over two axes, the ranking of seeds, what may be swept."""

from demos.components import knobs
from demos.components.marks import Tile, bar, strip, table
from demos.runs import imagic as runs
from demos.runs import imagic_sweep as sweeps


def labels() -> dict[str, str]:
    """Knob names and how the menus call them; those of the edit first, they cost least."""
    names = [*runs.EDIT, *runs.FIT]
    return {name: runs.KNOBS[name].label for name in names}


def sweep_problems(most: int):
    """For `validator`: the sentences for axes that cannot be swept, by field."""

    def find(values: dict) -> dict[str, str]:
        problems, count = knobs.problems(runs.KNOBS)(values), 1
        if values["x"] == values["y"]:
            problems["y"] = "Choose another knob than X has, or none."
        for axis in ("x", "y"):
            try:
                axes = sweeps.axes_of(values[axis], values[f"{axis}_values"], "", "")
                count *= len(axes.get(values[axis], [0]))
            except ValueError as error:
                problems[f"{axis}_values"] = str(error)
        if count > most:
            problems["x_values"] = (
                f"{count} cells are more than the {most} this host allows; use fewer values."
            )
        return problems

    return find


def status(state: sweeps.Sweeping) -> str:
    """The bar above the grid."""
    doing = f"preparing, loss {state.loss:.3f}" if state.loss is not None else "editing"
    return bar(len(state.shown), state.total, f"{len(state.shown)} of {state.total} cells, {doing}")


def score_lines(cell: dict) -> tuple[str, ...]:
    """CLIP score and similarity, short enough for a tile."""
    scores = cell["scores"]
    return (f"CLIP {scores['clip']:.1f}", f"similarity {scores['similarity']:.2f}") if scores else ()


def grid(axes: dict[str, list], x: str, y: str, cells: list[dict], marked: float | None = None) -> str:
    """The grid as HTML: both values on each cell, its scores, grey squares for what is still to come."""
    xs, ys = axes[x], axes.get(y, [None])
    tiles = {}
    for index, cell in enumerate(cells):
        place = " · ".join(f"{name} {shown(value)}" for name, value in cell["coords"].items())
        spot = (ys.index(cell["coords"][y]) if y else 0, xs.index(cell["coords"][x]))
        tiles[spot] = Tile(cell["edit"], f"{place}, {cell['words']}", (place, *score_lines(cell)), index)
    names = labels()
    rows = [shown(value) if y else "" for value in ys]
    column = xs.index(marked) if marked is not None else None
    return table([shown(v) for v in xs], rows, tiles, names[x], names[y] if y else "", column)


def shown(value) -> str:
    """A knob's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranking(cells: list[dict]) -> str:
    """Cells of one knob, the seed, best first."""
    tiles = []
    for place, cell in enumerate(cells):
        seed = f"seed {cell['coords']['seed']}"
        name = f"{place + 1}. {seed}" if place else f"best {seed}"
        tiles.append(Tile(cell["edit"], f"{name}, {cell['words']}", (name, *score_lines(cell)), place))
    return strip(tiles)
