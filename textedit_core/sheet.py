"""Finished cells of a sweep for people: file names, the list in sweep.json, and the contact sheet."""

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from textedit_core.axes import Axis, Cell
from textedit_core.images import to_pil

_INK, _PAPER, _EMPTY = (24, 24, 27), (255, 255, 255), (235, 235, 238)


def cell_name(cell: Cell) -> str:
    """A file name for a cell: its place on the axes, such as "eta=0.25 seed=1.png"; one for each cell."""
    place = " ".join(f"{name}={_exact(value)}" for name, value in cell.coords.items())
    plain = re.sub(r"[^\w .=-]", "-", place, flags=re.ASCII)[:80]
    if plain != place:
        plain += " " + hashlib.sha256(place.encode()).hexdigest()[:8]
    return f"{plain}.png"


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What sweep.json holds of each cell: its file name, place, settings and seconds."""
    return [
        {
            "file": cell_name(cell),
            "coords": cell.coords,
            "settings": cell.settings,
            "seconds": round(cell.seconds, 3),
        }
        for cell in cells
    ]


def contact_sheet(
    cells: Sequence[Cell],
    x: str | Axis,
    y: str | Axis | None = None,
    cell_size: int = 192,
    title: str = "",
    *,
    lines: Sequence[Sequence[str]] = (),
    sources: Mapping[str, Image.Image] | None = None,
) -> Image.Image:
    """The cells as one RGB picture: axis `x` to the right, `y` downwards, every further axis as further rows.

    Values stand at the columns and rows; `title` and the settings that all cells share stand below.
    lines: what stands under each cell, such as its scores, in the order of the cells.  sources: what the
    cells were made of, by the names that stand under them, above the title. An `Axis`
    instead of a name also leaves places for cells that are not finished, and a cell without an image has its
    place empty. ValueError, a sentence, without any
    cell or for an axis the cells do not have.
    """
    columns, rows = _places(cells, x, y)
    font = ImageFont.load_default(max(14, cell_size // 13))
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow has it wherever FreeType was built in
    told = {_spot(cell.coords): tuple(words) for cell, words in zip(cells, lines, strict=False)}
    grid = _grid({_spot(cell.coords): cell for cell in cells}, told, columns, rows, cell_size, font)
    gap, line = _spacing(cell_size, font)
    if sources:
        grid = _above(grid, _strip(sources, grid.width, cell_size, font))
    legend = [part for text in (title, _shared(cells)) for part in _wrapped(text, font, grid.width - 2 * gap)]
    sheet = Image.new("RGB", (grid.width, grid.height + line * len(legend) + gap), _PAPER)
    sheet.paste(grid)
    draw = ImageDraw.Draw(sheet)
    for number, text in enumerate(legend):
        draw.text((gap, grid.height + line * number), text, _INK, font)
    return sheet


def _strip(
    pictures: Mapping[str, Image.Image], width: int, cell_size: int, font: ImageFont.FreeTypeFont
) -> Image.Image:
    """Pictures with their names under them, as many in a row as fit into the width."""
    gap, line = _spacing(cell_size, font)
    pitch, high = cell_size + gap, cell_size + gap + line
    across = max(1, (width - gap) // pitch)
    strip = Image.new("RGB", (width, gap + high * -(-len(pictures) // across)), _PAPER)
    draw = ImageDraw.Draw(strip)
    for number, (name, picture) in enumerate(pictures.items()):
        left, top = gap + pitch * (number % across), gap + high * (number // across)
        strip.paste(_placed(picture, cell_size), (left, top))
        text = _cut(_label(name), font, cell_size)
        draw.text((left + cell_size / 2, top + cell_size + gap / 2), text, _INK, font, "ma")
    return strip


def _above(upper: Image.Image, lower: Image.Image) -> Image.Image:
    """Two pictures of one width as one."""
    both = Image.new("RGB", (upper.width, upper.height + lower.height), _PAPER)
    both.paste(upper)
    both.paste(lower, (0, upper.height))
    return both


def _placed(picture: Image.Image | None, cell_size: int) -> Image.Image:
    """A square with the picture in its middle; empty without one."""
    place = Image.new("RGB", (cell_size, cell_size), _EMPTY)
    if picture is not None:
        inner = ImageOps.contain(picture.convert("RGB"), place.size, Image.Resampling.BICUBIC)
        place.paste(inner, ((cell_size - inner.width) // 2, (cell_size - inner.height) // 2))
    return place


def _grid(
    cells: dict[frozenset[Any], Cell],
    told: Mapping[frozenset[Any], Sequence[str]],
    columns: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    cell_size: int,
    font: ImageFont.FreeTypeFont,
) -> Image.Image:
    """The images in their places, what is told of each below, and the axes' names and values beside them."""
    gap, line = _spacing(cell_size, font)
    corner = next(iter(rows[0]), "") if len(rows[0]) < 2 else ""
    row_texts = [
        [
            _cut(_label(value) if corner else f"{name} {_label(value)}", font, cell_size)
            for name, value in row.items()
        ]
        for row in rows
    ]
    gutter = round(max(map(font.getlength, [corner, *itertools.chain(*row_texts)]))) + 3 * gap
    top, pitch = 2 * line + 2 * gap, cell_size + gap
    high = pitch + line * max(map(len, told.values()), default=0)
    grid = Image.new("RGB", (max(gutter + pitch * len(columns), 20 * line), top + high * len(rows)), _PAPER)
    draw = ImageDraw.Draw(grid)
    draw.text((gutter + (pitch * len(columns) - gap) / 2, gap), next(iter(columns[0])), _INK, font, "ma")
    draw.text((gap, gap + line), corner, _INK, font)
    for across, column in enumerate(columns):
        text = _cut(_label(*column.values()), font, cell_size)
        draw.text((gutter + pitch * across + cell_size / 2, gap + line), text, _INK, font, "ma")
    for down, texts in enumerate(row_texts):
        middle = top + high * down + (cell_size - line * len(texts)) / 2
        for number, text in enumerate(texts):
            draw.text((gutter - 2 * gap, middle + line * number), text, _INK, font, "ra")
    for (across, column), (down, row) in itertools.product(enumerate(columns), enumerate(rows)):
        spot, left, above = _spot(column | row), gutter + pitch * across, top + high * down
        cell = cells.get(spot)
        image = None if cell is None or cell.image is None else to_pil(cell.image)[0]
        grid.paste(_placed(image, cell_size), (left, above))
        for number, text in enumerate(told.get(spot, ())):
            below = above + cell_size + gap / 2 + line * number
            draw.text((left + cell_size / 2, below), _cut(_label(text), font, cell_size), _INK, font, "ma")
    return grid


