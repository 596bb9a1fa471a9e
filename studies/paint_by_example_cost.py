"""python -m studies.paint_by_example_cost: a sampling step beside the published pipeline's.

The step is timed on a UNet of the toon model's shape with random weights, in turn with the call that
diffusers' PaintByExamplePipeline makes on the same numbers, in CPU seconds. Prints Markdown.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from functools import partial

import torch

from textedit_core.models.diffusion.single_token import skip_queries_and_keys
from textedit_core.training.diffusion import build_unet
from textedit_core.training.paint_by_example import widened

TEXT_WIDTH = 128


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--rows", type=int, default=1, help="pictures in a batch; each is two rows")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lines = [
        "| step | median ms | of diffusers' | best ms | of diffusers' | largest difference |",
        "|" + "---|" * 6,
    ]
    found = measure(options.repeats, options.rows)
    median, best = statistics.median(found[0][1]), min(found[0][1])
    for name, seconds, apart in found:
        middle, least = statistics.median(seconds), min(seconds)
        lines.append(
            f"| {name} | {1e3 * middle:.1f} | {middle / median:.3f} | {1e3 * least:.1f} | {least / best:.3f} "
            f"| {apart:.1e} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


@torch.no_grad()
def measure(repeats: int, rows: int) -> list[tuple[str, list[float], float]]:
    """(name, seconds of each step, how far its noise is from diffusers') of each kind, timed in turn."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = widened(build_unet(TEXT_WIDTH)).eval()
    z, around = torch.randn(rows, 4, 16, 16, generator=draw), torch.randn(1, 5, 16, 16, generator=draw)
    tokens = torch.randn(2 * rows, 1, TEXT_WIDTH, generator=draw)
    masked, keep = around[:, :4].repeat(2 * rows, 1, 1, 1), around[:, 4:].repeat(2 * rows, 1, 1, 1)

    def published() -> torch.Tensor:
        noise = plain(torch.cat([torch.cat([z] * 2), masked, keep], dim=1), 500, encoder_hidden_states=tokens)
        return _guided(noise.sample)

    def here(unet) -> torch.Tensor:
        both = torch.cat([torch.cat([z] * 2), around.expand(2 * rows, -1, -1, -1)], dim=1)
        return _guided(unet(both, 500, encoder_hidden_states=tokens).sample)

    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    steps = {
        "diffusers": published,
        "without queries and keys": partial(here, skip_queries_and_keys(plain)),
        "and channels last": partial(here, skip_queries_and_keys(last)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 3):
        for name, step in steps.items():
            begun = time.process_time()
            step()
            if repeat >= 3:
                seconds[name].append(time.process_time() - begun)
    wanted = published()
    return [(name, seconds[name], (step() - wanted).abs().max().item()) for name, step in steps.items()]


def _guided(eps: torch.Tensor) -> torch.Tensor:
    null, example = eps.chunk(2)
    return null + 5 * (example - null)


if __name__ == "__main__":
    main()
