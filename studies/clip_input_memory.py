"""python -m studies.clip_input_memory: bytes that CLIP's input holds, ours beside the large image.

A Markdown table of what is alive at once at most while the input of one image is made and its gradient found,
and of the largest tensor, for several sides.
"""

from __future__ import annotations

import argparse
import sys

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from textedit_core.models.style.clip_input import clip_input

SIDES = (64, 256, 512, 1024)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write("| side | ours, MB | published way, MB | ratio |\n|---|---|---|---|\n")
    for side in options.sides:
        ours, theirs = peak(clip_input, side), peak(published, side)
        sys.stdout.write(f"| {side} | {ours / 1e6:.1f} | {theirs / 1e6:.1f} | {ours / theirs:.4f} |\n")


def published(image: Tensor) -> Tensor:
    """Upsample(7), then AvgPool2d(side / 32)."""
    return F.avg_pool2d(F.interpolate(image, scale_factor=7, mode="nearest"), image.shape[-1] // 32)


def peak(make, side: int) -> int:
    """The most bytes that are allocated at once, beyond the image itself, forwards and backwards."""
    image = torch.zeros(1, 3, side, side, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        make(image).sum().backward()
    held = highest = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            highest = max(highest, held)
    return highest


if __name__ == "__main__":
    main()
