"""What a model of noise in an autoencoder's latents has, whatever its UNet is conditioned on."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn

from textedit_core.models.diffusion import autoencoder
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Schedule, velocity_to_eps
from textedit_core.models.diffusion.memory import Offload

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel


class LatentModel:
    """A UNet between latents z, float32 (B,4,h,w), and an autoencoder to pictures (B,3,H,W) in [-1,1].

    memory: how much it may take, one of `memory.LEVELS`.  offload: brings each network to the device when it
    is at work; None where all are there.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    schedule: Schedule
    memory: str = "fast"
    offload: Offload | None = None

    @property
    def size(self) -> int:
        """The side in pixels of the images it was trained on."""
        return self.unet.config.sample_size * self.latent_scale

    @property
    def latent_scale(self) -> int:
        """Pixels per latent along a side: 8 for Stable Diffusion."""
        return autoencoder.latent_scale(self.vae)

    @property
    def device(self) -> torch.device:
        return self.offload.device if self.offload else self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.conv_in.weight.dtype  # unet.dtype walks all parameters: 2 ms a call

    @property
    def recomputes(self) -> bool:
        """Whether activations are computed again where something is optimised, and not kept."""
        return self.memory != "fast"

    def bring(self, network: nn.Module) -> nn.Module:
        """The network, on the device."""
        if self.offload:
            self.offload.bring(network)
        return network

    def encode(self, image: Tensor) -> Tensor:
        """The posterior mean of (B,3,H,W) images in [-1,1], times the scaling factor: (B,4,h,w).

        Raises ValueError unless the sides are multiples of `latent_scale`.
        """
        self.bring(self.vae)
        return autoencoder.encode(self.vae, image)

    def decode(self, z: Tensor) -> Tensor:
        """(B,4,h,w) latents -> (B,3,H,W) images, about [-1,1] but not clamped."""
        self.bring(self.vae)
        rows = autoencoder.DECODE_ROWS if self.memory == "fast" else 1
        return autoencoder.decode(self.vae, z, rows, tiled=self.memory == "low")

    def predicted(
        self, z: Tensor, t: int | Tensor, seen: Tensor, condition: Condition, **more: Tensor
    ) -> Tensor:
        """The noise in z (B,4,h,w) at timestep t, whether the UNet predicts noise or velocity: (B,4,h,w).

        seen: (B,C,h,w), the input channels of the UNet, z among them.  condition: B rows, or one for all.
        t: an int, or (B,), one per row.  more: what else the UNet is called with, by name.
        """
        given = condition.to(dtype=self.dtype).expand(len(z))
        added = self._added(given, z)
        self.bring(self.unet)
        added |= more
        output = self.unet(seen.to(self.dtype), t, encoder_hidden_states=given.tokens, **added).sample
        output = output.to(z.dtype)
        if self.schedule.prediction_type == "v_prediction":
            return velocity_to_eps(self.schedule, output, z, t)
        return output

    def with_weights(self, weights: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Self:
        """The same model with these UNet weights in place of its own; the others are shared, not copied.

        The copy has its own module tree, parameters and hooks, so that nothing done to it reaches this model;
        only values that are shared must not be written in place. dtype: of the given weights, this model's
        unless given; the others keep theirs. Raises ValueError for a name or shape the UNet does not have.
        """
        self.bring(self.unet)
        own, device, dtype = dict(self.unet.named_parameters()), self.device, dtype or self.dtype
        for name, value in weights.items():
            if name not in own or own[name].shape != value.shape:
                raise ValueError(f"The weight {name} {tuple(value.shape)} does not belong to this UNet.")
        replaced = {id(buffer): buffer for buffer in self.unet.buffers()}
        for name, parameter in own.items():
            given = weights.get(name)
            value = parameter.detach() if given is None else given.detach().to(device, dtype)
            replaced[id(parameter)] = nn.Parameter(value, requires_grad=False)
        # The classes that have these fields are those below this one.
        found: Self = dataclasses.replace(
            cast(Any, self), unet=copy.deepcopy(self.unet, replaced), fingerprint=None
        )
        return found

    def _added(self, condition: Condition, z: Tensor) -> dict[str, Any]:
        """What SDXL's UNet is given beside the tokens of B rows; nothing for all others.

        The pooled text (B,P), and (B,6) in pixels: the size of the picture, where its crop began, and the
        size worked at. Here both sizes are that of z, and the crop began at 0, 0.
        """
        if self.unet.config.addition_embed_type != "text_time":
            return {}
        if condition.pooled is None:
            raise ValueError("This model needs a pooled text beside the tokens: encode the text with it.")
        height, width = (side * self.latent_scale for side in z.shape[-2:])
        sizes = torch.tensor([height, width, 0, 0, height, width], device=z.device, dtype=self.dtype)
        given = {"text_embeds": condition.pooled, "time_ids": sizes.expand(len(z), -1)}
        return {"added_cond_kwargs": given}
