"""The open world: every variant, any colour and pose, words that are true, edits that change one thing."""

import collections
import dataclasses
import re

import numpy as np
import pytest

from textedit_core.toon import colors
from textedit_core.toon.captions import vocabulary
from textedit_core.toon.look import CLOTH, HAIR, SAYS, SKINS, definition, look_of
from textedit_core.toon.open_world import (
    ALIKE,
    MOST_ROTATION,
    OPEN_HELD_OUT_SEEDS,
    OPEN_TRAINING_SEEDS,
    SCALES,
    changed,
    portrait_of_seed,
    variants,
)
from textedit_core.toon.parts import held_out_part_edits, part_boxes
from textedit_core.toon.portraits import (
    CLOSED_EVERY,
    held_out_portraits,
    training_portraits,
    training_seeds,
)
from textedit_core.toon.render import parts, render
from textedit_core.toon.world import (
    ATTRIBUTES,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    Scene,
    edited,
    never_trained,
)


@pytest.fixture(scope="module")
def portraits():
    return [portrait_of_seed(seed) for seed in OPEN_HELD_OUT_SEEDS]


def test_a_seed_names_one_portrait_and_held_out_ones_are_never_trained(portraits):
    assert portraits[:20] == [portrait_of_seed(seed) for seed in OPEN_HELD_OUT_SEEDS[:20]]
    assert len(set(portraits)) == len(portraits)
    trained = training_seeds(60_000, "open")
    assert len(set(trained)) == len(trained)
    assert not set(trained) & {*HELD_OUT_SEEDS, *OPEN_HELD_OUT_SEEDS}
    closed = [seed for seed in trained if seed < OPEN_HELD_OUT_SEEDS.start]
    assert len(closed) == len(trained) // CLOSED_EVERY
    assert all(seed in TRAINING_SEEDS for seed in closed)
    assert all(seed in OPEN_TRAINING_SEEDS for seed in set(trained) - set(closed))
    some = [portrait_of_seed(seed).scene for seed in trained[:3000]]
    assert not any(never_trained(scene) for scene in some)
    assert any(never_trained(portrait.scene) for portrait in portraits)


def test_every_variant_of_the_library_is_drawn(portraits):
    for part, piece in (
        ("top", "top"), ("eyes", "eyes"), ("eyebrows", "eyebrows"), ("mouth", "mouth"),
        ("clothes", "clothes"), ("clothesGraphic", "graphic"), ("accessories", "accessories"),
        ("facialHair", "facial_hair"),
    ):  # fmt: skip
        drawn = {getattr(portrait.look, piece) for portrait in portraits} - {None}
        assert drawn == set(variants(part)) == set(definition()["components"][part]["variants"])


def test_every_word_is_true_of_some_portrait_and_mixed_moods_have_none(portraits):
    for name, values in ATTRIBUTES.items():
        seen = collections.Counter(getattr(p.scene, name) for p in portraits if name in p.named)
        assert set(seen) == set(values), name
    moods = [portrait for portrait in portraits if "mood" not in portrait.named]
    assert 0.2 < len(moods) / len(portraits) < 0.45
    faces = [(p.look.eyes, p.look.eyebrows, p.look.mouth) for p in portraits if "mood" in p.named]
    for portrait, (eyes, brows, mouth) in zip(
        (p for p in portraits if "mood" in p.named), faces, strict=True
    ):
        own = ALIKE[portrait.scene.mood]
        assert eyes in own[0] and brows in own[1] and mouth in own[2]
    told = {f: m for m, options in ALIKE.items() for f in _all(options)}
    assert len(told) == sum(len(list(_all(options))) for options in ALIKE.values()), "a face has one mood"


def _all(options):
    return [(eyes, brows, mouth) for eyes in options[0] for brows in options[1] for mouth in options[2]]


def test_colours_poses_and_backgrounds_are_continuous(portraits):
    looks = [portrait.look for portrait in portraits]
    for piece in ("skin", "hair", "hat", "clothes_color"):
        assert len({getattr(look, piece) for look in looks}) > 800
    rotations, scales = np.array([[look.rotate, look.scale] for look in looks]).T
    assert rotations.min() >= -MOST_ROTATION and rotations.max() <= MOST_ROTATION
    assert scales.min() >= SCALES[0] and scales.max() <= SCALES[1]
    assert len(set(rotations)) > 200 and len(set(scales)) > 300
    assert 0.1 < np.mean((scales == 1) & (rotations == 0)) < 0.25, "the library's own framing"
    assert 0.08 < np.mean([len(look.background) == 2 for look in looks]) < 0.2
    assert any(look.facial_hair_color != look.hair for look in looks)


def test_the_pose_word_is_true(portraits):
    for portrait in portraits:
        if "pose" not in portrait.named:
            continue
        word, look = portrait.scene.pose, portrait.look
        if word == "close-up":
            assert look.scale >= 1.4
        else:
            assert look.scale < 1.33
            assert {"upright": abs(look.rotate) <= 6, "tilted left": look.rotate <= -11,
                    "tilted right": look.rotate >= 11}[word]  # fmt: skip


@pytest.mark.parametrize("attribute", ["skin", "hair_color", "clothes_color", "background", "hat_color"])
def test_a_colour_of_ours_has_its_own_name_and_one_between_two_has_none(attribute):
    for name, color in colors.NAMED[attribute].items():
        if name in ATTRIBUTES[attribute]:
            assert colors.word(attribute, color) == (name, True)


