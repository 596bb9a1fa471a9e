"""The open toon world: portraits in any colour, pose and variant, and the words that are true of them.

A closed scene is its words. An open portrait is a Look, of which words say the nearest: colours are drawn
around a name or taken from avataaars' own palette, poses are continuous, every variant of the library is
drawn at times, and free mixtures of eyes, eyebrows and mouth have no mood word. What no word fits is not
named: no caption says it, and no reader is asked for it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textedit_core.toon import colors
from textedit_core.toon.look import (
    BEARDS,
    DARK,
    GARMENTS,
    GLASSES,
    MOODS,
    POSES,
    SAYS,
    TOPS,
    Look,
    definition,
    look_of,
)
from textedit_core.toon.world import (
    ATTRIBUTES,
    BARE_TOPS,
    Scene,
    edited,
    never_trained,
    sample,
    scene_of_seed,
)

OPEN_HELD_OUT_SEEDS = range(3_000_000_000, 3_000_002_000)
OPEN_SEARCH_SEEDS = range(3_000_500_000, 3_001_000_000)
OPEN_TRAINING_SEEDS = range(3_001_000_000, 5_000_000_000)

# Variants beyond the closed world's, under the word of the one that they look like at 64 pixels.
ALSO = {
    "top": {"froBand": "afro", "longButNotTooLong": "bob", "miaWallace": "bob", "shortRound": "short",
            "shortWaved": "short", "straight01": "long", "theCaesarAndSidePart": "buzz cut",
            "winterHat1": "earflap hat"},
    "glasses": {"kurt": "sunglasses", "wayfarers": "sunglasses", "prescription01": "glasses"},
    "beard": {"beardMedium": "short beard"},
    "garment": {"blazerAndSweater": "blazer", "graphicShirt": "t-shirt", "shirtScoopNeck": "t-shirt"},
}  # fmt: skip
NEAREST = {"top": {"dreads01": "short"}}  # variants that no word fits, and the word that is nearest
ALIKE = {  # eyebrows and eyes that make no other mood of a mood
    "happy": (("default",), ("defaultNatural", "default"), ("smile",)),
    "neutral": (("default",), ("flatNatural", "defaultNatural", "default"), ("serious",)),
    "sad": (("default",), ("sadConcernedNatural", "sadConcerned"), ("sad",)),
    "angry": (("squint",), ("angryNatural", "angry"), ("concerned",)),
    "surprised": (("surprised",), ("raisedExcited", "raisedExcitedNatural"), ("disbelief",)),
    "screaming": (("xDizzy",), ("raisedExcitedNatural", "raisedExcited"), ("screamOpen",)),
    "crying": (("cry",), ("sadConcerned", "sadConcernedNatural"), ("sad",)),
    "winking": (("winkWacky", "wink"), ("upDownNatural", "upDown"), ("twinkle",)),
    "sleepy": (("closed",), ("default", "defaultNatural"), ("serious",)),
    "in love": (("hearts",), ("raisedExcitedNatural", "raisedExcited"), ("default", "smile")),
    "tongue out": (("happy",), ("raisedExcited", "raisedExcitedNatural"), ("tongue",)),
    "grimacing": (("eyeRoll",), ("frownNatural",), ("grimace",)),
}
# How a colour is drawn: the name's own, around that, the library's, around that, any.
COLOR_SHARES = (0.25, 0.40, 0.15, 0.12, 0.08)
LIBRARY = 0.15  # of the portraits are as the library draws them: its palette, its framing, any variant
OTHER_VARIANT = 0.25
MIXED_MOOD = 0.25
GRADIENT = 0.15
OWN_BEARD_COLOR = 0.25
COLORED_GLASSES = 0.4
OWN_POSE, NEAR_POSE = 0.2, 0.5  # the word's own pose, one in its region; else any pose
MOST_ROTATION, SCALES = 25.0, (1.0, 1.55)
UPRIGHT, TILTED, CLOSE = 6.0, 11.0, 1.4  # borders of the poses' regions, degrees and scale
NEARLY_CLOSE = 1.33


@dataclass(frozen=True)
class Portrait:
    """What is drawn, the nearest words for it, and which of the attributes the words are true of.

    named: attributes that can be seen and that their word fits; no others are said or read.
    """

    scene: Scene
    look: Look
    named: tuple[str, ...]

    def labels(self) -> dict[str, int]:
        """Attribute -> index of its value, -1 where it cannot be seen or no word fits."""
        return {
            name: values.index(getattr(self.scene, name)) if name in self.named else -1
            for name, values in ATTRIBUTES.items()
        }


def closed_portrait(scene: Scene) -> Portrait:
    """A scene of the closed world as a portrait: every word fits."""
    return Portrait(scene, look_of(scene), scene.visible_attributes())


def portrait_of_seed(seed: int) -> Portrait:
    """The portrait that a seed of either world names. Training seeds skip the pairs of `never_trained`."""
    if seed < OPEN_HELD_OUT_SEEDS.start:
        return closed_portrait(scene_of_seed(seed))
    rng = np.random.default_rng(seed)
    portrait = _described(_draw(rng))
    while seed not in OPEN_HELD_OUT_SEEDS and never_trained(portrait.scene):
        portrait = _described(_draw(rng))
    return portrait


def changed(portrait: Portrait, **changes: str) -> Portrait:
    """The portrait with some attributes changed, the rest to the last colour as it was: the true answer.

    What is changed looks as the closed world has it.
    """
    plain = look_of(edited(portrait.scene, **changes))
    pieces = {field: getattr(plain, field) for name in changes for field in SAYS[name]}
    look = dataclasses.replace(portrait.look, **pieces)
    return _described(look)


def _draw(rng: np.random.Generator) -> Look:
    """Any look of the open world."""
    scene = sample(rng)
    if rng.random() < LIBRARY:
        return _library(rng)
    plain = look_of(scene)
    eyes, eyebrows, mouth = _face(scene.mood, rng)
    clothes = _variant("garment", plain.clothes, rng)
    hair = _color("hair_color", plain.hair, rng)
    own_beard = rng.random() < OWN_BEARD_COLOR
    ends = [_color("background", plain.background[0], rng)]
    if rng.random() < GRADIENT:
        ends.append(colors.around(ends[0], rng) if rng.random() < 0.5 else colors.anywhere(rng))
    scale, rotate, shift = _pose(scene.pose, rng)
    colored = rng.random() < COLORED_GLASSES
    return Look(
        top=plain.top and _variant("top", plain.top, rng),
        eyes=eyes, eyebrows=eyebrows, mouth=mouth,
        accessories=plain.accessories and _variant("glasses", plain.accessories, rng),
        facial_hair=plain.facial_hair and _variant("beard", plain.facial_hair, rng),
        clothes=clothes, graphic=_graphic(clothes, rng),
        skin=_color("skin", plain.skin, rng), hair=hair,
        facial_hair_color=_pick(colors.palette("hair_color"), rng) if own_beard else hair,
        hat=_color("hat_color", plain.hat, rng),
        clothes_color=_color("clothes_color", plain.clothes_color, rng),
        accessories_color=_pick(colors.palette("glasses"), rng) if colored else DARK,
        background=tuple(ends), angle=round(float(rng.uniform(0, 360)), 1) if len(ends) > 1 else 0,
        scale=scale, rotate=rotate, shift=shift,
    )  # fmt: skip


def _library(rng: np.random.Generator) -> Look:
    """A look as the library has it by default: its palette and framing, any variant, often on white."""
    eyes, eyebrows, mouth = (_pick(variants(part), rng) for part in ("eyes", "eyebrows", "mouth"))
    clothes = _pick(variants("clothes"), rng)
    hair = _pick(colors.palette("hair_color"), rng)
    own_beard = rng.random() < OWN_BEARD_COLOR
    white = rng.random() < 0.3
    return Look(
        top=_pick(variants("top"), rng), eyes=eyes, eyebrows=eyebrows, mouth=mouth,
        accessories=_pick(variants("accessories"), rng) if rng.random() < 0.3 else None,
        facial_hair=_pick(variants("facialHair"), rng) if rng.random() < 0.3 else None,
        clothes=clothes, graphic=_graphic(clothes, rng),
        skin=_pick(colors.palette("skin"), rng), hair=hair,
        facial_hair_color=_pick(colors.palette("hair_color"), rng) if own_beard else hair,
        hat=_pick(colors.palette("hat_color"), rng),
        clothes_color=_pick(colors.palette("clothes_color"), rng),
        accessories_color=_pick(colors.palette("glasses"), rng),
        background=("#ffffff" if white else _pick(colors.palette("background"), rng),), angle=0,
        scale=1.0, rotate=0.0, shift=(0.0, 0.0),
    )  # fmt: skip


def _described(look: Look) -> Portrait:
    """The nearest words for a look, and which of them fit."""
    values, fits = {}, {}
    for name, table in (("top", look.top), ("glasses", look.accessories), ("beard", look.facial_hair),
                        ("garment", look.clothes)):  # fmt: skip
        values[name], fits[name] = _words(name)[table]
    values["mood"], fits["mood"] = _mood(look.eyes, look.eyebrows, look.mouth)
    bare = values["top"] in BARE_TOPS
    for name, color in (
        ("hair_color", look.facial_hair_color if bare else look.hair), ("hat_color", look.hat),
        ("skin", look.skin), ("clothes_color", look.clothes_color), ("background", look.background[0]),
    ):  # fmt: skip
        values[name], fits[name] = colors.word(name, color)
    for color in look.background[1:]:
        fits["background"] &= colors.word("background", color) == (values["background"], True)
    values["pose"], fits["pose"] = _pose_word(look.scale, look.rotate)
    scene = Scene(**values)
    return Portrait(scene, look, tuple(name for name in scene.visible_attributes() if fits[name]))


@functools.cache
def variants(part: str) -> tuple[str, ...]:
    """All variants that the library has of "top", "eyes", "eyebrows", "mouth", "clothes", "clothesGraphic",
    "accessories" or "facialHair"."""
    return tuple(definition()["components"][part]["variants"])


@functools.cache
def _words(attribute: str) -> dict[str | None, tuple[str, bool]]:
    """Variant -> its word, or the nearest, and whether it fits."""
    tables: dict[str, Any] = {"top": TOPS, "glasses": GLASSES, "beard": BEARDS, "garment": GARMENTS}
    table: dict[str, str | None] = tables[attribute]
    named = {variant: word for word, variant in table.items()} | ALSO[attribute]
    return {variant: (word, True) for variant, word in named.items()} | {
        variant: (word, False) for variant, word in NEAREST.get(attribute, {}).items()
    }


@functools.cache
def _moods() -> dict[tuple[str, str, str], str]:
    """Every face that a mood word is true of."""
    return {
        (eyes, brows, mouth): mood
        for mood, options in ALIKE.items()
        for eyes in options[0]
        for brows in options[1]
        for mouth in options[2]
    }


def _mood(eyes: str, eyebrows: str, mouth: str) -> tuple[str, bool]:
    """The mood word of eyes, eyebrows and mouth, or of a face that shares most with them; whether it fits."""
    face = eyes, eyebrows, mouth
    if mood := _moods().get(face):
        return mood, True
    return max(MOODS, key=lambda mood: sum(map(str.__eq__, MOODS[mood], face))), False


def _pose_word(scale: float, rotate: float) -> tuple[str, bool]:
    """The pose word whose region holds the pose, or the nearest one; whether it fits."""
    if scale >= NEARLY_CLOSE:
        return "close-up", scale >= CLOSE and abs(rotate) <= TILTED
    if abs(rotate) < (UPRIGHT + TILTED) / 2:
        return "upright", abs(rotate) <= UPRIGHT
    return ("tilted left" if rotate < 0 else "tilted right"), abs(rotate) >= TILTED


def _face(mood: str, rng: np.random.Generator) -> tuple[str, ...]:
    """Eyes, eyebrows and mouth of a mood, or a free mixture."""
    if rng.random() < MIXED_MOOD:
        return tuple(_pick(variants(part), rng) for part in ("eyes", "eyebrows", "mouth"))
    return tuple(_pick(options, rng) for options in ALIKE[mood])


def _variant(attribute: str, plain: str, rng: np.random.Generator) -> str:
    """The word's own variant, or at times any of the library's."""
    if rng.random() >= OTHER_VARIANT:
        return plain
    return _pick([variant for variant in _words(attribute) if variant], rng)


def _graphic(clothes: str, rng: np.random.Generator) -> str | None:
    return _pick(variants("clothesGraphic"), rng) if clothes == "graphicShirt" else None


def _color(attribute: str, plain: str, rng: np.random.Generator) -> str:
    """A colour for the word whose own is `plain`."""
    way = int(rng.choice(len(COLOR_SHARES), p=COLOR_SHARES))
    if way in (2, 3) or (way == 4 and attribute == "skin"):
        plain = _pick(colors.palette(attribute), rng)
    if way == 4 and attribute != "skin":
        return colors.anywhere(rng)
    return plain if way in (0, 2) else colors.around(plain, rng)


def _pose(word: str, rng: np.random.Generator) -> tuple[float, float, tuple[float, float]]:
    """Scale, rotation and shift: the word's own, in its region, or any."""
    way = rng.random()
    scale: float
    rotate: float
    scale, rotate, down = POSES[word]
    if way < OWN_POSE:
        return scale, rotate, (0, down)
    if way < OWN_POSE + NEAR_POSE:
        scale = rng.uniform(CLOSE, SCALES[1]) if word == "close-up" else rng.uniform(1.0, 1.3)
        tilt = rng.uniform(TILTED, MOST_ROTATION)
        rotate = {"tilted left": -tilt, "tilted right": tilt}.get(word, rng.uniform(-UPRIGHT, UPRIGHT))
    else:
        scale, rotate = rng.uniform(*SCALES), rng.uniform(-MOST_ROTATION, MOST_ROTATION)
    reach = 2 + 8 * (scale - 1)
    across, lower = rng.uniform(-reach, reach), 14 * (scale - 1) + rng.uniform(-reach, reach)
    shift = round(float(across), 1), round(float(lower), 1)
    return round(float(scale), 3), round(float(rotate), 1), shift


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
