"""python -m studies.inversions_beside --out DIR: the inversions with Prompt-to-Prompt, and SDEdit.

Every held-out edit goes from a caption of its source to the same caption with the asked attribute changed.
Each picture is read by the attribute classifier and compared with the rendered true answer. "null_text_paper"
is null-text with the paper's settings, the others have the models' preset; "direct_kept" removes the
inversion's error from the edit too, which the paper does not. DIR/edits-*.jsonl gets a line per
edit, so that a stopped run goes on; --shard 0/2 and --shard 1/2 use two cores. The means over all lines are
written to DIR/summary.json and DIR/table.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from studies import sharded

KINDS = ("direct", "direct_kept", "null_text", "npi", "ddim", "null_text_paper")
METHODS = ("autoencoder", *KINDS, "sdedit")
STRENGTHS = (0.4, 0.6, 0.8)
MEASURES = ("psnr_rebuilt", "asked", "unasked", "psnr_answer", "psnr_outside", "clip")
More = Callable[[Any, Any, Any], dict[str, float]]  # edit, picture, the rebuilt source -> further measures
COSTS = ("fit_seconds", "edit_seconds", "fit_rows", "fit_gradient_rows", "edit_rows")


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=60)
    sharded.asked_flag(parser)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KNOB=VALUE", help="of prompt_to_prompt"
    )
    parser.add_argument(
        "--blend", action="store_true", help="let the edit through at the changed words alone"
    )
    options = sharded.begin(parser, arguments)
    settings = dict(pair.split("=", 1) for pair in options.set)
    sharded.run_text_edits(
        options,
        tell=lambda edit: {"asked_for": edit.asked, "captions": edit.captions},
        study=partial(study, methods=options.methods, settings=settings, blend=options.blend),
    )
    found = summary(sharded.read_rows(options.out))
    (options.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "table.md").write_text(table(found) + "\n")
    sys.stdout.write(table(found) + "\n")


def study(
    models, classifier, edit, methods, settings: dict[str, str], blend: bool, more: More | None = None
) -> list[dict]:
    """One row per picture: the method, its measures and its cost; of an inversion also what `more` says."""
    from textedit_core.method import load
    from textedit_core.methods import prompt_to_prompt, sdedit
    from textedit_core.steps import last
    from textedit_core.toon.edits import score

    model, image = models.diffusion, edit.source(models.diffusion.size)
    source, target = edit.captions
    known = load("prompt_to_prompt").knobs
    preset = dict(models.presets.get("prompt_to_prompt", {}))
    preset |= {name: known[name].parse(text) for name, text in settings.items()}
    if blend:
        preset["blend_words"] = " ".join(sorted(set(source.split()) ^ set(target.split())))
    of_fit, of_edit = load("prompt_to_prompt").split(preset)

    def judged(picture) -> dict[str, float]:
        clip = float(clip_score(models, picture, target))
        return score(edit, picture, classifier)[0] | outside(edit, picture) | {"clip": clip}

    rows = []
    if "autoencoder" in methods:
        plain = last(sdedit.edit(model, image, target, strength=0))
        rows.append({"method": "autoencoder", "psnr_rebuilt": psnr(plain, image)} | judged(plain))
    for kind in (kind for kind in KINDS if kind in methods):
        plain = {name: of_fit[name] for name in ("steps", "guidance_scale") if name in of_fit}
        own = plain if kind == "null_text_paper" else of_fit
        own = {**own, "inversion": kind.removesuffix("_paper").removesuffix("_kept")}
        of_edit["keep_to_source"] = float(kind == "direct_kept")
        fitted, of_first = costed("fit", model, prompt_to_prompt.fit(model, image, source, **own))
        picture, of_second = costed("edit", model, prompt_to_prompt.edit(model, fitted, target, **of_edit))
        plain = prompt_to_prompt.reconstruct(model, fitted)
        row = {"method": kind, "psnr_rebuilt": psnr(plain, image), "losses": fitted.losses}
        row |= more(edit, picture, plain) if more else {}
        rows.append(row | of_first | of_second | judged(picture))
    baseline = load("sdedit").split(models.presets.get("sdedit", {}))[1]
    baseline = {k: v for k, v in baseline.items() if k not in ("strength", "seed")}
    for strength in STRENGTHS if "sdedit" in methods else ():
        steps = sdedit.edit(model, image, target, strength=strength, seed=0, **baseline)
        picture, cost = costed("edit", model, steps)
        rows.append({"method": f"sdedit {strength:g}"} | cost | judged(picture))
    return rows


def costed(name: str, model, steps) -> tuple:
    """The last value of these steps, and {name_seconds, name_rows, name_gradient_rows} of getting it."""
    from textedit_core.models.diffusion.latent_diffusion import count_rows
    from textedit_core.steps import last

    started = time.perf_counter()
    with count_rows(model) as count:
        value = last(steps)
    seconds = round(time.perf_counter() - started, 3)
    return value, {
        f"{name}_seconds": seconds,
        f"{name}_rows": count.rows,
        f"{name}_gradient_rows": count.with_gradient,
    }


def psnr(picture, image) -> float:
    from textedit_core import metrics

    return float(metrics.psnr(picture, image))


def outside(edit, picture) -> dict[str, float]:
    """PSNR to the true answer where it is as the source; left out where nothing is."""
    from textedit_core import metrics

    kept = 1 - edit.changed(picture.shape[-1])
    if not kept.any():
        return {}
    return {"psnr_outside": float(metrics.psnr(picture, edit.answer(picture.shape[-1]), kept))}


def clip_score(models, picture, text: str) -> float:
    from textedit_core import metrics

    return float(metrics.clip_score(models.clip, picture, text))


def summary(rows: list[dict]) -> dict:
    """For each method the mean of every measure and cost, null-text's mean loss per step, and the ratios."""

    def mean(group: list[dict], name: str) -> float | None:
        values = [row[name] for row in group if name in row]
        return sum(values) / len(values) if values else None

    methods = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        group = [row for row in rows if row["method"] == method]
        methods[method] = {"edits": len(group)} | {name: mean(group, name) for name in MEASURES + COSTS}
        losses = [row["losses"] for row in group if row.get("losses")]
        if losses:
            methods[method]["losses"] = [sum(step) / len(step) for step in zip(*losses, strict=True)]
    return {"methods": methods, "ratios": ratios(methods)}


