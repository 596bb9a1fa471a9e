"""Small pieces of HTML: progress bars, notes, problems and grids of pictures; and options of events."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Options of an event without a progress bar. The page looks for every output that could show one, in all its
# widgets, whenever anything is asked: with none named, it has nothing to look for.
QUIET = {"show_progress": "hidden", "show_progress_on": []}
# Options of an event between widgets of the page: quiet, and not in the API.
HIDDEN = QUIET | {"api_visibility": "private"}
# The same for events of which many come at once, such as when the models change: queued, they would fill the
# queue of the runs. Their answers come in any order, so no two of them may write the same widget.
UNQUEUED = HIDDEN | {"queue": False}
# The same for clicks on one of several pictures: each is answered, in order.
EVERY_CLICK = HIDDEN | {"trigger_mode": "multiple"}

SELECT_JS = """
element.addEventListener('click', event => {
  const button = event.target.closest('.tile')?.querySelector('[data-cell]');  // its caption counts too
  if (!button) return;
  element.querySelectorAll('[data-cell]').forEach(b => b.setAttribute('aria-pressed', String(b === button)));
  trigger('select', {index: Number(button.dataset.cell), value: button.dataset.cell});
});
"""


def note(text: str, kind: str = "") -> str:
    """One quiet sentence; `kind` is "", "done", "hint" or "problem"."""
    if not text:
        return ""
    role = ' role="alert"' if kind == "problem" else ' role="status"'
    return f'<p class="note {kind}"{role}>{html.escape(text)}</p>'


def bar(done: int, total: int, text: str) -> str:
    """A progress bar with its sentence: `done` of `total` steps."""
    percent = 100 * done / max(total, 1)
    label = html.escape(text)
    return (
        f'<div class="progress"><p class="note" role="status">{label}</p>'
        f'<div class="track" role="progressbar" aria-label="{label}" aria-valuemin="0" '
        f'aria-valuemax="{total}" aria-valuenow="{done}"><div style="width:{percent:.1f}%"></div></div></div>'
    )


def url(path: str | Path) -> str:
    """Where the browser finds a file of the app's cache folder; relative, so that it works behind a proxy.

    A picture that is in its address already, data:image/png;base64,..., stays there.
    """
    where = html.escape(str(path), quote=True)
    return where if where.startswith("data:image/") else f"gradio_api/file={where}"


@dataclass(frozen=True)
class Tile:
    """A picture one can click: its file, what a screen reader says, what stands under it, its number.

    Without a file ("") the label stands in its place, and there is nothing to click. source: the file of what
    it was made of, where its neighbours were made of something else.
    """

    path: str
    label: str
    captions: tuple[str, ...] = ()
    index: int = 0
    source: str = ""


def tile(item: Tile | None, waiting: str = "") -> str:
    """One tile, or the grey square of a cell that has not come yet."""
    if item is None:
        return f'<div class="tile"><div class="waiting" aria-label="{html.escape(waiting)}"></div></div>'
    captions = "".join(f"<span>{html.escape(line)}</span>" for line in item.captions)
    label = html.escape(item.label, quote=True)
    if not item.path:
        told = f'<p class="waiting told">{label}</p>'
        return f'<div class="tile">{told}<div class="caption">{captions}</div></div>'
    source = f' data-source="{url(item.source)}"' if item.source else ""
    return (
        f'<div class="tile"{source}><button type="button" data-cell="{item.index}" aria-label="{label}" '
        f'title="{label}" aria-pressed="false"><img src="{url(item.path)}" alt="{label}"></button>'
        f'<div class="caption">{captions}</div></div>'
    )


def figures(items: Sequence[Tile], title: str, kind: str = "") -> str:
    """Pictures that cannot be clicked, with a line under each, under a heading."""
    if not items:
        return ""
    shown = "".join(
        f'<figure class="tile"><img src="{url(one.path)}" alt="{html.escape(one.label, quote=True)}">'
        f'<figcaption class="caption">{"".join(f"<span>{html.escape(t)}</span>" for t in one.captions)}'
        "</figcaption></figure>"
        for one in items
    )
    return f'<section><h4>{html.escape(title)}</h4><div class="strip {kind}">{shown}</div></section>'


def strip(items: Sequence[Tile], kind: str = "") -> str:
    """Tiles in rows that wrap."""
    return f'<div class="strip {kind}">{"".join(map(tile, items))}</div>' if items else ""


def enlargeable(tiles: str, source: str | Path = "") -> str:
    """Tiles, HTML, that the page opens one at a time and large, after a button or two clicks (page/large.js).

    source: the file of the picture that they were made of, to see in their place.
    """
    there = f' data-source="{url(source)}"' if source else ""
    button = '<button type="button" class="enlarge">Open large</button>' if "data-cell" in tiles else ""
    return f'<div class="enlargeable"{there}>{button}{tiles}</div>' if tiles else ""


def table(
    columns: Sequence[str],
    rows: Sequence[str],
    tiles: dict[tuple[int, int], Tile],
    x_name: str,
    y_name: str = "",
    marked: int | None = None,
) -> str:
    """A grid with both axes named: `tiles[row, column]`, grey squares where a cell is still to come.

    `marked` is the number of the column to point out (the suggested value).
    """
    heads = "".join(
        f'<div class="head{" marked" if i == marked else ""}" role="columnheader">{html.escape(c)}'
        f"{'<em>suggested</em>' if i == marked else ''}</div>"
        for i, c in enumerate(columns)
    )
    corner = f"{html.escape(y_name)}<b>&#8595;</b> " if y_name else ""
    body = "".join(
        f'<div class="side" role="rowheader">{html.escape(name)}</div>'
        + "".join(tile(tiles.get((r, c)), f"{x_name} {columns[c]}, waiting") for c in range(len(columns)))
        for r, name in enumerate(rows)
    )
    return (
        f'<div class="scroll" tabindex="0" aria-label="Sweep cells"><div class="cells" '
        f'style="--columns:{len(columns)}"><div class="corner">{corner}'
        f"{html.escape(x_name)}<b>&#8594;</b></div>{heads}{body}</div></div>"
    )
