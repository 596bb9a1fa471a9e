"""Prompt-to-Prompt's runs: several prompts as one batch, the pictures beside, attention as pictures."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from demos.context import Context
from demos.inversion import inverting, prompts
from demos.shared import common, safety
from demos.shared.common import Ask, Axes, Method, Stage
from textedit_core import cache, images, metrics
from textedit_core.methods import prompt_to_prompt
from textedit_core.models.diffusion import alignment
from textedit_core.models.diffusion.ddim import Inversion
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.prompt_control import plan
from textedit_core.steps import Step, last


def read(ctx: Context, values: dict) -> Ask:
    """Widgets -> Ask for the first prompt; ValueError, a sentence, for what cannot be used."""
    return read_all(ctx, values)[0]


def read_all(ctx: Context, values: dict) -> list[Ask]:
    """Widgets -> one Ask for each prompt, with those words in its settings that it has."""
    models, source_prompt = ctx.models(values["models"]), values["source_prompt"].strip()
    lines = prompts.lines_of(values["prompt"])
    if not lines:
        raise ValueError("Prompt: write what the edited picture is to show.")
    if len(lines) > prompts.MOST:
        raise ValueError(f"Prompt: {prompts.TOO_MANY.format(len(lines))}")
    picture, source = common.open_source(models.diffusion, values)
    first = Ask(
        METHOD,
        values["models"],
        models,
        (models.diffusion, source, source_prompt),
        inverting.settings(METHOD, values, ctx.presets(values["models"], METHOD.name)),
        picture=picture,
        source=source,
        sizing=values.get("sizing", "crop"),
    )
    tokenizer = models.diffusion.tokenizer
    kept = [prompts.fitting_words(tokenizer, source_prompt, line, lines, first.settings) for line in lines]
    return [
        replace(
            first,
            settings=own,
            prompts={"source_prompt": source_prompt, "prompt": line},
            texts={"prompt": line},
            goal=line,
        )
        for line, own in zip(lines, kept, strict=True)
    ]


def stages(settings: dict) -> tuple[Stage, ...]:
    """The parts of an inversion; null-text's second one has a loss."""
    steps, kind = settings["steps"], settings["inversion"]
    invert = Stage("inversion", "Inverting the image", steps)
    second = {
        "null_text": Stage("null-text", "Optimising the empty prompt", steps, lambda fitted: fitted.losses),
        "npi": Stage("sampling", "Sampling the source again", steps),
        "ddim": Stage("sampling", "Sampling the source again", steps),
    }
    return (invert, second[kind]) if kind in second else (invert,)


@torch.no_grad()
def rebuild(model: LatentDiffusion, fitted: Inversion) -> Iterator[Step[Tensor]]:
    """What the inversion makes of its own image, (1,3,H,W)."""
    yield Step(1, 1, prompt_to_prompt.reconstruct(model, fitted))


def rebuilt(ask: Ask) -> dict[str, Tensor]:
    """The source after the autoencoder, and after the inversion, from the cache."""
    diffusion = ask.models.diffusion
    fitted = last(cache.cached(METHOD.fit, *ask.args, **ask.fit))
    return {
        "autoencoder": last(cache.cached(common.autoencoder, diffusion, ask.source)),
        "reconstruction": last(cache.cached(rebuild, diffusion, fitted)),
    }


def pictures(ask: Ask) -> dict:
    """The source, and what autoencoder and inversion make of it."""
    return {"source": ask.picture} | {key: images.to_pil(one)[0] for key, one in rebuilt(ask).items()}


def captions(ask: Ask, edited: Tensor) -> dict[str, str]:
    """How near each picture is to the source."""
    shown = rebuilt(ask) | {"edit": edited}
    decibels = {key: float(metrics.psnr(one, ask.source)) for key, one in shown.items()}
    return {"source": "as the model sees it"} | {key: f"{value:.1f} dB" for key, value in decibels.items()}


