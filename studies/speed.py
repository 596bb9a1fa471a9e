"""What the shortcuts save: each beside a plain implementation of the same result, in one run.

python -m studies.speed --out DIR [--models toon] [--device cpu] [--repeats 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from studies import speed_images
from studies.clock import Clock, Stage
from textedit_core import cache
from textedit_core.images import square_tensor
from textedit_core.methods import imagic, prompt_to_prompt, sdedit
from textedit_core.models import zoo
from textedit_core.models.diffusion import alignment, inversions
from textedit_core.models.diffusion.attention import attention_control
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Inversion, ddim_step
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.prompt_control import PlanControl, plan
from textedit_core.noise import noise
from textedit_core.steps import last

STRIP = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
SOURCE, TARGET = "a man", "a man with glasses"


def measure(models: zoo.Models, repeats: int = 3, steps: int = 10) -> Iterator[Stage]:
    """Every stage in turn, each the median of `repeats` runs that alternate with the plain ones."""
    clock = Clock(models.diffusion, repeats)
    for stages in (_parts(models, clock), _guidance(clock), _direct(clock, steps), _strip(clock, steps)):
        yield from stages
    if "paint_by_example" in models.sources:
        yield from speed_images.painting(replace(clock, model=models.paint_by_example))
    if "generator" in models.sources:
        clock = replace(clock, model=models.generator)
        yield from speed_images.generating(models, clock, STRIP, (SOURCE, TARGET))


def table(stages: list[Stage], peak_mb: float) -> str:
    """The stages as Markdown."""
    lines = [
        "| stage | seconds | UNet rows | plain way | seconds | UNet rows | ratio | largest difference |",
        "|" + "---|" * 8,
    ]
    for one in stages:
        plain = ["–"] * 5
        if one.plain_seconds is not None:
            plain = [one.plain_way, f"{one.plain_seconds:.3f}", f"{one.plain_rows}", f"{one.ratio:.2f}",
                     f"{one.apart:.1g}"]  # fmt: skip
        lines.append(f"| {one.name} | {one.seconds:.3f} | {one.rows} | {' | '.join(plain)} |")
    return "\n".join([*lines, "", f"Peak memory: {peak_mb:.0f} MB"])


def peak_memory(device: torch.device) -> float:
    """The most memory so far in MB: the device's for CUDA, else the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _parts(models: zoo.Models, clock: Clock) -> Iterator[Stage]:
    """The stages that every edit is made of."""
    model, image, z, text = models.diffusion, *_given(models.diffusion)
    yield clock.stage("encode an image", lambda: model.encode(image))
    yield clock.stage("decode an image", lambda: model.decode(z))
    yield clock.stage("encode a prompt", lambda: model.encode_text([TARGET]))
    yield clock.stage("one UNet row", lambda: model.eps(z, 500, text))
    if "clip" in models.sources:
        yield clock.stage("CLIP features of an image", lambda: models.clip.image_features(image))
    if importlib.util.find_spec("dicebear"):
        from textedit_core.toon.render import render
        from textedit_core.toon.world import Scene

        yield clock.stage("render a portrait", lambda: square_tensor(render(Scene(), model.size), model.size))


def _guidance(clock: Clock) -> Iterator[Stage]:
    model, (_, z, text) = clock.model, _given(clock.model)
    null = model.encode_text([""])

    def apart() -> Tensor:
        eps_null, eps_text = model.eps(z, 500, null), model.eps(z, 500, text)
        return eps_null + 5.0 * (eps_text - eps_null)

    def idle() -> Tensor:
        eps_null, eps_text = model.eps(torch.cat([z, z]), 500, null.cat(text)).chunk(2)
        return eps_null + 1.0 * (eps_text - eps_null)

    one_batch = model.guided_eps
    yield clock.stage("guidance, both rows in one batch", lambda: one_batch(z, 500, text, null, 5.0),
                      "two calls", apart)  # fmt: skip
    yield clock.stage("guidance 1, one row", lambda: one_batch(z, 500, text, null, 1.0), "two rows", idle)


