"""Edits whose true answer can be rendered: source, prompt, wanted scene, and how a picture scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core import images, metrics
from textedit_core.toon.captions import describe
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.render import render
from textedit_core.toon.world import ATTRIBUTES, Scene, edited, scene_of_seed

# What people ask of a portrait. The pose is the non-rigid edit that Imagic is about.
ASKED = ("mood", "glasses", "beard", "top", "hair_color", "clothes_color", "background", "pose")
# What a caption of the whole portrait names, beside the asked attribute.
NAMED = ("mood", "top", "glasses", "clothes_color", "background")


@dataclass(frozen=True)
class ToonEdit:
    """One attribute of a held-out scene changed: before, after, and a prompt that names the change."""

    scene: Scene
    wanted: Scene
    asked: str
    prompt: str

    @property
    def captions(self) -> tuple[str, str]:
        """The portrait before and after, told alike but for the asked attribute: words to edit into words."""
        named = [name for name in ATTRIBUTES if name == self.asked or name in NAMED]
        seen = tuple(name for name in named if self.scene.visible(name) and self.wanted.visible(name))
        return describe(self.scene, seen), describe(self.wanted, seen)

    def changed(self, size: int = 64) -> Tensor:
        """(1,1,size,size), 1 where the true answer differs from the source, grown by a 32nd of the side."""
        apart = (self.answer(size) - self.source(size)).abs().amax(dim=1, keepdim=True) > 8 / 127.5
        grown = size // 32
        return F.max_pool2d(apart.float(), 2 * grown + 1, stride=1, padding=grown)

    def source(self, size: int = 64) -> Tensor:
        """The portrait before, (1,3,size,size) in [-1,1]."""
        return images.square_tensor(render(self.scene, size), size)

    def answer(self, size: int = 64) -> Tensor:
        """The true answer: the portrait after, (1,3,size,size) in [-1,1]."""
        return images.square_tensor(render(self.wanted, size), size)


def held_out_edits(count: int, attributes: Sequence[str] = ASKED) -> list[ToonEdit]:
    """One edit a scene for the first `count` held-out scenes that show it, the attributes in turn."""
    edits: list[ToonEdit] = []
    seed = 0
    while len(edits) < count:
        scene, asked = scene_of_seed(seed), attributes[len(edits) % len(attributes)]
        rng = np.random.default_rng(seed)
        seed += 1
        if scene.visible(asked):
            others = [value for value in ATTRIBUTES[asked] if value not in (getattr(scene, asked), "none")]
            wanted = edited(scene, **{asked: str(rng.choice(others))})
            edits.append(ToonEdit(scene, wanted, asked, describe(wanted, (asked,))))
    return edits


def score(edit: ToonEdit, picture: Tensor, classifier: AttributeClassifier) -> list[dict[str, float]]:
    """How each row of `picture` (B,3,H,W) did.

    asked: 1 where the asked attribute reads as wanted. unasked: share of the other visible attributes that
    still read as they should. psnr_answer, psnr_source: dB to the true answer and to the source.
    """
    labels = torch.tensor(list(edit.wanted.labels().values()))
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
