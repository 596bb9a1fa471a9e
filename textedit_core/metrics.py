"""How much of the source is left and how well a text is met; each docstring fixes the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from textedit_core.models.clip import Clip


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of (B,3,H,W) images in [-1,1] -> (B,), over the pixels of [0,1] images.

    Values outside [-1,1] are clamped first, as they are when an image is saved; nothing is rounded to 8 bits.
    One of the two may have one row, compared with every row of the other.
    """
    a, b = _unit_range(a, b)
    return (a - b).square().mean(dim=(1, 2, 3))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / mse) -> (B,); infinite for equal images.

    Images as for `mse`; the mean runs over all channels before the logarithm, one figure per image.
    """
    return -10 * torch.log10(mse(a, b))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) of images as for `mse` -> (B,), 1 for equal images.

    11x11 Gaussian window of sigma 1.5 without padding, K1 = .01, K2 = .03, data range 1, population
    variance; the mean over RGB channels and positions. Raises ValueError for sides under 11.
    """
    a, b = _unit_range(a, b)
    if min(a.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels, not {tuple(a.shape[-2:])}.")
    x = torch.arange(11, dtype=a.dtype, device=a.device) - 5
    window = torch.exp(-(x**2) / (2 * 1.5**2))
    window = window / window.sum()

    def blur(image: Tensor) -> Tensor:
        image = image.flatten(0, 1).unsqueeze(1)
        image = F.conv2d(F.conv2d(image, window.view(1, 1, 11, 1)), window.view(1, 1, 1, 11))
        return image.reshape(*a.shape[:2], *image.shape[-2:])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (var_a + var_b + 0.03**2)
    return (luminance * structure).mean(dim=(1, 2, 3))


@torch.no_grad()
def clip_score(clip: Clip, image: Tensor, text: str | Sequence[str]) -> Tensor:
    """CLIP score, 100 max(cos, 0) of image and text features -> (B,), larger is closer to the text.

    image (B,3,H,W) in [-1,1], clamped; one text for all rows or one per row. This is the scale of CLIP-T in
    the editing literature; CLIPScore (arXiv 2104.08718) is 2.5 / 100 of it. Two CLIPs' scores do not compare.
    """
    texts = [text] if isinstance(text, str) else list(text)
    cosine = (clip.image_features(image.clamp(-1, 1)) * clip.text_features(texts)).sum(dim=-1)
    return 100 * cosine.clamp(min=0)


@torch.no_grad()
def clip_similarity(clip: Clip, a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the CLIP features of two images (CLIP-I) -> (B,) in [-1,1]; 1 for equal images.

    Images as for `mse`.
    """
    return (clip.image_features(a.clamp(-1, 1)) * clip.image_features(b.clamp(-1, 1))).sum(dim=-1)


def _unit_range(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both images in [0,1] with as many rows; ValueError where that cannot be."""
    if a.ndim != 4 or a.shape[1:] != b.shape[1:] or (len(a) != len(b) and 1 not in (len(a), len(b))):
        raise ValueError(f"Images to compare must have one shape, not {tuple(a.shape)} and {tuple(b.shape)}.")
    a, b = torch.broadcast_tensors(a.detach().float(), b.detach().float().to(a.device))
    return (a.clamp(-1, 1) + 1) / 2, (b.clamp(-1, 1) + 1) / 2
