"""Large results: what is done with a finished edit, whatever its method: its size, and the source's details.

No part of the published methods: with both knobs at their defaults an edit stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from torch import Tensor

from textedit_core.details import Enlarge, resized, with_details
from textedit_core.device import light
from textedit_core.knobs import Knob, knobs
from textedit_core.masks import Box
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.upscaler import Upscaler, upscaled
from textedit_core.models.diffusion.upscaler_tuning import KNOBS as TUNING_KNOBS
from textedit_core.models.diffusion.upscaler_tuning import UpscalerTuning
from textedit_core.models.enlarger import Enlarger
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator
from textedit_core.steps import Step

SCALE = 4  # how many times the side a picture is made by `upscale`

KeepDetails = Annotated[
    float,
    Knob(0, 1, 0.05, label="Keep details", help="1: what the edit left alone is your picture, at its size"),
]
Upscale = Annotated[
    Literal["none", "fast", "diffusion"],
    Knob(label="Upscale", help="to four times the side; diffusion draws it anew, by the models' upscaler"),
]
UpscaleSteps = Annotated[int, Knob(1, 200, 1, label="Upscaler steps", help="of upscale by diffusion")]
UpscaleGuidance = Annotated[
    float, Knob(1, 20, 0.5, label="Upscaler guidance", help="how strongly the prompt pulls; 1 is none")
]
NoiseLevel = Annotated[
    int,
    Knob(0, 350, 5, label="Upscaler noise", help="added to the small picture: more is freer; 0 holds to it"),
]


@light
@torch.no_grad()
def finish(
    edit: Tensor,
    rec: Tensor | None,
    source: Tensor | None,
    box: Box | None,
    enlarger: Enlarger | None,
    scale: float,
    upscaler: Upscaler | None = None,
    prompt: str = "",
    seed: int = 0,
    tuned: UpscalerTuning | None = None,
    *,
    keep_details: KeepDetails = 0.0,
    upscale: Upscale = "none",
    upscaler_steps: UpscaleSteps = 75,
    upscaler_guidance: UpscaleGuidance = 9.0,
    upscaler_noise: NoiseLevel = 20,
) -> Iterator[Step[Tensor]]:
    """An edit (1,3,h,w) as it is shown, (1,3,H,W) in [-1,1].

    rec, source, box: as in `details.with_details`; needed where details are kept.  enlarger: of the models,
    None where they have none; then Lanczos enlarges.  scale: how many times the side `upscale` makes it.
    upscaler, prompt, seed: what draws it under "diffusion", under which text, and with which noise.
    tuned: what the upscaler learned of the source before.

    With details the result is the whole source with the edit in it, at the source's own size; with `upscale`
    too, a source that is smaller than the enlarged edit is enlarged with it.
    """
    enlarge = enlarger.enlarge if enlarger else None
    height, width = edit.shape[-2:]
    size = (round(height * scale), round(width * scale)) if upscale != "none" else (height, width)
    drawn = None
    if upscale == "diffusion":
        assert upscaler is not None
        small = resized(edit, (round(size[0] / SCALE), round(size[1] / SCALE)))
        for step in upscaled(
            tuned.applied(upscaler) if tuned else upscaler,
            small,
            prompt,
            steps=upscaler_steps,
            guidance_scale=upscaler_guidance,
            noise_level=upscaler_noise,
            seed=seed,
        ):
            drawn = step.value
            yield Step(step.done, step.total + 1)
    total = upscaler_steps + 1 if drawn is not None else 1
    if not keep_details:
        large = resized(edit, size, enlarge) if drawn is None else resized(drawn.to(edit), size)
        yield Step(total, total, large)
        return
    assert rec is not None and source is not None and box is not None
    source = source.to(edit)
    if upscale != "none":
        source, box = _as_large(source, box, size[0], enlarge)
    result = with_details(edit, rec, source, keep=keep_details, box=box, enlarge=enlarge, drawn=drawn)
    yield Step(total, total, result)


def _as_large(source: Tensor, box: Box, height: int, enlarge: Enlarge | None) -> tuple[Tensor, Box]:
    """A source and a box in it, enlarged so that the box has this height; as they are where it has more."""
    times = height / (box[3] - box[1])
    if times <= 1:
        return source, box
    larger = round(source.shape[2] * times), round(source.shape[3] * times)
    left, top, right, bottom = (round(side * times) for side in box)
    return resized(source, larger, enlarge if times > SCALE / 2 else None), (left, top, right, bottom)


OF_FINISH = tuple(knobs(finish))
KNOBS = knobs(finish) | TUNING_KNOBS
OF_TUNING = tuple(TUNING_KNOBS)
OF_DIFFUSION = tuple(name for name in KNOBS if name.startswith("upscaler_"))


@torch.no_grad()
def autoencoded(model: LatentDiffusion, image: Tensor) -> Iterator[Step[Tensor]]:
    """What the autoencoder alone makes of an image (1,3,H,W): no edit can be closer than this."""
    yield Step(1, 1, model.decode(model.encode(image)))


@light
@torch.no_grad()
def rendered(generator: StyleGenerator, latent: Latent) -> Iterator[Step[Tensor]]:
    """The images of a latent, (B,3,H,W)."""
    yield Step(1, 1, latent.image(generator))
