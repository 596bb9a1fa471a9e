"""CLIP (arXiv 2103.00020): image and text features, and how every prompt is tokenized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from transformers import CLIPModel, CLIPTokenizer


MAX_CONCEPTS = 1000  # how many `Clip.concept` keeps: a few megabytes


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP model with the preprocessing that belongs to it.

    size: side in pixels of its input.  mean, std: (3,) of images in [0,1].
    """

    model: CLIPModel
    tokenizer: CLIPTokenizer
    size: int
    mean: Tensor
    std: Tensor
    fingerprint: str

    def image_features(self, image: Tensor) -> Tensor:
        """(B,3,H,W) in [-1,1] -> (B,D) unit vectors, differentiable in the image; see `pixels`."""
        return self.prepared_features(self.pixels(image))

    def prepared_features(self, pixels: Tensor) -> Tensor:
        """Normalised (B,3,size,size), as `pixels` returns them -> (B,D) unit vectors, differentiable."""
        pixels = pixels.to(self.model.device, self.model.dtype)
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return F.normalize(self.model.visual_projection(pooled).float(), dim=-1)

    def pixels(self, image: Tensor) -> Tensor:
        """(B,3,H,W) in [-1,1] -> (B,3,size,size), the vision tower's input.

        As CLIP's own preprocessing: the shorter side is resized to `size` (antialiased bicubic), the centre
        is cropped, mean and std are those of the checkpoint.
        """
        short = min(image.shape[-2:])
        if short != self.size:
            shape = [side * self.size // short for side in image.shape[-2:]]
            image = F.interpolate(image, shape, mode="bicubic", antialias=True, align_corners=False)
        top, left = (image.shape[-2] - self.size) // 2, (image.shape[-1] - self.size) // 2
        image = image[..., top : top + self.size, left : left + self.size]
        device, dtype = self.model.device, self.model.dtype
        pixels = (image.to(device) + 1) / 2
        return ((pixels - self.mean.to(device).view(3, 1, 1)) / self.std.to(device).view(3, 1, 1)).to(dtype)

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """B texts -> (B,D) unit vectors. Raises ValueError for a text that is too long for the tokenizer."""
        tokens = tokenize(self.tokenizer, texts).to(self.model.device)
        pooled = self.model.text_model(input_ids=tokens).pooler_output
        return F.normalize(self.model.text_projection(pooled).float(), dim=-1)

    @torch.no_grad()
    def concept(self, text: str, templates: Sequence[str]) -> Tensor:
        """The normalised mean of the features of a text in every template -> (D,), remembered.

        templates: sentences with one {} each. Raises ValueError for a text that is too long in one of them.
        """
        asked = (text, *templates)
        if asked not in self._concepts:
            found = self.text_features([template.replace("{}", text) for template in templates])
            if len(self._concepts) >= MAX_CONCEPTS:
                self._concepts.clear()
            self._concepts[asked] = F.normalize(found.mean(dim=0), dim=0)
        return self._concepts[asked]

    @cached_property
    def _concepts(self) -> dict[tuple[str, ...], Tensor]:
        return {}


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """B texts -> (B,L) token ids, padded to the tokenizer's length L, never cut.

    Raises ValueError, with the count and the limit, for a text of more than L - 2 tokens.
    It is padded here: a tokenizer that is asked to pad keeps that as a state of its own, and what another
    thread counts meanwhile takes it back.
    """
    if isinstance(texts, str):
        raise ValueError("Texts must be a list of texts, not one text.")
    limit = tokenizer.model_max_length - 2
    for text in texts:
        if (count := token_count(tokenizer, text)) > limit:
            raise ValueError(f"The prompt has {count} tokens and this model reads at most {limit}: {text!r}.")
    length, end = tokenizer.model_max_length, tokenizer.pad_token_id
    rows = [list(tokenizer(text, verbose=False).input_ids) for text in texts]
    return torch.tensor([row + [end] * (length - len(row)) for row in rows])


def token_count(tokenizer: CLIPTokenizer, text: str) -> int:
    """How many tokens the text has, not counting start and end."""
    return len(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
