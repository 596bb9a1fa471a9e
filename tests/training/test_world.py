"""The toon world: scenes by seed, what is visible, captions that are true, pictures that differ."""

import dataclasses
import re

import numpy as np
import pytest

from textedit_core.toon.captions import FEWEST, MOST, caption, describe, vocabulary
from textedit_core.toon.render import parts, render
from textedit_core.toon.world import (
    ATTRIBUTES,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    Scene,
    edited,
    never_trained,
    scene_of_seed,
)


def test_a_seed_names_one_scene():
    assert scene_of_seed(5) == scene_of_seed(5)
    assert len({scene_of_seed(seed) for seed in range(200)}) == 200


def test_held_out_scenes_are_never_trained_on():
    assert not set(HELD_OUT_SEEDS) & set(range(TRAINING_SEEDS.start, TRAINING_SEEDS.start + 100_000))
    trained = [scene_of_seed(TRAINING_SEEDS.start + i) for i in range(3000)]
    assert not any(never_trained(scene) for scene in trained)
    assert any(never_trained(scene_of_seed(seed)) for seed in HELD_OUT_SEEDS)
    # Every attribute was drawn anew: the same scene twice would be chance, one in hundreds of millions.
    assert not set(trained) & {scene_of_seed(seed) for seed in HELD_OUT_SEEDS}


def test_every_value_is_drawn_and_an_unknown_one_is_refused():
    scenes = [scene_of_seed(seed) for seed in HELD_OUT_SEEDS]
    for name, values in ATTRIBUTES.items():
        assert {getattr(scene, name) for scene in scenes} == set(values)
    with pytest.raises(ValueError, match="mood is 'hungry'"):
        Scene(mood="hungry")


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_visible_attribute_shows_and_an_invisible_one_leaves_no_trace(attribute):
    carrier = Scene(top="beanie") if attribute == "hat_color" else Scene()
    pictures = [np.asarray(render(edited(carrier, **{attribute: v})), int) for v in ATTRIBUTES[attribute]]
    for i, one in enumerate(pictures):
        for other in pictures[i + 1 :]:
            assert np.abs(one - other).max() > 16
    for scene in (Scene(top="bald"), Scene(top="beanie")):
        assert not scene.visible("hair_color")
        assert render(scene).tobytes() == render(edited(scene, hair_color="purple")).tobytes()
    assert render(Scene()).tobytes() == render(edited(Scene(), hat_color="red")).tobytes()


def test_rendering_is_deterministic_at_any_size():
    assert render(Scene()).tobytes() == render(Scene()).tobytes()
    assert render(Scene(), 128).size == (128, 128)


def test_captions_name_two_to_six_visible_attributes_in_known_words():
    rng = np.random.default_rng(0)
    known, counts = set(vocabulary()), set()
    for seed in range(1500):
        scene = scene_of_seed(seed)
        text, named = caption(scene, rng)
        counts.add(len(named))
        assert set(named) <= set(scene.visible_attributes())
        assert set(re.findall(r"[a-z]+", text)) <= known
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  ", text), text
    assert counts == set(range(FEWEST, MOST + 1))


def test_a_caption_tells_every_value_apart():
    for name, values in ATTRIBUTES.items():
        carrier = {"top": "beanie"} if name == "hat_color" else {}
        texts = [describe(Scene(**(carrier | {name: value})), (name,)) for value in values]
        assert len(set(texts)) == len(values), texts
    scene = Scene(mood="angry", glasses="sunglasses")
    assert describe(scene, ("mood", "glasses")) == "an angry person with sunglasses"


def test_parts_are_where_they_are_drawn():
    scene = Scene(glasses="sunglasses", beard="long beard", top="sun hat")
    found = parts(scene)
    assert set(found) == {"top", "glasses", "beard", "face", "garment"}
    (left, top, right, bottom), mask = found["glasses"]
    assert mask[top:bottom, left:right].sum() == mask.sum() > 0
    assert found["top"][0][1] < top < found["beard"][0][1] < found["garment"][0][1]
    assert "glasses" not in parts(dataclasses.replace(scene, glasses="none"))
