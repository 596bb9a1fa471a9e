"""What models of every kind have: where their parts are, the device they run on, and the CLIP that scores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

import torch

from textedit_core.building import ONE_AT_A_TIME
from textedit_core.models.clip import Clip
from textedit_core.models.source import Source

T = TypeVar("T")


class own_part(cached_property[T]):
    """A part of the models, loaded when it is first asked for, while no other network is made."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        with ONE_AT_A_TIME:
            return super().__get__(instance, owner)


class model_part(own_part[T]):
    """One that models share with those that something is added to.

    Models to whose text-to-image part something is added have the other parts of those without it (`base`),
    so that none is in memory twice.
    """

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        base = getattr(instance, "base", None)
        return super().__get__(instance, owner) if base is None else getattr(base, str(self.attrname))


class Parts:
    """The members of `zoo.Models` that do not depend on the kind of model.

    name: as the models were asked for.  sources: where each part is, by its name.  device: of all networks.
    dtype: of the diffusion models. CLIP and StyleGAN's networks are in float32 whatever it is: their codes
    and losses are optimised, StyleGAN's convolutions overflow in float16, and a relevance belongs to the
    weights it was measured with. Together they are small beside a UNet.
    """

    name: str
    sources: Mapping[str, Source]
    device: torch.device
    dtype: torch.dtype

    def source(self, part: str) -> Source:
        """Where a part is. ValueError for one that these models do not have."""
        if part not in self.sources:
            has = ", ".join(self.sources)
            raise ValueError(f"The model {self.name!r} has no {part} part, only {has}: choose another model.")
        return self.sources[part]

    @model_part
    def clip(self) -> Clip:
        """The CLIP model that scores. Raises ValueError where it is missing, incomplete or not reachable."""
        from transformers import CLIPModel

        source = self.source("clip")
        model = source.network(CLIPModel, "", torch.float32).to(self.device)
        images = source.json("preprocessor_config.json")
        return Clip(
            model=model,
            tokenizer=source.tokenizer(),
            size=model.config.vision_config.image_size,
            mean=torch.tensor(images["image_mean"]),
            std=torch.tensor(images["image_std"]),
            fingerprint=f"{source.fingerprint()}-{torch.float32}",
        )
