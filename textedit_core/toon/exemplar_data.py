"""Data for Paint by Example (arXiv 2211.13227, section 3): a picture, a mask and an exemplar from one box.

The object in a box is cut out as the exemplar, the box (or a rough shape around it) becomes the mask, and the
model is to put back what was there. So that it learns the object and not to copy pixels, exemplar and mask
are distorted. Boxes are (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from textedit_core import masks
from textedit_core.images import open_image
from textedit_core.masks import Box

SMALLEST, LARGEST = 0.02, 0.8  # of the picture's area
PAD, JITTER = 10 / 512, 5 / 512  # of the picture's side: around the exemplar, of an outline's points
GROWTH = 0.4  # of the free space on a side
POINTS = 20  # on each curve of an outline
FREE_FORM = 0.5  # share of masks that are outlines, and not boxes
FLIP, ROTATE, BLUR, BEND = 0.5, 0.5, 0.3, 0.3  # how often each happens to an exemplar
DEGREES, BLUR_SIDES, BEND_REACH = 20, (3, 5, 7), 50  # of 224 pixels


@dataclass(frozen=True, eq=False)
class Batch:
    """images (B,3,S,S) and exemplars (B,3,s,s) in [-1,1]; masks (B,1,S,S), 1 = to be repainted."""

    images: Tensor
    masks: Tensor
    exemplars: Tensor


@dataclass(frozen=True, eq=False)
class Boxed:
    """Pictures in memory with boxes.

    images: (N,H,W,3) uint8.  boxes: (M,4).  rows: (M,), the picture that each box is of.
    """

    images: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    def example(self, index: int) -> tuple[np.ndarray, Box]:
        """A picture (H,W,3) and the box of one object in it."""
        left, top, right, bottom = map(int, self.boxes[index])
        return self.images[self.rows[index]], (left, top, right, bottom)


class Folder:
    """Pictures in a folder and their boxes in JSON lines: {"image": "a.jpg", "boxes": [[5, 8, 90, 99]]}.

    Boxes under 2 % or over 80 % of their picture are left out. Raises ValueError, with the line, for what is
    no such line, and if nothing is left.
    """

    def __init__(self, folder: Path, lines: Path):
        self.folder, self.lines = folder, lines

    @cached_property
    def listed(self) -> list[tuple[Path, Box]]:
        found: list[tuple[Path, Box]] = []
        try:
            written = self.lines.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"Boxes: {self.lines} cannot be read: {error}.") from error
        for number, line in enumerate(written, start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                path, boxes = self.folder / entry["image"], [_box(box) for box in entry["boxes"]]
                width, height = Image.open(path).size
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise ValueError(
                    f"Boxes: line {number} of {self.lines} is not "
                    f'{{"image": NAME, "boxes": [[left, top, right, bottom], ...]}}: {error}.'
                ) from error
            found += [(path, box) for box in boxes if fits(box, width, height)]
        if not found:
            raise ValueError(f"Boxes: {self.lines} has no box of 2 to 80 % of its picture.")
        return found

    def __len__(self) -> int:
        return len(self.listed)

    def example(self, index: int) -> tuple[np.ndarray, Box]:
        path, box = self.listed[index]
        return _opened(path), box


def _box(numbers: Sequence[float]) -> Box:
    if len(numbers) != 4:
        raise ValueError("a box has four numbers")
    left, top, right, bottom = map(int, numbers)
    return left, top, right, bottom


@lru_cache(maxsize=64)
def _opened(path: Path) -> np.ndarray:
    return np.asarray(open_image(path))


def fits(box: Box, width: int, height: int) -> bool:
    """Whether a box lies in its picture and has a size to learn from."""
    left, top, right, bottom = box
    inside = 0 <= left < right <= width and 0 <= top < bottom <= height
    return inside and SMALLEST <= (right - left) * (bottom - top) / (width * height) <= LARGEST


def draw(
    source: Boxed | Folder,
    count: int,
    size: int,
    exemplar_size: int,
    rng: np.random.Generator,
    augmented: bool = True,
) -> Batch:
    """`count` examples at random; not `augmented` (an ablation): the plain exemplar, its very box as mask."""
    images, shapes, cut = [], [], []
    for index in rng.integers(len(source), size=count):
        picture, box = source.example(int(index))
        height, width = picture.shape[:2]
        tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
        wide = extended(box, width, height, rng) if augmented else box
        free = augmented and rng.random() < FREE_FORM
        mask = outline(box, wide, width, height, rng) if free else filled(wide, width, height)
        window = square_around(wide, width, height, rng)
        images.append(scaled(masks.crop(tensor, window), size))
        shapes.append((scaled(masks.crop(mask, window), size) > 0.5).float())
        cut.append(scaled(masks.crop(tensor, padded(box, width, height)), exemplar_size))
    exemplars = torch.cat(cut)
    return Batch(torch.cat(images), torch.cat(shapes), distorted(exemplars, rng) if augmented else exemplars)


def padded(box: Box, width: int, height: int) -> Box:
    """The exemplar's box: a rim of 10 pixels of 512, as far as the picture has it."""
    rim = round(PAD * max(width, height))
    left, top, right, bottom = box
    return max(0, left - rim), max(0, top - rim), min(width, right + rim), min(height, bottom + rim)


