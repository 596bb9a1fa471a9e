"""Metrics from pixels: MSE, PSNR and SSIM of images, of a region, and of PIE-Bench's background."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mse(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean squared error of (B,3,H,W) images in [-1,1] -> (B,), over the pixels of [0,1] images.

    Values outside [-1,1] are clamped first, as they are when an image is saved; nothing is rounded to 8 bits.
    One of the two may have one row, compared with every row of the other.
    where: (B or 1,1,H,W) in [0,1], the weight of each pixel: a mask for the changed region, 1 - mask for the
    rest. The mean is over what it weighs, so that a small region counts in full; NaN where it is empty.
    """
    a, b = _unit_range(a, b)
    return _mean((a - b).square(), where)


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10 log10(1 / mse) -> (B,); infinite for equal images.

    Images and `where` as for `mse`; the mean runs over all channels before the logarithm, one figure per
    image.
    """
    return -10 * torch.log10(mse(a, b, where))


def ssim(a: Tensor, b: Tensor, where: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004) of images as for `mse` -> (B,), 1 for equal images.

    11x11 Gaussian window of sigma 1.5 without padding, K1 = .01, K2 = .03, data range 1, population
    variance; the mean over RGB channels and positions. `where` weighs a position by its window's centre, so
    that the five pixels along the frame's edge never count; NaN where nothing is left.
    Raises ValueError for sides under 11.
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
    centres = None if where is None else _checked(where, a)[..., 5:-5, 5:-5]
    return _mean(luminance * structure, centres)


def blackened(image: Tensor, mask: Tensor) -> Tensor:
    """Images (B,3,H,W) in [-1,1] with black where the mask (B or 1,1,H,W), 1 = change here, is 1."""
    return (image.clamp(-1, 1) + 1) * (1 - _checked(mask, image)) - 1


def background_mse(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """MSE of the background as PIE-Bench (arXiv 2310.01506) measures it -> (B,).

    Both images are black where the mask is 1 and the mean is over the whole frame, black part included: the
    larger the mask, the smaller the figure. `mse(a, b, 1 - mask)` is the mean over the background alone.
    NaN where the mask covers everything: such an item is left out of PIE-Bench's means.
    """
    return _defined(mse(blackened(a, mask), blackened(b, mask)), mask)


def background_psnr(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """PSNR in dB under the protocol of `background_mse` -> (B,)."""
    return -10 * torch.log10(background_mse(a, b, mask))


def background_ssim(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """SSIM under the protocol of `background_mse` -> (B,): the black part counts as equal."""
    return _defined(ssim(blackened(a, mask), blackened(b, mask)), mask)


def _mean(values: Tensor, where: Tensor | None) -> Tensor:
    """The mean of (B,C,H,W) values over channels and positions, weighted by (B or 1,1,H,W)."""
    if where is None:
        return values.mean(dim=(1, 2, 3))
    weights = _checked(where, values).expand(len(values), -1, -1, -1)
    return (values * weights).mean(dim=1).sum(dim=(1, 2)) / weights.sum(dim=(1, 2, 3))


def _defined(values: Tensor, mask: Tensor) -> Tensor:
    """The values, NaN for the masks that leave no background."""
    covered = (mask >= 1).flatten(1).all(dim=1).to(values.device)
    return values.masked_fill(covered, torch.nan)


def _checked(mask: Tensor, image: Tensor) -> Tensor:
    """The mask on the image's device and in its type; ValueError where it is not a mask of that image."""
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[2:] != image.shape[2:]:
        raise ValueError(f"A mask of images {tuple(image.shape)} must be (B,1,H,W), not {tuple(mask.shape)}.")
    if len(mask) not in (1, len(image)) and len(image) != 1:
        raise ValueError(f"There are {len(mask)} masks for {len(image)} images: give one, or one each.")
    return mask.detach().to(image)


def _unit_range(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both images in [0,1] with as many rows; ValueError where that cannot be."""
    if a.ndim != 4 or a.shape[1:] != b.shape[1:] or (len(a) != len(b) and 1 not in (len(a), len(b))):
        raise ValueError(f"Images to compare must have one shape, not {tuple(a.shape)} and {tuple(b.shape)}.")
    a, b = torch.broadcast_tensors(a.detach().float(), b.detach().float().to(a.device))
    return (a.clamp(-1, 1) + 1) / 2, (b.clamp(-1, 1) + 1) / 2
