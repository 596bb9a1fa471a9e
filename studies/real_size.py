"""python -m studies.real_size --out DIR: every method on random weights of the real sizes, beside diffusers.

Writes repositories of Stable Diffusion 1.5, 2.1 and XL with random weights under --out, loads them as any
folder is loaded, and runs each method for two steps: does it work, how many UNet rows, processor seconds a
row beside diffusers' pipeline on the same weights in the same process, and the peak memory of the process.

Each row is a process of its own and is kept in DIR/rows.jsonl: a run that was stopped goes on where it was,
and --families, --dtypes, --methods and --memory choose rows. Prints the table of all rows so far. Of a row
with gradients diffusers has no counterpart; a row of its pipeline is one without.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

FAMILIES, DTYPES = ("sd1", "sd2", "sdxl"), ("float32", "bfloat16")
TITLES = {"sd1": "SD 1.5", "sd2": "SD 2.1", "sdxl": "SDXL"}
METHODS = (
    *("sdedit", "imagic lora", "imagic attention", "imagic full"),
    *("direct", "npi", "ddim", "null_text", "null_text checkpointing"),
)
WITH_GRADIENTS = [one for one in METHODS if one.startswith(("imagic", "null_text"))]
STEPS = 2
SOURCE, PROMPT = "a man in a red hat", "a man in a blue hat"
GIB = 2**30


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for the weights and the rows")
    add("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    add("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    add("--memory", choices=("fast", "balanced", "low"), default="fast")
    add("--size", type=int, help="side of the picture in pixels (default: the family's own)")
    add("--device", default="cpu")
    add("--threads", type=int, default=1)
    add(
        "--keep-weights", action="store_true", help="leave the weights, of up to 7 GB a family, in the folder"
    )
    add("--only-print", action="store_true", help="run nothing: print what there is")
    add("--row", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.row:
        sys.stdout.write(json.dumps(measure(options)) + "\n")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.only_print:
        for family in options.families:
            for dtype in options.dtypes:
                run_rows(options, family, dtype)
    sys.stdout.write(table(read_rows(options.out)))


def run_rows(options: argparse.Namespace, family: str, dtype: str) -> None:
    """The rows of one family in one precision that are not there yet, each in a process of its own."""
    known = {key_of(row) for row in read_rows(options.out)}
    size = options.size or 0
    missing = [one for one in options.methods if (family, dtype, one, options.memory, size) not in known]
    if not missing:
        return
    weights = write_weights(options.out / "weights", family, dtype)
    for method in missing:
        command = [sys.executable, "-m", "studies.real_size", "--row", "--out", str(weights)]
        command += ["--families", family, "--dtypes", dtype, "--methods", method, "--memory", options.memory]
        command += ["--device", options.device, "--threads", str(options.threads)]
        command += ["--size", str(size)] if size else []
        load = os.getloadavg()[0]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        row: dict[str, Any] = {"family": family, "dtype": dtype, "method": method, "memory": options.memory}
        row |= {"size": size, "load": [load, os.getloadavg()[0]]}
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
            row["error"] = lines[-1]
        else:
            row |= json.loads(done.stdout.strip().splitlines()[-1])
        with (options.out / "rows.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        sys.stderr.write(f"{TITLES[family]} {dtype} {method}: {row.get('error', 'measured')}\n")
    if not options.keep_weights:
        shutil.rmtree(weights)


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What tells one row from another."""
    return tuple(row[name] for name in ("family", "dtype", "method", "memory", "size"))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows that were measured so far."""
    path = folder / "rows.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_weights(folder: Path, family: str, dtype: str) -> Path:
    """A repository of the family with random weights in this precision, as diffusers lays it out.

    The configurations are those of the published models (`published.CONFIGS`); the tokenizer is one of a few
    words, padded to 77 tokens, which are ids that the text encoder has.
    """
    from diffusers import DDIMScheduler

    from textedit_core.models.diffusion import published
    from textedit_core.training.tokenizer import build_tokenizer

    target = folder / f"{family}-{dtype}"
    if (target / "model_index.json").is_file():
        return target
    for part, network in without_numbers(family):
        network = fill(network.to_empty(device="cpu").to(getattr(torch, dtype)))
        network.save_pretrained(target / part)
        del network
    for name in ("tokenizer", *(["tokenizer_2"] if "text_encoder_2" in published.CONFIGS[family] else [])):
        build_tokenizer(sorted({*SOURCE.split(), *PROMPT.split()}), target / name, 77)
    DDIMScheduler(**published.SCHEDULER, clip_sample=False).save_pretrained(target / "scheduler")
    kind = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    (target / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    return target


def without_numbers(family: str) -> Iterator[tuple[str, torch.nn.Module]]:
    """The networks of a family by the names of their parts, one after another, on the device "meta"."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from textedit_core.models.diffusion import published

    configs = published.CONFIGS[family]
    makers: dict[str, Callable[[], Any]] = {
        "unet": lambda: UNet2DConditionModel.from_config(configs["unet"]),
        "vae": lambda: AutoencoderKL.from_config(configs["vae"]),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**configs["text_encoder"])),
    }
    if "text_encoder_2" in configs:
        of_second = CLIPTextConfig(**configs["text_encoder_2"])
        makers["text_encoder_2"] = lambda: CLIPTextModelWithProjection(of_second)
    for part, make in makers.items():
        with on_meta():
            network = make()
        yield part, network


