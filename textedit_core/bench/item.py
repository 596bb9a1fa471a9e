"""One item of a benchmark, and its pictures as tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from textedit_core.images import (
    Fit,
    mask_at,
    native_mask,
    native_tensor,
    open_image,
    open_mask,
    square_mask,
    square_tensor,
)

# A file, or a function that draws the tensor for a size in pixels.
Picture = Path | Callable[[int], Tensor] | None


@dataclass(frozen=True, eq=False)
class Item:
    """One picture and what is wanted of it; what is None or "" an item does not have.

    prompt: the wanted result in words.  caption, target: descriptions of the picture before and after the
    edit, in the same words but for the edit.
    mask: where a method may paint.  changed: where the result is to differ, for the measures; the mask
    unless given.  answer: the true result.  knobs: settings that belong to the item, for methods that have
    them.  squash: whether the exemplar is squashed to a square, whatever is done to the other pictures.
    score: further measures of a result (1,3,H,W), by name.
    """

    name: str
    image: Picture
    prompt: str = ""
    caption: str = ""
    target: str = ""
    mask: Picture = None
    exemplar: Picture = None
    answer: Picture = None
    changed: Picture = None
    group: str = ""
    knobs: Mapping[str, Any] = field(default_factory=dict)
    squash: bool = False
    score: Callable[[Tensor], dict[str, float]] | None = None


@dataclass(eq=False)
class Pictures:
    """The pictures of one item as tensors, each opened once for a size. ValueError for a damaged file."""

    item: Item
    fit: Fit
    _opened: dict[tuple[str, int | None], Tensor | None] = field(default_factory=dict)

    def get(self, name: str, size: int | None) -> Tensor | None:
        """`image`, `exemplar`, `answer` (1,3,size,size) or `mask`, `changed` (1,1,size,size); or None.

        Without a size they have the size of their files, and the answer that of the image.
        """
        if (name, size) not in self._opened:
            self._opened[name, size] = self._open(name, size)
        return self._opened[name, size]

    def source(self, size: int | None) -> Tensor:
        """The picture to edit, as `get` gives it. ValueError for an item without one."""
        image = self.get("image", size)
        if image is None:
            raise ValueError(f"{self.item.name} has no picture to edit.")
        return image

    def can_be_whole(self) -> bool:
        """Whether image, mask, changed region and answer are all files, and so have a native size."""
        framed = (getattr(self.item, name) for name in ("image", "mask", "changed", "answer"))
        return all(one is None or isinstance(one, Path) for one in framed)

    def _open(self, name: str, size: int | None) -> Tensor | None:
        given = getattr(self.item, name)
        if name == "changed" and given is None:
            return self.get("mask", size)
        if not isinstance(given, Path):
            return given and given(size)
        label = f"{name.capitalize()} of {self.item.name}"
        if name in ("mask", "changed"):
            opened = open_mask(given, label)
            if size:
                return square_mask(opened, size, self.fit)
            height, width = self.source(None).shape[2:]
            return native_mask(mask_at(opened, (width, height), label))
        opened = open_image(given, label)
        if size and name == "exemplar" and self.item.squash:
            return native_tensor(opened.resize((size, size), Image.Resampling.BICUBIC))
        if not size and name == "answer":
            height, width = self.source(None).shape[2:]
            opened = opened.resize((width, height))
        return square_tensor(opened, size, self.fit) if size else native_tensor(opened)
