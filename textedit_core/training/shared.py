"""What the groups of parts of a toon training need of the training as a whole; `toon.Studio` has it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TypedDict

from diffusers import AutoencoderKL
from transformers import CLIPModel, CLIPTokenizer

from textedit_core.models.zoo import Models
from textedit_core.toon.portraits import Portraits
from textedit_core.training import vae
from textedit_core.training.diffusion import TextToLatent
from textedit_core.training.loop import Budget, Network, trained


class Common(TypedDict):
    """The arguments that the `fit` of every part takes."""

    folder: Path
    budget: Budget
    seed: int
    device: str


class Training(ABC):
    """A training in the folder `out`, of portraits with `size` pixels a side, on a device."""

    out: Path
    size: int
    device: str

    @property
    @abstractmethod
    def portraits(self) -> Portraits:
        """The training portraits."""

    @property
    @abstractmethod
    def tokenizer(self) -> CLIPTokenizer:
        """The tokenizer of all text towers."""

    @abstractmethod
    def vae(self) -> AutoencoderKL:
        """The autoencoder as it is trained so far."""

    @abstractmethod
    def clip(self) -> CLIPModel:
        """CLIP as it is trained so far."""

    @abstractmethod
    def text_to_latent(self) -> TextToLatent:
        """The UNet and its text encoder as they are trained so far."""

    def begun_history(self) -> dict[str, dict[str, int]]:
        """{"steps", "seconds"} of every part of the bundle that this training began from; {} of none."""
        return {}

    def adopt_known_vae(self, models: Models, part: str) -> None:
        """Keep the autoencoder that a part of a bundle knows, where this folder has none of that part yet."""
        if part in models.sources and not (self.out / part / vae.HELD).exists():
            vae.hold(getattr(models, part).vae, self.out / part)

    def known_vae(self, part: str) -> AutoencoderKL:
        """The autoencoder whose latents a part knows: that of the bundle begun from, until it is trained on.

        This training's own where both have the same latents.
        """
        own, held = self.vae(), None
        for place in (part, "vae"):  # it may know an older one than the text-to-image model of that bundle
            held = held or vae.held_autoencoder(self.out / place, self.size)
        begun, now = self.begun_history().get(part), trained(self.out / part)
        learned = not begun or not now or begun["steps"] != now["steps"]
        return own if held is None or learned or vae.same_latents(held, own) else held

    @property
    @abstractmethod
    def _frozen_vae(self) -> AutoencoderKL:
        """The autoencoder on the device, for previews."""

    @abstractmethod
    def _load(self, part: str, module: Network) -> Network:
        """The weights of a part, read into `module`. ValueError where it is not trained yet."""
