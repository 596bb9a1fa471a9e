"""python -m studies.foretold: the memory that the page tells before a run, for the real sizes on a GPU.

The networks of Stable Diffusion 1.5, 2.1 and XL without numbers (on the device "meta"), at their own sizes,
and what `textedit_core.estimate` says of each method at each level of memory: nothing is run. Tests hold that
estimate against measured peaks at three sizes; `studies.real_size` measures whole runs. Prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from studies.real_size import FAMILIES, GIB, PROMPT, SOURCE, TITLES, without_numbers

CHECKPOINTING = {"inversion": "null_text", "gradient_checkpointing": True}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "SDEdit": ("sdedit", {}),
    "Direct, Prompt-to-Prompt": ("prompt_to_prompt", {"inversion": "direct"}),
    "null-text, Prompt-to-Prompt": ("prompt_to_prompt", {"inversion": "null_text"}),
    "null-text, checkpointing": (
        "prompt_to_prompt",
        {"inversion": "null_text", "gradient_checkpointing": True},
    ),
    "Imagic, lora": ("imagic", {"tune": "lora"}),
    "Imagic, attention": ("imagic", {"tune": "attention"}),
    "Imagic, full": ("imagic", {"tune": "full"}),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float16")
    options = parser.parse_args(arguments)
    lines = ["| model | method | weights GiB | fast | balanced | low |", "|---|---|---|---|---|---|"]
    for family in options.families:
        for row in rows(family, getattr(torch, options.dtype)):
            lines.append("| " + " | ".join(row) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


def rows(family: str, dtype: torch.dtype) -> Iterator[list[str]]:
    """Title, method, GiB of the weights and of the peak at each level."""
    from textedit_core.choices import LEVELS
    from textedit_core.models.diffusion import memory
    from textedit_core.models.diffusion.placing import networks

    model = model_of(family, dtype)
    weights = memory.bytes_of(networks(model)) / GIB
    for title, (method, settings) in METHODS.items():
        peaks = [peak(model, method, settings, level) / GIB for level in LEVELS]
        yield [TITLES[family], title, f"{weights:.2f}", *(f"{one:.1f}" for one in peaks)]


def peak(model: Any, method: str, settings: dict[str, Any], level: str) -> int:
    """The most bytes at once, as told for one edit at a level of memory."""
    import dataclasses

    from textedit_core import estimate
    from textedit_core.method import load
    from textedit_core.request import Request

    asked_of = load(method)
    known = {name: knob.default for name, knob in asked_of.knobs.items()} | settings
    inputs: dict[str, Any] = {"model": dataclasses.replace(model, memory=level)}
    inputs["image"] = torch.empty(1, 3, model.size, model.size, device="meta")
    inputs |= {name: PROMPT for name, one in asked_of.inputs.items() if one.kind == "text"}
    if "source_prompt" in inputs:
        inputs["source_prompt"] = SOURCE
    found = estimate._estimate(Request(asked_of, None, inputs, known), inputs["model"], 1, level)
    return found.peak


def model_of(family: str, dtype: torch.dtype) -> Any:
    """The text-to-image model of a family whose networks hold no memory."""
    from textedit_core.models.diffusion import published
    from textedit_core.models.diffusion.ddim import Schedule
    from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion

    parts: dict[str, Any] = {
        name: network.to(dtype).requires_grad_(False) for name, network in without_numbers(family)
    }
    tokenizers = {"tokenizer": SimpleNamespace(model_max_length=77)}  # all that is asked of one here
    if "text_encoder_2" in parts:
        tokenizers["tokenizer_2"] = tokenizers["tokenizer"]
    schedule = Schedule.from_config(published.SCHEDULER)
    return LatentDiffusion(**parts, **tokenizers, schedule=schedule, fingerprint=None)


if __name__ == "__main__":
    main()
