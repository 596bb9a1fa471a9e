"""python -m studies.pick_examples --out demos/examples/imagic: the portraits the app offers.

Held-out scenes with prompts that the models can follow: a candidate is kept only if the attribute classifier
reads the asked attribute in an Imagic result with the preset, and most of the other attributes as they were.
The eta that did it stands with the example. What --out lists already stays, and is added to.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from textedit_core.method import load
from textedit_core.methods import imagic, sdedit
from textedit_core.models import zoo
from textedit_core.steps import last
from textedit_core.toon.classifier import load_classifier
from textedit_core.toon.edits import held_out_edits, score
from textedit_core.toon.render import render

log = logging.getLogger(__name__)

PIXELS = 256
KEPT_UNASKED = 0.75
STRENGTHS = (0.6, 0.7, 0.8)
ETAS = (0.7, 0.8, 0.9, 1.0, 1.1)


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
    classifier = load_classifier(zoo.folder_of("toon"), models.diffusion.size)
    index = options.out / "index.json"
    found: list[dict] = json.loads(index.read_text()) if index.exists() else []
    known = {row["prompt"] for row in found}
    for edit in held_out_edits(options.candidates):
        enough = sum(row["asked"] == edit.asked for row in found) >= options.each
        if len(found) >= options.count or enough or edit.prompt in known:
            continue
        eta = working_eta(models, classifier, edit) if promising(models, classifier, edit) else None
        log.info("%s: %s", edit.prompt, "left" if eta is None else f"kept, eta {eta}")
        if eta is not None:
            name = f"{len(found) + 1:02d}.png"
            write_source(edit, options.out / name)
            label = f"{edit.asked.replace('_', ' ')}: {getattr(edit.wanted, edit.asked)}"
            row = {"image": name, "label": label, "prompt": edit.prompt, "asked": edit.asked}
            found.append(row | {"knobs": {"eta": eta}})
            index.write_text(json.dumps(found, indent=1) + "\n")


def promising(models, classifier, edit) -> bool:
    """Whether SDEdit, the quicker method, draws what is asked at some strength: the models know it."""
    image, preset = edit.source(models.diffusion.size), models.presets["sdedit"]
    pictures = [
        last(sdedit.edit(models.diffusion, image, edit.prompt, **preset | {"strength": strength}))
        for strength in STRENGTHS
    ]
    return any(score(edit, picture, classifier)[0]["asked"] for picture in pictures)


def working_eta(models, classifier, edit) -> float | None:
    """The smallest eta at which Imagic, with the preset, makes the edit and keeps the rest."""
    fit, settings = load("imagic").split(models.presets["imagic"])
    model, image = models.diffusion, edit.source(models.diffusion.size)
    fitted = last(imagic.fit(model, image, edit.prompt, **fit))
    pictures = last(imagic.edit(model, fitted, **settings | {"eta": list(ETAS)}))
    for eta, result in zip(ETAS, score(edit, pictures, classifier), strict=True):
        if result["asked"] and result["unasked"] >= KEPT_UNASKED:
            return eta
    return None


def write_source(edit, path: Path) -> None:
    """The portrait as a PNG four times the models' size, for the eye."""
    render(edit.scene, PIXELS).save(path, optimize=True)


if __name__ == "__main__":
    main()