def edit_all(ctx: Context, asks: list[Ask], fitted: Inversion) -> Iterator[Step]:
    """Edit to the prompts of all asks in one batch; the last value is a prompt_to_prompt.Edited with maps.

    Each picture is also put where a sweep or a single edit with the same settings looks for it.
    """
    diffusion, start = asks[0].models.diffusion, time.monotonic()
    lines = [ask.texts["prompt"] for ask in asks]
    settings = [prompt_to_prompt.settings_of(**ask.edit) for ask in asks]
    drawn = 0
    for step in cache.cached(prompt_to_prompt.edit_many, diffusion, fitted, lines, settings, keep_maps=True):
        drawn += 1
        yield step
    for ask, image in zip(asks, step.value.images.split(1), strict=True):
        name = cache.key(METHOD.edit, ask.arguments(fitted), ask.edit)
        cache.default.put(name, cache.Entry(image, step.total))
    if drawn > 1:
        ctx.pace.observe(ask.name, f"{METHOD.name} edit", drawn * len(asks), time.monotonic() - start)


def present_all(asks: list[Ask], edited: prompt_to_prompt.Edited, folder: Path, seconds: float) -> list[dict]:
    """One result for each ask, with its edit type, and attention and mask as pictures.

    One that is refused has no picture, and says so. Refused, a sentence, where none is left.
    """
    results = []
    for row, ask in enumerate(asks):
        about = {"edit_type": edited.edit_types[row], "prompt": ask.texts["prompt"]}
        try:
            results.append(about | presented(ask, edited, row, folder, seconds))
        except safety.Refused:
            results.append(about | safety.in_its_place(common.describe(ask).to_json()))
    if not any(one["edit"] for one in results):
        raise safety.Refused(safety.REFUSED if len(asks) == 1 else safety.ALL_REFUSED.format(len(asks)))
    return results


def presented(ask: Ask, edited: prompt_to_prompt.Edited, row: int, folder: Path, seconds: float) -> dict:
    """The result of one row of a batch, with attention and mask. Refused where that is so."""
    image = edited.images[row : row + 1]
    result = common.present(ask, image, folder, f"edit-{row + 1}", seconds)
    result["words"] = f"{edited.edit_types[row].capitalize()}, {result['words']}"
    shown = {"source_prompt": (ask.source, edited.maps[0]), "prompt": (image, edited.maps[row + 1])}
    result["maps"] = {
        key: [
            (word, common.save_plain(images.to_pil(lit(over, one))[0], folder, f"map-{key}"))
            for word, one in maps.items()
        ]
        for key, (over, maps) in shown.items()
    }
    result["mask"] = None
    if ask.settings["blend_words"].strip():
        through = tinted(ask.source, edited.masks[row : row + 1])
        result["mask"] = common.save_plain(images.to_pil(through)[0], folder, "mask")
    return result


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
    diffusion, settings = ctx.models(values["models"]).diffusion, METHOD.settings(values)
    lines = prompts.lines_of(values["prompt"])
    source = alignment.read(diffusion.tokenizer, values["source_prompt"])
    names = ("edit_type", *prompts.OF_WORDS)
    said: dict[str, list[str]] = {name: [""] * len(lines) for name in names}
    for row, line in enumerate(lines):
        tokens = alignment.read(diffusion.tokenizer, line)
        own = prompts.fitting_words(diffusion.tokenizer, values["source_prompt"], line, lines, settings)
        for name in names:
            plain = {one: METHOD.knobs[one].default for one in names if one != name}
            if name == "subtract_words":
                del plain["blend_words"]  # protected words take from those
            try:
                made = {one: (own | plain)[one] for one in METHOD.edit_knobs}
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


SWEEPS: dict[str, Callable[[dict], Axes]] = {
    "Cross × self": lambda values: METHOD.axes,
    "Word weight": weights_axis,
    "Guidance": lambda values: Axes("guidance_scale", "1, 3, 5, 7.5, 10"),
    "Inversions": lambda values: Axes("inversion", "direct, null_text, npi, ddim"),
}

METHOD = Method(
    prompt_to_prompt,
    read,
    Axes("cross_replace_steps", "0, 0.4, 0.8, 1", "self_replace_steps", "0, 0.4, 0.8"),
    sweeps=SWEEPS,
    stages=stages,
    pictures=pictures,
    captions=captions,
    headline=("cross_replace_steps", "self_replace_steps"),
    memory_hint="Turn on checkpointing, edit to fewer prompts at once, or run smaller sweeps.",
)