def ratios(methods: dict) -> dict[str, float]:
    """What null-text and Direct cost beside the published loop, and beside each other.

    The published loop has one more row a step than ours: it makes the caption's noise again in the last.
    In passes a row with gradient counts twice, once forward and once back.
    """
    found = {}

    def whole(name: str, unit: str) -> float:
        if unit == "passes":
            return whole(name, "rows") + methods[name]["fit_gradient_rows"]
        return methods[name][f"fit_{unit}"] + methods[name][f"edit_{unit}"]

    if {"null_text", "null_text_paper"} <= methods.keys():
        own, paper = methods["null_text"], methods["null_text_paper"]
        published = paper["fit_rows"] + len(paper["losses"])
        found["null_text rows / published loop"] = own["fit_rows"] / published
        found["null_text rebuilt dB - published"] = own["psnr_rebuilt"] - paper["psnr_rebuilt"]
    for other in ("null_text", "null_text_paper"):
        for unit in ("rows", "passes", "seconds") if {"direct", other} <= methods.keys() else ():
            found[f"direct + edit / {other} + edit, {unit}"] = whole("direct", unit) / whole(other, unit)
    return found


def table(found: dict) -> str:
    """The summary as Markdown: a line per method, the ratios, the losses of ten steps."""
    head = "| method | edits | rebuilt | asked | unasked | to the answer | outside the change | CLIP "
    head += "| seconds: fit + edit | UNet rows: fit (with gradient) + edit |"
    lines = [head, "|" + "---|" * 10]
    for method, row in found["methods"].items():
        values = [shown(row[name], ".3f" if name in ("asked", "unasked") else ".1f") for name in MEASURES]
        seconds = f"{shown(row['fit_seconds'], '.1f')} + {shown(row['edit_seconds'], '.1f')}"
        count = f"{shown(row['fit_rows'], '.0f')} ({shown(row['fit_gradient_rows'], '.0f')})"
        cells = [method, str(row["edits"]), *values, seconds, f"{count} + {shown(row['edit_rows'], '.0f')}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *(f"* {name}: {value:.3f}" for name, value in found["ratios"].items())]
    for method, row in found["methods"].items():
        losses = row.get("losses", [])
        some = losses[:: max(1, len(losses) // 10)]
        if some:
            lines.append(f"* loss of {method} from z_T down: {', '.join(f'{loss:.1e}' for loss in some)}")
    return "\n".join(lines)


def shown(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


if __name__ == "__main__":
    main()
