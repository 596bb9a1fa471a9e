"""A report as Markdown and as one HTML page that needs nothing but its pictures beside it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from html import escape
from pathlib import Path

from textedit_core.bench import choose, pareto
from textedit_core.bench.measure import MEASURES
from textedit_core.bench.plan import Bench
from textedit_core.bench.report import Entry, Report, Row, gather, number

WIDTH = 128
STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
td.best { font-weight: 700; }
section { border-top: 1px solid var(--line); padding: .8rem 0; }
h3 { margin: 0 0 .3rem; font-size: 1rem; }
.pictures { display: flex; flex-wrap: wrap; gap: .8rem; }
figure { margin: 0; width: 148px; }
figure img { width: 148px; image-rendering: auto; border-radius: 4px; background: #8882; }
figcaption, .quiet { color: var(--quiet); font-size: .8rem; overflow-wrap: anywhere; }
.error { color: #c33; }
pre { overflow-x: auto; padding: .6rem; background: #8881; border-radius: 4px; }
"""


def write(
    bench: Bench, command: str = "", reference: Path | None = None, aim: choose.Aim | None = None
) -> Report | None:
    """Write report.md, report.html and summary.json once all work is recorded; None while some is not.

    Of several processes the one that ends last finds everything there and writes the one report. Where
    settings are compared in two measures it has pareto.svg too; with an `aim` the best
    settings are named in its notes and written to presets.json.
    """
    planned = bench.records()
    records = [(item, contestant, record) for item, contestant, record in planned if record is not None]
    if len(records) < len(planned):
        return None
    report = gather(bench, records, command, reference)
    if aim:
        found = choose.chosen(bench, report, aim)
        report = replace(report, notes=(*report.notes, *choose.words(aim, found)))
        _replace(bench.out / choose.FILE, choose.to_json(choose.presets(bench, found)))
    drawn = pareto.picture(report)
    if drawn:
        _replace(bench.out / pareto.FILE, drawn[0])
    rows = [{"label": row.label, "coords": dict(row.coords), "items": row.items, "means": dict(row.means)}
            for row in report.rows]  # fmt: skip
    summary = {"bench": bench.name, "models": bench.models.name, "command": command, "rows": rows,
               "notes": report.notes}  # fmt: skip
    _replace(bench.out / "summary.json", json.dumps(summary, indent=1))
    _replace(bench.out / "report.md", markdown(report))
    _replace(bench.out / "report.html", html(report))
    return report


def markdown(report: Report) -> str:
    """The report as Markdown: the table, the notes, and every item with its pictures."""
    parts = [f"# {report.title}", ""]
    if report.command:
        parts += ["```", report.command, "```", ""]
    parts += [table(report, report.rows), "", *(f"* {note}" for note in report.notes), ""]
    if drawn := pareto.picture(report):
        parts += [f"![{pareto.ABOUT}]({pareto.FILE})", "", pareto.ABOUT, ""]
        parts += [f"{number}. {_plain(name)}" for number, name in enumerate(drawn[1], start=1)] + [""]
    for name, rows in report.groups.items():
        parts += [f"### {name}", "", table(report, rows), ""]
    parts += ["## Items", ""]
    for entry in report.entries:
        parts += [f"### {entry.name}", ""]
        parts += [f"* {name}: {_plain(text)}" for name, text in entry.texts.items()]
        parts += [f"* {_plain(label)}: {_plain(reason)}" for label, reason in entry.missing]
        if entry.pictures:
            titles = [_plain(title) for title, _, _ in entry.pictures]
            images = [f'<img src="{escape(_link(file))}" width="{WIDTH}">' for _, file, _ in entry.pictures]
            words = [_plain(text) for _, _, text in entry.pictures]
            parts += ["", _line(titles), _line(["---"] * len(titles)), _line(images), _line(words)]
        parts.append("")
    return "\n".join(parts)


def table(report: Report, rows: tuple[Row, ...]) -> str:
    """The means as a Markdown table; the best of a column is bold."""
    columns = report.columns()
    lines = [_line(["method", "items", *(text for _, text in columns)]), _line(["---"] * (len(columns) + 2))]
    best = {name: _best(name, rows) for name, _ in columns}
    for row in rows:
        values = [
            (f"**{number(row, name)}**" if row in best[name] else number(row, name)) for name, _ in columns
        ]
        lines.append(_line([_plain(row.name), str(row.items), *values]))
    return "\n".join(lines)


def html(report: Report) -> str:
    """The report as one HTML page."""
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{escape(report.title)}</title><style>{STYLE}</style><h1>{escape(report.title)}</h1>",
        f"<pre>{escape(report.command)}</pre>" if report.command else "",
        _html_table(report, report.rows),
        "".join(f"<p class='quiet'>{escape(note)}</p>" for note in report.notes),
    ]
    if drawn := pareto.picture(report):
        names = "".join(f"<li>{escape(name)}</li>" for name in drawn[1])
        parts += [drawn[0], f"<p class='quiet'>{escape(pareto.ABOUT)}</p><ol>{names}</ol>"]
    for name, rows in report.groups.items():
        parts.append(f"<details><summary>{escape(name)}</summary>{_html_table(report, rows)}</details>")
    parts += ["<h2>Items</h2>", *map(_html_entry, report.entries), "</html>"]
    return "\n".join(parts)


def _html_table(report: Report, rows: tuple[Row, ...]) -> str:
    columns = report.columns()
    best = {name: _best(name, rows) for name, _ in columns}
    head = "".join(f"<th>{escape(text)}</th>" for text in ["method", "items", *(text for _, text in columns)])
    body = []
    for row in rows:
        cells = [f"<td{' class=best' * (row in best[name])}>{number(row, name)}</td>" for name, _ in columns]
        body.append(f"<tr><td>{escape(row.name)}</td><td>{row.items}</td>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _html_entry(entry: Entry) -> str:
    texts = "".join(
        f"<div class='quiet'>{escape(name)}: {escape(text)}</div>" for name, text in entry.texts.items()
    )
    missing = "".join(
        f"<div class='error'>{escape(label)}: {escape(reason)}</div>" for label, reason in entry.missing
    )
    figures = "".join(
        f"<figure><img loading='lazy' src='{escape(_link(file))}' alt='{escape(title)}'>"
        f"<figcaption>{escape(title)}<br>{escape(words)}</figcaption></figure>"
        for title, file, words in entry.pictures
    )
    title = f"<h3>{escape(entry.name)}</h3>"
    return f"<section>{title}{texts}{missing}<div class='pictures'>{figures}</div></section>"


def _best(name: str, rows: tuple[Row, ...]) -> list[Row]:
    """The rows with the best mean of a measure; none where only one row has it, or for a cost."""
    known = [value for row in rows if (value := row.means.get(name)) is not None]
    if len(known) < 2 or name not in (*MEASURES, "frechet", "qs"):
        return []
    down = name == "frechet" or (name in MEASURES and MEASURES[name].better == "down")
    wanted = min(known) if down else max(known)
    return [row for row in rows if row.means.get(name) == wanted]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """A text in one line, without the characters that break a table or Markdown."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _link(file: str) -> str:
    """A relative path as a link."""
    from urllib.parse import quote

    return quote(file)


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