@contextmanager
def on_meta() -> Iterator[None]:
    """Networks that are made inside hold no memory yet."""
    with torch.device("meta"):
        yield


def fill(network: torch.nn.Module) -> torch.nn.Module:
    """Random weights as wide as PyTorch starts layers with, norms at 1 and 0, positions in their order."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, one in network.named_parameters():
            if one.ndim > 1:
                one.uniform_(-1, 1, generator=draw).mul_((one[0].numel()) ** -0.5)
            else:
                one.fill_(1.0 if name.endswith("weight") else 0.0)
        for name, one in network.named_buffers():
            if name.endswith("position_ids"):
                one.copy_(torch.arange(one.numel()).reshape(one.shape))
    return network


# --- one row, in a process of its own ---------------------------------------------------------------------


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run one method and diffusers' pipeline on the weights in options.out: the numbers of its row."""
    from textedit_core.models import zoo
    from textedit_core.models.diffusion.latent_diffusion import count_rows

    torch.set_num_threads(options.threads)
    (method,), (dtype,) = options.methods, options.dtypes
    libraries()
    reset_peak(torch.device(options.device))
    empty = peak_bytes(torch.device(options.device))
    models = zoo.load(options.out, options.device, getattr(torch, dtype), options.memory)
    model = models.diffusion
    size = options.size or model.size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = image.to(model.device)
    weights = sum(one.numel() * one.element_size() for part in networks(model) for one in part.parameters())
    run = runs(model, image)[method]
    timer = Timer()
    of_pipeline = pipeline_seconds(model, size, timer)  # first, so that it is the one to read the weights
    if method not in WITH_GRADIENTS:  # no equal of theirs
        of_pipeline = min(of_pipeline, pipeline_seconds(model, size, timer))
    reset_peak(model.device)
    with timer.without_the_rest(model), count_rows(model) as counted:
        begun = timer.now()
        picture = run()
        spent = timer.now() - begun - timer.elsewhere
    peak = peak_bytes(model.device)
    return {
        "works": bool(picture.isfinite().all()),
        "pixels": list(picture.shape[2:]),
        "rows": counted.rows,
        "with_gradient": counted.with_gradient,
        "seconds": spent,
        "pipeline": of_pipeline,
        "weights": weights,
        "peak": peak,
        "empty": empty,
        "device": device_name(model.device),
    }


