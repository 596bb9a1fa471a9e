"""Four ways to invert a real image into an `Inversion`: direct, null-text, negative prompt, plain DDIM."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.knobs import GuidanceScale, Knob, Steps
from textedit_core.models.diffusion import precision, tuning
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Inversion, Schedule, clean, ddim_step, invert
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.steps import Step

InnerSteps = Annotated[
    int,
    Knob(1, 100, 1, label="Optimisation steps", help="of null-text: at most so many for each sampling step"),
]
NullLr = Annotated[float, Knob(1e-5, 1, 1e-5, label="Null-text learning rate")]
EarlyStop = Annotated[
    float, Knob(0, 0.1, 1e-6, label="Early stop", help="loss below which null-text goes on to the next step")
]
SkipConverged = Annotated[
    bool, Knob(label="Skip converged steps", help="no update where the loss is below the early stop: faster")
]
Checkpointing = Annotated[bool, Knob(label="Checkpointing", help="null-text with less memory, slower")]
Precision = Annotated[
    Literal["no", "fp16", "bf16"],
    Knob(label="Mixed precision", help="null-text with less memory, by autocast"),
]


@torch.no_grad()
def direct(
    model: LatentDiffusion, image: Tensor, source_prompt: str, *, steps: Steps = 50
) -> Iterator[Step[Inversion]]:
    """Direct inversion (arXiv 2310.01506): in an edit the source's row is put back on the inverted latents.

    One UNet row a step; its reconstruction is the autoencoder's. A guided step does not end on that path
    exactly. The error is removed from the source's row alone, so that even an edit to the source prompt
    itself differs from the source, unlike with the others; `keep_to_source` of prompt_to_prompt.edit removes
    it from the edit too.
    Raises ValueError, as all here, for an empty or too long source prompt and for more than one image.
    """
    z0, text, null = _begin(model, image, source_prompt)
    pivots = yield from _pivots(lambda z, t: model.eps(z, t, text), model, z0, steps, steps)
    yield Step(steps, steps, Inversion("direct", source_prompt, _size(image), pivots, null))


@torch.no_grad()
def npi(
    model: LatentDiffusion, image: Tensor, source_prompt: str, *, steps: Steps = 50
) -> Iterator[Step[Inversion]]:
    """Negative prompt inversion (arXiv 2305.16807): the source prompt replaces the empty prompt.

    Guidance then cancels in the source; its path is sampled down from z_T under the source prompt alone. Two
    rows a step.
    """
    z0, text, _ = _begin(model, image, source_prompt)
    pivots = yield from _pivots(lambda z, t: model.eps(z, t, text), model, z0, steps, 2 * steps)
    path = yield from _sampled(model, pivots[-1:], text, text, 1.0, steps)
    yield Step(2 * steps, 2 * steps, Inversion("npi", source_prompt, _size(image), path, text))


@torch.no_grad()
def ddim(
    model: LatentDiffusion,
    image: Tensor,
    source_prompt: str,
    *,
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 7.5,
) -> Iterator[Step[Inversion]]:
    """Plain DDIM inversion, the baseline: sampled again from z_T at `guidance_scale`, where errors add up.

    Three rows a step, two without guidance.
    """
    z0, text, null = _begin(model, image, source_prompt)
    pivots = yield from _pivots(lambda z, t: model.eps(z, t, text), model, z0, steps, 2 * steps)
    path = yield from _sampled(model, pivots[-1:], text, null, guidance_scale, steps)
    found = Inversion("ddim", source_prompt, _size(image), path, null, float(guidance_scale))
    yield Step(2 * steps, 2 * steps, found)


@torch.no_grad()
def null_text(
    model: LatentDiffusion,
    image: Tensor,
    source_prompt: str,
    *,
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 7.5,
    inner_steps: InnerSteps = 10,
    null_lr: NullLr = 1e-2,
    early_stop: EarlyStop = 1e-5,
    skip_converged: SkipConverged = False,
    gradient_checkpointing: Checkpointing = False,
    mixed_precision: Precision = "no",
) -> Iterator[Step[Inversion]]:
    """Null-text inversion (arXiv 2211.09794): for each step the unconditional embedding is optimised.

    The rate falls as null_lr (1 - i / 2T); step i stops below early_stop + i / 1000 T, as the published code
    does at T = 50. Rows: T, then for each step the source prompt's once, one an update, and one under the
    result; `skip_converged` saves that update and that last row where the loss is below already.
    Edit at the same guidance: the embeddings are optimised for `guidance_scale` alone.
    The model stays as it is. One in half precision is not copied: it is run by autocast in its own precision,
    and the embeddings, their optimiser and the loss are float32 all the same.
    """
    z0, text, null = _begin(model, image, source_prompt)
    half, scale = precision.of_training(model.dtype, mixed_precision), guidance_scale
    frozen = tuning.trainable(model, "none", gradient_checkpointing=gradient_checkpointing).model
    scaler = precision.scaler(model.device, half)

    def eps(z: Tensor, t: int, embedding: Condition) -> Tensor:
        with precision.autocast(model.device, half):
            return frozen.eps(z, t, embedding)

    pivots = yield from _pivots(lambda z, t: eps(z, t, text), model, z0, steps, 2 * steps)
    path, nulls, losses = [pivots[-1:]], list[Condition](), list[float]()
    for i, (t, t_to) in enumerate(model.schedule.transitions(steps, invertible=True)):
        of_null, eps_text = partial(eps, path[-1], t), eps(path[-1], t, text)
        step = partial(_guided_step, model.schedule, path[-1], eps_text, scale, t, t_to)
        lr, stop = null_lr * (1 - 0.5 * i / steps), early_stop + 1e-3 * i / steps
        target = pivots[steps - i - 1 : steps - i]
        null, eps_null, loss = _descend(
            of_null, step, target, null, lr, inner_steps, stop, skip_converged, scaler
        )
        path.append(step(of_null(null) if eps_null is None else eps_null))
        nulls.append(null)
        losses.append(loss)
        if i + 1 < steps:
            yield Step(
                steps + i + 1, 2 * steps, None, loss, preview=clean(model.schedule, path[-2], eps_text, t)
            )
    latents, embeddings, size = torch.cat(path[::-1]), nulls[0].cat(*nulls[1:]), _size(image)
    made = Inversion("null_text", source_prompt, size, latents, embeddings, float(scale), tuple(losses))
    yield Step(2 * steps, 2 * steps, made, losses[-1])


def _guided_step(
    schedule: Schedule, z: Tensor, eps_text: Tensor, scale: float, t: int, t_to: int, eps_null: Tensor
) -> Tensor:
    return ddim_step(schedule, z, eps_null + scale * (eps_text - eps_null), t, t_to)


@torch.enable_grad()
def _descend(
    eps: Callable[[Condition], Tensor],
    step: Callable[[Tensor], Tensor],
    target: Tensor,
    null: Condition,
    lr: float,
    inner_steps: int,
    stop: float,
    skip_converged: bool,
    scaler: torch.amp.GradScaler,
) -> tuple[Condition, Tensor | None, float]:
    """Adam on ||step(eps(null)) - target||^2: the embedding, the noise under it if known, the last loss.

    Of the embedding only the tokens change. The loss is the one before the update, and the update is made
    also where that is below `stop`, as in the published code, unless `skip_converged`.
    """
    tokens = null.tokens.detach().clone().requires_grad_()
    adam = torch.optim.Adam([tokens], lr=lr)
    for _ in range(inner_steps):
        eps_null = eps(replace(null, tokens=tokens))
        loss = F.mse_loss(step(eps_null), target)
        value = loss.item()
        if skip_converged and value < stop:
            return replace(null, tokens=tokens.detach()), eps_null.detach(), value
        (tokens.grad,) = torch.autograd.grad(scaler.scale(loss), [tokens])
        scaler.step(adam)
        scaler.update()
        if value < stop:
            break
    return replace(null, tokens=tokens.detach()), None, value


def _begin(model: LatentDiffusion, image: Tensor, source_prompt: str) -> tuple[Tensor, Condition, Condition]:
    """The image's latent, and the embeddings of the source prompt and of the empty one, one row, float32."""
    if not source_prompt.strip():
        raise ValueError("The source prompt is empty: say what the image shows.")
    if len(image) != 1:
        raise ValueError(f"One image is inverted at a time, not {len(image)}.")
    text, null = model.encode_text([source_prompt, ""]).to(dtype=torch.float32).split()
    return model.encode(image), text, null


