"""Metrics from network features: CLIP scores, face identity, structure distance; nothing is fetched here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.metrics.pixels import blackened
from textedit_core.models.clip_vision import pixels_of_whole, self_similarity

if TYPE_CHECKING:
    from textedit_core.models.clip import Clip


class Embedder(Protocol):
    """A network that embeds the identity of a face."""

    def embed(self, image: Tensor) -> Tensor:
        """Images (B,3,H,W) in [-1,1] -> (B,D)."""


@torch.no_grad()
def clip_score(clip: Clip, image: Tensor, text: str | Sequence[str]) -> Tensor:
    """CLIP score, 100 max(cos, 0) of image and text features -> (B,), larger is closer to the text.

    image (B,3,H,W) in [-1,1], clamped; one text for all rows or one per row. This is the scale of CLIP-T in
    the editing literature; CLIPScore (arXiv 2104.08718) is 2.5 / 100 of it. Two CLIPs' scores do not compare.
    """
    cosine = (clip.image_features(image.clamp(-1, 1)) * clip.text_features(_texts(text))).sum(dim=-1)
    return 100 * cosine.clamp(min=0)


def clip_score_edited(clip: Clip, image: Tensor, text: str | Sequence[str], mask: Tensor) -> Tensor:
    """`clip_score` of what lies in the mask (B or 1,1,H,W), black elsewhere -> (B,): PIE-Bench's "edited"."""
    return clip_score(clip, blackened(image, 1 - mask), text)


@torch.no_grad()
def clip_similarity(clip: Clip, a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the CLIP features of two images (CLIP-I) -> (B,) in [-1,1]; 1 for equal images.

    Images as for `mse`.
    """
    return (clip.image_features(a.clamp(-1, 1)) * clip.image_features(b.clamp(-1, 1))).sum(dim=-1)


@torch.no_grad()
def clip_direction(
    clip: Clip, source: Tensor, image: Tensor, source_text: str | Sequence[str], text: str | Sequence[str]
) -> Tensor:
    """CLIP direction (arXiv 2108.00946): cosine of the image's change and the text's -> (B,) in [-1,1].

    Changes are differences of unit features, source to edit and `source_text` to `text`. 0 where the image or
    the text did not change (a difference under 1e-6).
    """
    seen = clip.image_features(image.clamp(-1, 1)) - clip.image_features(source.clamp(-1, 1))
    said = clip.text_features(_texts(text)) - clip.text_features(_texts(source_text))
    return (F.normalize(seen, dim=-1, eps=1e-6) * F.normalize(said, dim=-1, eps=1e-6)).sum(dim=-1)


@torch.no_grad()
def clip_embeddings(clip: Clip, image: Tensor, squash: bool = False) -> Tensor:
    """Images (B,3,H,W) in [-1,1] -> (B,D) CLIP features before they are made unit vectors.

    For `frechet_distance` and `fit_mixture`, whose published figures are of these. squash: the whole image is
    resized to CLIP's square input, whatever its shape, where CLIP's own rule cuts out the centre.
    """
    image = image.clamp(-1, 1)
    pixels = pixels_of_whole(clip, image) if squash else clip.pixels(image)
    pooled = clip.model.vision_model(pixel_values=pixels).pooler_output
    return clip.model.visual_projection(pooled).float()


def exemplar_score(clip: Clip, image: Tensor, exemplar: Tensor, mask: Tensor) -> Tensor:
    """Paint by Example's CLIP score (arXiv 2211.13227, COCOEE) -> (B,), 100 cos, larger is more alike.

    image (B,3,H,W) in [-1,1], one exemplar (B or 1,3,h,w) and one mask (B or 1,1,H,W) each: the result is cut
    to the mask's box, and both are squashed to CLIP's square. Raises ValueError for an empty mask.
    """
    boxes = [_box(one) for one in mask]
    rows = [
        clip_embeddings(clip, image[i : i + 1, :, top:bottom, left:right], squash=True)
        for i in range(len(image))
        for top, bottom, left, right in [boxes[i if len(boxes) > 1 else 0]]
    ]
    return 100 * F.cosine_similarity(torch.cat(rows), clip_embeddings(clip, exemplar, squash=True))


@torch.no_grad()
def identity(embedder: Embedder, a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the face embeddings of two images -> (B,) in [-1,1]; 1 for equal images. Images as for `mse`.

    embedder: anything with `embed`, such as a network of models.identity. It crops to the face itself.
    """
    return F.cosine_similarity(embedder.embed(a.clamp(-1, 1)), embedder.embed(b.clamp(-1, 1)))


@torch.no_grad()
def structure_distance(clip: Clip, a: Tensor, b: Tensor) -> Tensor:
    """Distance of two images' layouts, by the self-similarity of CLIP's patches -> (B,), 0 for equal images.

    As the structure distance of Splice (arXiv 2201.00424), with CLIP's last patch tokens in place of DINO's
    keys, so that nothing is fetched: the mean squared difference of the two matrices of cosines between all
    patches of one image. `extras.dino_structure_distance` is the published one; figures of the two do not
    compare. Images as for `mse`.
    """
    return (_self_similarity(clip, a) - _self_similarity(clip, b)).square().mean(dim=(1, 2))


def _self_similarity(clip: Clip, image: Tensor) -> Tensor:
    """(B,N,N) cosines between the N patches of each image."""
    output = clip.model.vision_model(pixel_values=clip.pixels(image.clamp(-1, 1)))
    return self_similarity(output.last_hidden_state[:, 1:])


def _texts(text: str | Sequence[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of what is set in a mask (1,H,W)."""
    rows, columns = (mask[0] >= 0.5).nonzero(as_tuple=True)
    if not len(rows):
        raise ValueError("The mask is empty: the score is of what lies in its box.")
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1
