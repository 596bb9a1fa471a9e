"""Faces in photographs: the square that the FFHQ generators know, cut out by four points, and pasted back.

The square is that of the data set's script (arXiv 1812.04948, appendix A), which published generators and
encoders were trained on. The points come from a person's clicks, from `face_detector`, or from any other one.
Points are (x, y) in pixels of the photograph, the middle of the first pixel at (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from textedit_core.knobs import quoted

Point = tuple[float, float]
OVERSAMPLING = 4  # the crop is drawn so much larger first, as in FFHQ: 4096 pixels for 1024
LARGE = 0.2  # a difference, of 2 from black to white, from which on a pixel counts as edited


@dataclass(frozen=True)
class Square:
    """A turned square in a photograph.

    centre: its middle.  right: from the middle to the middle of its right side; `down` follows.
    """

    centre: Point
    right: Point

    @property
    def down(self) -> Point:
        """From its middle to the middle of its lower side."""
        return -self.right[1], self.right[0]

    @property
    def side(self) -> float:
        """Its side in pixels of the photograph."""
        return 2 * math.hypot(*self.right)

    @property
    def corners(self) -> tuple[Point, Point, Point, Point]:
        """Upper left, lower left, lower right, upper right."""
        signs = (-1, -1), (-1, 1), (1, 1), (1, -1)
        (x, y), (a, b), (c, d) = self.centre, self.right, self.down
        found = [(x + i * a + j * c, y + i * b + j * d) for i, j in signs]
        return found[0], found[1], found[2], found[3]


def square_of_face(left_eye: Point, right_eye: Point, left_mouth: Point, right_mouth: Point) -> Square:
    """FFHQ's square for the middles of the eyes and the corners of the mouth, left as the picture shows it.

    With e the way between the eyes and m that from between them to the middle of the mouth, it is turned as
    e - (-m_y, m_x), half as wide as the larger of 2 |e| and 1.8 |m|, and its middle is m / 10 below the eyes.
    Raises ValueError for points that are no numbers, and where they fall together.
    """
    points = np.array([left_eye, right_eye, left_mouth, right_mouth], dtype=float)
    if points.shape != (4, 2) or not np.isfinite(points).all():
        raise ValueError("The face needs four points: both eyes and both corners of the mouth.")
    eyes, between = points[1] - points[0], points[:2].mean(axis=0)
    mouth = points[2:].mean(axis=0) - between
    right = eyes - np.array([-mouth[1], mouth[0]])
    length, half = np.hypot(*right), max(2 * np.hypot(*eyes), 1.8 * np.hypot(*mouth))
    if length < 1e-6 or half < 1:
        raise ValueError("The four points of the face fall together: mark both eyes and both mouth corners.")
    right = right / length * half
    x, y = between + 0.1 * mouth
    return Square((float(x), float(y)), (float(right[0]), float(right[1])))


def read_points(text: str) -> tuple[Point, Point, Point, Point]:
    """The four points of a face as a person writes them, "x,y x,y x,y x,y": both eyes, both mouth corners.

    Raises ValueError for another number of points, and for what are no numbers.
    """
    try:
        points = [tuple(float(one) for one in pair.split(",")) for pair in text.split()]
        if [len(point) for point in points] != [2] * 4:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"The face: {quoted(text)} are not four points as x,y x,y x,y x,y: both eyes, both mouth corners."
        ) from None
    found = [(x, y) for x, y in points]
    return found[0], found[1], found[2], found[3]


def square_of_points(text: str) -> Square:
    """FFHQ's square for a face whose four points are written as `read_points` reads them.

    Raises ValueError as `read_points` and `square_of_face` do.
    """
    return square_of_face(*read_points(text))


def write_points(points: Sequence[Point]) -> str:
    """Points as `read_points` reads them, to a tenth of a pixel."""
    return " ".join(f"{x:.6g},{y:.6g}" for x, y in ((round(a, 1), round(b, 1)) for a, b in points))


def aligned(photo: Image.Image, square: Square, size: int) -> Image.Image:
    """The square of a photograph as an upright RGB image of size x size pixels, as FFHQ was cut out.

    A photograph that is much larger is made smaller first; what lies outside of it is its reflection, blurred
    the more the farther out. Raises ValueError for a square that lies outside as a whole.
    """
    image = photo.convert("RGB")
    corners, side = np.array(square.corners), square.side
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high < 0).any() or (low > np.array(image.size) - 1).any():
        raise ValueError("The face lies outside of the photograph: mark it again.")
    shrink = int(side / size * 0.5)
    if shrink > 1:
        image = image.resize(
            (round(image.width / shrink), round(image.height / shrink)), Image.Resampling.LANCZOS
        )
        corners, side = corners / shrink, side / shrink
    image, corners = _cropped(image, corners, side)
    image, corners = _padded(image, corners, side)
    quad, large = (corners + 0.5).ravel(), OVERSAMPLING * size
    image = image.transform(
        (large, large), Image.Transform.QUAD, tuple(map(float, quad)), Image.Resampling.BILINEAR
    )
    return image.resize((size, size), Image.Resampling.LANCZOS)


def pasted(photo: Tensor, edited: Tensor, source: Tensor, square: Square, soft: float = 0.1) -> Tensor:
    """A photograph (1,3,H,W) with the edit of its aligned crop in place, in [-1,1].

    edited, source: (1,3,S,S), the crop after the edit and before it.  soft: the share of the square's side
    over which the edit fades in from its edge, above 0 up to 0.5.
    Where edit and source are the same, the photograph stays to the bit, with the detail that the crop lost by
    its size; that detail goes where the edit changes a pixel by `LARGE` or more, and the edit stands alone.
    Raises ValueError for images of other shapes.
    """
    if photo.ndim != 4 or len(photo) != 1 or edited.shape != source.shape or len(edited) != 1:
        raise ValueError(
            f"One photograph, its crop and the edit of that are pasted, not {tuple(photo.shape)}, "
            f"{tuple(source.shape)} and {tuple(edited.shape)}."
        )
    if not 0 < soft <= 0.5:
        raise ValueError(f"The soft edge is a share above 0 up to 0.5, not {soft}.")
    corners = torch.tensor(square.corners)
    width, height = photo.shape[3], photo.shape[2]
    low, high = corners.min(dim=0).values.floor().int(), corners.max(dim=0).values.ceil().int() + 1
    left, top = max(0, int(low[0])), max(0, int(low[1]))
    right, bottom = min(width, int(high[0])), min(height, int(high[1]))
    if left >= right or top >= bottom:
        return photo.clone()
    places = _places(square, left, top, right, bottom).to(photo)
    after, before = (_sampled(one.to(photo), places, square.side) for one in (edited, source))
    own = photo[:, :, top:bottom, left:right]
    change = after - before
    edge = (1 - places.abs()).amin(dim=-1)[:, None] / (2 * soft)  # 0 on the square's edge, 1 where it is in
    edge = edge.clamp(0, 1)
    weight = edge * edge * (3 - 2 * edge)
    lost = (change.abs().mean(dim=1, keepdim=True) / LARGE).clamp(max=1)
    result = photo.clone()
    result[:, :, top:bottom, left:right] = own + weight * (change - lost * (own - before))
    return result.clamp(-1, 1)


def put_back(photo: Tensor, edited: Tensor, source: Tensor, square: Square) -> Tensor:
    """`pasted`, for an edit (1,3,T,T) of any size: it is made as large as its source (1,3,S,S) first."""
    edited, source = edited.detach().cpu(), source.detach().cpu()
    if edited.shape != source.shape:
        edited = F.interpolate(edited, source.shape[-2:], mode="bicubic", antialias=True, align_corners=False)
    return pasted(photo, edited, source, square)


def _places(square: Square, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Where pixels of the photograph lie in the square, (1,h,w,2): -1 to 1 from side to side."""
    x = torch.arange(left, right, dtype=torch.float64) - square.centre[0]
    y = torch.arange(top, bottom, dtype=torch.float64)[:, None] - square.centre[1]
    (a, b), length = square.right, square.side**2 / 4
    return torch.stack([(a * x + b * y) / length, (a * y - b * x) / length], dim=-1)[None]


