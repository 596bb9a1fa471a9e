"""python -m studies.large_photographs PICTURE ...: where an edit changed nothing, does a photograph stand?

Every picture at its own size and aspect, cut and padded, with "Keep details" at 1: by SDEdit, by Direct
inversion with Prompt-to-Prompt, and by an edit that turns the colours of a patch in the middle and nothing
else. The share of the picture that the edit left alone (within NOTHING of the unedited picture all around a
pixel, and what the models did not see), the largest difference to the photograph there, in 255ths, and the
mean step across the edges of what the models saw, beside the photograph's own there. Any models will do,
--models tiny among them: random ones of 32 pixels, of which nothing is to be expected.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from textedit_core import images
from textedit_core.cache import Cache
from textedit_core.models import zoo
from textedit_core.request import Request, finish, request, run
from textedit_core.steps import last

TEXTS = {"source_prompt": "a man", "prompt": "a happy man"}
NOTHING = 2 / 127.5  # two 255ths, in [-1,1]
PATCH = "patch"
METHODS = {
    "sdedit": {"strength": 0.2},
    "prompt_to_prompt": {"inversion": "direct", "keep_to_source": 0.8},
    PATCH: {},
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--models", default="tiny")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = zoo.load(tiny(Path(folder)) if options.models == "tiny" else options.models)
        heads = "picture | size | method | fit | left alone | largest difference | step at the edge | its own"
        lines = [f"| {heads} |", "|" + "---|" * 8]
        for path in options.pictures:
            picture = Image.open(path).convert("RGB")
            lines += [f"| {path.name} | {line} |" for line in rows(models, picture)]
            sys.stderr.write(f"{path.name}\n")
    sys.stdout.write("\n".join(lines) + "\n")


def tiny(folder: Path) -> Path:
    """The random bundle of the tests."""
    from tests.bundles import write_tiny_bundle

    return write_tiny_bundle(folder / "tiny")


def rows(models: zoo.Models, picture: Image.Image) -> list[str]:
    """A line per method and fit."""
    source = images.native_tensor(picture)
    found = []
    for name, more in METHODS.items():
        texts = TEXTS if name == "prompt_to_prompt" else {"prompt": TEXTS["prompt"]}
        for resize in ("crop", "pad"):
            settings = {"steps": 10, "keep_details": 1.0, "upscale": "none", **more}
            asked = request(
                "sdedit" if name == PATCH else name,
                models,
                {"image": picture, **texts},
                settings,
                resize=resize,
            )
            cache = Cache()
            if name == PATCH:
                result = last(finish(asked, None, patched(rebuilt(asked, None, cache)), cache))
            else:
                result = last(run(asked, cache))
            alone = left_alone(asked, result.edited, rebuilt(asked, result.fitted, cache), source)
            apart = (result.image - source).abs().amax(dim=1, keepdim=True) * 127.5
            most = float(apart[alone].max()) if alone.any() else 0.0
            ours, own = (edge(one, asked, source) for one in (result.image, source))
            size = f"{picture.width} x {picture.height}"
            share = float(alone.float().mean())
            found.append(f"{size} | {name} | {resize} | {share:.2f} | {most:.2f} | {ours:.1f} | {own:.1f}")
    return found


def patched(rec: Tensor) -> Tensor:
    """A picture (1,3,h,w) whose middle has the opposite colours."""
    found, side = rec.clone(), rec.shape[-1]
    middle = slice(side // 3, side * 2 // 3)
    found[..., middle, middle] *= -1
    return found


def rebuilt(asked: Request, fitted, cache: Cache) -> Tensor:
    """What the models make of the source unedited, (1,3,h,w)."""
    return last(asked.rebuild_call(fitted).cached(cache))


def left_alone(asked: Request, edit: Tensor, rec: Tensor, source: Tensor) -> Tensor:
    """Where the source is to stand, (1,1,H,W) of bool: nothing changed around, or nothing was seen."""
    apart = (edit - rec).abs().amax(dim=1, keepdim=True)
    apart = F.max_pool2d(apart, 11, stride=1, padding=5)  # as far as Lanczos sees, which enlarges both
    left, top, right, bottom = asked.seen(source.shape[3], source.shape[2])
    large = F.interpolate(apart, (bottom - top, right - left), mode="nearest") <= NOTHING
    found = torch.ones(1, 1, *source.shape[2:], dtype=torch.bool)
    rows = slice(max(top, 0), min(bottom, source.shape[2]))
    columns = slice(max(left, 0), min(right, source.shape[3]))
    found[..., rows, columns] = large[
        ..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return found


def edge(image: Tensor, asked: Request, source: Tensor) -> float:
    """The mean step across the edges of what the models saw that lie inside the picture, in 255ths."""
    left, top, right, bottom = asked.seen(source.shape[3], source.shape[2])
    steps = [
        (image[..., x] - image[..., x - 1]).abs().mean() for x in (left, right) if 0 < x < image.shape[3]
    ]
    steps += [
        (image[..., y, :] - image[..., y - 1, :]).abs().mean()
        for y in (top, bottom)
        if 0 < y < image.shape[2]
    ]
    return float(torch.stack(steps).mean()) * 127.5 if steps else 0.0


if __name__ == "__main__":
    main()
