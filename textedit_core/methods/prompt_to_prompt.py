"""Prompt-to-Prompt (arXiv 2208.01626): the source's attention, moved to the words of an edited prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import GuidanceScale, Knob, Steps, batches, knobs
from textedit_core.models.diffusion import alignment, inversions
from textedit_core.models.diffusion.alignment import Tokens
from textedit_core.models.diffusion.attention import Control, attention_control
from textedit_core.models.diffusion.ddim import Inversion, ddim_step
from textedit_core.models.diffusion.inversions import (
    Checkpointing,
    EarlyStop,
    InnerSteps,
    NullLr,
    Precision,
    SkipConverged,
)
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.prompt_control import MapSum, Plan, PlanControl, blend_mask, plan
from textedit_core.steps import Step

Kind = Annotated[
    Literal["direct", "null_text", "npi", "ddim"],
    Knob(label="Inversion", help="direct is best and cheap; null_text optimises; ddim is the baseline"),
]
EditType = Annotated[
    Literal["auto", "replace", "refine"],
    Knob(label="Edit type", help="replace swaps words in place, refine adds some; auto reads the prompts"),
]
_FRACTION = 0, 1, 0.05
WINDOWS = ("cross_replace_steps", "self_replace_steps")


def fit(
    model: LatentDiffusion,
    image: Tensor,
    prompt: str,
    *,
    inversion: Kind = "direct",
    steps: Steps = 50,
    guidance_scale: GuidanceScale = 7.5,
    inner_steps: InnerSteps = 10,
    null_lr: NullLr = 1e-2,
    early_stop: EarlyStop = 1e-5,
    skip_converged: SkipConverged = False,
    gradient_checkpointing: Checkpointing = False,
    mixed_precision: Precision = "no",
) -> Iterator[Step[Inversion]]:
    """Invert an image (1,3,H,W) in [-1,1] under its caption `prompt`, which should name what is to change.

    See models.diffusion.inversions. Guidance is of null_text and ddim; the knobs after it are of null_text.
    """
    given = model, image, prompt
    if inversion == "null_text":
        yield from inversions.null_text(
            *given,
            steps=steps,
            guidance_scale=guidance_scale,
            inner_steps=inner_steps,
            null_lr=null_lr,
            early_stop=early_stop,
            skip_converged=skip_converged,
            gradient_checkpointing=gradient_checkpointing,
            mixed_precision=mixed_precision,
        )
    elif inversion == "ddim":
        yield from inversions.ddim(*given, steps=steps, guidance_scale=guidance_scale)
    elif inversion in ("direct", "npi"):
        yield from getattr(inversions, inversion)(*given, steps=steps)
    else:
        raise ValueError(f"Inversion: {inversion!r} is none of direct, null_text, npi, ddim.")


@dataclass(frozen=True, eq=False)
class Edited:
    """What an edit to B prompts gives.

    images: (B,3,H,W).  edit_types: which type each was.  masks: (B,1,h,w), 1 where the last blend let the
    edit through; all 1 without blend words.
    maps: for the source and each target, {word: (h',w')} attention, of maximum 1; empty unless kept.
    """

    images: Tensor
    edit_types: tuple[str, ...]
    masks: Tensor
    maps: tuple[dict[str, Tensor], ...] = ()


@batches(
    "edit_type",
    "cross_replace_steps",
    "self_replace_steps",
    "word_steps",
    "word_weights",
    "blend_words",
    "subtract_words",
    "blend_threshold",
    "blend_start",
    "self_replace_side",
    "keep_to_source",
    "guidance_scale",
)
@torch.no_grad()
def edit(
    model: LatentDiffusion,
    fitted: Inversion,
    target: str,
    *,
    edit_type: EditType = "auto",
    cross_replace_steps: Annotated[
        float, Knob(*_FRACTION, label="Cross-attention steps", help="how long words keep their places")
    ] = 0.8,
    self_replace_steps: Annotated[
        float, Knob(*_FRACTION, label="Self-attention steps", help="how long the layout is kept")
    ] = 0.5,
    word_weights: Annotated[str, Knob(label="Word weights", help="tiger=2 grass=-1; 1 changes nothing")] = "",
    word_steps: Annotated[str, Knob(label="Steps of words", help="tiger=0.4 grass=0.2:0.8")] = "",
    blend_words: Annotated[
        str, Knob(label="Blend words", help="only where these are seen, of both prompts")
    ] = "",
    subtract_words: Annotated[str, Knob(label="Protected words", help="not where these are seen")] = "",
    blend_threshold: Annotated[float, Knob(*_FRACTION, label="Blend threshold")] = 0.3,
    blend_start: Annotated[float, Knob(*_FRACTION, label="Blend from", help="fraction of the run")] = 0.2,
    self_replace_side: Annotated[
        int, Knob(1, 128, 1, label="Self-attention grid", help="largest shorter side; 16 in the first paper")
    ] = 32,
    keep_to_source: Annotated[
        float, Knob(*_FRACTION, label="Keep to source", help="take the source's drift back from the edit too")
    ] = 0.0,
    guidance_scale: GuidanceScale = 7.5,
) -> Iterator[Step[Tensor]]:
    """Edit the inverted image from its caption to `target` -> (B,3,H,W); knobs may be lists of B values.

    In a token's window of steps its cross-attention map is c (A_src M), or c A where it has no counterpart;
    windows and weights c are set by word, `word_steps` takes default_=0.2:0.8 too, and both replace steps a
    pair (0.2, 0.8) that is one window and not two rows. During the first
    int(T self_replace_steps) steps the self-attention is the source's. Blend words let the edit through only
    where they are seen (LocalBlend). The source's row keeps to its path, `fitted.latents`, and needs no
    unconditional one: 1 + 2B rows a step, 2B once nothing of the source is used any more.
    How far a guided step of the source misses its path is its drift. Direct inversion has one and, as
    published, leaves it in the edit; `keep_to_source` takes that share of it back, with 2 + 2B rows a step.
    At 1 the source's own caption is the identity, and at 0 only where there is no drift (null_text, npi,
    ddim, at their own guidance).
    Raises ValueError for words that are not there, unequal word counts under replace, or too long a prompt.
    """
    settings = {
        "edit_type": edit_type,
        "cross_replace_steps": cross_replace_steps,
        "self_replace_steps": self_replace_steps,
        "word_weights": word_weights,
        "word_steps": word_steps,
        "blend_words": blend_words,
        "subtract_words": subtract_words,
        "blend_threshold": blend_threshold,
        "blend_start": blend_start,
        "self_replace_side": self_replace_side,
        "keep_to_source": keep_to_source,
        "guidance_scale": guidance_scale,
    }
    for step in edit_many(model, fitted, [target], **settings):
        yield Step(step.done, step.total, step.value and step.value.images)


@torch.no_grad()
def edit_many(
    model: LatentDiffusion, fitted: Inversion, targets: Sequence[str], keep_maps: bool = False, **settings
) -> Iterator[Step[Edited]]:
    """Edit to several prompts in one batch, with the knobs of `edit`, each one value or one for each row.

    One prompt stands for every row. `keep_maps` keeps the attention of every word.
    """
    rows = _rows(targets, {name: bound.default for name, bound in knobs(edit).items()} | settings)
    scale, keep = (
        torch.tensor([float(row.pop(name)) for row in rows], device=model.device).view(-1, 1, 1, 1)
        for name in ("guidance_scale", "keep_to_source")
    )
    prompts = [fitted.prompt, *(row.pop("target") for row in rows)]
    text, tokens = model.encode_text(prompts), [alignment.read(model.tokenizer, one) for one in prompts]
    plans = [plan(tokens[0], new, fitted.steps, **row) for new, row in zip(tokens[1:], rows, strict=True)]
    latents = fitted.latents.to(model.device)
    if text.shape[1:] != fitted.null(0).shape[1:]:
        raise ValueError("This inversion was made with another model: invert the image again.")
    steps, stride = fitted.steps, model.schedule.stride(fitted.steps)
    blends, keeps = any(one.blends for one in plans), bool(keep.any())
    sums = MapSum() if keep_maps or blends else None
    z = latents[-1:].expand(len(plans), -1, -1, -1)
    mask = torch.ones_like(z[:, :1], dtype=torch.bool)
    for k, t in enumerate(model.schedule.timesteps(steps)):
        source, following = latents[steps - k].unsqueeze(0), latents[steps - k - 1].unsqueeze(0)
        null = fitted.null(k).to(text)
        eps, of_source = _guided_eps(model, plans, k, t, source, z, text, null, scale, sums, keeps)
        z = ddim_step(model.schedule, z, eps, t, t - stride)
        if keeps:
            z = z + keep * (following - ddim_step(model.schedule, source, of_source, t, t - stride))
        if blends:
            mask = blend_mask(plans, k, sums, z.shape[-2:])
            z = torch.where(mask, z, following)
        if k + 1 < steps:
            yield Step(k + 1, steps)
    maps = tuple(map(_word_maps, tokens, sums.largest())) if keep_maps else ()
    types = tuple(one.edit_type for one in plans)
    yield Step(steps, steps, Edited(model.decode(z), types, mask.float(), maps))


@torch.no_grad()
def reconstruct(model: LatentDiffusion, fitted: Inversion) -> Tensor:
    """What the inversion makes of its own image, (1,3,H,W): the most an edit can keep."""
    return model.decode(fitted.latents[:1].to(model.device))


def _rows(targets: Sequence[str], settings: dict) -> list[dict]:
    """The settings of each row, `target` among them; one target stands for all rows.

    A tuple of steps is one window, (from, to), and not two rows.
    """
    windows = {name: value for name, value in settings.items() if name in WINDOWS and type(value) is tuple}
    rest = {name: value for name, value in settings.items() if name not in windows}
    columns = spread(target=list(targets) if len(targets) != 1 else targets[0], **rest)
    rows = [dict(zip(("target", *rest), values, strict=True)) for values in zip(*columns, strict=True)]
    return [row | windows for row in rows]


def _guided_eps(
    model: LatentDiffusion,
    plans: Sequence[Plan],
    k: int,
    t: int,
    source: Tensor,
    z: Tensor,
    text: Tensor,
    null: Tensor,
    scale: Tensor,
    sums: MapSum | None,
    keeps: bool,
) -> tuple[Tensor, Tensor | None]:
    """The targets' noise (B,4,h,w) in step k, and with `keeps` the source's under each one's guidance.

    text is the source's and theirs, `source` its latent.
    """
    shares = keeps or sums is not None or any(one.needs_source(k) for one in plans)
    of_text, text = ([source, z], text) if shares else ([z], text[1:])
    of_null = [] if not (scale != 1).any() else [source, z] if keeps else [z]
    rows = torch.cat([*of_null, *of_text])
    first = len(rows) - len(text)
    control = PlanControl(plans, k, first, sums, z.device) if shares else Control()
    with attention_control(model.unet, control, z.shape[-2:]):
        eps = model.eps(rows, t, torch.cat([null.expand(first, -1, -1), text]))
    eps_null, eps_text = eps[:first], eps[first:]

    def guided(of: slice) -> Tensor:
        return eps_null[of] + scale * (eps_text[of] - eps_null[of]) if first else eps_text[of]

    return guided(slice(-len(plans), None)), guided(slice(0, 1)) if keeps else None


def _word_maps(tokens: Tokens, maps: Tensor) -> dict[str, Tensor]:
    """{word: (h',w')} of maps (L,h',w'), each of maximum 1."""
    found = {word: maps[tokens.places(word)].sum(0) for word in tokens.words}
    return {word: one / one.max().clamp_min(1e-12) for word, one in found.items()}
