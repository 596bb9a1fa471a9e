"""python -m studies.toon_figures --models FOLDER --out DIR: the figures of a bundle on both held-out sets.

The parts by themselves (autoencoder at 64 and 256 px, CLIP, samples, Paint by Example, the enlarger beside
bicubic), then whole edits: Direct inversion with Prompt-to-Prompt at the preset, plain and kept to the
source, at 64 px and shown at 256 px (bicubic, enlarger, enlarger with details from the source), and Imagic
rebuilding its source at eta 0. `closed` is the set of the first bundles, `open` any colour, pose and variant.
What is done is kept in DIR, so that a stopped run goes on; DIR/summary.json and DIR/table.md hold the result.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

from studies import imagic_beside_sdedit, inversions_beside, sharded

WORLDS = ("closed", "open")
EDITS = ("asked", "unasked", "psnr_answer", "psnr_outside", "psnr_rebuilt")
LARGE = 256
WAYS = ("bicubic", "enlarger", "bicubic_details", "details")
LARGER = tuple(f"{way}{where}" for way in WAYS for where in ("", "_outside"))


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=98)
    sharded.asked_flag(parser)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--held-out", type=int, default=2_000, help="portraits for the parts by themselves")
    parser.add_argument("--samples", type=int, default=256, help="how many captions to sample")
    parser.add_argument("--imagic", type=int, default=14, help="how many edits to fit Imagic on")
    options = sharded.begin(parser, arguments)
    found = {}
    for world in options.worlds:
        options.world, place = world, options.out / world
        found[world] = {"parts": parts(options, world)} if options.held_out else {}
        own = argparse.Namespace(**vars(options) | {"out": place / "direct"})
        own.out.mkdir(parents=True, exist_ok=True)
        sharded.run_text_edits(own, tell=tell, study=direct)
        found[world]["edits"] = means(sharded.read_rows(own.out), "method", EDITS + LARGER)
        own = argparse.Namespace(**vars(options) | {"out": place / "imagic", "limit": options.imagic})
        own.out.mkdir(parents=True, exist_ok=True)
        sharded.run_text_edits(own, tell=tell, study=partial(imagic_beside_sdedit.study, settings={}))
        rows = [row for row in sharded.read_rows(own.out) if row["method"] == "imagic"]
        found[world]["imagic"] = means(rows, "setting", ("asked", "unasked", "psnr_answer", "psnr_source"))
    (options.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.out / "table.md").write_text(table(found) + "\n")
    sys.stdout.write(table(found) + "\n")


def tell(edit) -> dict:
    return {"asked_for": edit.asked, "captions": edit.captions}


def parts(options: argparse.Namespace, world: str) -> dict:
    """The scores of the manifest on one set, measured once and kept beside the bundle's digests."""
    from textedit_core.models import zoo
    from textedit_core.training import measures

    folder = zoo.folder_of(options.models)
    models, size = zoo.load(folder), zoo.load(folder).diffusion.size
    reader = sharded.classifier_of(models, size)
    facts = {"files": models.manifest.get("files"), "count": options.held_out, "samples": options.samples}

    def measured() -> dict:
        held = measures.held_out(world, options.held_out, size, options.out / "data", 1)
        return measures.of_set(models, reader, reader, held, options.samples)

    return measures.remembered(options.out / f"parts-{world}.json", facts, measured)


def direct(models, classifier, edit) -> list[dict]:
    """Direct inversion with Prompt-to-Prompt at the preset, plain and kept to the source."""
    kinds = ("direct", "direct_kept")
    return inversions_beside.study(models, classifier, edit, kinds, {}, False, partial(larger, models))


def larger(models, edit, picture, rebuilt) -> dict[str, float]:
    """dB to the true answer at 256 px, over all and outside of the change, of the ways to show an edit large.

    details: the enlarger's picture with the source's own details (`textedit_core.details`).
    """
    from textedit_core import details, metrics
    from textedit_core.models.enlarger import bicubic

    source, answer = edit.source(LARGE), edit.answer(LARGE)
    kept = 1 - edit.changed(LARGE)
    scale = LARGE // picture.shape[-1]

    def by_bicubic(image):
        return bicubic(image, scale).clamp(-1, 1)

    enlarge = models.enlarger.enlarge if "enlarger" in models.sources else by_bicubic
    shown = {
        "bicubic": by_bicubic(picture),
        "enlarger": enlarge(picture),
        "bicubic_details": details.with_details(picture, rebuilt, source, enlarge=by_bicubic),
        "details": details.with_details(picture, rebuilt, source, enlarge=enlarge),
    }
    found = {name: float(metrics.psnr(image, answer)) for name, image in shown.items()}
    if kept.any():
        found |= {
            f"{name}_outside": float(metrics.psnr(image, answer, kept)) for name, image in shown.items()
        }
    return found


def means(rows: list[dict], by: str, names: tuple[str, ...]) -> dict:
    """For each value of `by` the means of the named figures over the rows that have them, and their count.

    An infinite dB, of a picture that is the answer itself, is left out.
    """
    found = {}
    for key in dict.fromkeys(str(row[by]) for row in rows):
        group = [row for row in rows if str(row[by]) == key]
        found[key] = {"edits": len(group)}
        for name in names:
            values = [row[name] for row in group if name in row and abs(row[name]) < float("inf")]
            if values:
                found[key][name] = round(sum(values) / len(values), 3)
    return found


def table(found: dict) -> str:
    """The summary as Markdown, a column per set."""
    rows: dict[str, dict[str, str]] = {}

    def told(line: str, world: str, scores: dict, names: tuple[str, ...], how: str) -> None:
        values = [scores.get(name) for name in names]
        if any(value is not None for value in values):
            shown = (format(value, how) if value is not None else "-" for value in values)
            rows.setdefault(line, {})[world] = ", ".join(shown)

    for world, scores in found.items():
        part = scores.get("parts", {})
        plain = ("autoencoder_psnr_db", "autoencoder_large_psnr_db")
        told("autoencoder, dB at 64 px, 256 px", world, part, plain, ".1f")
        for name in ("classifier_accuracy", "clip_zero_shot_accuracy", "sample_attribute_accuracy"):
            told(f"{name}: mean", world, part.get(name, {}), ("mean",), ".3f")
        sampled = part.get("sample_attribute_accuracy", {})
        told("samples: moods, tops, poses", world, sampled, ("mood", "top", "pose"), ".2f")
        told("encoder and generator, dB", world, part.get("encoder", {}), ("psnr_db",), ".1f")
        example = part.get("paint_by_example", {}).get("lambda 5", {})
        told("Paint by Example, asked", world, example, ("asked",), ".3f")
        for kind, figures in part.get("enlarger", {}).items():
            told(f"enlarger from {kind}: dB, bicubic", world, figures, ("psnr_db", "bicubic_db"), ".1f")
        for method, figures in scores.get("edits", {}).items():
            told(f"{method}: asked, unasked", world, figures, EDITS[:2], ".2f")
            told(f"{method}: dB to the answer, outside, rebuilt", world, figures, EDITS[2:], ".1f")
            for way in WAYS:
                told(f"{method} at {LARGE} px, {way}: all, outside", world, figures,
                     (way, f"{way}_outside"), ".1f")  # fmt: skip
        for eta in ("0.0", "0.7"):
            figures = scores.get("imagic", {}).get(eta, {})
            told(f"Imagic at eta {float(eta):g}: dB to the source", world, figures, ("psnr_source",), ".1f")
            told(f"Imagic at eta {float(eta):g}: asked, unasked", world, figures, EDITS[:2], ".2f")
    lines = ["| | " + " | ".join(found) + " |", "|" + "---|" * (1 + len(found))]
    for line, cells in rows.items():
        lines.append(f"| {line} | " + " | ".join(cells.get(world, "-") for world in found) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
