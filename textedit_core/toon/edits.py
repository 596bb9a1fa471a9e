"""Edits whose true answer can be rendered: source, prompt, wanted scene, and how a picture scores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core import images, metrics
from textedit_core.toon.captions import describe
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.open_world import Portrait, changed, closed_portrait, portrait_of_seed
from textedit_core.toon.portraits import HELD_OUT, SEARCHED, World
from textedit_core.toon.render import render
from textedit_core.toon.world import ATTRIBUTES, Scene

# What people ask of a portrait. The pose is the non-rigid edit that Imagic is about.
ASKED = ("mood", "glasses", "beard", "top", "hair_color", "clothes_color", "background", "pose")
# What a caption of the whole portrait names, beside the asked attribute.
NAMED = ("mood", "top", "glasses", "clothes_color", "background")


@dataclass(frozen=True)
class ToonEdit:
    """One attribute of a held-out scene changed: before, after, and a prompt that names the change.

    portraits: of the open world, what is drawn before and after; the scenes are then the nearest words.
    """

    scene: Scene
    wanted: Scene
    asked: str
    prompt: str
    portraits: tuple[Portrait, Portrait] | None = None

    @property
    def before(self) -> Portrait:
        return self.portraits[0] if self.portraits else closed_portrait(self.scene)

    @property
    def after(self) -> Portrait:
        return self.portraits[1] if self.portraits else closed_portrait(self.wanted)

    @property
    def captions(self) -> tuple[str, str]:
        """The portrait before and after, told alike but for the asked attribute: words to edit into words."""
        named = [name for name in ATTRIBUTES if name == self.asked or name in NAMED]
        seen = tuple(name for name in named if name in self.before.named and name in self.after.named)
        return describe(self.scene, seen), describe(self.wanted, seen)

    def changed(self, size: int = 64) -> Tensor:
        """(1,1,size,size), 1 where the true answer differs from the source, grown by a 32nd of the side."""
        apart = (self.answer(size) - self.source(size)).abs().amax(dim=1, keepdim=True) > 8 / 127.5
        grown = size // 32
        return F.max_pool2d(apart.float(), 2 * grown + 1, stride=1, padding=grown)

    def source(self, size: int = 64) -> Tensor:
        """The portrait before, (1,3,size,size) in [-1,1]."""
        return images.square_tensor(render(self.before.look, size), size)

    def answer(self, size: int = 64) -> Tensor:
        """The true answer: the portrait after, (1,3,size,size) in [-1,1]."""
        return images.square_tensor(render(self.after.look, size), size)


def held_out_edits(count: int, attributes: Sequence[str] = ASKED, world: World = "closed") -> list[ToonEdit]:
    """One edit a scene for the first `count` held-out scenes that show it, the attributes in turn.

    Beyond the 2,000 held-out scenes of the world come others that no training sees.
    """
    return _edits_from(HELD_OUT[world].start, count, attributes, world)


def search_edits(count: int, attributes: Sequence[str] = ASKED) -> list[ToonEdit]:
    """Edits of the closed and of the open world in turn, of scenes neither trained nor held out.

    Settings are searched on these, so that the figures on the held-out scenes are no part of the search.
    """
    closed = _edits_from(SEARCHED["closed"].start, (count + 1) // 2, attributes, "closed")
    opened = _edits_from(SEARCHED["open"].start, count // 2, attributes, "open")
    pairs = itertools.zip_longest(closed, opened)
    return [edit for pair in pairs for edit in pair if edit is not None]


def _edits_from(start: int, count: int, attributes: Sequence[str], world: World) -> list[ToonEdit]:
    edits: list[ToonEdit] = []
    seeds = itertools.count(start)
    while len(edits) < count:
        seed = next(seeds)
        portrait, asked = portrait_of_seed(seed), attributes[len(edits) % len(attributes)]
        scene, rng = portrait.scene, np.random.default_rng(seed)
        if asked in portrait.named:
            others = [value for value in ATTRIBUTES[asked] if value not in (getattr(scene, asked), "none")]
            value = str(rng.choice(others))
            after = changed(portrait, **{asked: value})
            if getattr(after.scene, asked) != value or asked not in after.named:
                continue
            portraits = (portrait, after) if world == "open" else None
            edits.append(ToonEdit(scene, after.scene, asked, describe(after.scene, (asked,)), portraits))
    return edits


def score(edit: ToonEdit, picture: Tensor, classifier: AttributeClassifier) -> list[dict[str, float]]:
    """How each row of `picture` (B,3,H,W) did.

    asked: 1 where the asked attribute reads as wanted. unasked: share of the other visible attributes that
    still read as they should. psnr_answer, psnr_source: dB to the true answer and to the source.
    """
    labels = torch.tensor(list(edit.after.labels().values()))
    place = list(ATTRIBUTES).index(edit.asked)
    unasked = labels >= 0
    unasked[place] = False
    size = picture.shape[-1]
    right = classifier.read(picture.clamp(-1, 1)) == labels
    answer, source = metrics.psnr(picture, edit.answer(size)), metrics.psnr(picture, edit.source(size))
    return [
        {
            "asked": float(row[place]),
            "unasked": float(row[unasked].float().mean()),
            "psnr_answer": float(answer[i]),
            "psnr_source": float(source[i]),
        }
        for i, row in enumerate(right)
    ]
