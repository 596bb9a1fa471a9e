"""What a picture that somebody gives as a mask means: painted layers, label masks, strokes, erased holes.

Every editor and segmenter writes masks in a way of its own. What they have in common is a background, and
that every pixel that differs from it means change. Where a picture can be read in two ways it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

LAYER, HOLE = "painted layer", "picture with an erased hole"
BRIGHTNESS, LABELS, STROKES = "black and white", "label mask", "strokes on a plain ground"
_LOOKED_AT = 512  # longer side in pixels of the copy on which the kind of a picture is judged
_LABELS = 64  # levels of a label mask at most; a soft edge, or the noise of a JPEG, has more
_COLOURS = 64  # colours of 5 bits a channel above which a picture is no flat drawing
_BLACK = 24  # the brightest value of 255 that still counts as a black ground, for a JPEG's noise


class UnclearMaskError(ValueError):
    """A picture that is no mask, or could mean two: a sentence without the name of its field."""


@dataclass(frozen=True, eq=False)
class MaskReading:
    """A mask and how it was read.

    image: mode L, 255 = change here, else 0.  kind: what the file was taken for, in words.
    """

    image: Image.Image
    kind: str

    @property
    def share(self) -> float:
        """The part of the picture that the mask covers, 0 to 1."""
        return self.image.histogram()[255] / (self.image.width * self.image.height)

    def __str__(self) -> str:
        return f"{self.kind}, {of_picture(self.share)}"


def of_picture(share: float) -> str:
    """A share from 0 to 1 in words: "13 % of the picture", one below a percent with a digit more."""
    percent = 100 * share
    return f"{percent:.1f} % of the picture" if 0 < percent < 1 else f"{percent:.0f} % of the picture"


def read(image: Image.Image) -> MaskReading:
    """Read a picture of at most 8 bits a channel as a mask. Raises UnclearMaskError.

    Where transparency tells something apart it decides: of flat paint what is painted is the mask, from half
    of its opacity on; of a picture the erased hole. An opaque picture is read by its brightness where it is
    grey, from half of its brightest value on, and of labels and coloured strokes every pixel that differs
    from the background counts: black, or else the plain ground at the rim.
    """
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        used = np.flatnonzero(alpha.histogram())
        least, most = int(used[0]), int(used[-1])
        if most == 0:
            return MaskReading(alpha, LAYER)
        if least < 128 and least < most:
            return _by_alpha(rgba, alpha)
        if most < 250 and rgba.getcolors(1):  # a translucent brush that has been everywhere
            return MaskReading(_above(alpha, 0.5), LAYER)
        image = rgba
    is_palette = image.mode == "P"
    colours = image.convert("RGB")
    red, green, blue = colours.split()
    value = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    # A grey picture saved as a JPEG in colour is not quite grey.
    saturated = ImageChops.difference(value, darkest).point(lambda one: 255 * (one > 2 * _BLACK))
    if saturated.getbbox() is None:
        return _by_brightness(image.convert("L"))
    return _by_colour(colours, value, is_palette)


def levels(image: Image.Image) -> Image.Image:
    """A picture of one channel of 16 bits, 32 bits or floats, in 8 bits for `read`; its zero stays zero.

    Up to 255 whole numbers are kept. Few different values, such as the ids of instances, become labels;
    others are scaled by the largest. Values below zero, as of a network before its sigmoid, mean: where it is
    above zero.
    """
    raw = np.asarray(image)
    values = np.nan_to_num(raw, posinf=0, neginf=0) if raw.dtype.kind == "f" else raw
    if values.min() < 0:
        return Image.fromarray(np.where(values > 0, 255, 0).astype(np.uint8))
    different = np.unique(values)
    if len(different) <= _LABELS:
        found = np.zeros(values.shape, np.uint8)
        labels = different[different > 0]
        for rank, label in enumerate(labels, start=1):
            found[values == label] = 255 if len(labels) == 1 and len(different) == 2 else rank
        return Image.fromarray(found)
    scale = 1 if values.max() <= 255 and image.mode != "F" else 255 / float(values.max())
    return Image.fromarray((values.astype(np.float32) * np.float32(scale)).round().astype(np.uint8))


def _by_alpha(rgba: Image.Image, alpha: Image.Image) -> MaskReading:
    """A picture of which something is transparent."""
    small = _small(rgba)
    seen = small[..., 3] > 0
    opaque = (small[..., 3] >= 250)[seen].mean() > 0.9
    if not (opaque and _is_picture(small, seen)):
        return MaskReading(_above(alpha, _least_opacity(alpha)), LAYER)
    if _rim(small[..., 3] < 128).mean() > 0.5:
        raise UnclearMaskError(
            "it is a picture cut out of its surroundings, and either could be what is to change; paint that "
            "in one colour, or erase it from the whole picture."
        )
    return MaskReading(alpha.point(lambda one: 255 * (one < 128)), HOLE)


def _least_opacity(alpha: Image.Image) -> float:
    """From which opacity on paint counts: half of the most, or of a faint layer's that fills an area."""
    counts = np.array(alpha.histogram())
    counts[:16] = 0  # less than this nobody sees
    if not counts.any():
        return 1
    plateaus = np.flatnonzero(counts >= 0.1 * counts.sum())
    most = float(np.flatnonzero(counts)[-1])
    return min(most / 2, float(plateaus[0])) if len(plateaus) else most / 2


