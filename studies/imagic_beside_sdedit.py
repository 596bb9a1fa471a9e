"""python -m studies.imagic_beside_sdedit --out DIR: Imagic, SDEdit and Text2LIVE, the true answer known.

For every held-out edit: one Imagic fit and its eta strip, SDEdit at several strengths, and one layer of
Text2LIVE at several (--methods chooses); each picture is read by the attribute classifier and compared with
the rendered true answer. DIR/edits-*.jsonl gets a line per edit, so that a stopped run goes on; run it with
--shard 0/2 and --shard 1/2 to use two cores.
"""

from __future__ import annotations

import sys
import time
from functools import partial

from studies import sharded

ETAS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)
STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LAYERS = (0.5, 0.75, 1.0)  # strengths of Text2LIVE's layer
MEASURES = ("asked", "unasked", "psnr_answer", "psnr_source")


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=40)
    sharded.asked_flag(parser)
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", help="an Imagic knob")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = sharded.begin(parser, arguments)
    settings = dict(pair.split("=", 1) for pair in options.set)
    sharded.run_text_edits(
        options,
        tell=lambda edit: {"asked_for": edit.asked, "prompt": edit.prompt},
        study=partial(study, methods=options.methods, settings=settings),
    )
    sys.stdout.write(table(sharded.read_rows(options.out)) + "\n")


def study(models, classifier, edit, methods: list[str], settings: dict[str, str]) -> list[dict]:
    """One row per picture: method, setting, the four measures; the first of a fit carries its seconds."""
    return [
        {"method": name} | row
        for name in methods
        for row in METHODS[name](models, classifier, edit, settings)
    ]


def by_imagic(models, classifier, edit, settings: dict[str, str]) -> list[dict]:
    from textedit_core.method import load
    from textedit_core.methods import imagic
    from textedit_core.steps import last
    from textedit_core.toon.edits import score

    model, image = models.diffusion, edit.source(models.diffusion.size)
    preset = dict(models.presets.get("imagic", {}))
    known = load("imagic").knobs
    preset |= {name: known[name].parse(text) for name, text in settings.items()}
    of_fit, of_edit = load("imagic").split(preset)
    started = time.perf_counter()
    fitted = last(imagic.fit(model, image, edit.prompt, **of_fit))
    seconds = time.perf_counter() - started
    sampling = {name: value for name, value in of_edit.items() if name not in ("eta", "seed")}
    pictures = last(imagic.edit(model, fitted, eta=list(ETAS), seed=0, **sampling))
    return [
        {"setting": eta, "fit_seconds": round(seconds, 2)} | values
        for eta, values in zip(ETAS, score(edit, pictures, classifier), strict=True)
    ]


def by_sdedit(models, classifier, edit, settings: dict[str, str]) -> list[dict]:
    from textedit_core.method import load
    from textedit_core.methods import sdedit
    from textedit_core.steps import last
    from textedit_core.toon.edits import score

    model, image = models.diffusion, edit.source(models.diffusion.size)
    preset = load("sdedit").split(models.presets.get("sdedit", {}))[1]
    preset = {k: v for k, v in preset.items() if k not in ("strength", "seed")}
    rows = []
    for strength in STRENGTHS:
        picture = last(sdedit.edit(model, image, edit.prompt, strength=strength, seed=0, **preset))
        rows.append({"setting": strength} | score(edit, picture, classifier)[0])
    return rows


def by_text2live(models, classifier, edit, settings: dict[str, str]) -> list[dict]:
    from textedit_core.method import load
    from textedit_core.methods import text2live
    from textedit_core.steps import last
    from textedit_core.toon.edits import score

    of_fit, _ = load("text2live").split(models.presets.get("text2live", {}))
    image, started = edit.source(models.diffusion.size), time.process_time()
    fitted = last(text2live.fit(models.clip, image, edit.captions[0], edit.captions[1], **of_fit))
    seconds = time.process_time() - started
    pictures = [last(text2live.edit(fitted, strength=strength)) for strength in LAYERS]
    return [
        {"setting": strength, "fit_seconds": round(seconds, 2)} | score(edit, picture, classifier)[0]
        for strength, picture in zip(LAYERS, pictures, strict=True)
    ]


METHODS = {"imagic": by_imagic, "sdedit": by_sdedit, "text2live": by_text2live}


def table(rows: list[dict]) -> str:
    """The means over edits as Markdown, a line per method and setting."""
    lines = [
        "| method | setting | edits | asked | unasked | PSNR to the answer | PSNR to the source |",
        "|" + "---|" * 7,
    ]
    for method, setting in sorted({(row["method"], row["setting"]) for row in rows}):
        group = [row for row in rows if (row["method"], row["setting"]) == (method, setting)]
        means = [sum(row[name] for row in group) / len(group) for name in MEASURES]
        values = f"{means[0]:.2f} | {means[1]:.3f} | {means[2]:.1f} dB | {means[3]:.1f} dB"
        name = "eta" if method == "imagic" else "strength"
        lines.append(f"| {method} | {name} {setting:g} | {len(group)} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
