"""The names of the weights of CLIP's towers, which differ between versions of transformers.

Published checkpoints, and transformers 5.0, keep the weights of a text or vision tower in a module inside of
the model: "text_model.embeddings.token_embedding.weight", a long name here. Later versions of transformers
have no such module, and write "embeddings.token_embedding.weight", a short name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transformers.models.clip import modeling_clip

# Whether the transformers installed has the inner modules, and so the long names.
NESTED = hasattr(modeling_clip, "CLIPTextTransformer")
# Class -> what stands before the names of its tower, and the name of the inner module.
PLACES = {
    "CLIPTextModel": ("", "text_model."),
    "CLIPVisionModel": ("", "vision_model."),
    "ExemplarEncoder": ("model.", "vision_model."),
    "StableDiffusionSafetyChecker": ("vision_model.", "vision_model."),
}
MODULES = ("embeddings.", "encoder.", "final_layer_norm.", "pre_layrnorm.", "post_layernorm.")


def key_mapping(cls: type) -> dict[str, str]:
    """Regular expression -> replacement, for `from_pretrained` of a class to read either naming.

    Empty where transformers reads both by itself.
    """
    if not NESTED or cls.__name__ not in PLACES:
        return {}
    place, inner = PLACES[cls.__name__]
    return {f"^{re.escape(place + module)}": f"{place}{inner}{module}" for module in MODULES}


def long_names(cls: type, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of a model of this class under the names that published checkpoints have."""
    if cls.__name__ not in PLACES:
        return dict(state)
    place, inner = PLACES[cls.__name__]
    starts = tuple(place + module for module in MODULES)
    return {
        place + inner + name.removeprefix(place) if name.startswith(starts) else name: value
        for name, value in state.items()
    }


def installed_names(cls: type, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of this class under the names that it has with the transformers installed."""
    if NESTED or cls.__name__ not in PLACES:
        return long_names(cls, state)
    place, inner = PLACES[cls.__name__]
    return {
        place + name.removeprefix(place + inner) if name.startswith(place + inner) else name: value
        for name, value in state.items()
    }


def layers(tower: nn.Module) -> Any:
    """The module that has a tower's layers: the inner one, or the CLIPTextModel or CLIPVisionModel itself."""
    return getattr(tower, "text_model", None) or getattr(tower, "vision_model", None) or tower


def copy_weights(tower: nn.Module, into: nn.Module) -> None:
    """Give one tower the weights of another of the same size, whichever of the two is an inner module."""
    layers(into).load_state_dict(layers(tower).state_dict())