def runs(model: Any, image: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The methods by their names in METHODS, each from its fit to a picture in two steps a stage."""
    from textedit_core.methods import imagic, prompt_to_prompt, sdedit
    from textedit_core.steps import last

    def by_imagic(tune: str) -> Tensor:
        fitted = last(
            imagic.fit(model, image, PROMPT, embedding_steps=STEPS, finetune_steps=STEPS, tune=tune)
        )
        return last(imagic.edit(model, fitted, steps=STEPS))

    def inverted(kind: str, **more: Any) -> Tensor:
        fitted = last(
            prompt_to_prompt.fit(model, image, SOURCE, inversion=kind, steps=STEPS, inner_steps=1, **more)
        )
        return last(prompt_to_prompt.edit(model, fitted, PROMPT, blend_words="hat"))

    return {
        "sdedit": lambda: last(sdedit.edit(model, image, PROMPT, strength=1, steps=STEPS)),
        **{f"imagic {tune}": lambda tune=tune: by_imagic(tune) for tune in ("lora", "attention", "full")},
        **{kind: lambda kind=kind: inverted(kind) for kind in ("direct", "npi", "ddim", "null_text")},
        "null_text checkpointing": lambda: inverted("null_text", gradient_checkpointing=True),
    }


class Timer:
    """Processor seconds of this process (of a GPU, seconds), with those of all but the UNet kept apart."""

    def __init__(self) -> None:
        self.elsewhere = 0.0

    def now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    @contextmanager
    def without_the_rest(self, model: Any) -> Iterator[None]:
        """Inside the block what autoencoder and text encoders take is counted in `elsewhere`."""
        from textedit_core.models.diffusion import autoencoder

        places = ((autoencoder, "encode"), (autoencoder, "decode"), (type(model), "encode_text"))
        with ExitStack() as stack:
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, self._counted(getattr(owner, name))))
            yield

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            begun = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.elsewhere += self.now() - begun

        return counted


@torch.no_grad()
def pipeline_seconds(model: Any, size: int, timer: Timer) -> float:
    """Seconds a UNet row of diffusers' pipeline takes: two steps of two rows, nothing is decoded."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    from textedit_core.models.diffusion import published

    parts = {"unet": model.unet, "vae": model.vae, "text_encoder": model.text_encoder}
    parts |= {"tokenizer": model.tokenizer, "scheduler": DDIMScheduler(**published.SCHEDULER)}
    text = model.encode_text([PROMPT, ""])
    given = {"prompt_embeds": text.tokens[:1], "negative_prompt_embeds": text.tokens[1:]}
    if model.text_encoder_2 is None:
        pipe: Any = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    else:
        more = {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizer_2}
        pipe = StableDiffusionXLPipeline(**parts, **more)
        given |= {"pooled_prompt_embeds": text.pooled[:1], "negative_pooled_prompt_embeds": text.pooled[1:]}
    pipe.set_progress_bar_config(disable=True)
    begun = timer.now()
    pipe(**given, height=size, width=size, num_inference_steps=STEPS, output_type="latent")
    return (timer.now() - begun) / (2 * STEPS)


def libraries() -> None:
    """Import what every row needs, so that it is not counted as a method's memory."""
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline  # noqa: F401

    from textedit_core.methods import imagic, prompt_to_prompt, sdedit  # noqa: F401


def networks(model: Any) -> list[torch.nn.Module]:
    found = (model.unet, model.vae, model.text_encoder, model.text_encoder_2)
    return [one for one in found if one is not None]


def reset_peak(device: torch.device) -> None:
    """Begin to look for the most memory from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The most memory since `reset_peak`: of the device, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)


# --- the table --------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as Markdown."""
    head = ["model", "precision", "memory", "method", "works", "UNet rows (with gradients)", "s a row"]
    head += ["of diffusers'", "weights GiB", "peak GiB", "above the weights"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        side = f" at {row['size']} px" if row["size"] else ""
        cells = [TITLES[row["family"]] + side, row["dtype"], row["memory"], row["method"]]
        if "error" in row:
            cells += [f"no: {row['error']}", *[""] * 6]
        else:
            each = row["seconds"] / row["rows"]
            ratio = f"{each / row['pipeline']:.2f}" + (" *" if row["with_gradient"] else "")
            cells += ["yes" if row["works"] else "not finite", f"{row['rows']} ({row['with_gradient']})"]
            cells += [f"{each:.1f}", ratio, f"{row['weights'] / GIB:.2f}", f"{row['peak'] / GIB:.2f}"]
            cells += [f"{(row['peak'] - row['weights']) / GIB:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
