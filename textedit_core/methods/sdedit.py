"""SDEdit (arXiv 2108.01073): noise the source part of the way, denoise it under the prompt. The baseline."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import GuidanceScale, Seed, Steps, Strength, batches
from textedit_core.models.diffusion.ddim import add_noise, clean, ddim_step
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.noise import noise
from textedit_core.steps import Step


@batches("guidance_scale", "seed")
@torch.no_grad()
def edit(
    model: LatentDiffusion,
    image: Tensor,
    prompt: str,
    *,
    strength: Strength = 0.8,
    guidance_scale: GuidanceScale = 7.5,
    steps: Steps = 50,
    seed: Seed = 0,
) -> Iterator[Step[Tensor]]:
    """Edit an image (1,3,H,W) in [-1,1] towards a prompt -> (B,3,H,W).

    The last int(steps * strength) of the `steps` timesteps are run, as in diffusers' image-to-image pipeline,
    from z = sqrt(A_t) z0 + sqrt(1 - A_t) noise. At strength 0 none is: the result is the autoencoder's
    reconstruction. Guidance and seed may be lists of B values.
    Raises ValueError for a strength outside 0..1, a prompt that is too long, or an image of the wrong shape.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"Strength must lie between 0 and 1, not {strength}.")
    scales, seeds = spread(guidance_scale=guidance_scale, seed=seed)
    run = model.schedule.transitions(steps)[steps - int(steps * strength) :]
    total = len(run) or 1
    z = model.encode(image).repeat(len(seeds), 1, 1, 1)
    text, null = model.encode_text([prompt, ""]).split()
    if run:
        z = add_noise(model.schedule, z, noise(z.shape, seeds, device=z.device), run[0][0])
    for done, (t, t_to) in enumerate(run, start=1):
        eps = model.guided_eps(z, t, text, null, scales)
        preview = clean(model.schedule, z, eps, t)
        z = ddim_step(model.schedule, z, eps, t, t_to)
        if done < total:
            yield Step(done, total, preview=preview)
    yield Step(total, total, model.decode(z))