def test_colours_that_no_word_fits():
    assert not colors.word("hat_color", CLOTH["gray"])[1], "there are no gray hats in the words"
    assert not colors.word("skin", "#f8d25c")[1] and not colors.word("skin", "#30c040")[1]
    ends = zip(rgb(CLOTH["blue"]), rgb(CLOTH["purple"]), strict=True)
    halfway = "#" + bytes((a + b) // 2 for a, b in ends).hex()
    assert not colors.word("clothes_color", halfway)[1]
    assert colors.word("clothes_color", "#d93a36") == ("red", True)


def rgb(color: str) -> bytes:
    return bytes.fromhex(color[1:])


def test_around_a_colour_its_own_name_is_said_most_often():
    rng = np.random.default_rng(0)
    for table, attribute in ((CLOTH, "clothes_color"), (HAIR, "hair_color"), (SKINS, "skin")):
        for name, color in table.items():
            said = [colors.word(attribute, colors.around(color, rng)) for _ in range(100)]
            counts = collections.Counter(word for word, _ in said)
            assert counts.most_common(1)[0][0] == name, (attribute, name, counts)
            assert sum(fits for _, fits in said) > 40
    assert colors.around("#ffffff", rng) != colors.around("#808080", rng)


def test_the_librarys_own_palette_is_ours_to_draw():
    own = definition()["colors"]
    for name, attribute in (("skin", "skin"), ("hair", "hair_color"), ("facialHair", "hair_color"),
                            ("clothes", "clothes_color"), ("hat", "hat_color"),
                            ("accessories", "glasses")):  # fmt: skip
        assert set(own[name]["values"]) <= set(colors.palette(attribute)), name
    for attribute in ("skin", "hair_color", "hat_color", "clothes_color", "background"):
        for name, known in colors.LIBRARY[attribute].items():
            for color in known:
                assert colors.word(attribute, color)[0] == name or name not in ATTRIBUTES[attribute]


def test_captions_of_open_portraits_say_only_what_is_true(tmp_path):
    held = held_out_portraits(60, 16, tmp_path, 1, "open")
    known, rng = set(vocabulary()), np.random.default_rng(0)
    texts, said = held.captions(np.arange(60), rng)
    for row, text in enumerate(texts):
        portrait = portrait_of_seed(OPEN_HELD_OUT_SEEDS[row])
        assert set(re.findall(r"[a-z]+", text)) <= known
        assert list(portrait.labels().values()) == held.labels[row].tolist()
        for name, value in zip(ATTRIBUTES, said[row], strict=True):
            assert value == -1 or (name in portrait.named and value == portrait.labels()[name])
    assert (said >= 0).sum(axis=1).min() >= 2
    assert held.look(7) == portrait_of_seed(OPEN_HELD_OUT_SEEDS[7]).look
    assert held.first(5).look(4) == held.look(4) and len(held.first(5)) == 5


def test_training_portraits_of_the_open_world_hold_closed_ones_too(tmp_path):
    trained = training_portraits(10, 16, tmp_path, 1, "open")
    again = training_portraits(10, 16, tmp_path, 1, "open")
    assert (trained.images == again.images).all()
    closed = [row for row in range(10) if trained.look(row) == look_of(trained.scene(row))]
    assert closed == [4, 9]


def test_a_change_is_the_asked_attribute_alone(portraits):
    asked = {
        "mood": "surprised", "glasses": "sunglasses", "clothes_color": "green", "pose": "close-up",
        "hair_color": "pink", "background": "purple", "top": "beanie", "beard": "long beard",
    }  # fmt: skip
    for portrait in portraits[:40]:
        for name, value in asked.items():
            after = changed(portrait, **{name: value})
            assert getattr(after.scene, name) == value or name == "hair_color"
            plain = look_of(edited(Scene(), **{name: value}))
            for field in dataclasses.fields(after.look):
                wanted = plain if field.name in SAYS[name] else portrait.look
                assert getattr(after.look, field.name) == getattr(wanted, field.name), (name, field.name)


def test_open_portraits_have_parts_and_edits_of_parts(tmp_path):
    trained = training_portraits(6, 64, tmp_path, 1, "open")
    boxed = part_boxes(trained, 6, 64, tmp_path, 1)
    assert len(boxed) >= 6
    found = parts(trained.look(0), 64)
    assert "face" in found and "garment" in found
    edits = held_out_part_edits(10, 64, "open")
    assert len({edit.part for edit in edits}) == 5
    for edit in edits:
        source, wanted = edit.source(64), edit.wanted(64)
        apart = (source - wanted).abs().amax(1, keepdim=True)
        assert apart.max() > 0.1
        # A hat hides or bares hair and beard; the box holds where the part is before and after.
        assert (apart * (1 - edit.mask(64)) > 8 / 127.5).float().mean() < 0.01


def test_a_drawing_is_deterministic_and_of_any_size(portraits):
    look = next(portrait.look for portrait in portraits if len(portrait.look.background) == 2)
    assert render(look, 32).tobytes() == render(look, 32).tobytes()
    plain = dataclasses.replace(look, background=look.background[:1])
    assert render(look, 32).tobytes() != render(plain, 32).tobytes(), "a gradient shows"
    assert render(look, 256).size == (256, 256)
