"""Paint by Example's model (arXiv 2211.13227): a UNet fills a hole, conditioned on an example picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.diffusion.attention import attention_control
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_model import LatentModel
from textedit_core.models.diffusion.memory import Offload
from textedit_core.models.diffusion.single_token import skip_queries_and_keys
from textedit_core.models.diffusion.structure import LayoutSource, shared_self_attention

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from textedit_core.models.diffusion.exemplar import ExemplarEncoder

# Noisy latent 4, masked image 4, what is kept 1: in this order, other than Stable Diffusion's inpainting.
CHANNELS = 9


@dataclass(frozen=True, eq=False)
class PaintByExample(LatentModel):
    """The parts, frozen. Latents z are float32 (B,4,h,w); images are (B,3,H,W) in [-1,1]; masks 1 = change.

    exemplar_mean, exemplar_std: (3,) of an example picture in [0,1].  fingerprint: says which weights these
    are, for the cache. The UNet given keeps its attention: `unet` is a copy of it that shares its weights and
    skips the queries and keys of cross-attention. Raises ValueError for a UNet with other channels.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    encoder: ExemplarEncoder
    exemplar_mean: Tensor
    exemplar_std: Tensor
    schedule: Schedule
    fingerprint: str | None
    memory: str = "fast"
    offload: Offload | None = None

    def __post_init__(self) -> None:
        if (found := self.unet.config.in_channels) != CHANNELS:
            raise ValueError(f"Paint by Example needs a UNet of {CHANNELS} input channels, not {found}.")
        object.__setattr__(self, "unet", skip_queries_and_keys(self.unet))

    @property
    def exemplar_size(self) -> int:
        """The side in pixels at which the example picture is seen: 224 for ViT-L/14."""
        return self.encoder.config.image_size

    def surroundings(self, image: Tensor, mask: Tensor) -> Tensor:
        """The channels after the noisy latent, (B,5,h,w): the masked picture's latent, then 1 where kept.

        image (B,3,H,W), mask (B,1,H,W). The hole is mid-grey; its latent is the posterior mean, drawn from no
        seed. Raises ValueError unless the sides are multiples of `latent_scale`.
        """
        keep = (1 - mask >= 0.5).to(image)
        masked = self.encode(image * keep)
        return torch.cat([masked, F.interpolate(keep.to(masked), masked.shape[-2:])], dim=1)

    def encode_exemplar(self, exemplar: Tensor) -> Condition:
        """Square example pictures (B,3,s,s) in [-1,1] of any side -> B rows of one token.

        Raises ValueError for one that is not square: CLIP's preprocessing would cut it, training squashed it.
        """
        if exemplar.ndim != 4 or exemplar.shape[1] != 3 or exemplar.shape[2] != exemplar.shape[3]:
            raise ValueError(
                f"Exemplar: a square picture (B,3,S,S) is needed, not {tuple(exemplar.shape)}; crop it."
            )
        side = self.exemplar_size
        if exemplar.shape[-1] != side:
            exemplar = F.interpolate(
                exemplar, (side, side), mode="bicubic", antialias=True, align_corners=False
            )
        self.bring(self.encoder)
        weight = self.encoder.proj_out.weight
        mean, std = (v.view(1, 3, 1, 1).to(weight.device) for v in (self.exemplar_mean, self.exemplar_std))
        pixels = ((exemplar.to(weight.device) + 1) / 2 - mean) / std
        return Condition(self.encoder(pixels.to(weight.dtype)))

    def null(self, like: Condition, rows: int) -> Condition:
        """The learned vector of no exemplar, in `rows` rows, as many tokens and of the type as `like`."""
        vector = self.encoder.uncond_vector.to(like.tokens)
        return Condition(vector.expand(rows, like.tokens.shape[1], -1))

    def eps(self, z: Tensor, t: int | Tensor, surroundings: Tensor, condition: Condition) -> Tensor:
        """The noise that the UNet predicts in z (B,4,h,w) at timestep t: (B,4,h,w).

        surroundings: (B or 1,5,h,w).  condition: B rows, or one for all.  t: an int, or (B,), one per row.
        """
        seen = torch.cat([z, surroundings.to(z).expand(len(z), -1, -1, -1)], dim=1)
        return self.predicted(z, t, seen, condition)

    def guided_eps(
        self,
        z: Tensor,
        t: int,
        surroundings: Tensor,
        condition: Condition,
        guidance_scale: float | Sequence[float],
        layout: LayoutSource | None = None,
    ) -> Tensor:
        """eps_v + lambda (eps_c - eps_v), v the learned vector of no example (arXiv 2207.12598): (B,4,h,w).

        `guidance_scale` is one lambda or one per row. A row of lambda 0 costs one UNet row, the
        unconditional one, a row of lambda 1 the conditional one, any other row both; all are one call, with
        the rows of `layout`, which have no example.
        """
        scale = torch.as_tensor(guidance_scale, dtype=z.dtype).expand(len(z))
        unconditional, conditional = (scale != 1).nonzero().flatten(), (scale != 0).nonzero().flatten()
        unconditional, conditional = unconditional.to(z.device), conditional.to(z.device)
        scale = scale.view(-1, 1, 1, 1).to(z.device)
        rows = torch.cat([unconditional, conditional])
        asked = self.null(condition, len(unconditional)).cat(condition.expand(len(z)).rows(conditional))
        around = surroundings.expand(len(z), -1, -1, -1)[rows]
        if layout is None and self.memory == "low":  # one row after the other
            each = zip(z[rows].split(1), around.split(1), asked.split(), strict=True)
            found = torch.cat([self.eps(row, t, beside, of_row) for row, beside, of_row in each])
        elif layout is None:
            found = self.eps(z[rows], t, around, asked)
        else:
            more = len(layout.z)
            around = torch.cat([around, layout.surroundings.expand(more, -1, -1, -1)])
            asked = asked.cat(self.null(condition, more))
            control = shared_self_attention(layout, rows, z.device)
            with attention_control(self.unet, control, (z.shape[2], z.shape[3])):
                found = self.eps(torch.cat([z[rows], layout.z]), t, around, asked)
        eps_null = torch.zeros_like(z).index_copy(0, unconditional, found[: len(unconditional)])
        eps_exemplar = torch.zeros_like(z).index_copy(0, conditional, found[len(unconditional) : len(rows)])
        return eps_null + scale * (eps_exemplar - eps_null)