def _sampled(image: Tensor, places: Tensor, side: float) -> Tensor:
    """A crop as the photograph's pixels see it, made smaller first where the square is."""
    small = max(1, round(side))
    if small < image.shape[-1]:
        image = F.interpolate(image, (small, small), mode="bicubic", antialias=True, align_corners=False)
    return F.grid_sample(image, places, mode="bilinear", padding_mode="border", align_corners=False)


def _cropped(image: Image.Image, corners: np.ndarray, side: float) -> tuple[Image.Image, np.ndarray]:
    """What is near the square, and the corners in it."""
    border = max(round(0.1 * side), 3)
    low = np.floor(corners.min(axis=0)).astype(int) - border
    high = np.ceil(corners.max(axis=0)).astype(int) + border
    left, top = (int(one) for one in low.clip(0))
    right, bottom = (int(one) for one in np.minimum(high, image.size))
    if right - left < image.width or bottom - top < image.height:
        image, corners = image.crop((left, top, right, bottom)), corners - [left, top]
    return image, corners


def _padded(image: Image.Image, corners: np.ndarray, side: float) -> tuple[Image.Image, np.ndarray]:
    """Reflections of the image around it where the square reaches beyond, blurred outwards."""
    border = max(round(0.1 * side), 3)
    low = np.floor(corners.min(axis=0)).astype(int) - border
    high = np.ceil(corners.max(axis=0)).astype(int) + border
    pads = np.array([*(-low).clip(0), *(high - image.size).clip(0)])
    if pads.max() <= border - 4:
        return image, corners
    left, top, right, bottom = (int(one) for one in np.maximum(pads, round(0.3 * side)))
    wide = np.pad(np.asarray(image, dtype=np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = wide.shape[:2]
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)
    outside = np.maximum(
        1 - np.minimum(x / left, (width - 1 - x) / right), 1 - np.minimum(y / top, (height - 1 - y) / bottom)
    )[:, :, None]
    plain = Image.fromarray(wide.round().astype(np.uint8))
    blurred = np.asarray(plain.filter(ImageFilter.GaussianBlur(0.02 * side)), dtype=np.float32)
    wide = wide + (blurred - wide) * np.clip(3 * outside + 1, 0, 1)
    wide = wide + (np.median(wide, axis=(0, 1)) - wide) * np.clip(outside, 0, 1)
    padded = Image.fromarray(wide.round().clip(0, 255).astype(np.uint8))
    return padded, corners + np.array([left, top])