def _size(image: Tensor) -> tuple[int, int]:
    return (image.shape[2], image.shape[3])


def _pivots(
    eps: Callable[[Tensor, int], Tensor], model: LatentDiffusion, z0: Tensor, steps: int, total: int
) -> Generator[Step[Inversion], None, Tensor]:
    """The inverted latents (T+1,4,h,w); yields a Step of `total` for each but the very last of all."""
    for step in invert(model.schedule, eps, z0, steps):
        if step.done < total:
            yield Step(step.done, total)
    assert step.value is not None  # the last step has it
    return step.value


def _sampled(
    model: LatentDiffusion, z: Tensor, text: Condition, null: Condition, guidance_scale: float, steps: int
) -> Generator[Step[Inversion], None, Tensor]:
    """The path (T+1,4,h,w) of sampling z_T down, its end first; the second half of 2T steps."""
    path = [z]
    for done, (t, t_to) in enumerate(model.schedule.transitions(steps, invertible=True), start=1):
        eps = model.guided_eps(path[-1], t, text, null, guidance_scale)
        path.append(ddim_step(model.schedule, path[-1], eps, t, t_to))
        if done < steps:
            yield Step(steps + done, 2 * steps, preview=clean(model.schedule, path[-2], eps, t))
    return torch.cat(path[::-1])
