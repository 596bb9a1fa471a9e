"""The comparison as HTML: a row per method with its picture and figures, and how two settings differ."""

import html
import math
from collections.abc import Sequence

from demos.shared.marks import Tile, enlargeable, note, tile

# Key of a score, heading, how it is written, what it says.
FIGURES = (
    ("clip", "CLIP score", "{:.1f}", "nearness to the prompt, 100 cos; larger is nearer"),
    ("direction", "Direction", "{:.2f}", "whether the picture changed as the prompts did, -1 to 1"),
    ("similarity", "Similarity", "{:.2f}", "to the source, as CLIP sees both; 1 is the same"),
    ("psnr", "PSNR, dB", "{:.1f}", "to the source, pixel by pixel; larger is nearer"),
    ("ssim", "SSIM", "{:.2f}", "to the source, in structure; 1 is the same"),
    ("identity", "Identity", "{:.2f}", "whether the source's person is seen; 1 is the same"),
)
UNCHANGED = "did not change as the prompts did"
HEADS = (
    ("Seconds", "of fit and edit together"),
    ("UNet rows", "images that went through the UNet, in fit and edit"),
    *((heading, about) for _, heading, _, about in FIGURES),
)


def board(rows: Sequence[dict], ranked: Sequence[tuple[dict, float]], waiting: Sequence[str] = ()) -> str:
    """The table: ranked rows first, then the others, then the titles that wait for their turn."""
    if not rows and not waiting:
        return ""
    places = {row["name"]: (place, value) for place, (row, value) in enumerate(ranked, 1)}
    order = ordered(rows, ranked)
    index = {row["name"]: number for number, row in enumerate(rows)}
    lines = [_line(row, index[row["name"]], places.get(row["name"])) for row in order]
    lines += [_waiting(title) for title in waiting]
    heads = "".join(f'<th scope="col" title="{html.escape(about)}">{name}</th>' for name, about in HEADS)
    return enlargeable(
        '<div class="scroll" tabindex="0" aria-label="Methods compared"><table class="versus">'
        '<thead><tr><th scope="col"><span class="unseen">Picture</span></th><th scope="col">Method</th>'
        f"{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def ordered(rows: Sequence[dict], ranked: Sequence[tuple[dict, float]]) -> list[dict]:
    """All rows: the ranked ones first, then the others."""
    first = [row for row, _ in ranked]
    names = {row["name"] for row in first}
    return first + [row for row in rows if row["name"] not in names]


def _line(row: dict, index: int, place: tuple[int, float] | None) -> str:
    """A row: its picture to click, its name and place, its figures; or the sentence why there are none."""
    title = html.escape(row["title"])
    if row["problem"]:
        return (
            f'<tr><td class="look"></td><th scope="row">{title}</th>'
            f'<td class="told" colspan="{len(HEADS)}">{note(row["problem"], "problem")}</td></tr>'
        )
    rank = f"<em>place {place[0]}, {place[1]:.2f}</em>" if place else ""
    rank += f"<em>{UNCHANGED}</em>" if row.get("unchanged") else ""
    first = place is not None and place[0] == 1
    picture = tile(Tile(row["edit"], f"{row['title']}: show beside A", (), index))
    figures = [costs(row), "–" if row["rows"] is None else f"{row['rows']}", *figures_of(row["scores"])]
    cells = "".join(
        f'<td data-label="{name}">{html.escape(value)}</td>'
        for (name, _), value in zip(HEADS, figures, strict=True)
    )
    kind = ' class="first"' if first else ""
    return f'<tr{kind}><td class="look">{picture}</td><th scope="row">{title}{rank}</th>{cells}</tr>'


def _waiting(title: str) -> str:
    """A row whose turn has not come."""
    square = tile(None, f"{title}, waiting")
    return (
        f'<tr><td class="look">{square}</td><th scope="row">{html.escape(title)}</th>'
        f'<td class="told" colspan="{len(HEADS)}">{note("waiting")}</td></tr>'
    )


def costs(row: dict) -> str:
    """Seconds, or where the result was already there."""
    if not row["computed"]:
        return "from the cache"
    return f"{row['seconds']:.1f}{', partly from the cache' if row['reused'] else ''}"


def figures_of(scores: dict) -> list[str]:
    """The scores as they are written, – for those that could not be measured."""
    return [_figure(scores[key], form) for key, _, form, _ in FIGURES]


def _figure(value: float | None, form: str) -> str:
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else form.format(value)


def settings(lines: Sequence[tuple[str, str, str]], first: str, second: str) -> str:
    """What the settings of two pictures differ in, as a small table; `first`, `second`: their labels."""
    if not lines:
        return note("Both were made with the same settings.")
    body = "".join(
        f'<tr><th scope="row">{html.escape(name.replace("_", " "))}</th>'
        f"<td>{html.escape(a) or '–'}</td><td>{html.escape(b) or '–'}</td></tr>"
        for name, a, b in lines
    )
    heads = f'<th scope="col">A: {html.escape(first)}</th><th scope="col">B: {html.escape(second)}</th>'
    return (
        f'<table class="differs"><thead><tr><th scope="col">Setting</th>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )
