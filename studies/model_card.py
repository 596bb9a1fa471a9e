"""python -m studies.model_card: the toon models' card says again what their manifest says.

The sections "Training" and "Results" of README.md beside manifest.json are written anew; the rest stays.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import textedit_core

FOLDER = Path(textedit_core.__file__).parent / "weights" / "toon"
BEGIN, END = "## Training\n", "## Intended use\n"
# What each figure is, in the order of the card, by its key in the manifest.
FIGURES = {
    "autoencoder_psnr_db": "autoencoder, PSNR in dB",
    "autoencoder_large_psnr_db": "the same of drawings at 256 px",
    "enlarger/exact/psnr_db": "enlarger, from exact pictures to 256 px, PSNR in dB",
    "enlarger/exact/bicubic_db": "the same by bicubic enlargement",
    "enlarger/rebuilt/psnr_db": "enlarger, from what the autoencoder rebuilds",
    "enlarger/rebuilt/bicubic_db": "the same by bicubic enlargement",
    "generator/psnr_db": "generator, PSNR in dB to the portrait that z names",
    "generator/mapping_accuracy": "generator, attributes read from w",
    "encoder/psnr_db": "e4e, PSNR in dB of the image rebuilt from its code",
    "identity/auc": "identity, area under the curve, the same person against another",
    "identity/auc_alike": "identity, the same against one who differs in one attribute",
    "identity/same": "identity, mean cosine of the same person on another occasion",
    "identity/other": "identity, mean cosine of another person",
    "identity/alike": "identity, mean cosine of one who differs in one attribute",
    "paint_by_example/lambda 5/asked": "Paint by Example at λ 5, the part reads as the exemplar's",
    "paint_by_example/lambda 0/asked": "the same without an exemplar",
    "paint_by_example/pasted/asked": "the same with the exemplar pasted",
    "paint_by_example/lambda 5/answer": "Paint by Example at λ 5, PSNR in dB of the box to the true answer",
    "paint_by_example/lambda 0/answer": "the same without an exemplar",
    "paint_by_example/pasted/answer": "the same with the exemplar pasted",
}
TRAINED = "On the device `{device}`, {seconds} seconds in all. `manifest.json` has the same commands:"
MEASURED = """
All figures are those of `manifest.json`, under the key named, on {held_out_scenes} held-out scenes; samples
on {sampled_scenes} of them, with {sample_settings[steps]} steps and guidance
{sample_settings[guidance_scale]:g}; Paint by Example on {paint_by_example[edits]} edits with
{paint_by_example[steps]} steps.
"""
OPEN = """
The closed world has one colour and variant a word; the open one any colour, variant, pose and background
(its figures are under the key `open`, samples on {open[sampled_scenes]} scenes). StyleCLIP's models know
the closed one alone.
"""
BY_ATTRIBUTE = """
Accuracy by attribute: of the classifier, of CLIP, zero-shot (the text of the true value is the nearest), of
samples of a caption, of the generator's images, of images rebuilt from e4e's codes (the last three as the
classifier reads them):
"""
OF_MAPPERS = """
Mappers: the share of samples read as asked afterwards, of those that were not before, and the share of the
other attributes that read as before:
"""
OF_FLOW = """
StyleFlow's flow: the same shares for each of its attributes at strength 1, as the texts of its config.json
name them.
"""
READ = ("classifier_accuracy", "clip_zero_shot_accuracy", "sample_attribute_accuracy")
ATTRIBUTES = (*READ, "generator/attribute_accuracy", "encoder/attribute_accuracy")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args(arguments).folder
    manifest, card = json.loads((folder / "manifest.json").read_text()), folder / "README.md"
    before, rest = card.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    card.write_text(before + measured(manifest) + END + after, encoding="utf-8")


def measured(manifest: Mapping[str, Any]) -> str:
    """The two sections."""
    scores = manifest["scores"]
    commands = "\n".join(manifest["command"])
    parts = table(
        ("part", "steps", "seconds"),
        [(f"`{name}`", str(one["steps"]), str(one["seconds"])) for name, one in manifest["training"].items()],
    )
    figures = table(
        ("what", "key", "closed", "open"),
        [
            (what, f"`{key}`", shown(scores, key), shown(scores.get("open", {}), key))
            for key, what in FIGURES.items()
            if shown(scores, key)
        ],
    )
    names = scores["classifier_accuracy"]
    closed = table(
        ("attribute", "classifier", "CLIP", "samples", "generator", "e4e"),
        [(name, *(shown(scores, f"{key}/{name}") for key in ATTRIBUTES)) for name in names],
    )
    opened = table(
        ("attribute, open world", "classifier", "CLIP", "samples"),
        [
            (f"{name} (open)", *(shown(scores["open"], f"{key}/{name}") for key in READ))
            for name in scores["open"]["classifier_accuracy"]
        ]
        if "open" in scores
        else [],
    )
    return "\n\n".join(
        [
            BEGIN + f"\n{written(TRAINED, **manifest)}",
            f"```\n{commands}\n```",
            parts,
            "## Results",
            written(MEASURED + OPEN * ("open" in scores), **scores),
            figures,
            written(BY_ATTRIBUTE),
            *filter(None, (closed, opened)),
            *of_edits(scores),
            "",
        ]
    )


def of_edits(scores: Mapping[str, Any]) -> list[str]:
    """What the mappers and the flow make of samples."""
    found = []
    for part, words, name in (("mappers", OF_MAPPERS, "`{}`"), ("flow", OF_FLOW, "{}")):
        head = "mapper" if part == "mappers" else "attribute of the flow"
        rows = scores.get(part, {}).items()
        lines = [(name.format(key), str(one["asked"]), str(one["kept"])) for key, one in rows]
        found += [written(words), table((head, "asked", "kept"), lines)] if lines else []
    return found


def written(text: str, **facts: Any) -> str:
    """A paragraph with the facts in their places, in lines as the card has them."""
    return textwrap.fill(" ".join(text.format(**facts).split()), 118, break_on_hyphens=False)


def shown(scores: Mapping[str, Any], key: str) -> str:
    """A figure of the manifest by its key; "" where it is not measured."""
    found: Any = scores
    for part in key.split("/"):
        found = found.get(part, {})
    return "" if found == {} else str(found)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown; "" without a row."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(line) + " |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


if __name__ == "__main__":
    main()
