"""The closed world stays as it was: scenes, captions and drawings of its seeds, by sha256."""

import dataclasses
import hashlib

import numpy as np

from textedit_core.toon.captions import caption
from textedit_core.toon.look import look_of, svg
from textedit_core.toon.open_world import closed_portrait, portrait_of_seed
from textedit_core.toon.parts import held_out_part_edits
from textedit_core.toon.portraits import held_out_portraits, training_portraits
from textedit_core.toon.world import ATTRIBUTES, HELD_OUT_SEEDS, TRAINING_SEEDS, scene_of_seed

SCENES = "70c48fe3aa1427bc12a802a8080464d39c8822a8709b9e7ac770b816c49c038c"
TRAINING = "024acd80d7a1e50a7f6f641c5bc4f79bc64e09c5bb3b6214160dd006fc366fb8"
DRAWINGS = "dde6f7d36a1e10014b715b9edf0f512310aa20260d7e4dae1e981b54d7d2c3b3"
CAPTIONS = "d38bf31df006783395f17d268cd135ca353211c2ab11b025911efa53e5ce6ee0"
PART_EDITS = "59e154c3ceed1010f56a7624c1dfe9de6f6e9e48a65236e4e2f07eadd738b1d2"


def digest(lines) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(str(line).encode() + b"\n")
    return found.hexdigest()


def test_every_seed_names_the_scene_that_it_always_named():
    assert digest(dataclasses.astuple(scene_of_seed(seed)) for seed in HELD_OUT_SEEDS) == SCENES
    first = range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + 2000)
    assert digest(dataclasses.astuple(scene_of_seed(seed)) for seed in first) == TRAINING


def test_every_held_out_scene_is_drawn_as_it_always_was():
    """The SVG, that is: how it becomes pixels is the business of another library."""
    assert digest(svg(look_of(scene_of_seed(seed))) for seed in HELD_OUT_SEEDS) == DRAWINGS


def test_the_captions_of_the_held_out_scenes_are_the_same_words():
    rng = np.random.default_rng(0)
    assert digest(caption(scene_of_seed(seed), rng)[0] for seed in HELD_OUT_SEEDS) == CAPTIONS


def test_the_held_out_edits_of_parts_are_the_same():
    edits = held_out_part_edits(40, 64)
    assert digest((e.scene, e.other, e.part, e.box, e.example_box) for e in edits) == PART_EDITS


def test_a_closed_scene_is_a_portrait_whose_words_all_fit():
    for seed in range(100):
        scene = scene_of_seed(seed)
        portrait = portrait_of_seed(seed)
        assert portrait == closed_portrait(scene)
        assert portrait.labels() == scene.labels() and portrait.named == scene.visible_attributes()


def test_closed_portraits_hold_the_labels_and_captions_of_their_scenes(tmp_path):
    for portraits, start in (
        (held_out_portraits(12, 16, tmp_path, 1), 0),
        (training_portraits(12, 16, tmp_path, 1), TRAINING_SEEDS.start),
    ):
        rng, again = np.random.default_rng(3), np.random.default_rng(3)
        texts, said = portraits.captions(np.arange(12), rng)
        for row in range(12):
            scene = scene_of_seed(start + row)
            assert portraits.scene(row) == scene and portraits.look(row) == look_of(scene)
            assert list(scene.labels().values()) == portraits.labels[row].tolist()
            text, named = caption(scene, again)
            assert texts[row] == text
            assert {name for name, one in zip(ATTRIBUTES, said[row], strict=True) if one >= 0} == set(named)
