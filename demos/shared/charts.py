"""Line charts as SVG text: they follow the page's colours and need no script and no network."""

import html
from collections.abc import Sequence

Points = Sequence[tuple[float, float]]


def running_mean(values: Sequence[float], share: float = 0.1) -> list[float]:
    """The mean of each value and the ones before it, over a window of `share` of the series."""
    window = max(1, round(len(values) * share))
    return [sum(values[max(0, i - window + 1) : i + 1]) / min(i + 1, window) for i in range(len(values))]


def polyline(
    points: Points,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    box: tuple[float, float, float, float],
    kind: str,
) -> str:
    """`points` drawn into `box` (left, top, width, height)."""
    left, top, width, height = box
    x0, x1 = x_range
    y0, y1 = y_range
    placed = [
        (left + width * (x - x0) / ((x1 - x0) or 1), top + height * (1 - (y - y0) / ((y1 - y0) or 1)))
        for x, y in points
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in placed) if "dots" in kind else ""
    return f'<g class="{kind}"><polyline points="{path}"/>{dots}</g>'


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """A label at a point."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}</text>'


def losses(stages: Sequence[tuple[str, Sequence[float], int]], first: int = 1) -> str:
    """The loss of each stage side by side: (name, losses, steps planned). Faint: each step; bold: mean.

    first: the number of the first step that is drawn, where earlier ones are left out.
    """
    stages = [stage for stage in stages if stage[2]]
    if not any(values for _, values, _ in stages):
        return ""
    width, height, gap = 380, 116, 24
    room = (width - gap * (len(stages) - 1)) / len(stages)
    parts = []
    for i, (name, values, planned) in enumerate(stages):
        left, box_top, box_height = i * (room + gap), 24, 66
        box = (left, box_top, room, box_height)
        parts.append(f'<line class="axis" x1="{left}" x2="{left + room}" y1="90" y2="90"/>')
        parts.append(text(left, 12, name, kind="title"))
        if values:
            top = max(values) or 1.0
            mean = running_mean(values)
            span = (0.0, float(max(planned - 1, 1)))
            parts.append(polyline(list(enumerate(values)), span, (0, top), box, "line faint"))
            parts.append(polyline(list(enumerate(mean)), span, (0, top), box, "line first"))
            parts.append(text(left + room, 12, f"loss {mean[-1]:.3f}", "end", "number"))
        parts.append(text(left, 108, str(first), kind="number"))
        parts.append(text(left + room, 108, str(first + planned - 1), "end", "number"))
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Loss of each preparation stage">{"".join(parts)}</svg>'
    )


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """A range a little wider than the values."""
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.01
    return low - pad, high + pad


def scores(
    x_name: str,
    points: Sequence[tuple[float, float, float]],
    titles: tuple[str, str],
    marked: float | None = None,
) -> str:
    """Two scores against an axis, from (x, first, second): left and right scale; `marked` gets a rule."""
    if not points:
        return ""
    xs, first, second = zip(*points, strict=True)
    width, height = 640, 236
    box = (52, 50, width - 104, 138)
    left, top, room, tall = box
    x_range = (min(xs), max(xs)) if len(xs) > 1 else (xs[0] - 1, xs[0] + 1)
    left_range, right_range = bounds(first), bounds(second)
    parts = [f'<line class="axis" x1="{left}" x2="{left + room}" y1="{top + tall}" y2="{top + tall}"/>']
    if marked is not None:
        at = left + room * (marked - x_range[0]) / ((x_range[1] - x_range[0]) or 1)
        parts.append(f'<line class="rule" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 8}" y2="{top + tall}"/>')
        parts.append(
            text(min(max(at, 90), width - 90), top - 14, f"suggested {marked:g}", "middle", "number")
        )
    parts.append(polyline(list(zip(xs, first, strict=True)), x_range, left_range, box, "line first dots"))
    parts.append(polyline(list(zip(xs, second, strict=True)), x_range, right_range, box, "line second dots"))
    # At the ends of each scale what was measured; the scale itself goes on a little, where no score may be.
    for values, scale, x, anchor, kind in (
        (first, left_range, left - 10, "end", "first"),
        (second, right_range, left + room + 10, "start", "second"),
    ):
        for value in dict.fromkeys((max(values), min(values))):
            y = top + 4 + tall * (1 - (value - scale[0]) / (scale[1] - scale[0]))
            parts.append(text(x, y, f"{value:.2f}", anchor, f"number {kind}"))
    for value in dict.fromkeys(xs):
        at = left + room * (value - x_range[0]) / ((x_range[1] - x_range[0]) or 1)
        parts.append(text(at, top + tall + 18, f"{value:g}", "middle", "number"))
    parts.append(text(left + room / 2, height - 4, x_name, "middle", "title"))
    parts.append(text(0, 12, titles[0], "start", "title first"))
    parts.append(text(width, 12, titles[1], "end", "title second"))
    return (
        f'<div class="scroll"><svg class="chart wide" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(" and ".join(titles) + " against " + x_name)}">'
        f"{''.join(parts)}</svg></div>"
    )


def bars(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """Counts as upright bars, (name, count) each, under a title that tells them in words."""
    if not rows:
        return ""
    width, height, top, tall = 640, 150, 42, 80
    room, most = width / len(rows), max(count for _, count in rows) or 1
    parts = [text(0, 12, title, kind="title")]
    for k, (name, count) in enumerate(rows):
        middle, high = room * (k + 0.5), tall * count / most
        wide = min(room * 0.62, 34)
        parts.append(
            f'<rect class="bar" x="{middle - wide / 2:.1f}" y="{top + tall - high:.1f}" '
            f'width="{wide:.1f}" height="{high:.1f}"/>'
        )
        parts.append(text(middle, top + tall + 16, name, "middle", "number"))
        if count:
            parts.append(text(middle, top + tall - high - 5, str(count), "middle", "number"))
    parts.append(f'<line class="axis" x1="0" x2="{width}" y1="{top + tall}" y2="{top + tall}"/>')
    listed = ", ".join(f"layer {name}: {count}" for name, count in rows if count)
    return (
        f'<div class="scroll"><svg class="chart wide" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(f"{title}. {listed}", quote=True)}">{"".join(parts)}</svg></div>'
    )
