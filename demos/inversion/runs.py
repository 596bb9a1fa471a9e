"""What the page adds to Prompt-to-Prompt: several prompts as one batch, the pictures beside, attention."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from demos.context import Context
from demos.inversion import inverting, prompts
from demos.shared import safety
from demos.shared.present import present, save_plain
from demos.shared.view import Axes, MethodView, Stage, fit_of, from_widgets
from textedit_core import cache, metrics
from textedit_core.costs import Costs
from textedit_core.large import autoencoded
from textedit_core.methods import prompt_to_prompt
from textedit_core.models.diffusion import alignment
from textedit_core.models.diffusion.ddim import Inversion
from textedit_core.models.diffusion.prompt_control import plan
from textedit_core.request import EDITING, Request, Result
from textedit_core.steps import Step, last


def read(view: MethodView, ctx: Context, values: Mapping[str, Any]) -> Request:
    """The request for the first prompt; ValueError, a sentence, for what cannot be used."""
    return read_all(ctx, values)[0]


def read_all(ctx: Context, values: Mapping[str, Any]) -> list[Request]:
    """A request for each prompt, with those words in its settings that are meant for it."""
    lines = prompts.lines_of(values["prompt"])
    if not lines:
        raise ValueError("Prompt: write what the edited picture is to show.")
    if len(lines) > prompts.MOST:
        raise ValueError(f"Prompt: {prompts.TOO_MANY.format(len(lines))}")
    settings = VIEW.settings(values)
    settings = VIEW.reset(
        settings, inverting.unused(settings["inversion"]), ctx.presets(values["models"], VIEW.name)
    )
    first = from_widgets(VIEW, ctx, values, inputs={"prompt": lines[0]}, settings=settings)
    source_prompt, tokenizer = first.inputs["source_prompt"], first.models.diffusion.tokenizer
    return [
        replace(
            first,
            inputs={**first.inputs, "prompt": line},
            settings=prompts.fitting_words(tokenizer, source_prompt, line, lines, first.settings),
            prompts={"source_prompt": source_prompt, "prompt": line},
        )
        for line in lines
    ]


def stages(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The parts of an inversion; null-text's second one has a loss."""
    steps, kind = settings["steps"], settings["inversion"]
    invert = Stage("inversion", "Inverting the image", steps)
    second = {
        "null_text": Stage("null-text", "Optimising the empty prompt", steps, lambda fitted: fitted.losses),
        "npi": Stage("sampling", "Sampling the source again", steps),
        "ddim": Stage("sampling", "Sampling the source again", steps),
    }
    return (invert, second[kind]) if kind in second else (invert,)


def rebuilt(result: Result) -> dict[str, Tensor]:
    """The source after the autoencoder, and after the inversion, from the cache."""
    diffusion = result.request.models.diffusion
    return {
        "autoencoder": last(cache.cached(autoencoded, diffusion, result.source)),
        "reconstruction": last(cache.cached(prompt_to_prompt.rebuild, diffusion, fit_of(result))),
    }


def pictures(result: Result) -> dict[str, Tensor]:
    """The source, and what autoencoder and inversion make of it."""
    return {"source": result.source} | rebuilt(result)


def captions(result: Result) -> dict[str, str]:
    """How near each picture is to the source."""
    shown = rebuilt(result) | {"edit": result.edited}
    decibels = {key: float(metrics.psnr(one, result.source)) for key, one in shown.items()}
    return {"source": "as the model sees it"} | {key: f"{value:.1f} dB" for key, value in decibels.items()}


def edit_all(asked: list[Request], fitted: Inversion, costs: Costs) -> Iterator[Step]:
    """Make all requests in one batch; the last value is a prompt_to_prompt.Edited with maps.

    Each picture is also put where a sweep or a single edit with the same settings looks for it.
    """
    lines, calls = [one.inputs["prompt"] for one in asked], [one.edit_call(fitted) for one in asked]
    settings = [prompt_to_prompt.settings_of(**call.settings) for call in calls]
    given = asked[0].models.diffusion, fitted, lines, settings
    known = cache.default.get(cache.key(prompt_to_prompt.edit_many, given, {"keep_maps": True})) is not None
    steps = cache.cached(prompt_to_prompt.edit_many, *given, keep_maps=True)
    step = None
    for step in costs.watch(EDITING, steps, known):
        yield replace(step, stage=EDITING)
    for call, image in zip(calls, step.value.images.split(1), strict=True):
        cache.default.put(call.key(), cache.Entry(image, step.total))


def present_all(results: list[Result], edited: prompt_to_prompt.Edited, folder: Path) -> list[dict]:
    """Each result of a batch as plain data, with its edit type, and attention and mask as pictures.

    One that is refused has no picture, and says so. Refused, a sentence, where none is left.
    """
    shown = []
    for row, result in enumerate(results):
        about = {"edit_type": edited.edit_types[row], "prompt": result.request.inputs["prompt"]}
        try:
            shown.append(about | presented(result, edited, row, folder))
        except safety.Refused:
            shown.append(about | safety.refused(result.record.to_json()))
    if not any(one["edit"] for one in shown):
        raise safety.Refused(safety.REFUSED if len(shown) == 1 else safety.ALL_REFUSED.format(len(shown)))
    return shown


