"""Imagic's third stage (arXiv 2210.09276, section 4.1): the upscaler learns the person's own picture.

The paper tunes Imagen's super-resolution models on the input picture under the target text's embedding, not
under the optimised one, so that what the edit keeps is drawn with the picture's own details. Here it is
Stable Diffusion's x4 upscaler, and any method with a picture and a prompt may have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.knobs import Knob, knobs
from textedit_core.models.diffusion import tuning
from textedit_core.models.diffusion.condition import add_tensor
from textedit_core.models.diffusion.ddim import add_noise
from textedit_core.models.diffusion.upscaler import SCALE, Upscaler
from textedit_core.steps import Step

TuningSteps = Annotated[
    int,
    Knob(0, 5000, 10, label="Upscaler tuning steps", help="on your own picture, as Imagic does; 0 is none"),
]
TuningRate = Annotated[float, Knob(1e-8, 0.01, 1e-8, label="Upscaler tuning learning rate")]


@dataclass(frozen=True, eq=False)
class UpscalerTuning:
    """What an upscaler learned of one picture.

    tuned: what changed in its UNet, as `tuning.merged` takes it.  losses: of every step.
    """

    tuned: dict[str, Tensor] = field(default_factory=dict)
    losses: tuple[float, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of what changed, computed when first asked for."""
        digest = hashlib.sha256()
        for name, weights in sorted(self.tuned.items()):
            digest.update(name.encode())
            add_tensor(digest, weights)
        return digest.hexdigest()

    def applied(self, model: Upscaler) -> Upscaler:
        """The upscaler with what it learned; the model given stays as it is."""
        return model.with_weights(tuning.merged(model, self.tuned))


@torch.no_grad()
def tune(
    model: Upscaler,
    large: Tensor,
    prompt: str,
    noise_level: int,
    *,
    upscaler_tuning_steps: TuningSteps = 0,
    upscaler_tuning_lr: TuningRate = 1e-5,
) -> Iterator[Step[UpscalerTuning]]:
    """Tune the UNet on a picture (1,3,H,W) in [-1,1] whose sides `SCALE` and the model's `multiple` divide.

    Adam on E over t, eps of ||eps - f(z_t, t, small, prompt)||^2, where `small` is the picture at a quarter
    of its side with the noise of `noise_level`; all is drawn from the seed 0, so that edits of every seed
    share one tuning. The model stays as it is.
    Raises ValueError for a prompt that is too long.
    """
    z0, text = model.encode(large.to(model.device)), model.encode_text([prompt])
    small = F.interpolate(large.to(z0), scale_factor=1 / SCALE, mode="bicubic", antialias=True).clamp(-1, 1)
    draw, losses = torch.Generator().manual_seed(0), list[float]()
    copy = tuning.trainable(model, "full", gradient_checkpointing=model.recomputes)
    adam = torch.optim.Adam(copy.parameters, lr=upscaler_tuning_lr)
    for done in range(1, upscaler_tuning_steps + 1):
        t = int(torch.randint(model.schedule.learnable_steps, (1,), generator=draw))
        eps, in_small = (torch.randn(one.shape, generator=draw).to(z0) for one in (z0, small))
        seen = model.noised(small, in_small, noise_level)
        with torch.enable_grad():
            predicted = copy.model.eps(add_noise(model.schedule, z0, eps, t), t, seen, noise_level, text)
            loss = F.mse_loss(predicted.float(), eps.float())
            gradients = torch.autograd.grad(loss, copy.parameters)
        for parameter, gradient in zip(copy.parameters, gradients, strict=True):
            parameter.grad = gradient
        adam.step()
        losses.append(loss.item())
        if done < upscaler_tuning_steps:
            yield Step(done, upscaler_tuning_steps, loss=losses[-1])
    found = UpscalerTuning(tuning.kept(model, copy.weights()), tuple(losses))
    total = upscaler_tuning_steps or 1
    yield Step(total, total, found, losses[-1] if losses else None)


KNOBS = knobs(tune)
