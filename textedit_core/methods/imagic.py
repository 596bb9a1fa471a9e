"""Imagic (arXiv 2210.09276): optimise the prompt's embedding, tune the UNet, then mix and sample."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core import metrics
from textedit_core.batch import spread
from textedit_core.knobs import Eta, GuidanceScale, Knob, Seed, Steps, batches
from textedit_core.models.clip import Clip
from textedit_core.models.diffusion import precision, tuning
from textedit_core.models.diffusion.condition import Condition, add_tensor
from textedit_core.models.diffusion.ddim import add_noise, clean, ddim_step
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.noise import noise
from textedit_core.steps import Step

SEEDS_AT_ONCE = 8

Tune = Annotated[
    Literal["full", "attention", "lora"],
    Knob(label="Tuned weights", help="full is the paper's; attention and lora need less memory"),
]
Precision = Annotated[
    Literal["no", "fp16", "bf16"],
    Knob(label="Mixed precision", help="halves the memory of a step; needs a CUDA device"),
]


@dataclass(frozen=True, eq=False)
class ImagicFit:
    """What Imagic learns about one image and one prompt.

    e_opt, e_tgt: the optimised embedding and that of the prompt (the paper's target text), one row each,
    float32.  prompt: what the edited image is to show.  size: (H, W) of the image in pixels.
    tuned: what changed in the UNet, as `tuning.merged` takes it; empty before fine-tuning.
    embedding_losses, finetune_losses: the loss of every step of the two stages.
    """

    e_opt: Condition
    e_tgt: Condition
    prompt: str
    size: tuple[int, int]
    tuned: dict[str, Tensor] = field(default_factory=dict)
    embedding_losses: tuple[float, ...] = ()
    finetune_losses: tuple[float, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that an edit depends on, computed when first asked for."""
        about = self.prompt, self.size, self.e_opt.fingerprint, self.e_tgt.fingerprint
        digest = hashlib.sha256(repr(about).encode())
        for name, weights in sorted(self.tuned.items()):
            digest.update(name.encode())
            add_tensor(digest, weights)
        return digest.hexdigest()


@torch.no_grad()
def fit(
    model: LatentDiffusion,
    image: Tensor,
    prompt: str,
    *,
    embedding_steps: Annotated[int, Knob(0, 5000, 10, label="Embedding steps")] = 1000,
    embedding_lr: Annotated[float, Knob(1e-5, 0.1, 1e-5, label="Embedding learning rate")] = 2e-3,
    finetune_steps: Annotated[int, Knob(0, 5000, 10, label="Fine-tuning steps")] = 1500,
    finetune_lr: Annotated[float, Knob(1e-8, 0.01, 1e-8, label="Fine-tuning learning rate")] = 5e-7,
    tune: Tune = "full",
    lora_rank: Annotated[int, Knob(1, 128, 1, label="LoRA rank", help="used by lora alone")] = 8,
    gradient_checkpointing: Annotated[bool, Knob(label="Checkpointing", help="less memory, slower")] = False,
    mixed_precision: Precision = "no",
    seed: Seed = 0,
) -> Iterator[Step[ImagicFit]]:
    """Learn an image (1,3,H,W) in [-1,1] under the prompt it is to show; the defaults are the paper's for SD.

    Stage 1 (the steps with done <= embedding_steps) optimises the tokens from e_tgt to e_opt, stage 2 the
    UNet under e_opt, both by Adam on E over t, eps of ||eps - f(z_t, t, e)||^2 (eq. 2), drawn from `seed`.
    "attention" tunes the attention layers alone, "lora" low-rank changes of them (arXiv 2106.09685, not in
    the Imagic paper; wants a learning rate near 1e-4), merged into plain weights.

    The value of an unfinished step is a live view, valid until the next step is drawn: stopping stage 2 after
    n steps is fit(finetune_steps=n). The model stays as it is. What is tuned is needed in float32 memory once
    more, with its gradients and two moments; the rest is shared, also in half precision.
    Raises ValueError for an empty or too long text, more than one image, lora without peft, mixed precision
    without CUDA.
    """
    _check(model, image, prompt, tune, mixed_precision)
    z0, e_tgt = model.encode(image), model.encode_text([prompt]).to(dtype=torch.float32)
    size, total = (image.shape[2], image.shape[3]), embedding_steps + finetune_steps
    draw = torch.Generator().manual_seed(seed)

    tokens, first = e_tgt.tokens.clone().requires_grad_(), list[float]()
    e, e_opt = replace(e_tgt, tokens=tokens), replace(e_tgt, tokens=tokens.detach())
    copy = tuning.trainable(model, "none", gradient_checkpointing=gradient_checkpointing)
    loss_args = z0, draw, precision.of_training(model.dtype, mixed_precision)
    for loss, seen in _optimise(copy.model, e, [tokens], embedding_lr, embedding_steps, *loss_args):
        first.append(loss)
        fitted = ImagicFit(replace(e_opt), e_tgt, prompt, size, {}, tuple(first))
        yield Step(len(first), total, fitted, loss, preview=seen)

    second = list[float]()
    if finetune_steps:
        copy = tuning.trainable(model, tune, lora_rank, gradient_checkpointing, draw)
        tuned = _optimise(copy.model, e_opt, copy.parameters, finetune_lr, finetune_steps, *loss_args)
        for loss, seen in tuned:
            second.append(loss)
            fitted = ImagicFit(e_opt, e_tgt, prompt, size, copy.weights(), tuple(first), tuple(second))
            if len(second) < finetune_steps:
                yield Step(embedding_steps + len(second), total, fitted, loss, preview=seen)
        yield Step(total, total, settled(model, fitted), loss, preview=seen)
    if not total:
        yield Step(1, 1, ImagicFit(e_opt, e_tgt, prompt, size))


def settled(model: LatentDiffusion, live: ImagicFit) -> ImagicFit:
    """The fit that a live view shows, in tensors of its own: as `fit` returns it after so many steps."""
    return replace(live, e_opt=live.e_opt.clone(), tuned=tuning.kept(model, live.tuned))


@batches("eta", "guidance_scale", "seed")
@torch.no_grad()
def edit(
    model: LatentDiffusion,
    fitted: ImagicFit,
    *,
    eta: Eta = 0.7,
    guidance_scale: GuidanceScale = 3.0,
    steps: Steps = 50,
    seed: Seed = 0,
) -> Iterator[Step[Tensor]]:
    """Sample under e(eta) = eta e_tgt + (1 - eta) e_opt (eq. 3) with the tuned UNet -> (B,3,H,W).

    eta 0 rebuilds the source, 1 follows the text. Guidance is against the empty prompt, by the tuned UNet
    too. Each seed has one start noise for all eta. eta, guidance and seed may be lists of B values.
    Raises ValueError for a fit of another kind of model.
    """
    etas, scales, seeds = spread(eta=eta, guidance_scale=guidance_scale, seed=seed)
    tuned = model.with_weights(tuning.merged(model, fitted.tuned))
    text = fitted.e_opt.to(model.device).mix(fitted.e_tgt.to(model.device), etas)
    null = model.encode_text([""])
    height, width = (side // model.latent_scale for side in fitted.size)
    z = noise((1, model.vae.config.latent_channels, height, width), seeds, device=model.device)
    for done, (t, t_to) in enumerate(model.schedule.transitions(steps), start=1):
        eps = tuned.guided_eps(z, t, text, null, scales)
        preview = clean(model.schedule, z, eps, t)
        z = ddim_step(model.schedule, z, eps, t, t_to)
        if done < steps:
            yield Step(done, steps, preview=preview)
    yield Step(steps, steps, model.decode(z))


@dataclass(frozen=True, eq=False)
class RankedSeed:
    """One of several edits: image (1,3,H,W), its CLIP score to the prompt and similarity to the source."""

    seed: int
    image: Tensor
    clip_score: float
    similarity: float


@torch.no_grad()
def rank_seeds(
    model: LatentDiffusion,
    clip: Clip,
    fitted: ImagicFit,
    image: Tensor,
    *,
    seeds: Annotated[int, Knob(1, 64, 1, label="Seeds to try", help="the paper tries 8")] = 8,
    eta: Eta = 0.7,
    guidance_scale: GuidanceScale = 3.0,
    steps: Steps = 50,
    seed: Seed = 0,
) -> Iterator[Step[tuple[RankedSeed, ...]]]:
    """Edit with `seeds` seeds from `seed` on and rank them, best first; up to 8 make one batch.

    image: the source (1,3,H,W) in [-1,1]. Best is the largest sum of CLIP score and similarity to the source,
    each scaled to 0..1 over the candidates. A batch that is done gives a ranking of those so far.
    """
    candidates = [(seed + k) % 2**31 for k in range(seeds)]
    groups = [candidates[k : k + SEEDS_AT_ONCE] for k in range(0, seeds, SEEDS_AT_ONCE)]
    found: list[RankedSeed] = []
    for number, group in enumerate(groups):
        for step in edit(model, fitted, eta=eta, guidance_scale=guidance_scale, steps=steps, seed=group):
            if step.value is not None:
                scores = metrics.clip_score(clip, step.value, fitted.prompt).tolist()
                likeness = metrics.clip_similarity(clip, step.value, image).tolist()
                found += map(RankedSeed, group, step.value.split(1), scores, likeness)
            ranking = _ranked(found) if step.value is not None else None
            yield Step(number * steps + step.done, len(groups) * steps, ranking)


def suggest_eta(etas: Sequence[float], clip_scores: Sequence[float], similarities: Sequence[float]) -> int:
    """The index of the eta at the knee of the two curves of the paper's fig. 8.

    Each curve is scaled to 0..1 over the strip (a flat one counts 0); the knee has the largest sum of the
    two, which is the point farthest from the straight trade of one for the other. Of equal sums the more
    even one wins, then the smaller eta. Raises ValueError for empty or unequal lists.
    """
    if not len(etas) == len(clip_scores) == len(similarities) or not etas:
        raise ValueError("The knee needs one CLIP score and one similarity for every eta.")
    pairs = list(zip(_scaled(clip_scores), _scaled(similarities), strict=True))
    return min(
        range(len(etas)),
        key=lambda k: (-round(sum(pairs[k]), 6), round(abs(pairs[k][0] - pairs[k][1]), 6), etas[k]),
    )


def _check(model: LatentDiffusion, image: Tensor, prompt: str, tune: str, mixed_precision: str) -> None:
    if not prompt.strip():
        raise ValueError("The prompt is empty: say what the edited image is to show.")
    if len(image) != 1:
        raise ValueError(f"Imagic learns one image at a time, not {len(image)}.")
    tuning.check_kind(tune)
    precision.of_training(model.dtype, mixed_precision)
    if mixed_precision != "no" and model.device.type != "cuda":
        raise ValueError(f"Mixed precision works on a CUDA device, not on {model.device.type}: choose no.")


@torch.enable_grad()
def _optimise(
    model: LatentDiffusion,
    text: Condition,
    parameters: list[Tensor],
    lr: float,
    steps: int,
    z0: Tensor,
    draw: torch.Generator,
    half: torch.dtype | None,
) -> Iterator[tuple[float, Tensor]]:
    """Adam on eq. 2 over `parameters`, one t and one eps a step; yields each step's loss before it.

    With it come the clean latents that the model saw under the noise of the step, for a preview.
    """
    adam = torch.optim.Adam(parameters, lr=lr, fused=model.device.type in ("cpu", "cuda"))
    device = model.device
    scaler = precision.scaler(device, half)
    for _ in range(steps):
        t = int(torch.randint(model.schedule.learnable_steps, (1,), generator=draw))
        eps = torch.randn(z0.shape, generator=draw).to(device)
        with precision.autocast(device, half):
            z = add_noise(model.schedule, z0, eps, t)
            predicted = model.eps(z, t, text)
        loss = F.mse_loss(predicted.float(), eps)
        gradients = torch.autograd.grad(scaler.scale(loss), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        scaler.step(adam)
        scaler.update()
        yield loss.item(), clean(model.schedule, z, predicted, t)
    for parameter in parameters:
        parameter.grad = None  # what follows needs their memory


def _ranked(found: Sequence[RankedSeed]) -> tuple[RankedSeed, ...]:
    scores, likeness = _scaled([one.clip_score for one in found]), _scaled([one.similarity for one in found])
    order = sorted(range(len(found)), key=lambda k: -(scores[k] + likeness[k]))
    return tuple(found[k] for k in order)


def _scaled(values: Sequence[float]) -> list[float]:
    """The values on a scale from 0, the least, to 1, the greatest; all 0 where they are equal."""
    low, span = min(values), max(values) - min(values)
    return [(value - low) / span if span > 0 else 0.0 for value in values]