def presented(result: Result, edited: prompt_to_prompt.Edited, row: int, folder: Path) -> dict:
    """The result of one row of a batch, with attention and mask. Refused where that is so."""
    shown = present(VIEW, result, folder, f"number {row + 1}" if len(edited.edit_types) > 1 else "")
    shown["words"] = f"{edited.edit_types[row].capitalize()}, {shown['words']}"
    seen = {
        "source_prompt": (result.source, edited.maps[0]),
        "prompt": (result.edited, edited.maps[row + 1]),
    }
    shown["maps"] = {
        key: [(word, save_plain(lit(over, one), folder, f"map-{key}")) for word, one in maps.items()]
        for key, (over, maps) in seen.items()
    }
    shown["mask"] = None
    if result.request.settings["blend_words"].strip():
        shown["mask"] = save_plain(tinted(result.source, edited.masks[row : row + 1]), folder, "mask")
    return shown


def lit(image: Tensor, attention: Tensor) -> Tensor:
    """An image (1,3,H,W) in [-1,1], bright where the attention (h,w) is highest, dark where it is lowest."""
    low, span = attention.min(), (attention.max() - attention.min()).clamp_min(1e-6)
    light = ((attention - low) / span)[None, None].to(image)
    light = F.interpolate(light, image.shape[-2:], mode="bilinear")
    return (image + 1) * (0.12 + 0.88 * light) - 1


def tinted(image: Tensor, mask: Tensor) -> Tensor:
    """An image (1,3,H,W) in [-1,1] with the accent colour over it where the mask (1,1,h,w) is 1."""
    where = F.interpolate(mask.to(image), image.shape[-2:])
    accent = torch.tensor([37, 84, 224]).to(image).view(1, 3, 1, 1) / 127.5 - 1
    return torch.where(where > 0.5, 0.45 * image + 0.55 * accent, image)


def problems(ctx: Context, values: dict) -> dict[str, str]:
    """The sentences for settings that do not suit the two prompts, which must be readable, by field.

    Of several prompts it is named which one, unless the setting suits none of them for one reason.
    """
    diffusion, settings = ctx.models(values["models"]).diffusion, VIEW.settings(values)
    lines = prompts.lines_of(values["prompt"])
    source = alignment.read(diffusion.tokenizer, values["source_prompt"])
    names = ("edit_type", *prompts.OF_WORDS)
    said: dict[str, list[str]] = {name: [""] * len(lines) for name in names}
    for row, line in enumerate(lines):
        tokens = alignment.read(diffusion.tokenizer, line)
        own = prompts.fitting_words(diffusion.tokenizer, values["source_prompt"], line, lines, settings)
        for name in names:
            plain = {one: VIEW.knobs[one].default for one in names if one != name}
            if name == "subtract_words":
                del plain["blend_words"]  # protected words take from those
            try:
                made = {one: (own | plain)[one] for one in VIEW.edit_knobs}
                plan(source, tokens, settings["steps"], prompt_to_prompt.settings_of(**made))
            except ValueError as error:
                said[name][row] = str(error)
    found = {name: prompts.of_prompts(lines, words) for name, words in said.items() if any(words)}
    if "blend_words" in found:
        found.pop("subtract_words", None)
    return found


def changed_word(values: dict) -> str:
    """The word a person most likely wants to weigh: the first of the prompt that the source's has not."""
    old = {word.casefold() for word in (values.get("source_prompt") or "").split()}
    new = next(iter(prompts.lines_of(values.get("prompt"))), "").split()
    return next((word for word in new if word.casefold() not in old), max(new, key=len, default="word"))


def weights_axis(values: dict) -> Axes:
    """The weight of one word, from absent to three times as strong."""
    word = changed_word(values).strip(",.;:!?")
    return Axes("word_weights", ", ".join(f"{word}={weight}" for weight in (-1, 0, 1, 2, 3)))


OFFERS: dict[str, Callable[[dict], Axes]] = {
    "Cross × self": lambda values: VIEW.axes,
    "Word weight": weights_axis,
    "Guidance": lambda values: Axes("guidance_scale", "1, 3, 5, 7.5, 10"),
    "Inversions": lambda values: Axes("inversion", "direct, null_text, npi, ddim"),
}

VIEW = MethodView(
    "prompt_to_prompt",
    Axes("cross_replace_steps", "0, 0.4, 0.8, 1", "self_replace_steps", "0, 0.4, 0.8"),
    reader=read,
    offers=OFFERS,
    stages=stages,
    pictures=pictures,
    captions=captions,
    headline=("cross_replace_steps", "self_replace_steps"),
    memory_hint="Turn on checkpointing, edit to fewer prompts at once, or run smaller sweeps.",
)
