"""Draw a Scene with DiceBear's avataaars (by Pablo Stanley), and find where each of its parts is."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

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


@functools.cache
def _style() -> Any:
    from dicebear import Style

    return Style(json.loads((files("dicebear_styles") / "avataaars.json").read_text()))


def _options(scene: Scene) -> dict[str, Any]:
    """The scene in DiceBear's words. Everything is pinned, so the seed of the style draws nothing."""
    eyes, eyebrows, mouth = MOODS[scene.mood]
    scale, rotate, shift = POSES[scene.pose]
    options: dict[str, Any] = {
        "seed": "toon", "eyesVariant": [eyes], "eyebrowsVariant": [eyebrows], "mouthVariant": [mouth],
        "clothesVariant": [GARMENTS[scene.garment]],
        "skinColor": [SKINS[scene.skin]], "hairColor": [HAIR[scene.hair_color]],
        "facialHairColor": [HAIR[scene.hair_color]], "hatColor": [CLOTH[scene.hat_color]],
        "clothesColor": [CLOTH[scene.clothes_color]], "accessoriesColor": ["#262e33"],
        "backgroundColor": [BACKGROUNDS[scene.background]],
        "scale": [scale], "rotate": [rotate], "translateY": [shift],
    }  # fmt: skip
    parts = {"top": TOPS[scene.top], "accessories": GLASSES[scene.glasses], "facialHair": BEARDS[scene.beard]}
    for name, variant in parts.items():
        options[f"{name}Probability"] = 100 if variant else 0
        if variant:
            options[f"{name}Variant"] = [variant]
    return options


def render(scene: Scene, size: int = 64) -> Image.Image:
    """Draw the scene as an RGB picture of size x size pixels. Deterministic; about 3 ms at 64."""
    import resvg_py
    from dicebear import Avatar

    svg = str(Avatar(_style(), _options(scene)))
    png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGB")


def parts(scene: Scene, size: int = 64) -> dict[str, tuple[tuple[int, int, int, int], np.ndarray]]:
    """Where the parts are, name -> (box (left, top, right, bottom), mask (size, size) bool).

    Found by drawing the scene without each; a part that is not worn (no glasses, bald) is left out. The face
    and the garment are found by what changes when they are swapped for another mood or colour.
    """
    picture = np.asarray(render(scene, size), dtype=np.int16)
    without = {
        "top": {"top": "bald"},
        "glasses": {"glasses": "none"},
        "beard": {"beard": "none"},
        "face": {"mood": "screaming" if scene.mood != "screaming" else "in love"},
        "garment": {"clothes_color": "green" if scene.clothes_color != "green" else "pink"},
    }
    found = {}
    for name, change in without.items():
        other = np.asarray(render(dataclasses.replace(scene, **change), size), dtype=np.int16)
        mask = np.abs(picture - other).max(axis=2) > 8
        if mask.any():
            rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
            box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
            found[name] = (box, mask)
    return found
