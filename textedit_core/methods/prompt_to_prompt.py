"""Prompt-to-Prompt (arXiv 2208.01626): the source's attention, moved to the words of an edited prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import GuidanceScale, Knob, Steps, batches, knobs
from textedit_core.models.diffusion import alignment, inversions
from textedit_core.models.diffusion.alignment import Tokens
from textedit_core.models.diffusion.attention import Control, attention_control
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Inversion, clean, ddim_step
from textedit_core.models.diffusion.inversions import (
    Checkpointing,
    EarlyStop,
    InnerSteps,
    NullLr,
    Precision,
    SkipConverged,
)
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.prompt_control import (
    MapSum,
    Plan,
    PlanControl,
    Settings,
    blend_mask,
    map_side,
    plan,
)
from textedit_core.steps import Step

Kind = Annotated[
    Literal["direct", "null_text", "npi", "ddim"],
    Knob(label="Inversion", help="direct is the best and cheap; null_text optimises; ddim is the baseline"),
]
EditType = Annotated[
    Literal["auto", "replace", "refine"],
    Knob(label="Edit type", help="replace: words swapped; refine: words added; auto: by the two prompts"),
]
_FRACTION = 0, 1, 0.05


def fit(
    model: LatentDiffusion,
    image: Tensor,
    source_prompt: str,
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
    """Invert an image (1,3,H,W) in [-1,1] that shows what `source_prompt` says.

    The source prompt should name what the edit is to change. The algorithms are in
    models.diffusion.inversions. null_text and ddim use the guidance; null_text alone the knobs after it.
    Raises ValueError for an empty or too long source prompt, and for more than one image.
    """
    if inversion == "null_text":
        yield from inversions.null_text(
            model,
            image,
            source_prompt,
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
        yield from inversions.ddim(model, image, source_prompt, steps=steps, guidance_scale=guidance_scale)
    elif inversion in ("direct", "npi"):
        invert = inversions.direct if inversion == "direct" else inversions.npi
        yield from invert(model, image, source_prompt, steps=steps)
    else:
        raise ValueError(f"Inversion: {inversion!r} is none of direct, null_text, npi, ddim.")


@dataclass(frozen=True, eq=False)
class Edited:
    """What an edit to B prompts gives.

    images: (B,3,H,W).  edit_types: "replace" or "refine", for each.  masks: (B,1,h,w), 1 where the last blend
    let the edit through; all 1 without blend words.
    maps: for the source prompt and each prompt, {word: (h',w')} attention, of maximum 1; empty unless kept.
    """

    images: Tensor
    edit_types: tuple[str, ...]
    masks: Tensor
    maps: tuple[dict[str, Tensor], ...] = ()


@batches()
@torch.no_grad()
def edit(
    model: LatentDiffusion,
    fitted: Inversion,
    prompt: str,
    *,
    edit_type: EditType = "auto",
    cross_replace_steps: Annotated[
        float,
        Knob(
            *_FRACTION,
            label="Cross-attention steps",
            help="share of the run in which each word keeps its place",
        ),
    ] = 0.8,
    self_replace_steps: Annotated[
        float,
        Knob(*_FRACTION, label="Self-attention steps", help="share of the run in which the layout is kept"),
    ] = 0.5,
    word_weights: Annotated[str, Knob(label="Word weights", help="tiger=2 blue hair=-1 red#2=3")] = "",
    word_steps: Annotated[
        str, Knob(label="Steps of words", help="cross-attention steps by word: tiger=0.4 grass=0.2:0.8")
    ] = "",
    blend_words: Annotated[
        str, Knob(label="Blend words", help="change the picture only where these words are seen")
    ] = "",
    subtract_words: Annotated[
        str, Knob(label="Protected words", help="change nothing where these words are seen")
    ] = "",
    blend_threshold: Annotated[
        float, Knob(*_FRACTION, label="Blend threshold", help="larger: a smaller area")
    ] = 0.3,
    blend_start: Annotated[
        float, Knob(*_FRACTION, label="Blend from", help="share of the run before the blend begins")
    ] = 0.2,
    self_replace_side: Annotated[
        int,
        Knob(
            1,
            128,
            1,
            label="Self-attention grid",
            help="keep the layout in layers of at most this side; 16 in the paper",
        ),
    ] = 32,
    keep_to_source: Annotated[
        float,
        Knob(
            *_FRACTION,
            label="Keep to source",
            help="removes this share of the inversion's error from the edit",
        ),
    ] = 0.0,
    guidance_scale: GuidanceScale = 7.5,
) -> Iterator[Step[Tensor]]:
    """Edit the inverted image so that it shows `prompt` -> (B,3,H,W); knobs may be lists of B values.

    In a token's window of steps its cross-attention map is c (A_src M), or c A where it has no counterpart;
    windows and weights c are set by word, by words in a row ("blue hair=2") or by occurrence ("red#2=2");
    `word_steps` takes default_=0.2:0.8 too, and both replace steps a pair (0.2, 0.8) that is one window and
    not two rows. Blend words in a row stand in double quotes. During the first
    int(T self_replace_steps) steps the self-attention is the source's. Blend words let the edit through only
    where they are seen (LocalBlend). The source's row keeps to its path, `fitted.latents`, and needs no
    unconditional one: 1 + 2B rows a step, 2B once nothing of the source is used any more.

    A guided step of the source does not end on its path exactly; the distance is its drift. Direct inversion
    has one and, as published, leaves it in the edit. `keep_to_source` subtracts that share of it from the
    edit's latents too, with 2 + 2B rows a step: at 1, editing to the source prompt gives back the source; at
    0 it does only where there is no drift (null_text, npi, ddim, at their own guidance).
    Raises ValueError for words that are not there, unequal word counts under replace, or too long a prompt.
    """
    given = locals()  # the arguments by name, before there is anything else
    windows = {name: _one_window(given[name]) for name in ("cross_replace_steps", "self_replace_steps")}
    columns = {name: given[name] for name in knobs(edit)} | windows
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*spread(**columns), strict=True)]
    for step in edit_many(model, fitted, [prompt] * len(rows), rows):
        images = None if step.value is None else step.value.images
        yield Step(step.done, step.total, images, preview=step.preview)


def settings_of(**given: Any) -> Settings:
    """The settings of one prompt for `edit_many`: knobs of `edit` by name, the others at their defaults.

    TypeError for a name that is no knob of `edit`.
    """
    known = {name: knob.default for name, knob in knobs(edit).items()}
    if unknown := sorted(set(given) - set(known)):
        raise TypeError(f"prompt_to_prompt.edit has no knob called {', '.join(unknown)}.")
    return known | given


@torch.no_grad()
def edit_many(
    model: LatentDiffusion,
    fitted: Inversion,
    prompts: Sequence[str],
    settings: Sequence[Settings],
    *,
    keep_maps: bool = False,
) -> Iterator[Step[Edited]]:
    """Edit to B prompts in one batch, each with its own settings. Raises ValueError as `edit`.

    keep_maps: keep where each word of the source prompt and of the prompts looks.
    """
    _check(prompts, settings)
    texts = [fitted.source_prompt, *prompts]
    text, tokens = model.encode_text(texts), [alignment.read(model.tokenizer, one) for one in texts]
    if text.tokens.shape[1:] != fitted.null(0).tokens.shape[1:]:
        raise ValueError("This inversion was made with another model: invert the image again.")
    steps = fitted.steps
    plans = [plan(tokens[0], new, steps, row) for new, row in zip(tokens[1:], settings, strict=True)]
    scale, keep = (
        torch.tensor(values, device=model.device, dtype=torch.float32).view(-1, 1, 1, 1)
        for values in ([row[name] for row in settings] for name in ("guidance_scale", "keep_to_source"))
    )
    latents = fitted.latents.to(model.device)
    blends, keeps = any(one.blends for one in plans), bool(keep.any())
    z = latents[-1:].expand(len(plans), -1, -1, -1)
    sums = MapSum(map_side((z.shape[2], z.shape[3]))) if keep_maps or blends else None
    mask = torch.ones_like(z[:, :1], dtype=torch.bool)
    for k, (t, t_to) in enumerate(model.schedule.transitions(steps, invertible=True)):
        source, following = latents[steps - k].unsqueeze(0), latents[steps - k - 1].unsqueeze(0)
        null = fitted.null(k).to(model.device, text.tokens.dtype)
        eps, of_source = _guided_eps(model, plans, k, t, source, z, text, null, scale, sums, keeps)
        preview = clean(model.schedule, z, eps, t)
        z = ddim_step(model.schedule, z, eps, t, t_to)
        if of_source is not None:
            z = z + keep * (following - ddim_step(model.schedule, source, of_source, t, t_to))
        if sums is not None and blends:
            mask = blend_mask(plans, k, sums, (z.shape[2], z.shape[3]))
            z = torch.where(mask, z, following)
        if k + 1 < steps:
            yield Step(k + 1, steps, preview=preview)
    maps = tuple(map(_word_maps, tokens, sums.largest())) if sums is not None and keep_maps else ()
    types = tuple(one.edit_type for one in plans)
    yield Step(steps, steps, Edited(model.decode(z), types, mask.float(), maps))


@torch.no_grad()
def reconstruct(model: LatentDiffusion, fitted: Inversion) -> Tensor:
    """What the inversion makes of its own image, (1,3,H,W): the most an edit can keep."""
    return model.decode(fitted.latents[:1].to(model.device))


@torch.no_grad()
def rebuild(model: LatentDiffusion, fitted: Inversion) -> Iterator[Step[Tensor]]:
    """`reconstruct` as one step."""
    yield Step(1, 1, reconstruct(model, fitted))


def _one_window(steps: Any) -> Any:
    """A tuple of steps is one window, (from, to), for every row, and not a list of two rows."""
    return {"default_": steps} if type(steps) is tuple else steps


def _check(prompts: Sequence[str], settings: Sequence[Settings]) -> None:
    """ValueError unless there are settings for each prompt."""
    if len(prompts) != len(settings) or not prompts:
        raise ValueError(f"{len(prompts)} prompts need as many settings, not {len(settings)}.")


def _guided_eps(
    model: LatentDiffusion,
    plans: Sequence[Plan],
    k: int,
    t: int,
    source: Tensor,
    z: Tensor,
    text: Condition,
    null: Condition,
    scale: Tensor,
    sums: MapSum | None,
    keeps: bool,
) -> tuple[Tensor, Tensor | None]:
    """The noise of the edited rows (B,4,h,w) in step k, and with `keeps` the source's under their guidance.

    source (1,4,h,w), z (B,4,h,w): the latents.  text: the source prompt's row, then theirs.
    """
    shares = keeps or sums is not None or any(one.needs_source(k) for one in plans)
    of_text, text = ([source, z], text) if shares else ([z], text.rows(slice(1, None)))
    of_null = [] if not (scale != 1).any() else [source, z] if keeps else [z]
    rows = torch.cat([*of_null, *of_text])
    first = len(rows) - len(text)
    control = PlanControl(plans, k, first, sums, z.device) if shares else Control()
    with attention_control(model.unet, control, (z.shape[2], z.shape[3])):
        eps = model.eps(rows, t, null.expand(first).cat(text))
    eps_null, eps_text = eps[:first], eps[first:]

    def guided(of: slice) -> Tensor:
        return eps_null[of] + scale * (eps_text[of] - eps_null[of]) if first else eps_text[of]

    return guided(slice(-len(plans), None)), guided(slice(0, 1)) if keeps else None


def _word_maps(tokens: Tokens, maps: Tensor) -> dict[str, Tensor]:
    """{word: (h',w')} of maps (L,h',w'), each of maximum 1."""
    found = {word: maps[tokens.places(word)].sum(0) for word in tokens.words}
    return {word: one / one.max().clamp_min(1e-12) for word, one in found.items()}
