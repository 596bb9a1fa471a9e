"""Copies of a model whose UNet can be trained: all weights, those of attention, or low-rank changes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from textedit_core.building import ONE_AT_A_TIME
from textedit_core.models.diffusion.latent_model import LatentModel

Model = TypeVar("Model", bound=LatentModel)

KINDS = ("full", "attention", "lora")
LORA_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
DOWN, UP = ".lora_A", ".lora_B"  # after the name of a layer: its low-rank change is UP @ DOWN
CHANGE = ".change"  # after the name of a weight: what is to be added to it


@dataclass(frozen=True, eq=False)
class Trainable(Generic[Model]):
    """A model with a UNet of its own, in the precision it had but for what is trained.

    parameters: the tensors to train, float32.  weights: a function that returns what is trained, for
    `merged`: weights by their names in the original UNet, or for "lora" the two factors of each layer's
    change, by its name and DOWN or UP. They follow further training.
    """

    model: Model
    parameters: list[Tensor]
    weights: Callable[[], dict[str, Tensor]]


def check_kind(tune: str) -> None:
    """Raise ValueError for an unknown kind, and for "lora" where peft is not installed."""
    if tune not in KINDS:
        raise ValueError(f"Tuned weights: {tune!r} is none of {', '.join(KINDS)}.")
    if tune == "lora" and importlib.util.find_spec("peft") is None:
        raise ValueError("Tuning by lora needs the package peft: install it, or choose full or attention.")


@torch.no_grad()
def trainable(
    model: Model,
    tune: str,
    lora_rank: int = 8,
    gradient_checkpointing: bool = False,
    draw: torch.Generator | None = None,
) -> Trainable[Model]:
    """Copy a model so that its UNet can be trained and the original stays as it is.

    tune: "none" (a frozen copy, for what is trained around it) or one of KINDS. Weights that are not trained
    are shared, in the model's precision; those that are become float32, for in half of that a small step is
    lost to rounding. A model with both is to be run under `precision.autocast`. `draw` gives the start of
    the low-rank changes.
    Raises ValueError as `check_kind`.
    """
    if tune == "none" or tune == "lora":
        names = []
    else:
        check_kind(tune)
        names = [name for name, _ in model.unet.named_parameters() if tune == "full" or _in_attention(name)]
    copies = {name: model.unet.get_parameter(name).to(torch.float32, copy=True) for name in names}
    private = model.with_weights(copies, torch.float32)
    if gradient_checkpointing or model.recomputes:
        private.unet.enable_gradient_checkpointing()
    if tune == "lora":
        check_kind(tune)
        return Trainable(private, *_add_lora(private.unet, lora_rank, draw))
    tuned = {name: private.unet.get_parameter(name).requires_grad_() for name in names}
    views = {name: parameter.detach() for name, parameter in tuned.items()}
    return Trainable(private, list(tuned.values()), lambda: views)


@torch.no_grad()
def kept(model: LatentModel, tuned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a finished fit keeps of `Trainable.weights`, in tensors of its own that `merged` takes too.

    Of a weight that is its change from that of `model`, by its name and CHANGE, in float16: half of the
    bytes, for a change is small and its last bits are lost beside the weight. Low-rank factors stay.
    """
    found = {}
    for name, value in tuned.items():
        if name.endswith((DOWN, UP)):
            found[name] = value.clone()
        else:
            own = model.unet.get_parameter(name).detach()
            found[name + CHANGE] = (value - own.to(value.device, value.dtype)).half()
    return found


def merged(model: LatentModel, tuned: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a tuned UNet by their names in that of `model`, of `kept` or `Trainable.weights`.

    What was kept is added to the weights that it changes, in float32, and the sum has their precision: a
    change as it is, low-rank ones as W + B A (arXiv 2106.09685, eq. 3). It is done when an edit begins:
    kept so, a fit is as small as its changes.
    """
    found: dict[str, Tensor] = {}
    for name, value in tuned.items():
        if name.endswith(CHANGE):
            weight, change = name.removesuffix(CHANGE), value.float()
        elif name.endswith(DOWN):
            weight = f"{name.removesuffix(DOWN)}.weight"
            change = tuned[name.removesuffix(DOWN) + UP] @ value
        else:
            found |= {} if name.endswith(UP) else {name: value}
            continue
        own = model.unet.get_parameter(weight).detach()
        found[weight] = (own.float() + change.to(own.device)).to(own.dtype)
    return found


def merged_count(model: LatentModel) -> int:
    """How many weights change under "lora": those that its low-rank changes are merged into."""
    layers = tuple(f".{name}.weight" for name in LORA_LAYERS)
    return sum(one.numel() for name, one in model.unet.named_parameters() if name.endswith(layers))


def _in_attention(name: str) -> bool:
    return ".attn1." in name or ".attn2." in name


def _add_lora(
    unet: nn.Module, rank: int, draw: torch.Generator | None
) -> tuple[list[Tensor], Callable[[], dict[str, Tensor]]]:
    """W + B A for every attention projection (arXiv 2106.09685): A normal of spread 1 / rank, B zero."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    with ONE_AT_A_TIME, torch.random.fork_rng():
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_LAYERS), unet)
    factors: dict[str, Tensor] = {}
    for path, layer in unet.named_modules():
        if isinstance(layer, LoraLayer):
            layer.lora_A.float(), layer.lora_B.float()
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            a.copy_(torch.randn(a.shape, generator=draw) / rank)
            factors |= {path + DOWN: a, path + UP: b}
    views = {name: factor.detach() for name, factor in factors.items()}
    return list(factors.values()), lambda: views
