"""python -m studies.pick_examples: the portraits and prompts that the app offers, of edits that work.

Held-out edits of the closed and the open world in turn, each made as a click on it and on Edit makes it: at
the models' preset and seed 0. One is kept where the attribute classifier reads what is asked, at least 8 in
10 of the other attributes read as they should, the identity network knows the person, the picture comes
near the true answer, and the eye sees it: of what the true answer changes a good part is changed, and by more
than a few levels. At most a few of one attribute, so that the examples differ: one of each, what is worn and
shapes before colours, then the others. The label says the edit in words. Compare offers some of
Prompt-to-Prompt's, those that Imagic makes too before the others.

The folder of a method is written anew. `python -m studies.example_results` then makes the finished results.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from demos import examples
from textedit_core.models import zoo
from textedit_core.request import request, run
from textedit_core.steps import last
from textedit_core.toon.classifier import AttributeClassifier, load_classifier
from textedit_core.toon.edits import ToonEdit, held_out_edits, score
from textedit_core.toon.render import render

log = logging.getLogger(__name__)

PIXELS = 256
COUNTS = {"imagic": 12, "prompt_to_prompt": 8, "text2live": 4}
TOLD = ("prompt_to_prompt", "text2live")  # those that take a source prompt
COMPARED = 4
LEAST_UNASKED, LEAST_IDENTITY, LEAST_PSNR = 0.8, 0.5, 17.0  # shares, a cosine, dB to the true answer
LEAST_MADE, LEAST_SEEN = 0.3, 4.0  # see `change_made`; glasses that only the classifier sees are below
FIRST = ("glasses", "beard", "top", "pose", "mood", "hair_color", "clothes_color", "background")
REMOVED = {"glasses": "Remove the glasses", "beard": "Shave the beard"}
WORDS = {
    "mood": "Make them {}",
    "glasses": "Add {}",
    "beard": "Add a {}",
    "top": "Change the hair to {}",
    "hair_color": "Make the hair {}",
    "clothes_color": "Make the clothes {}",
    "background": "Make the background {}",
}
VERBS = {
    "winking": "Make them wink",
    "screaming": "Make them scream",
    "crying": "Make them cry",
    "grimacing": "Make them grimace",
    "tongue out": "Stick the tongue out",
    "eyepatch": "Add an eyepatch",
    "upright": "Hold the head upright",
    "tilted left": "Tilt the head left",
    "tilted right": "Tilt the head right",
    "close-up": "Come closer",
}
WORN = {"sun hat", "beanie", "cat hat", "earflap hat", "hijab", "turban", "flower crown"}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=examples.HERE, help="the folder of all examples")
    parser.add_argument("--method", choices=[*COUNTS, "compare"], help="this method alone")
    parser.add_argument("--each", type=int, default=2, help="at most so many of one attribute")
    parser.add_argument("--candidates", type=int, default=64, help="edits to try at most")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    models = zoo.load("toon")
    folder = zoo.folder_of("toon")
    assert folder is not None
    classifier = load_classifier(folder, models.diffusion.size)
    for method, count in COUNTS.items():
        if options.method in (None, method):
            write(method, pick(models, classifier, method, count, options), options.out / method)
    if options.method in (None, "compare"):
        write_compared(models, classifier, options.out)


def candidates(count: int) -> Iterator[ToonEdit]:
    """Held-out edits of both worlds in turn."""
    both = (held_out_edits(count // 2, world=world) for world in ("closed", "open"))
    return itertools.chain.from_iterable(zip(*both, strict=True))


def pick(
    models: zoo.Models,
    classifier: AttributeClassifier,
    method: str,
    count: int,
    options: argparse.Namespace,
) -> list[ToonEdit]:
    """The first `count` candidates that the method makes, in the order of `one_of_each`."""
    found: list[tuple[ToonEdit, float]] = []
    for edit in candidates(options.candidates):
        if len(found) == count:
            break
        if sum(one.asked == edit.asked for one, _ in found) < options.each:
            made = tried(models, classifier, method, edit)
            log.info("%s, %s: %s", method, label(edit), f"kept, {made:.1f}" if made else "left")
            found += [(edit, made)] if made else []
    return one_of_each(found)


def one_of_each(found: list[tuple[ToonEdit, float]]) -> list[ToonEdit]:
    """The edit of every attribute that is seen best, in the order of FIRST, then the second ones."""
    seen: Counter[str] = Counter()
    places = []
    for edit, _ in sorted(found, key=lambda one: -one[1]):
        places.append((seen[edit.asked], FIRST.index(edit.asked), edit))
        seen[edit.asked] += 1
    return [edit for *_, edit in sorted(places, key=lambda one: one[:2])]


def inputs(edit: ToonEdit, method: str) -> dict[str, Any]:
    """What the page sends for it."""
    before, after = edit.captions
    texts = {"source_prompt": before, "prompt": after} if method in TOLD else {"prompt": edit.prompt}
    return {"image": render(edit.before.look, PIXELS)} | texts


def tried(models: zoo.Models, classifier: AttributeClassifier, method: str, edit: ToonEdit) -> float | None:
    """How much of the change is seen, in levels of 255, at the method's preset and seed 0; None where it is
    not made, or not seen, or the rest or the person is lost."""
    picture = last(run(request(method, models, inputs(edit, method)))).edited
    side = models.diffusion.size
    if picture.shape[-1] != side:  # a method that works at the picture's own size
        picture = picture.unflatten(2, (side, -1)).unflatten(4, (side, -1)).mean(dim=(3, 5))
    (found,) = score(edit, picture, classifier)
    same = models.identity.similarity(picture, edit.source(side)).item()
    made, seen = change_made(edit, picture)
    works = (
        found["asked"]
        and found["unasked"] >= LEAST_UNASKED
        and found["psnr_answer"] >= LEAST_PSNR
        and same >= LEAST_IDENTITY
        and made >= LEAST_MADE
        and seen >= LEAST_SEEN
    )
    return seen if works else None


def change_made(edit: ToonEdit, picture: Tensor) -> tuple[float, float]:
    """How far a picture (1,3,H,W) goes from the source in the direction of the true answer.

    The share of that way, where the two differ, 1 for the answer itself: by the scalar product, since a
    thing that is drawn beside its place is far from the answer and yet seen. And that share of their mean
    difference there, in levels of 255: black glasses on black skin are hardly seen when all of it is made.
    """
    side = picture.shape[-1]
    source, region = edit.source(side), (edit.changed(side) > 0.5).float()
    wanted, made = (edit.answer(side) - source) * region, picture - source
    share = float((wanted * made).sum() / wanted.square().sum())
    return share, share * float(wanted.abs().sum() / region.sum() / 3) * 127.5


def label(edit: ToonEdit) -> str:
    """The edit in words."""
    value = getattr(edit.wanted, edit.asked)
    if value == "none":
        return REMOVED[edit.asked]
    if edit.asked == "top" and value in WORN:
        return f"Put on {'an' if value[0] in 'aeiou' else 'a'} {value}"
    if edit.asked == "hair_color" and f"{value} hair" not in edit.captions[1]:  # none is seen
        return f"Make the beard {value}"
    return VERBS.get(value) or WORDS[edit.asked].format(value)


def write(method: str, edits: list[ToonEdit], folder: Path) -> None:
    """The portraits, four times as large as the models' pictures for the eye, and index.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("[0-9][0-9].png"):
        old.unlink()
    rows = []
    for number, edit in enumerate(edits, start=1):
        asked = inputs(edit, method)
        name = f"{number:02d}.png"
        asked.pop("image").save(folder / name, optimize=True)
        rows.append({"image": name, "label": label(edit), "fields": asked})
    (folder / "index.json").write_text(json.dumps(rows, indent=1) + "\n")


def write_compared(models: zoo.Models, classifier: AttributeClassifier, out: Path) -> None:
    """Of Prompt-to-Prompt's examples, by the pictures that lie there, COMPARED: those that Imagic makes too
    before the others."""
    told = {row["label"]: row for row in json.loads((out / "prompt_to_prompt" / "index.json").read_text())}
    made: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for edit in candidates(64):
        row = told.get(label(edit))
        mine = row and row["fields"] == {k: v for k, v in inputs(edit, TOLD[0]).items() if k != "image"}
        if row and mine and len(made) < COMPARED:
            rows = made if tried(models, classifier, "imagic", edit) else others
            rows.append(row | {"image": f"../prompt_to_prompt/{row['image']}"})
    (out / "compare").mkdir(parents=True, exist_ok=True)
    found = [*made, *others][:COMPARED]
    (out / "compare" / "index.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
