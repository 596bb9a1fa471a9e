"""python -m studies.blend_threshold --out DIR: which blend threshold finds the region of an edit?

Direct inversion with Prompt-to-Prompt at the models' preset, on edits of both toon worlds that are neither
trained nor held out (--of search, to choose on) or held out (--of closed or open, to report). The blend words
are those in which the two captions differ. For each threshold, all in one batch: the intersection over union
of the mask, as it is after the last step, with the region that the true answer changes, its share of the
picture, and what the edit makes. DIR/edits-*.jsonl gets a line per edit, so that a stopped run goes on.
"""

from __future__ import annotations

import sys
from functools import partial

from studies import sharded

THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
MEASURES = ("iou", "share", "asked", "unasked", "psnr_answer", "psnr_outside")


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=24)
    sharded.asked_flag(parser)
    parser.add_argument("--of", choices=("search", "closed", "open"), default="search")
    options = sharded.begin(parser, arguments)
    run(options)
    sys.stdout.write(table(sharded.read_rows(options.out)) + "\n")


def run(options) -> None:
    """Do what no earlier run has done."""
    from textedit_core.models import zoo
    from textedit_core.toon.edits import held_out_edits, search_edits

    models, asked = zoo.load(options.models), options.asked.split(",")
    classifier = sharded.classifier_of(models, models.diffusion.size)
    if options.of == "search":
        edits = search_edits(options.limit, asked)
    else:
        edits = held_out_edits(options.limit, asked, options.of)
    sharded.run(options, edits, tell=lambda edit: {"asked_for": edit.asked},
                study=partial(study, models, classifier))  # fmt: skip


def study(models, classifier, edit) -> list[dict]:
    """One row per threshold, and one without blend words."""
    import torch.nn.functional as F

    from studies.inversions_beside import outside
    from textedit_core.method import load
    from textedit_core.methods import prompt_to_prompt as method
    from textedit_core.steps import last
    from textedit_core.toon.edits import score

    model, (source, target) = models.diffusion, edit.captions
    how = load("prompt_to_prompt")
    preset = models.presets.get("prompt_to_prompt", {})
    of_fit, of_edit = how.split({k: v for k, v in preset.items() if k not in how.finish_knobs})
    fitted = last(method.fit(model, edit.source(model.size), source, **of_fit | {"inversion": "direct"}))
    words = " ".join(sorted(set(source.split()) ^ set(target.split())))
    rows = [method.settings_of(**of_edit)]
    rows += [
        method.settings_of(**of_edit | {"blend_words": words, "blend_threshold": one}) for one in THRESHOLDS
    ]
    found = last(method.edit_many(model, fitted, [target] * len(rows), rows))
    region = edit.changed(model.size) > 0.5
    told = []
    for index, threshold in enumerate((None, *THRESHOLDS)):
        mask = F.interpolate(found.masks[index : index + 1], (model.size, model.size)) > 0.5
        both, either = float((mask & region).sum()), float((mask | region).sum())
        picture = found.images[index : index + 1].clamp(-1, 1)
        told.append(
            {"threshold": threshold, "iou": both / max(either, 1.0), "share": float(mask.float().mean())}
            | score(edit, picture, classifier)[0]
            | outside(edit, picture)
        )
    return told


def table(rows: list[dict]) -> str:
    """The means as Markdown, a line per threshold."""
    lines = ["| threshold | " + " | ".join(MEASURES) + " |", "|" + "---|" * (1 + len(MEASURES))]
    for threshold in dict.fromkeys(row["threshold"] for row in rows):
        group = [row for row in rows if row["threshold"] == threshold]
        cells = []
        for name in MEASURES:
            values = [row[name] for row in group if name in row and abs(row[name]) < float("inf")]
            cells.append(f"{sum(values) / len(values):.2f}" if values else "-")
        lines.append(f"| {'no blend words' if threshold is None else threshold} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
