"""python -m studies.large_results --out DIR: the ways to make a toon picture large, alone and together.

Held-out edits of both worlds, each with its source and its true answer drawn at 256 px. First the source at
64 px, made large by bicubic enlargement, the enlarger and the upscaler; then the edit by Direct inversion and
Prompt-to-Prompt at the preset, kept to the source: by the same, each also with the source's own details
(`textedit_core.details`), and by the upscaler after it has learned the source at 256 px under the edit's
prompt (Imagic's third stage, --tuning-steps); upscalers only where the models have one. dB to the true
answer, over all and outside of the change, processor seconds, and how far the mean colour lies off.
DIR/edits-*.jsonl gets a line per edit, so that a stopped run goes on; DIR/table.md has the means.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial

from studies import inversions_beside, sharded

LARGE = 256
WORLDS = ("closed", "open")
DRAWN = {"steps": 10, "guidance_scale": 1.0, "noise_level": 0}
MEASURES = {"all": 1, "outside": 1, "colour": 1, "seconds": 2}  # digits of each


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=24)
    sharded.asked_flag(parser)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--tuning-steps", type=int, default=100)
    parser.add_argument("--tuning-lr", type=float, default=3e-4)
    options = sharded.begin(parser, arguments)
    found = {}
    for world in options.worlds:
        own = argparse.Namespace(**vars(options) | {"out": options.out / world, "world": world})
        own.out.mkdir(parents=True, exist_ok=True)
        tuning = {"upscaler_tuning_steps": own.tuning_steps, "upscaler_tuning_lr": own.tuning_lr}
        sharded.run_text_edits(own, tell=tell, study=partial(study, tuning=tuning))
        found[world] = sharded.read_rows(own.out)
    text = table(found)
    (options.out / "table.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")


def tell(edit) -> dict:
    return {"asked_for": edit.asked, "prompt": edit.prompt}


def study(models, classifier, edit, tuning: dict) -> list[dict]:
    """One row per way and kind of picture: the source itself, and the edit."""
    size = models.diffusion.size
    source, large = edit.source(size), edit.source(LARGE)
    rows = [
        {"of": "source", "way": way} | told for way, told in measured(ways(models, edit, source), large, None)
    ]
    rebuilt_and_edit: list = []

    def keep(edit, picture, rebuilt) -> dict[str, float]:
        rebuilt_and_edit[:] = [picture, rebuilt]
        return {}

    inversions_beside.study(models, classifier, edit, ("direct_kept",), {}, False, keep)
    picture, rebuilt = rebuilt_and_edit
    plain = ways(models, edit, picture, tuning)
    both = with_details(plain, picture, rebuilt, large)
    answer, kept = edit.answer(LARGE), 1 - edit.changed(LARGE)
    rows += [{"of": "edit", "way": way} | told for way, told in measured(both, answer, kept)]
    return rows


def ways(models, edit, picture, tuning: dict | None = None) -> dict[str, Callable]:
    """Way -> a function that makes the picture (1,3,64,64) large; "tuned" where its settings are given."""
    from textedit_core.models.diffusion import upscaler
    from textedit_core.models.diffusion.upscaler_tuning import tune
    from textedit_core.models.enlarger import bicubic
    from textedit_core.steps import last

    def tuned():
        model = models.upscaler
        learned = last(tune(model, edit.source(LARGE), edit.prompt, DRAWN["noise_level"], **tuning))
        return last(upscaler.upscaled(learned.applied(model), picture, edit.prompt, **DRAWN))

    found = {
        "bicubic": lambda: bicubic(picture, LARGE // picture.shape[-1]).clamp(-1, 1),
        "enlarger": lambda: models.enlarger.enlarge(picture),
    }
    if "upscaler" not in models.sources:
        return found
    found["upscaler"] = lambda: last(upscaler.upscaled(models.upscaler, picture, edit.prompt, **DRAWN))
    return found | ({"upscaler, tuned": tuned} if tuning else {})


def with_details(plain: dict[str, Callable], picture, rebuilt, source) -> dict[str, Callable]:
    """Every way, and the same with the source's own details, whose seconds are those of the details."""
    from textedit_core import details

    def detailed(make: Callable):
        return details.with_details(picture, rebuilt, source, drawn=make())

    both: dict[str, Callable] = {}
    for way, make in plain.items():
        once = cache(make)
        both |= {way: once, f"{way} and details": partial(detailed, once)}
    return both


def measured(makers: dict[str, Callable], answer, kept) -> Iterator[tuple[str, dict]]:
    """(way, its figures): dB over all and outside of the change, the mean colour's distance in 256ths."""
    from textedit_core import metrics

    for way, make in makers.items():
        begun = time.process_time()
        image = make()
        told = {"seconds": time.process_time() - begun, "all": float(metrics.psnr(image, answer))}
        if kept is not None and kept.any():
            told["outside"] = float(metrics.psnr(image, answer, kept))
        off = (image - answer).mean(dim=(2, 3)).abs().max() if kept is None else None
        if off is not None:
            told["colour"] = float(off) * 127.5
        yield way, told


def table(found: dict[str, list[dict]]) -> str:
    """The means as Markdown: a line per way, the measures of both worlds beside one another."""
    heads = [f"{world}: {name}" for world in found for name in MEASURES]
    lines = ["| of | way | " + " | ".join(heads) + " |", "|" + "---|" * (2 + len(heads))]
    places = list(dict.fromkeys((row["of"], row["way"]) for rows in found.values() for row in rows))
    for of, way in places:
        cells = []
        for rows in found.values():
            group = [row for row in rows if (row["of"], row["way"]) == (of, way)]
            for name, digits in MEASURES.items():
                values = [row[name] for row in group if name in row and abs(row[name]) < float("inf")]
                cells.append(f"{sum(values) / len(values):.{digits}f}" if values else "-")
        lines.append(f"| {of} | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
