"""A Look: all that one avataaars drawing is made of, variants, colours and pose; and a Scene's Look."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from textedit_core.toon.world import Scene

TOPS = {
    "short": "shortFlat", "bald": None, "balding": "sides", "buzz cut": "theCaesar", "quiff": "frizzle",
    "short curls": "shortCurly", "shaggy": "shaggy", "spiky": "dreads02", "curly": "curly", "afro": "fro",
    "bob": "bob", "bun": "bun", "long": "straight02", "wavy": "curvy", "fringe": "straightAndStrand",
    "dreadlocks": "dreads", "big": "bigHair", "flower crown": "frida", "mullet": "shaggyMullet",
    "side shave": "shavedSides", "sun hat": "hat", "beanie": "winterHat03", "cat hat": "winterHat04",
    "earflap hat": "winterHat02", "hijab": "hijab", "turban": "turban",
}  # fmt: skip
MOODS = {  # eyes, eyebrows, mouth
    "happy": ("default", "defaultNatural", "smile"),
    "neutral": ("default", "flatNatural", "serious"),
    "sad": ("default", "sadConcernedNatural", "sad"),
    "angry": ("squint", "angryNatural", "concerned"),
    "surprised": ("surprised", "raisedExcited", "disbelief"),
    "screaming": ("xDizzy", "raisedExcitedNatural", "screamOpen"),
    "crying": ("cry", "sadConcerned", "sad"),
    "winking": ("winkWacky", "upDownNatural", "twinkle"),
    "sleepy": ("closed", "default", "serious"),
    "in love": ("hearts", "raisedExcitedNatural", "default"),
    "tongue out": ("happy", "raisedExcited", "tongue"),
    "grimacing": ("eyeRoll", "frownNatural", "grimace"),
}
GLASSES = {
    "none": None, "glasses": "prescription02", "round glasses": "round", "sunglasses": "sunglasses",
    "eyepatch": "eyepatch",
}  # fmt: skip
BEARDS = {
    "none": None, "short beard": "beardLight", "long beard": "beardMajestic", "moustache": "moustacheMagnum",
    "handlebar moustache": "moustacheFancy",
}  # fmt: skip
GARMENTS = {
    "t-shirt": "shirtCrewNeck", "blazer": "blazerAndShirt", "hoodie": "hoodie", "overalls": "overall",
    "v-neck": "shirtVNeck", "collar": "collarAndSweater",
}  # fmt: skip
SKINS = {"pale": "#ffdbb4", "light": "#edb98a", "tan": "#d08b5b", "brown": "#a9683c", "dark": "#7b4b36"}
HAIR = {
    "black": "#2c1b18", "brown": "#724133", "blonde": "#e3b857", "red": "#c93305", "gray": "#a9a9ad",
    "pink": "#f587ab", "purple": "#8746b8", "blue": "#3565d0",
}  # fmt: skip
CLOTH = {
    "blue": "#3c7fd8", "red": "#e0413e", "green": "#3da35d", "yellow": "#f4cf3c", "black": "#262e33",
    "white": "#f2f2f2", "pink": "#ff8fb8", "purple": "#8f4fc4", "orange": "#f08030", "gray": "#929598",
}  # fmt: skip
BACKGROUNDS = {
    "blue": "#a9dcff", "green": "#b4e8b0", "yellow": "#fff0a0", "pink": "#ffcfe0", "purple": "#d7c4f5",
    "orange": "#ffcb99", "white": "#ffffff", "gray": "#c4c7cb",
}  # fmt: skip
# scale in units of the drawing, rotation in degrees, vertical shift in percent of the canvas
POSES = {
    "upright": (1.16, 0, 3), "tilted left": (1.16, -18, 3), "tilted right": (1.16, 18, 3),
    "close-up": (1.5, 0, 7),
}  # fmt: skip
DARK = "#262e33"  # of glasses, in the closed world


@dataclass(frozen=True)
class Look:
    """One drawing. Variants are avataaars' names, None for what is not worn; colours are '#rrggbb'.

    background: one colour, or the two ends of a linear gradient turned by `angle` degrees.
    scale: in units of the drawing.  rotate: degrees.  shift: right and down, in percent of the canvas.
    """

    top: str | None
    eyes: str
    eyebrows: str
    mouth: str
    accessories: str | None
    facial_hair: str | None
    clothes: str
    graphic: str | None
    skin: str
    hair: str
    facial_hair_color: str
    hat: str
    clothes_color: str
    accessories_color: str
    background: tuple[str, ...]
    angle: float
    scale: float
    rotate: float
    shift: tuple[float, float]


# What of a Look each attribute of a Scene says.
SAYS = {
    "top": ("top",),
    "hair_color": ("hair", "facial_hair_color"),
    "hat_color": ("hat",),
    "mood": ("eyes", "eyebrows", "mouth"),
    "glasses": ("accessories",),
    "beard": ("facial_hair",),
    "skin": ("skin",),
    "garment": ("clothes", "graphic"),
    "clothes_color": ("clothes_color",),
    "background": ("background", "angle"),
    "pose": ("scale", "rotate", "shift"),
}


def look_of(scene: Scene) -> Look:
    """How the closed world draws a scene: one variant and one colour for each word."""
    eyes, eyebrows, mouth = MOODS[scene.mood]
    scale, rotate, down = POSES[scene.pose]
    return Look(
        top=TOPS[scene.top], eyes=eyes, eyebrows=eyebrows, mouth=mouth,
        accessories=GLASSES[scene.glasses], facial_hair=BEARDS[scene.beard],
        clothes=GARMENTS[scene.garment], graphic=None,
        skin=SKINS[scene.skin], hair=HAIR[scene.hair_color], facial_hair_color=HAIR[scene.hair_color],
        hat=CLOTH[scene.hat_color], clothes_color=CLOTH[scene.clothes_color], accessories_color=DARK,
        background=(BACKGROUNDS[scene.background],), angle=0,
        scale=scale, rotate=rotate, shift=(0, down),
    )  # fmt: skip


@functools.cache
def _style() -> Any:
    from dicebear import Style

    return Style(definition())


@functools.cache
def definition() -> dict[str, Any]:
    """avataaars as DiceBear defines it: its components with their variants, and its own palette."""
    return json.loads((files("dicebear_styles") / "avataaars.json").read_text())


def svg(look: Look) -> str:
    """The drawing as SVG. Everything is pinned, so the seed of the style draws nothing."""
    from dicebear import Avatar

    options: dict[str, Any] = {
        "seed": "toon", "eyesVariant": [look.eyes], "eyebrowsVariant": [look.eyebrows],
        "mouthVariant": [look.mouth], "clothesVariant": [look.clothes],
        "skinColor": [look.skin], "hairColor": [look.hair], "facialHairColor": [look.facial_hair_color],
        "hatColor": [look.hat], "clothesColor": [look.clothes_color],
        "accessoriesColor": [look.accessories_color], "backgroundColor": list(look.background),
        "scale": [look.scale], "rotate": [look.rotate], "translateY": [look.shift[1]],
    }  # fmt: skip
    if look.shift[0]:
        options["translateX"] = [look.shift[0]]
    if look.graphic:
        options["clothesGraphicVariant"] = [look.graphic]
    if len(look.background) > 1:
        options |= {"backgroundColorFill": ["linear"], "backgroundColorAngle": [look.angle],
                    "backgroundColorFillStops": len(look.background),
                    "backgroundColorOrder": "fixed"}  # fmt: skip
    for name, variant in (
        ("top", look.top), ("accessories", look.accessories), ("facialHair", look.facial_hair),
    ):  # fmt: skip
        options[f"{name}Probability"] = 100 if variant else 0
        if variant:
            options[f"{name}Variant"] = [variant]
    return str(Avatar(_style(), options))