def _direct(clock: Clock, steps: int) -> Iterator[Stage]:
    """Direct inversion with Prompt-to-Prompt: the source's unconditional row is not computed."""
    model, (image, _, _) = clock.model, _given(clock.model)
    fitted = last(inversions.direct(model, image, SOURCE, steps=steps))
    settings = {"cross_replace_steps": 0.8, "self_replace_steps": 0.5, "guidance_scale": 5.0}
    invert = inversions.direct
    yield clock.stage("Direct inversion", lambda: last(invert(model, image, SOURCE, steps=steps)).latents)
    yield clock.stage(
        "Direct edit, three rows a step",
        lambda: last(prompt_to_prompt.edit(model, fitted, TARGET, **settings)),
        "four rows a step",
        lambda: four_rows(model, fitted, TARGET, **settings),
    )
    store, kept = cache.Cache(), (sdedit.edit, model, image, TARGET)
    yield clock.stage(
        "the same SDEdit again, from the cache",
        lambda: last(cache.cached(*kept, cache=store, steps=steps)),
        "computed again",
        lambda: last(sdedit.edit(*kept[1:], steps=steps)),
    )


def four_rows(
    model: LatentDiffusion, inversion: Inversion, prompt: str, *, guidance_scale: float, **settings
) -> Tensor:
    """Prompt-to-Prompt on a Direct inversion as published: both prompts, each with its unconditional row."""
    before, after = (alignment.read(model.tokenizer, one) for one in (inversion.source_prompt, prompt))
    text, latents, steps = (
        model.encode_text([inversion.source_prompt, prompt]),
        inversion.latents,
        inversion.steps,
    )
    made = plan(before, after, steps, prompt_to_prompt.settings_of(**settings))
    z = latents[-1:]
    for k, (t, t_to) in enumerate(model.schedule.transitions(steps)):
        source, null = latents[steps - k].unsqueeze(0), inversion.null(k)
        with attention_control(model.unet, PlanControl([made], k, 2, None, z.device), z.shape[-2:]):
            eps = model.eps(torch.cat([source, z, source, z]), t, null.cat(null, text))
        guided = eps[:2] + guidance_scale * (eps[2:] - eps[:2])
        z = ddim_step(model.schedule, z, guided[1:], t, t_to)
    return model.decode(z)


def _strip(clock: Clock, steps: int) -> Iterator[Stage]:
    """Seven values of eta: the cost of an edit does not depend on how long the fit was, so it is short."""
    model, (image, _, _) = clock.model, _given(clock.model)
    fitted = last(imagic.fit(model, image, TARGET, embedding_steps=2, finetune_steps=2))
    yield clock.stage(
        "eta strip of seven, one batch",
        lambda: last(imagic.edit(model, fitted, eta=list(STRIP), steps=steps)),
        "seven edits",
        lambda: torch.cat([last(imagic.edit(model, fitted, eta=eta, steps=steps)) for eta in STRIP]),
    )


def _given(model: LatentDiffusion) -> tuple[Tensor, Tensor, Condition]:
    """An image, a latent and a text embedding of one row."""
    side = model.size // model.latent_scale
    z = noise((1, model.vae.config.latent_channels, side, side), 0, device=model.device)
    with torch.no_grad():
        image = noise((1, 3, model.size, model.size), 1, device=model.device).clamp(-1, 1)
        return image, z, model.encode_text([TARGET])


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write speed.json and speed.md into the folder asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--models", default="toon", metavar="NAME")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    models = zoo.load(options.models, options.device)
    stages = []
    for stage in measure(models, options.repeats):
        print(f"{stage.name}: {stage.seconds:.3f} s", file=sys.stderr)
        stages.append(stage)
    peak = peak_memory(models.device)
    options.out.mkdir(parents=True, exist_ok=True)
    found = {"device": str(models.device), "models": models.name, "peak_mb": round(peak, 1)}
    found["stages"] = [asdict(one) | {"ratio": one.ratio} for one in stages]
    (options.out / "speed.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    (options.out / "speed.md").write_text(table(stages, peak) + "\n", encoding="utf-8")
    print(table(stages, peak))


if __name__ == "__main__":
    main()
