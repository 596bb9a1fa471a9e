"""A text-to-image latent diffusion model (arXiv 2112.10752): encode, decode, encode_text, eps, guided_eps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from textedit_core.models import clip
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_model import LatentModel
from textedit_core.models.diffusion.memory import Offload

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


@dataclass(frozen=True, eq=False)
class LatentDiffusion(LatentModel):
    """Stable Diffusion's parts, frozen. Latents z are float32 (B,4,h,w); images are (B,3,H,W) in [-1,1].

    fingerprint: a sha256 of the weights' files, for the cache; None if no file holds them (`with_weights`).
    text_encoder_2, tokenizer_2: the second ones of SDXL (arXiv 2307.01952), None for all others.
    zeros_for_empty: whether an empty prompt is zeros, tokens and pooled, as SDXL was trained with.
    """

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    schedule: Schedule
    fingerprint: str | None
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: CLIPTokenizer | None = None
    zeros_for_empty: bool = False
    memory: str = "fast"
    offload: Offload | None = None

    @property
    def has_buckets(self) -> bool:
        """Whether it was trained on the sizes of `images.BUCKETS`, as SDXL was, and not on squares alone."""
        return self.text_encoder_2 is not None and self.size == 1024

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """B prompts -> B rows of tokens, the text encoder's last hidden states after its final layer norm.

        With two text encoders: of each the states before the last layer, without that norm, side by side, and
        as pooled part the projection of the second.
        Raises ValueError, with the count and the limit, for a prompt that is too long; nothing is cut.
        """
        tokens = clip.tokenize(self.tokenizer, prompts).to(self.device)
        self.bring(self.text_encoder)
        if self.text_encoder_2 is None or self.tokenizer_2 is None:
            return Condition(self.text_encoder(tokens).last_hidden_state)
        first = self.text_encoder(tokens, output_hidden_states=True).hidden_states[-2]
        tokens = clip.tokenize(self.tokenizer_2, prompts).to(self.device)
        self.bring(self.text_encoder_2)
        second = self.text_encoder_2(tokens, output_hidden_states=True)
        text, pooled = torch.cat([first, second.hidden_states[-2]], dim=-1), second.text_embeds
        if self.zeros_for_empty:
            said = torch.tensor([bool(prompt.strip()) for prompt in prompts], device=self.device)
            text, pooled = text * said[:, None, None], pooled * said[:, None]
        return Condition(text, pooled)

    def eps(self, z: Tensor, t: int | Tensor, text: Condition) -> Tensor:
        """The noise that the UNet predicts in z (B,4,h,w) at timestep t: (B,4,h,w).

        text: B rows, or one for all.  t: an int, or (B,), one timestep per row.
        """
        return self.predicted(z, t, z, text)

    def guided_eps(
        self,
        z: Tensor,
        t: int,
        text: Condition,
        null: Condition,
        guidance_scale: float | Sequence[float] | Tensor,
    ) -> Tensor:
        """Classifier-free guidance (arXiv 2207.12598): eps(null) + s (eps(text) - eps(null)), (B,4,h,w).

        null: the unconditional embedding, B rows or one for all.  guidance_scale: s, one number or one per
        row; 1 is no guidance, and where all are 1 the null rows are not evaluated.
        """
        scale = torch.as_tensor(guidance_scale, dtype=z.dtype).reshape(-1, 1, 1, 1)
        if bool((scale == 1).all()):
            return self._eps_of_rows(z, t, text.expand(len(z)))
        both = null.expand(len(z)).cat(text.expand(len(z)))
        eps_null, eps_text = self._eps_of_rows(z.repeat(2, 1, 1, 1), t, both).chunk(2)
        return eps_null + scale.to(z.device) * (eps_text - eps_null)

    def _eps_of_rows(self, z: Tensor, t: int, text: Condition) -> Tensor:
        """`eps` of rows that have nothing to do with one another: in low memory one after the other."""
        if self.memory != "low":
            return self.eps(z, t, text)
        rows = zip(z.split(1), text.split(), strict=True)
        return torch.cat([self.eps(row, t, of_row) for row, of_row in rows])


@dataclass
class RowCount:
    """What a UNet was asked for: `rows` images in `calls` forward passes, some of them `with_gradient`."""

    rows: int = 0
    calls: int = 0
    with_gradient: int = 0


@contextmanager
def count_rows(model: LatentDiffusion) -> Iterator[RowCount]:
    """Count the UNet evaluations inside the block, those of copies made in it included."""
    count = RowCount()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows = len(args[0] if args else kwargs["sample"])
        count.rows += rows
        count.calls += 1
        count.with_gradient += rows * torch.is_grad_enabled()

    handle = model.unet.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield count
    finally:
        handle.remove()
