"""A comparison to take along: a ZIP with its pictures, a sheet of them, and the table as CSV and LaTeX."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from demos.compare.comparison import FIGURES, UNCHANGED, costs, figures_of
from textedit_core.axes import Axis, Cell
from textedit_core.images import native_tensor, open_image
from textedit_core.sheet import contact_sheet

COLUMNS = ("method", "file", "seconds", "unet_rows", *(key for key, *_ in FIGURES), "note")
LATEX = str.maketrans(
    {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"–": "--", "∞": r"$\infty$"}
)


def write(rows: Sequence[dict], folder: Path, title: str) -> str:
    """Write comparison.zip to a folder, best row first as the rows are given; returns its path.

    title: of the sheet, the prompts. The pictures carry their settings, as every download here does.
    """
    archive, made = folder / "comparison.zip", [row for row in rows if not row["problem"]]
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr("comparison.csv", as_csv(rows))
        pack.writestr("comparison.tex", as_latex(rows))
        for row in made:
            pack.write(row["edit"], Path(row["edit"]).name)
        if made:
            pack.write(made[0]["source"], "source.png")
            sheet = folder / "comparison-sheet.png"
            _sheet(made, title).save(sheet)
            pack.write(sheet, "sheet.png")
    return str(archive)


def as_csv(rows: Sequence[dict]) -> str:
    """A line per method, its numbers unrounded; empty where something was not measured."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)
    for row in rows:
        lines.writerow("" if value is None else value for value in _values(row))
    return text.getvalue()


def _values(row: dict) -> list[Any]:
    if row["problem"]:
        return [row["title"], *[None] * (len(COLUMNS) - 2), row["problem"]]
    scores = [row["scores"][key] for key, *_ in FIGURES]
    said = UNCHANGED if row["unchanged"] else None
    seconds = row["seconds"] if row["computed"] else None  # what it costs from the cache is no measure
    return [row["title"], Path(row["edit"]).name, seconds, row["rows"], *scores, said]


def as_latex(rows: Sequence[dict]) -> str:
    """A tabular in booktabs' rules, with the figures as the page writes them."""
    heads = ["Method", "Seconds", "UNet rows", *(name for _, name, *_ in FIGURES)]
    body = [heads, *(_figures(row) for row in rows)]
    first, *others = (" & ".join(str(cell).translate(LATEX) for cell in line) + r" \\" for line in body)
    lines = [r"\begin{tabular}{l" + "r" * (len(heads) - 1) + "}", r"\toprule", first, r"\midrule", *others]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _figures(row: dict) -> list[str]:
    if row["problem"]:
        return [row["title"], *["–"] * (2 + len(FIGURES))]
    rows = "–" if row["rows"] is None else str(row["rows"])
    return [row["title"], costs(row), rows, *figures_of(row["scores"])]


def _sheet(rows: Sequence[dict], title: str) -> Image.Image:
    """The source and the edits side by side, each under its method's name."""
    pictures = [("Source", rows[0]["source"]), *((row["title"], row["edit"]) for row in rows)]
    cells = [Cell({"method": name}, {}, native_tensor(open_image(path)), 0.0) for name, path in pictures]
    return contact_sheet(cells, Axis("method", tuple(name for name, _ in pictures)), title=title)
