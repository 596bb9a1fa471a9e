"""python -m studies.generator_by_heart: how fast the toon generator learns a few scenes by heart.

The learning rates of training/generator.py were found so: what cannot learn 64 scenes in minutes will not
learn the world in hours. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from textedit_core import metrics
from textedit_core.toon import latent_world
from textedit_core.toon.portraits import Portraits, held_out_portraits
from textedit_core.training import generator, mapping
from textedit_core.training.loop import Budget


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder for the portraits, as OUT/data")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--rates", type=float, nargs="+", default=[generator.LEARNING_RATE])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    portraits = held_out_portraits(options.scenes, 64, options.data)
    sys.stdout.write("| learning rate | steps | CPU seconds | PSNR, dB |\n|---|---|---|---|\n")
    for rate in options.rates:
        begun = time.process_time()
        reached = learn(portraits, rate, options.steps)
        seconds = time.process_time() - begun
        sys.stdout.write(f"| {rate:g} | {options.steps} | {seconds:.0f} | {reached:.1f} |\n")


def learn(portraits: Portraits, rate: float, steps: int, size: int = 64) -> float:
    """The mean PSNR of the portraits after so many steps on them alone, without growing from small images."""
    usual = generator.LEARNING_RATE, generator.FIRST_SIDE
    generator.LEARNING_RATE, generator.FIRST_SIDE = rate, size
    try:
        with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            place = Path(folder)
            network = generator.fit(portraits, mapping.build(), size, place, Budget(steps), 0, "cpu")
    finally:
        generator.LEARNING_RATE, generator.FIRST_SIDE = usual
    code = latent_world.code(torch.from_numpy(portraits.values).long())
    with torch.no_grad():
        drawn = network(network.widen(code))
    return float(metrics.psnr(drawn, portraits.batch(np.arange(len(portraits)))).mean())


if __name__ == "__main__":
    main()
