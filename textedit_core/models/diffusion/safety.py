"""The safety checker that Stable Diffusion is published with: which pictures a host may want to refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.source import Source

SAFETY = Source("CompVis/stable-diffusion-safety-checker", weights=("model",), bin=True, size_gb=1.2)


@dataclass(frozen=True, eq=False)
class SafetyChecker:
    """diffusers' StableDiffusionSafetyChecker, and CLIP's way from a picture to its input.

    It has no CLIPImageProcessor: that needs torchvision, and `Clip.pixels` does the same.
    """

    network: Any  # diffusers' StableDiffusionSafetyChecker
    sight: Clip

    @torch.no_grad()
    def refuses(self, image: Tensor) -> bool:
        """Whether one of the images (B,3,H,W) in [-1,1] is nearer to a concept of the checker than allowed.

        It sees the square in the middle, at the size of CLIP's input.
        """
        pixels = self.sight.pixels(image.float())
        blackened = torch.zeros(len(image), 1)  # what it would turn black are the pictures; it gets none
        return any(self.network(pixels, blackened)[1])


def load_checker(device: torch.device | str = "cpu", source: Source = SAFETY) -> SafetyChecker:
    """The checker from the hub or a folder. ValueError, a sentence, where it is missing or incomplete."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    network = source.network(StableDiffusionSafetyChecker).to(device)
    images = source.json("preprocessor_config.json")
    mean, std = (torch.tensor(images[name]) for name in ("image_mean", "image_std"))
    size = network.config.vision_config.image_size
    return SafetyChecker(network, Clip(network, None, size, mean, std, source.fingerprint()))
