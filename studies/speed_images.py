"""What the shortcuts of Paint by Example and of the generator save, for `studies.speed`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from studies.clock import Clock, Stage
from textedit_core.methods import styleclip_directions
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.noise import noise
from textedit_core.steps import last

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from textedit_core.models.style.layers import ModulatedConv


def painting(clock: Clock) -> Iterator[Stage]:
    """A row of Paint by Example's UNet, on a hole of a quarter of the picture; the clock has the model."""
    model, side = clock.model, clock.model.size
    image, exemplar = (noise((1, 3, side, side), seed, device=model.device).clamp(-1, 1) for seed in (0, 1))
    mask = torch.zeros(1, 1, side, side, device=model.device)
    mask[..., side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    with torch.no_grad():
        around, condition = model.surroundings(image, mask), model.encode_exemplar(exemplar)
    z = noise((1, model.vae.config.latent_channels, *around.shape[2:]), 2, device=model.device)

    def plain() -> Tensor:
        with usual_attention(model.unet):
            return model.eps(z, 500, around, condition)

    yield clock.stage(
        "Paint by Example, one row: attention to one token is its value",
        lambda: model.eps(z, 500, around, condition),
        "with queries and keys",
        plain,
    )


def generating(models: zoo.Models, clock: Clock, strip: Sequence[float], texts: tuple[str, str]) -> Iterator:
    """The generator's last convolution for as many rows as the strip has alphas, and the strip of an edit."""
    generator, rows = models.generator, len(strip)
    codes = latents.from_seed(generator, seed=list(range(rows))).to_s_codes(generator)
    place, layer = [(k, one) for k, one in enumerate(generator.layers) if not one.is_rgb][-1]
    conv, s = generator.network.get_submodule(layer.name).conv, codes[place]
    x = noise((rows, conv.weight.shape[2], layer.size, layer.size), 0, device=s.device, dtype=s.dtype)
    yield clock.stage(
        f"modulated convolution at {layer.size} pixels, {rows} rows: one weight for all",
        lambda: conv(x, s),
        "a weight a row",
        lambda: with_own_weights(conv, x, s),
    )
    if {"clip", "relevance"} <= set(models.sources):
        parts = generator, models.clip, models.relevance, latents.from_seed(generator), *texts
        yield clock.stage(
            f"alpha strip of {rows}, one batch",
            lambda: last(styleclip_directions.edit(*parts, alpha=list(strip))),
            f"{rows} edits",
            lambda: torch.cat([last(styleclip_directions.edit(*parts, alpha=alpha)) for alpha in strip]),
        )


@contextmanager
def usual_attention(unet: UNet2DConditionModel) -> Iterator[None]:
    """The UNet without `skip_queries_and_keys` inside the block; then as before."""
    originals = dict(unet.attn_processors)
    try:
        unet.set_attn_processor({name: getattr(one, "usual", one) for name, one in originals.items()})
        yield
    finally:
        unet.set_attn_processor(originals)


def with_own_weights(conv: ModulatedConv, x: Tensor, s: Tensor) -> Tensor:
    """The convolution as it is defined (arXiv 1912.04958, section 2.2): x (B,C,H,W), s (B,C) -> (B,C',H,W).

    Every row has weights of its own, and all are the groups of one call; for a layer that keeps the size.
    """
    weight = conv.weight * s[:, None, :, None, None] / math.sqrt(conv.weight[0, 0].numel())
    weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    found = F.conv2d(
        x.flatten(0, 1)[None], weight.flatten(0, 1), padding=weight.shape[-1] // 2, groups=len(x)
    )
    return found.view(len(x), -1, *x.shape[2:])
