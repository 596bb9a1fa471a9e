"""python -m tests.studies.styleclip_cost: what StyleCLIP's edits cost with the models' presets.

Prints a Markdown table of processor and wall seconds of one process, and the share of the convolutions that
measuring the relevance needs of those of whole renders.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch

from textedit_core import latents
from textedit_core.cache import Cache
from textedit_core.knobs import divide
from textedit_core.methods import projection, styleclip_directions, styleclip_optimizer
from textedit_core.models import zoo
from textedit_core.models.relevance import convolutions
from textedit_core.steps import last
from textedit_core.sweep import sweep

ALPHAS, BETAS = [-4.0, -2.0, 2.0, 4.0, 6.0], [0.02, 0.05, 0.08, 0.1, 0.15]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="toon")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--neutral", default="a person")
    parser.add_argument("--target", default="a person with sunglasses")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    models = zoo.load(options.models)
    sys.stdout.write("| what | processor s | wall s |\n|---|---|---|\n")
    for what, processor, wall in measure(models, options.neutral, options.target):
        sys.stdout.write(f"| {what} | {processor:.3f} | {wall:.3f} |\n")
    ours, whole = convolutions(models.generator, 100)
    sys.stdout.write(f"\nRelevance: {ours / whole:.3f} of the images that whole renders convolve, ")
    sys.stdout.write(f"{ours / whole / 2:.3f} of the calls.\n")


def measure(models: zoo.Models, neutral: str, target: str) -> list[tuple[str, float, float]]:
    """(what, processor seconds, wall seconds) of directions, the optimizer and projection."""
    results = []

    def timed(what: str, run, times: int = 1):
        processor, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            value = run()
        results.append(
            (what, (time.process_time() - processor) / times, (time.perf_counter() - wall) / times)
        )
        return value

    latent = latents.from_seed(models.generator, seed=0)
    image = latent.image(models.generator)
    given = models.generator, models.clip, models.relevance, latent, neutral, target

    def edit(**knobs):
        return last(styleclip_directions.edit(*given, **knobs))

    def grid():
        axes = {"alpha": ALPHAS, "beta": BETAS}
        return last(sweep(styleclip_directions.edit, axes, *given, cache=Cache()))

    timed("direction, its texts for the first time", edit)
    timed("direction, alpha dragged", lambda: edit(alpha=2.0), 10)
    timed("25 directions, one by one", lambda: [edit(alpha=a, beta=b) for a in ALPHAS for b in BETAS])
    timed("25 directions, one sweep", grid)
    parts = models.generator, models.clip, models.identity
    preset = divide(
        models.presets.get("styleclip_optimizer", {}), styleclip_optimizer.edit, styleclip_optimizer.fit
    )[0]
    timed("optimizer", lambda: last(styleclip_optimizer.fit(*parts, latent, target, **preset)))
    parts = models.generator, models.encoder, models.clip, models.identity
    preset = models.presets.get("projection", {})
    timed("projection", lambda: last(projection.fit(*parts, image, **preset)))
    return results


if __name__ == "__main__":
    main()
