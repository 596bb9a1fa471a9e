"""python -m studies.toon_samples --out docs/toon_samples.png: what the shipped models draw.

Eight captions that name few things, as people write them.

Two rows, guidance 3 and 6; the columns are the captions, with seeds 0 to 7. Nothing is picked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from textedit_core.models import zoo
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
    options = parser.parse_args(arguments)
    model = zoo.load(options.models).diffusion
    rows = [generate(model, list(CAPTIONS), seed=0, scale=scale) for scale in SCALES]
    sheet = grid(torch.cat(rows), len(CAPTIONS))
    sheet.resize((2 * sheet.width, 2 * sheet.height), 0).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
