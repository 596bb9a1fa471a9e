"""python -m studies.library_portraits --out PNG: ten avatars as the library draws them, through every method.

The first held-out portraits of the open world that avataaars draws in its own palette and framing, nothing
picked. Sunglasses and a surprised face are asked in turn, at the models' presets and seed 0, beside the true
answer. Below each picture stands whether the classifier reads what was asked, and how many of the other
attributes it reads as in the source. Paint by Example gets the part's box, and the part of another portrait.
"""

from __future__ import annotations

import argparse
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from studies import sharded
from textedit_core import images
from textedit_core.models import zoo
from textedit_core.request import request, run
from textedit_core.steps import last
from textedit_core.toon import colors
from textedit_core.toon.edits import ToonEdit
from textedit_core.toon.look import Look
from textedit_core.toon.open_world import changed, portrait_of_seed
from textedit_core.toon.parts import cut_out
from textedit_core.toon.portraits import HELD_OUT
from textedit_core.toon.render import parts, render
from textedit_core.toon.world import ATTRIBUTES

log = logging.getLogger(__name__)
LARGE, CELL, TEXT = 256, 128, 16
ASKED = (("glasses", "sunglasses", "a person with sunglasses"), ("mood", "surprised", "a surprised person"))
NEUTRAL = "a person"
PART = {"glasses": "glasses", "mood": "face"}
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "Imagic": ("imagic", {}),
    "SDEdit": ("sdedit", {}),
    "Direct + P2P": ("prompt_to_prompt", {"inversion": "direct"}),
    "Null-text + P2P": ("prompt_to_prompt", {"inversion": "null_text"}),
    "Text2LIVE": ("text2live", {}),
    "SC optimizer": ("styleclip_optimizer", {}),
    "SC mapper": ("styleclip_mapper", {}),
    "SC directions": ("styleclip_directions", {}),
    "InterFaceGAN": ("latent_directions", {"technique": "interfacegan"}),
    "StyleFlow": ("styleflow", {"strength": 1.5}),
    "Paint by Ex.": ("paint_by_example", {}),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="toon")
    parser.add_argument("--rows", type=int, default=10)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    models = zoo.load(options.models)
    classifier = sharded.classifier_of(models, models.diffusion.size)
    rows = [list(row(models, classifier, *edit)) for edit in asked(options.rows)]
    sheet(rows).quantize(256).save(options.out, optimize=True)
    for column in range(2, len(rows[0])):
        made = [one[column] for one in rows]
        share = sum(told[0] for _, _, told in made) / len(made)
        kept = sum(told[1] for _, _, told in made) / len(made)
        log.info("%s: asked %.2f, %.1f of 10 others kept", made[0][0], share, kept)


def asked(count: int) -> Iterator[tuple[ToonEdit, str]]:
    """So many edits of portraits in the library's own palette, and the part that each changes."""
    found = 0
    for seed in HELD_OUT["open"]:
        portrait = portrait_of_seed(seed)
        attribute, value, prompt = ASKED[found % len(ASKED)]
        if found == count:
            return
        if not is_library(portrait.look) or getattr(portrait.scene, attribute) == value:
            continue
        after = changed(portrait, **{attribute: value})
        yield ToonEdit(portrait.scene, after.scene, attribute, prompt, (portrait, after)), PART[attribute]
        found += 1


def is_library(look: Look) -> bool:
    """Whether avataaars would draw it by default: its own colours, no turn and no gradient."""
    own = (("skin", look.skin), ("hair_color", look.hair), ("clothes_color", look.clothes_color))
    plain = look.rotate == 0 and look.scale == 1 and len(look.background) == 1
    return plain and all(color in colors.palette(attribute) for attribute, color in own)


def row(models: zoo.Models, classifier, edit: ToonEdit, part: str) -> Iterator[tuple[str, Tensor, Any]]:
    """(column, picture, (whether it reads as asked, how many others stay) or None) for one portrait."""
    size, picture = models.diffusion.size, render(edit.before.look, LARGE)
    yield "source", images.native_tensor(picture), None
    yield "true answer", edit.answer(LARGE), None
    before = classifier.read(edit.source(size))
    column = list(ATTRIBUTES).index(edit.asked)
    wanted = ATTRIBUTES[edit.asked].index(getattr(edit.wanted, edit.asked))
    texts = {"prompt": edit.prompt, "neutral": NEUTRAL, "source_prompt": NEUTRAL}
    for name, (method, settings) in WAYS.items():
        given: dict[str, Any] = {"image": picture, "latent": picture, **texts}
        if method == "prompt_to_prompt":
            given["source_prompt"], given["prompt"] = edit.captions
        if method == "paint_by_example":
            given |= repainted(edit, part)
        result = last(run(request(method, models, taken(method, given), settings)))
        after = classifier.read(torch.nn.functional.interpolate(result.edited, (size, size)))
        others = torch.arange(after.shape[1]) != column
        told = bool(after[0, column] == wanted), int((after == before)[0][others].sum())
        log.info("%s: %s %s", edit.prompt, name, told)
        yield name, result.image, told


def taken(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Those of the inputs that a method takes."""
    from textedit_core.method import load

    return {name: value for name, value in given.items() if name in load(method).inputs}


def repainted(edit: ToonEdit, part: str) -> dict[str, Image.Image]:
    """The box of the part as it is to be, and the part of the next held-out portrait that has it."""
    box = parts(edit.after.look, LARGE)[part][0]
    mask = Image.new("L", (LARGE, LARGE))
    mask.paste(255, box)
    value = getattr(edit.wanted, edit.asked)
    others = map(portrait_of_seed, HELD_OUT["closed"])
    plain = {name: "none" for name in ("glasses", "beard") if name != edit.asked}
    other = next(
        one
        for one in others
        if getattr(one.scene, edit.asked) == value
        and all(getattr(one.scene, name) == wanted for name, wanted in plain.items())
    )
    return {"mask": mask, "exemplar": cut_out(other.look, parts(other.look, LARGE)[part][0], LARGE)}


def sheet(rows: list[list[tuple[str, Tensor, Any]]]) -> Image.Image:
    """A row for each portrait, the columns' names above, what the classifier reads below each picture."""
    found = Image.new("RGB", (CELL * len(rows[0]), TEXT + (CELL + TEXT) * len(rows)), "white")
    pen = ImageDraw.Draw(found)
    for x, (name, _, _) in enumerate(rows[0]):
        pen.text((x * CELL + 4, 2), name, fill="black")
    for (y, cells), x in itertools.product(enumerate(rows), range(len(rows[0]))):
        _, picture, told = cells[x]
        left, top = x * CELL, TEXT + y * (CELL + TEXT)
        shown = images.to_pil(picture.clamp(-1, 1))[0].resize((CELL, CELL), Image.Resampling.LANCZOS)
        found.paste(shown, (left, top))
        if told is not None:
            words = f"{'made' if told[0] else 'not made'}, {told[1]} of 10 kept"
            pen.text((left + 4, top + CELL + 2), words, fill="black" if told[0] else "firebrick")
    return found


if __name__ == "__main__":
    main()
