"""python -m studies.styleclip_cost: what StyleCLIP's edits cost with the models' presets.

Prints a Markdown table of processor and wall seconds of one process, the least of several runs where a run
is short; what a sweep costs beside its edits one by one; and what measuring the relevance convolves beside
whole renders.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import torch

from textedit_core.cache import Cache
from textedit_core.method import load
from textedit_core.methods import projection, styleclip_directions, styleclip_optimizer
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.models.style.relevance import convolutions, multiply_adds
from textedit_core.request import request
from textedit_core.steps import last
from textedit_core.sweep import sweep

ONE_BY_ONE = "25 directions, one by one"
IN_EIGHTS, IN_ONE = "25 directions, one sweep in batches of 8", "25 directions, one sweep in one batch"
ALPHAS, BETAS = [-4.0, -2.0, 2.0, 4.0, 6.0], [0.02, 0.05, 0.08, 0.1, 0.15]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="toon")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--neutral", default="a person")
    parser.add_argument("--prompt", default="a person with sunglasses")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    models = zoo.load(options.models)
    sys.stdout.write("| what | processor s | wall s |\n|---|---|---|\n")
    found = {}
    for what, processor, wall in measure(models, options.neutral, options.prompt):
        found[what] = processor
        sys.stdout.write(f"| {what} | {processor:.4f} | {wall:.4f} |\n")
        sys.stdout.flush()
    for what in (IN_ONE, IN_EIGHTS):
        sys.stdout.write(f"\n{what}: {found[what] / found[ONE_BY_ONE]:.3f} of the seconds one by one.")
    for what, costs in (("images", None), ("multiply-adds", multiply_adds(models.generator))):
        ours, least, whole = convolutions(models.generator, 100, costs)
        sys.stdout.write(f"\n\nRelevance, {what} of the convolutions of whole renders: {ours / whole:.3f}, ")
        sys.stdout.write(f"where {least / whole:.3f} is the least.")
    sys.stdout.write("\n")


def timed(what: str, run: Callable, times: int = 1) -> tuple[str, float, float]:
    """(what, processor seconds, wall seconds), the least of so many runs: other work only adds to them."""
    found = []
    for _ in range(times):
        processor, wall = time.process_time(), time.perf_counter()
        run()
        found.append((time.process_time() - processor, time.perf_counter() - wall))
    return what, *map(min, zip(*found, strict=True))


def measure(models: zoo.Models, neutral: str, prompt: str) -> Iterator[tuple[str, float, float]]:
    """`timed` of directions, the optimizer and projection."""

    latent = latents.from_seed(models.generator, seed=0)
    image = latent.image(models.generator)
    given = models.generator, models.clip, models.relevance, latent, neutral, prompt

    texts = {"neutral": neutral, "prompt": prompt}
    asked = request("styleclip_directions", models, {"latent": latent, **texts})

    def edit(**knobs):
        return last(styleclip_directions.edit(*given, **knobs))

    def grid(batch_size: int):
        axes = {"alpha": ALPHAS, "beta": BETAS}
        return last(sweep(asked, axes, Cache(), batch_size=batch_size))

    yield timed("direction, its texts for the first time", edit)
    yield timed("direction, alpha dragged", lambda: edit(alpha=2.0), 50)
    yield timed(ONE_BY_ONE, lambda: [edit(alpha=a, beta=b) for a in ALPHAS for b in BETAS], 9)
    yield timed(IN_EIGHTS, lambda: grid(8), 9)
    yield timed(IN_ONE, lambda: grid(32), 9)
    parts = models.generator, models.clip, models.identity
    preset = load("styleclip_optimizer").split(models.presets.get("styleclip_optimizer", {}))[0]
    yield timed("optimizer", lambda: last(styleclip_optimizer.fit(*parts, latent, prompt, **preset)))
    parts = models.generator, models.encoder, models.clip, models.identity
    preset = models.presets.get("projection", {})
    yield timed("projection", lambda: last(projection.fit(*parts, image, **preset)))


if __name__ == "__main__":
    main()
