"""A picture of what is traded for what: every setting of a benchmark as a point, text against source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from textedit_core.bench.measure import MEASURES
from textedit_core.bench.report import Report, Row, number

# How well a result follows the text, and how much of the source it keeps: the first pair that rows have.
PAIRS = (("asked", "unasked"), ("clip_direction", "psnr_rest"), ("clip_score", "clip_similarity"),
         ("exemplar_score", "psnr_rest"))  # fmt: skip
Point = tuple[float, float]
Place = Callable[[Point], Point]
FILE = "pareto.svg"  # in the folder of the results
ABOUT = "Each point is one setting; the numbered ones are beaten by no other in both measures."
WIDTH, HEIGHT = 640, 420
LEFT, TOP, RIGHT, BOTTOM = 64, 20, 20, 52  # the margins around the points
COLOURS = ("#3b6fd4", "#d4663b", "#2f9e6e", "#9b4fc0", "#b8860b", "#c23b6b", "#4a8f9c", "#7a7a7a")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#777}.axis{stroke:#8888}.front{fill:none;stroke:#888;"
    "stroke-dasharray:4 3}circle{fill-opacity:.45}circle.best{fill-opacity:1;stroke:#fff;stroke-width:1}"
)


def measures(rows: Sequence[Row]) -> tuple[str, str] | None:
    """The pair of PAIRS that at least two rows have; None where there is none."""
    for pair in PAIRS:
        if sum(all(row.means.get(name) is not None for name in pair) for row in rows) >= 2:
            return pair
    return None


def front(rows: Sequence[Row], pair: tuple[str, str]) -> list[Row]:
    """The rows that no other beats: none is at least as good in both measures and better in one.

    In order of the first measure, which is the one of the text. Both measures are such that more is better.
    """
    points = {id(row): _point(row, pair) for row in rows}

    def beaten(one: Row) -> bool:
        x, y = points[id(one)]
        others = (point for key, point in points.items() if key != id(one))
        return any(u >= x and v >= y and (u > x or v > y) for u, v in others)

    return sorted((row for row in rows if not beaten(row)), key=lambda row: points[id(row)])


def picture(report: Report) -> tuple[str, tuple[str, ...]] | None:
    """(the picture as SVG, the names of the settings that it numbers); None where too few rows have a pair.

    Settings that no other beats are numbered and joined by a line; a colour is a contestant.
    """
    pair = measures(report.rows)
    if pair is None:
        return None
    rows = [row for row in report.rows if all(row.means.get(name) is not None for name in pair)]
    best = front(rows, pair)
    place = _scale([_point(row, pair) for row in rows])
    labels = list(dict.fromkeys(row.label for row in rows))
    dots = []
    for row in rows:
        x, y = place(_point(row, pair))
        colour = COLOURS[labels.index(row.label) % len(COLOURS)]
        kind = " class='best'" if row in best else ""
        title = escape(f"{row.name}: {_value(row, pair[0])}, {_value(row, pair[1])}")
        dots.append(
            f"<circle{kind} cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{colour}'><title>{title}</title></circle>"
        )
    line = " ".join("{:.1f},{:.1f}".format(*place(_point(row, pair))) for row in best)
    numbers = "".join(
        f"<text x='{x + 7:.1f}' y='{y - 6:.1f}'>{count}</text>"
        for count, (x, y) in enumerate((place(_point(row, pair)) for row in best), start=1)
    )
    height = HEIGHT + 18 * len(labels)
    drawn = f"<polyline class='front' points='{line}'/>"
    body = f"{drawn}{''.join(dots)}{numbers}{_axes(rows, pair, place)}{_legend(labels)}"
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' role='img'>"
        f"<title>{escape(_heading(pair[0]))} against {escape(_heading(pair[1]))}</title>"
        f"<style>{STYLE}</style>{body}</svg>"
    )
    return svg, tuple(f"{row.name} ({_value(row, pair[0])}, {_value(row, pair[1])})" for row in best)


def _point(row: Row, pair: tuple[str, str]) -> Point:
    x, y = (row.means[name] for name in pair)
    assert x is not None and y is not None
    return x, y


def _scale(points: Sequence[Point]) -> Place:
    """A function from values to places in the picture, with the points' own range and a little room."""
    spans = []
    for values in zip(*points, strict=True):
        low, high = min(values), max(values)
        room = (high - low or abs(high) or 1.0) * 0.06
        spans.append((low - room, high + room))
    (x0, x1), (y0, y1) = spans

    def place(point: Point) -> Point:
        x = LEFT + (WIDTH - LEFT - RIGHT) * (point[0] - x0) / (x1 - x0)
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (point[1] - y0) / (y1 - y0))
        return x, y

    return place


def _axes(rows: Sequence[Row], pair: tuple[str, str], place: Place) -> str:
    """The two axes: a line, the least and the greatest value that occur, and the measure's heading."""
    floor, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f"<path class='axis' fill='none' d='M{LEFT} {TOP}V{floor}H{right}'/>"]
    for pick in (min, max):
        least = [pick(rows, key=lambda row: row.means[name] or 0.0) for name in pair]
        x, y = place(_point(least[0], pair))[0], place(_point(least[1], pair))[1]
        texts = (number(row, name) for row, name in zip(least, pair, strict=True))
        parts.append(f"<text x='{x:.1f}' y='{floor + 16}' text-anchor='middle'>{next(texts)}</text>")
        parts.append(f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{next(texts)}</text>")
    middle = (LEFT + right) / 2
    parts.append(
        f"<text x='{middle}' y='{HEIGHT - 12}' text-anchor='middle'>{escape(_heading(pair[0]))}</text>"
    )
    turned, words = f"rotate(-90 14 {floor / 2})", escape(_heading(pair[1]))
    parts.append(f"<text x='14' y='{floor / 2}' text-anchor='middle' transform='{turned}'>{words}</text>")
    return "".join(parts)


def _legend(labels: Sequence[str]) -> str:
    """Below the axes a line for each contestant, with its colour."""
    parts = []
    for row, label in enumerate(labels):
        y, colour = HEIGHT + 18 * row + 4, COLOURS[row % len(COLOURS)]
        parts.append(f"<rect x='{LEFT}' y='{y - 9}' width='10' height='10' fill='{colour}'/>")
        parts.append(f"<text x='{LEFT + 18}' y='{y}'>{escape(label)}</text>")
    return "".join(parts)


def _heading(name: str) -> str:
    return MEASURES[name].heading


def _value(row: Row, name: str) -> str:
    return f"{_heading(name)} {number(row, name)}"
