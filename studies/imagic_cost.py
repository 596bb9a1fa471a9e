"""python -m studies.imagic_cost: seconds, UNet rows and memory of Imagic with the models' preset.

Prints one Markdown table. All figures are of one process; the memory is its peak.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import torch

from textedit_core import cache
from textedit_core.method import load
from textedit_core.methods import imagic
from textedit_core.models import zoo
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.request import request
from textedit_core.steps import last
from textedit_core.sweep import sweep
from textedit_core.toon.edits import held_out_edits

STRIP = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="toon")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = measure(zoo.load(options.models), options.repeats)
    sys.stdout.write("| what | seconds | UNet rows |\n|---|---|---|\n")
    for what, seconds, count in rows:
        sys.stdout.write(f"| {what} | {seconds:.2f} | {count} |\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"\nPeak memory of the process: {peak:.0f} MB\n")


def measure(models, repeats: int) -> list[tuple[str, float, int]]:
    """(what, seconds, UNet rows) of a fit, an edit, seven edits, the strip of seven, a hit, and 25 cells."""
    model, edit = models.diffusion, held_out_edits(1)[0]
    image = edit.source(model.size)
    of_fit, of_edit = load("imagic").split(models.presets["imagic"])
    of_edit = {name: value for name, value in of_edit.items() if name not in ("eta", "seed")}
    results = []

    def timed(what: str, run, times: int = 1):
        seconds, count = [], 0
        for _ in range(times):
            with count_rows(model) as counted:
                begun = time.perf_counter()
                value = run()
                seconds.append(time.perf_counter() - begun)
            count = counted.rows
        results.append((what, sorted(seconds)[len(seconds) // 2], count))
        return value

    def sample(eta):
        return last(imagic.edit(model, fitted, eta=eta, **of_edit))

    def again():
        return last(cache.cached(imagic.edit, model, fitted, cache=store, **of_edit))

    store, axes = cache.Cache(), {"eta": [0.3, 0.5, 0.7, 0.9, 1.1], "seed": [0, 1, 2, 3, 4]}
    fitted = timed("fit", lambda: last(imagic.fit(model, image, edit.prompt, **of_fit)))
    timed("edit", lambda: sample(0.7), repeats)
    timed("seven edits, one by one", lambda: [sample(eta) for eta in STRIP], repeats)
    timed("eta strip of seven, one batch", lambda: sample(STRIP), repeats)
    again()
    timed("the same edit again, from the cache", again)
    asked = request("imagic", models, {"image": image, "prompt": edit.prompt})
    timed("sweep of 25 cells with its fit", lambda: last(sweep(asked, axes, store)))
    return results


if __name__ == "__main__":
    main()