def _by_brightness(grey: Image.Image) -> MaskReading:
    """An opaque grey picture: labels, or a mask with soft edges."""
    counts = np.array(grey.histogram())
    used = np.flatnonzero(counts)
    low, high = int(used[0]), int(used[-1])
    if low == high:
        return MaskReading(_above(grey, 0.5), BRIGHTNESS)
    small = _small(grey)
    if _is_textured(small) or (len(used) > _LABELS and len(_grey_areas(small)) > 1):
        raise UnclearMaskError(
            "it is a grey picture, or painted onto one, and what is to change cannot be told from the rest; "
            "use a mask of its own, white where the picture is to change."
        )
    if len(used) > _LABELS or not _has_flat_areas(small, low, high):
        named = BRIGHTNESS if high >= 128 else LABELS
        return MaskReading(_above(grey, high / 2), named)
    if low == 0:
        return MaskReading(_above(grey, 0.5), LABELS)
    ground = _most_common(_rim(small))
    return MaskReading(_differing(grey, ground), f"{LABELS} on {ground}")


def _by_colour(colours: Image.Image, value: Image.Image, is_palette: bool) -> MaskReading:
    """An opaque picture with colours, `value` the brightest channel: labels or strokes on a plain ground."""
    small = _small(colours)
    if _is_textured(small):
        raise UnclearMaskError(
            "it is a picture, or strokes painted onto one, and what is to change cannot be told from the "
            "rest; save the strokes as a layer of their own, or on black."
        )
    black = small.max(axis=-1) <= _BLACK
    rim = _rim(_quantised(small))
    ground = _most_common(rim)
    if black.mean() > 0.25 or ground == 0:
        labels = is_palette or len(_common_colours(small, ~black)) > 3
        exact = is_palette or (labels and value.histogram()[0] > 0.95 * sum(value.histogram()[: _BLACK + 1]))
        return MaskReading(
            _above(value, 0.5 if exact else _least_value(small, black)), LABELS if labels else STROKES
        )
    own = np.median(small[_quantised(small) == ground], axis=0)
    most = 3 if np.ptp(own) <= _BLACK else 2  # on a coloured ground more than one paint is a drawing
    if (rim == ground).mean() < 0.5 or len(_common_colours(small, np.ones_like(black))) > most:
        raise UnclearMaskError(
            "it has no background that could be told from what is to change; use a mask that is black "
            "wherever the picture stays."
        )
    paint = ImageChops.difference(colours, Image.new("RGB", colours.size, tuple(int(one) for one in own)))
    red, green, blue = paint.split()
    return MaskReading(_above(ImageChops.lighter(ImageChops.lighter(red, green), blue), 64), STROKES)


