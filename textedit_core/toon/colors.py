"""Colours of the open world: drawn around a name, called by the nearest name."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Iterable

import numpy as np

from textedit_core.toon.look import BACKGROUNDS, CLOTH, HAIR, SKINS
from textedit_core.toon.world import ATTRIBUTES

# avataaars' own palette (its definition in dicebear_styles), under the names of ours that a person would use.
LIBRARY_SKIN = {
    "pale": ("#ffdbb4",), "light": ("#edb98a",), "tan": ("#d08b5b", "#fd9841"), "brown": ("#ae5d29",),
    "dark": ("#614335",), "yellow": ("#f8d25c",),
}  # fmt: skip
LIBRARY_HAIR = {
    "black": ("#2c1b18",), "brown": ("#4a312c", "#724133", "#a55728"),
    "blonde": ("#b58143", "#d6b370", "#ecdcbf"), "red": ("#c93305",), "gray": ("#e8e1e1",),
    "pink": ("#f59797",),
}  # fmt: skip
LIBRARY_CLOTH = {
    "black": ("#262e33",), "gray": ("#3c4f5c", "#929598"),
    "blue": ("#5199e4", "#65c9ff", "#25557c", "#b1e2ff", "#b6e3f4"), "green": ("#a7ffc4",),
    "white": ("#e6e6e6", "#ffffff"), "pink": ("#ff488e", "#ffafb9"), "red": ("#ff5c5c",),
    "orange": ("#ffdeb5",), "yellow": ("#ffffb1",),
}  # fmt: skip
LIBRARY = {
    "skin": LIBRARY_SKIN,
    "hair_color": LIBRARY_HAIR,
    **dict.fromkeys(("hat_color", "clothes_color", "background", "glasses"), LIBRARY_CLOTH),
}
NAMED = {
    "skin": SKINS,
    "hair_color": HAIR,
    "hat_color": CLOTH,
    "clothes_color": CLOTH,
    "background": BACKGROUNDS,
}
# Around a colour: hue +- of the circle; saturation and value by exp(+-).
HUE, SATURATION, VALUE = 0.05, 0.3, 0.2
FAR = 32.0  # CIELAB distance to the nearest known colour from which on a colour has no name
BORDER = 0.85  # of the distance to the next name: nearer to the border than that, neither name is said


def around(color: str, rng: np.random.Generator) -> str:
    """A colour from the region of HSV around '#rrggbb'."""
    hue, saturation, value = colorsys.rgb_to_hsv(*_unit(color))
    hue += rng.uniform(-HUE, HUE)
    saturation *= np.exp(rng.uniform(-SATURATION, SATURATION))
    value *= np.exp(rng.uniform(-VALUE, VALUE))
    return _hex(colorsys.hsv_to_rgb(hue % 1, min(saturation, 1), min(value, 1)))


def anywhere(rng: np.random.Generator) -> str:
    """Any colour: hue, saturation and value each drawn evenly."""
    return _hex(colorsys.hsv_to_rgb(*rng.random(3)))


def palette(attribute: str) -> tuple[str, ...]:
    """The library's own colours of an attribute ("glasses": those of accessories)."""
    return tuple(color for colors in LIBRARY[attribute].values() for color in colors)


def word(attribute: str, color: str) -> tuple[str, bool]:
    """The nearest of the attribute's values, and whether it fits well enough to be said.

    It does not fit where the colour lies far from every named one, near the border of two names, or is
    called by a name that the attribute does not have (a gray hat).
    """
    names, known = _known(attribute)
    apart = np.linalg.norm(known - _lab(color), axis=1)
    nearest = names[int(apart.argmin())]
    others = apart[[name != nearest for name in names]].min()
    fits = apart.min() <= FAR and apart.min() <= BORDER * others
    if nearest in ATTRIBUTES[attribute]:
        return nearest, bool(fits)
    allowed = [i for i, name in enumerate(names) if name in ATTRIBUTES[attribute]]
    return names[min(allowed, key=lambda i: apart[i])], False


@functools.cache
def _known(attribute: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and CIELAB coordinates (N,3) of every colour that has a name for the attribute."""
    named = [(name, color) for name, color in NAMED[attribute].items()]
    if attribute in ("hat_color", "clothes_color", "background"):
        named = [*CLOTH.items(), *BACKGROUNDS.items()]
    named += [(name, color) for name, colors in LIBRARY[attribute].items() for color in colors]
    return tuple(name for name, _ in named), np.stack([_lab(color) for _, color in named])


@functools.lru_cache(maxsize=4096)
def _lab(color: str) -> np.ndarray:
    """CIELAB (D65) of '#rrggbb': distances in it are about what people see (CIE 15, 1976)."""
    rgb = np.array(_unit(color))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _unit(color: str) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in bytes.fromhex(color[1:]))


def _hex(rgb: Iterable[float]) -> str:
    return "#" + bytes(round(255 * channel) for channel in rgb).hex()