def extended(box: Box, width: int, height: int, rng: np.random.Generator) -> Box:
    """Each side moved out by a uniform share, up to 0.4, of the free space beyond it."""
    left, top, right, bottom = box
    west, north, east, south = (
        int(rng.integers(int(GROWTH * free) + 1)) for free in (left, top, width - right, height - bottom)
    )
    return left - west, top - north, right + east, bottom + south


def filled(box: Box, width: int, height: int) -> Tensor:
    """A box as a mask (1,1,height,width)."""
    left, top, right, bottom = box
    mask = torch.zeros(1, 1, height, width)
    mask[..., top:bottom, left:right] = 1
    return mask


def outline(box: Box, wide: Box, width: int, height: int, rng: np.random.Generator) -> Tensor:
    """A rough shape as a mask (1,1,height,width): four quadratic Bezier curves between the box's corners.

    Each is pulled to the middle of the extended box's side; 20 points on it are moved by up to 5 pixels of
    512 and joined by straight lines.
    """
    left, top, right, bottom = box
    across, down = (left + right) / 2, (top + bottom) / 2
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    pulls = [(across, wide[1]), (wide[2], down), (across, wide[3]), (wide[0], down)]
    t = np.linspace(0, 1, POINTS, endpoint=False)[:, None]
    curves = [
        (1 - t) ** 2 * np.array(corners[i])
        + 2 * t * (1 - t) * np.array(pulls[i])
        + t**2 * np.array(corners[i - 3])
        for i in range(4)
    ]
    points = np.concatenate(curves)
    points += rng.uniform(-JITTER, JITTER, points.shape) * max(width, height)
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points - 0.5], fill=1)  # centres of pixels
    return torch.from_numpy(np.array(mask, dtype=np.float32))[None, None]


def square_around(box: Box, width: int, height: int, rng: np.random.Generator) -> Box:
    """A random square that holds the box, with at least 0.4 of the room there is around it.

    A square picture is taken whole, as in the original; so is one whose box no square in it can hold.
    """
    side = min(width, height)
    left, top, right, bottom = box
    if width == height or max(right - left, bottom - top) > side:
        return 0, 0, width, height
    side -= int(rng.integers(int(0.6 * (side - max(right - left, bottom - top))) + 1))
    x = int(rng.integers(max(0, right - side), min(left, width - side) + 1))
    y = int(rng.integers(max(0, bottom - side), min(top, height - side) + 1))
    return x, y, x + side, y + side


def distorted(exemplars: Tensor, rng: np.random.Generator) -> Tensor:
    """Exemplars (B,3,s,s) flipped, turned by up to 20 degrees, bent and blurred, each by its own chance."""
    side = exemplars.shape[-1]
    matrices = np.stack([_affine(rng) for _ in exemplars])
    grid = F.affine_grid(torch.from_numpy(matrices).float(), list(exemplars.shape), align_corners=False)
    moved = F.grid_sample(exemplars, grid, padding_mode="reflection", align_corners=False)
    for row in range(len(moved)):
        if rng.random() < BLUR:
            reach = (int(rng.choice(BLUR_SIDES)) - 1) / 2 * side / 224
            moved[row] = _box_blur(moved[row : row + 1], reach)[0]
    return moved


def _affine(rng: np.random.Generator) -> np.ndarray:
    """(2,3), where each place of the new exemplar is taken from, in coordinates of -1 to 1."""
    matrix = np.eye(3)
    if rng.random() < FLIP:
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    if rng.random() < ROTATE:
        angle = np.deg2rad(rng.uniform(-DEGREES, DEGREES))
        sine, cosine = np.sin(angle), np.cos(angle)
        matrix = matrix @ np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    if rng.random() < BEND:  # three points at a third of the side from the middle, each moved
        points = np.array([[1, 1], [1, -1], [-1, -1]]) * 2 / 3
        moved = points + rng.uniform(-1, 1, points.shape) * 2 * BEND_REACH / 224
        bend = np.linalg.solve(np.c_[points, np.ones(3)], moved).T
        matrix = matrix @ np.vstack([bend, [0, 0, 1]])
    return matrix[:2]


def _box_blur(image: Tensor, reach: float) -> Tensor:
    """The mean over 2 reach + 1 pixels each way; the outermost of them count in part."""
    whole = int(np.ceil(reach))
    window = torch.ones(2 * whole + 1)
    window[[0, -1]] = 1 - (whole - reach)
    window = window / window.sum()
    rows = F.pad(image.flatten(0, 1)[:, None], (whole,) * 4, mode="replicate")
    rows = F.conv2d(F.conv2d(rows, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return rows.view_as(image)


def scaled(image: Tensor, size: int) -> Tensor:
    """(B,C,H,W) squashed to (B,C,size,size), bilinear and without aliases."""
    if image.shape[-2:] == (size, size):
        return image
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)


def stacked(boxes: Sequence[Box]) -> np.ndarray:
    """Boxes as an array (M,4)."""
    return np.array(boxes, dtype=np.int16).reshape(-1, 4)
