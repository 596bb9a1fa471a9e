"""python -m studies.toon_samples --out docs/toon_samples.png: what the shipped models draw.

Eight captions that name few things, as people write them.

Two rows, guidance 3 and 6; the columns are the captions, with seeds 0 to 7. Nothing is picked. With --sets
the captions are those of the first eight held-out portraits of the closed, then of the open world: each row
at 64 pixels, then the same made 256 by the enlarger, and the captions are printed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from textedit_core.models import zoo
from textedit_core.toon.portraits import held_out_portraits
from textedit_core.training.evaluate import generate, grid

CAPTIONS = (
    "an angry person with sunglasses",
    "a sad bald man on a green background",
    "a woman with long pink hair",
    "a man with a long beard",
    "a person in a hijab",
    "a surprised man with round glasses",
    "a guy with a red beanie",
    "a happy lady with an afro",
)
SCALES = (3.0, 6.0)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="toon")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", action="store_true", help="captions of both held-out sets, at both sizes")
    options = parser.parse_args(arguments)
    models = zoo.load(options.models)
    if options.sets:
        of_both_sets(models).save(options.out, optimize=True)
        return
    model = models.diffusion
    rows = [generate(model, list(CAPTIONS), seed=0, scale=scale) for scale in SCALES]
    sheet = grid(torch.cat(rows), len(CAPTIONS))
    sheet.resize((2 * sheet.width, 2 * sheet.height), 0).save(options.out, optimize=True)


def of_both_sets(models: zoo.Models) -> Image.Image:
    """Four rows: of each world the samples at 64 pixels, every pixel as a square, and at 256."""
    count, rows = len(CAPTIONS), []
    for world in ("closed", "open"):
        with TemporaryDirectory() as folder:
            portraits = held_out_portraits(count, models.diffusion.size, Path(folder), 1, world)
        texts, _ = portraits.captions(np.arange(count), np.random.default_rng(0))
        sys.stdout.write("".join(f"{world} {seed}: {text}\n" for seed, text in enumerate(texts)))
        drawn = generate(models.diffusion, texts, seed=0, scale=SCALES[0]).clamp(-1, 1)
        rows += [F.interpolate(drawn, scale_factor=4, mode="nearest"), models.enlarger.enlarge(drawn)]
    sheet = grid(torch.cat(rows), count)
    return sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS).quantize(256)


if __name__ == "__main__":
    main()