def _least_value(small: NDArray[np.uint8], black: NDArray[np.bool_]) -> float:
    """From which brightest channel on a stroke on black counts: half of that of its darkest paint."""
    value = small.max(axis=-1)
    flat = _flat(_quantised(small)) & ~black
    common = _common_colours(small, flat)
    painted = value[flat & np.isin(_quantised(small), common)]
    return (int(painted.min()) if painted.size else int(value.max())) / 2


# --- what a picture looks like, judged on a small copy ----------------------------------------------------


def _small(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels (h,w) or (h,w,C) of a copy; the nearest ones, so that no new colour comes in."""
    scale = min(1.0, _LOOKED_AT / max(image.size))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    return np.asarray(image if scale == 1 else image.resize((size[0], size[1]), Image.Resampling.NEAREST))


def _quantised(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(h,w) one number for a colour, of 5 bits a channel; 0 is black."""
    red, green, blue = (pixels[..., one].astype(np.int64) >> 3 for one in range(3))
    return (red << 10) | (green << 5) | blue


def _rim(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """The values along the four sides."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def _most_common(values: NDArray[np.generic]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _common_colours(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The colours, of 5 bits, that each fill a fiftieth of the chosen pixels."""
    found, counts = np.unique(_quantised(pixels)[where], return_counts=True)
    return found[counts >= 0.02 * max(1, counts.sum())]


def _flat(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """(h,w) whether a pixel is as all its eight neighbours are; those at the rim repeat."""
    wide = np.pad(values, 1, mode="edge")
    height, width = values.shape
    shifted = [wide[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.logical_and.reduce([one == values for one in shifted])


def _is_picture(pixels: NDArray[np.uint8], seen: NDArray[np.bool_]) -> bool:
    """Whether what is seen is a picture and not paint of a few colours, or a drawing that reaches the rim."""
    _, counts = np.unique(_quantised(pixels)[seen], return_counts=True)
    if np.sort(counts)[-3:].sum() < 0.9 * counts.sum():
        return True
    return bool(_rim(seen).mean() > 0.95) and len(_common_colours(pixels, seen)) > 1


def _is_textured(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture, (h,w) grey or (h,w,3), has the texture of a photograph: neither flat nor smooth.

    Flat are label masks and drawings; smooth, without bends, is a gradient or a blurred edge.
    """
    if pixels.ndim == 3:
        colours = _quantised(pixels)
        return len(np.unique(colours)) > _COLOURS and bool((~_flat(colours)).mean() > 0.2)
    middle = (pixels > 32) & (pixels < 224)
    if len(np.unique(pixels)) <= _LABELS or middle.mean() < 0.3 or min(pixels.shape) < 3:
        return False
    values = pixels.astype(np.int64)
    bends = np.abs(values[1:-1, 2:] - 2 * values[1:-1, 1:-1] + values[1:-1, :-2])
    return bool(bends[middle[1:-1, 1:-1]].mean() > 3)


def _grey_areas(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The levels between black and white that fill a fiftieth of a picture each, without an edge in them."""
    found, counts = np.unique(grey[_flat(grey) & (grey > 32) & (grey < 224)], return_counts=True)
    return found[counts >= 0.02 * grey.size]


def _has_flat_areas(grey: NDArray[np.uint8], low: int, high: int) -> bool:
    """Whether the levels between the lowest and the highest fill areas, and are no soft edge between two."""
    between = (grey > low) & (grey < high)
    if not between.any():
        return low > 0 and high < 128  # two labels, neither of them zero
    return bool(_flat(grey)[between].mean() > 0.3)


def _above(grey: Image.Image, least: float) -> Image.Image:
    return grey.point(lambda one: 255 * (one >= least))


def _differing(grey: Image.Image, ground: int) -> Image.Image:
    return grey.point(lambda one: 255 * (one != ground))
