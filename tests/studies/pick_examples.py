"""python -m tests.studies.pick_examples --out demos/examples/imagic: the portraits the app offers.

Held-out scenes with prompts that the models can follow: a candidate is kept only if the attribute classifier
reads the asked attribute in an SDEdit result, and most of the other attributes as they were.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from textedit_core.methods import sdedit
from textedit_core.models import zoo
from textedit_core.steps import last
from textedit_core.training.bundle import load_classifier
from textedit_core.training.edits import held_out_edits, score
from textedit_core.training.render import render

log = logging.getLogger(__name__)

PIXELS = 256
KEPT_UNASKED = 0.75
STRENGTHS = (0.5, 0.6, 0.7)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--each", type=int, default=3, help="at most so many of one attribute")
    parser.add_argument("--candidates", type=int, default=120)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options.out.mkdir(parents=True, exist_ok=True)
    models = zoo.load("toon")
    classifier = load_classifier(zoo.BUNDLES / "toon", models.diffusion.size)
    found: list[dict] = []
    for edit in held_out_edits(options.candidates):
        if len(found) < options.count and sum(f["asked"] == edit.asked for f in found) < options.each:
            good = works(models, classifier, edit)
            log.info("%s: %s", edit.prompt, "kept" if good else "left")
            if good:
                name = f"{len(found) + 1:02d}.png"
                write_source(edit, options.out / name)
                label = f"{edit.asked.replace('_', ' ')}: {getattr(edit.wanted, edit.asked)}"
                found.append({"image": name, "label": label, "prompt": edit.prompt, "asked": edit.asked})
                (options.out / "index.json").write_text(json.dumps(found, indent=1) + "\n")


def works(models, classifier, edit) -> bool:
    """Whether SDEdit, the quicker method, makes this edit at some strength, as the classifier sees it."""
    model, image = models.diffusion, edit.source(models.diffusion.size)
    preset = {name: value for name, value in models.presets["sdedit"].items() if name != "strength"}
    results = [
        score(edit, last(sdedit.edit(model, image, edit.prompt, strength=strength, **preset)), classifier)[0]
        for strength in STRENGTHS
    ]
    return any(result["asked"] == 1 and result["unasked"] >= KEPT_UNASKED for result in results)


def write_source(edit, path: Path) -> None:
    """The portrait as a PNG four times the models' size, for the eye."""
    render(edit.scene, PIXELS).save(path, optimize=True)


if __name__ == "__main__":
    main()