def _places(
    cells: Sequence[Cell], x: str | Axis, y: str | Axis | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The columns and rows of a sheet, each as the coordinates it stands for, in the order of the values."""
    if not cells:
        raise ValueError("Contact sheet: no cell is finished yet; wait for the first one.")
    asked = [axis if isinstance(axis, Axis) else Axis(axis, ()) for axis in (x, y) if axis is not None]
    for axis in asked:
        if axis.name not in cells[0].coords:
            raise ValueError(
                f"Contact sheet: '{axis.name}' is no axis of these cells; "
                f"use one of {', '.join(cells[0].coords)}."
            )
    values = {name: list(dict.fromkeys(cell.coords[name] for cell in cells)) for name in cells[0].coords}
    values |= {axis.name: list(axis.values) for axis in asked if axis.values}
    across, *down = asked
    others = [name for name in values if name not in {axis.name for axis in asked}]
    names = [*others, *(axis.name for axis in down)]
    combinations = itertools.product(*(values[name] for name in names))
    rows = [dict(zip(names, one, strict=True)) for one in combinations]
    return [{across.name: value} for value in values[across.name]], rows


def _spot(coords: dict[str, Any]) -> frozenset[Any]:
    return frozenset(coords.items())


def _spacing(cell_size: int, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """The gap between cells and the height of a line of text, in pixels."""
    return max(4, cell_size // 32), round(font.size * 1.4)


def _shared(cells: Sequence[Cell]) -> str:
    """The settings that all cells have in common, as one line."""
    first = cells[0].settings
    same = {
        name: value
        for name, value in first.items()
        if name not in cells[0].coords and all(cell.settings.get(name) == value for cell in cells)
    }
    return ", ".join(f"{name} {_label(value)}" for name, value in same.items())


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """`text` in lines no wider than `width` pixels; broken at spaces, a wider word is cut."""
    lines: list[str] = []
    for word in _printable(text).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_cut(word, font, width))
    return [line for line in lines if line.strip()]


def _cut(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text`, or as much of its beginning as fits into `width` pixels with three dots."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def _label(value: Any) -> str:
    return _printable(f"{value:.4g}" if isinstance(value, float) else str(value))


def _exact(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def _printable(text: str) -> str:
    """`text` in the letters of Pillow's own font, ASCII; accents are dropped, "?" for the others."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return re.sub(r"[^ -~]", "?", " ".join(plain.split()))
