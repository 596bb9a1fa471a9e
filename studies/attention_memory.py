"""python -m studies.attention_memory: the peak memory of an edit, beside one that makes every map.

A small random UNet of two heads edits random latents for one step, once as the studio does and once with
attention that holds queries x queries maps. Prints one Markdown table: the most bytes of tensors alive at
once beyond those at the start, by the allocator's own count.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from torch import Tensor

from textedit_core.methods import prompt_to_prompt
from textedit_core.models.diffusion import attention
from textedit_core.models.diffusion.ddim import Inversion
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.steps import last

SOURCE, TARGET = "a man in a red hat", "a man in a blue hat"
SETTINGS = {"cross_replace_steps": 1, "self_replace_steps": 1}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32, 64], help="of the latents")
    parser.add_argument("--self-side", type=int, default=64, help="the largest grid that shares attention")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write(
        "| latents | as here | with every map | ratio | largest difference |\n" + "|---" * 5 + "|\n"
    )
    model = random_model()
    for side in options.sides:
        here, there, apart = compare(model, side, options.self_side)
        megabytes = f"{here / 2**20:.1f} MB | {there / 2**20:.1f} MB | {here / there:.3f}"
        sys.stdout.write(f"| {side} x {side} | {megabytes} | {apart:.1e} |\n")


def compare(model: LatentDiffusion, side: int, self_side: int = 64) -> tuple[int, int, float]:
    """The peaks in bytes of an edit on latents of this side, without and with the maps of self-attention,
    and the largest difference between the two pictures."""
    fitted = random_inversion(model, side)

    def run() -> Tensor:
        return last(prompt_to_prompt.edit(model, fitted, TARGET, self_replace_side=self_side, **SETTINGS))

    here, picture = peak_bytes(run)
    with every_map():
        there, other = peak_bytes(run)
    return here, there, float((picture - other).abs().max())


def peak_bytes(run: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """The most bytes that the CPU allocator had given out at once during `run`, and what `run` returned."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        value = run()
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return max(itertools.accumulate(size for _, size in changes)), value


@contextmanager
def every_map():
    """Inside the block self-attention is softmax(Q K^T) V with the map held, in the same rows and layers."""

    def materialised(q: Tensor, k: Tensor, v: Tensor, mask: None = None, scale: float = 1.0) -> Tensor:
        return torch.softmax((q * scale) @ k.transpose(-1, -2), dim=-1) @ v

    with mock.patch.object(attention, "F", SimpleNamespace(scaled_dot_product_attention=materialised)):
        yield


def random_inversion(model: LatentDiffusion, side: int) -> Inversion:
    """One step of random latents, as if an image had been inverted."""
    latents = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        null = model.encode_text([""])
    return Inversion("direct", SOURCE, (4 * side, 4 * side), latents, null)


def random_model() -> LatentDiffusion:
    """The tiny random model of the tests, whose attention has two heads."""
    from tests.bundles import write_tiny_bundle
    from textedit_core.models import zoo

    with tempfile.TemporaryDirectory() as folder:
        return zoo.load(write_tiny_bundle(Path(folder))).diffusion


if __name__ == "__main__":
    main()
