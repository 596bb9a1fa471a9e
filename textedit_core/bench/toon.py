"""The toon bench: held-out portraits with prompts, captions, masks, exemplars and true answers."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from textedit_core import masks
from textedit_core.bench.item import Item
from textedit_core.images import native_tensor

if TYPE_CHECKING:
    from textedit_core.toon.classifier import AttributeClassifier
    from textedit_core.toon.edits import ToonEdit

DEFAULT_COUNT = 200
# The part of a portrait that shows an attribute, and what else of it an exemplar must show as wanted.
PARTS = {
    "mood": ("face", ()),
    "glasses": ("glasses", ()),
    "beard": ("beard", ("hair_color",)),
    "top": ("top", ("hair_color", "hat_color")),
    "hair_color": ("top", ("top",)),
    "clothes_color": ("garment", ("garment",)),
}
OTHER_SEEDS = 1000  # exemplars come from the second half of the held-out scenes


SETS = ("toon", "toon-open", "toon-search")


def items(count: int, classifier: Path | None = None, name: str = "toon") -> list[Item]:
    """The first `count` edits of a set (`toon.edits`), one attribute of a portrait changed in each.

    name: `toon`, held-out portraits of the closed world; `toon-open`, of the open world; `toon-search`, of
    both, neither held out nor trained, to choose settings on.

    classifier: the folder of a bundle with an attribute classifier, for the scores `asked` (1 where the asked
    attribute reads as wanted) and `unasked` (share of the others that still do). An exemplar, where the edit
    is of a part, is that part of another portrait. ValueError where the renderer is not installed.
    """
    try:
        from textedit_core.toon.edits import held_out_edits, search_edits
        from textedit_core.toon.render import render
        from textedit_core.toon.world import Scene

        render(Scene(), 8)
    except ImportError as error:
        raise ValueError(
            "The toon bench renders its portraits: install them with pip install -r requirements-dev.txt."
        ) from error
    reader = _Reader(classifier) if classifier else None
    found, before = [], name.removeprefix("toon").removeprefix("-")
    if name == "toon-search":
        edits = search_edits(count)
    else:
        edits = held_out_edits(count, world="open" if name == "toon-open" else "closed")
    for number, edit in enumerate(edits):
        caption, target = edit.captions
        found.append(
            Item(
                f"{before}-{number:04d}-{edit.asked}".removeprefix("-"),
                image=edit.source,
                prompt=edit.prompt,
                caption=caption,
                target=target,
                mask=partial(_region, edit),
                exemplar=partial(_exemplar, edit, number) if edit.asked in PARTS else None,
                answer=edit.answer,
                changed=edit.changed,
                group=edit.asked,
                score=partial(reader.score, edit) if reader else None,
            )
        )
    return found


class _Reader:
    """The classifier of the bundle in `folder`, loaded when a first picture is scored."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.classifier: AttributeClassifier | None = None

    @torch.no_grad()
    def score(self, edit: ToonEdit, picture: Tensor) -> dict[str, float]:
        from textedit_core.toon.classifier import load_classifier
        from textedit_core.toon.edits import score

        if self.classifier is None:
            self.classifier = load_classifier(self.folder, picture.shape[-1])
        (found,) = score(edit, picture.cpu(), self.classifier)
        return {name: found[name] for name in ("asked", "unasked")}


def _region(edit: ToonEdit, size: int) -> Tensor:
    """Where a method may paint, (1,1,size,size): the change, and all of its box where a part is asked."""
    from textedit_core.toon.exemplar_data import filled

    changed = edit.changed(size)
    if edit.asked not in PARTS or not changed.any():
        return changed
    return filled(masks.box(changed), size, size)


def _exemplar(edit: ToonEdit, number: int, size: int) -> Tensor:
    """The wanted part on another portrait, cut out and squashed as the models saw it: (1,3,size,size).

    That is, of a portrait drawn at this size: the toon models learned from such, `toon.parts`.
    """
    from textedit_core.toon.exemplar_data import scaled
    from textedit_core.toon.parts import cut_out
    from textedit_core.toon.render import parts
    from textedit_core.toon.world import scene_of_seed

    part, along = PARTS[edit.asked]
    shown = {name: getattr(edit.wanted, name) for name in (edit.asked, *along)}
    other = dataclasses.replace(scene_of_seed(OTHER_SEEDS + number % OTHER_SEEDS), **shown)
    box, _ = parts(other, size).get(part) or ((0, 0, size, size), None)
    return scaled(native_tensor(cut_out(other, box, size)), size)
