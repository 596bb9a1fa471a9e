"""What the long studies have in common: their flags, and a run that shards divide and a stop does not spoil.

DIR/edits-I.jsonl gets a line per edit of shard I: what the edit is, and under "pictures" a row per picture.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from textedit_core.bench import lines

log = logging.getLogger(__name__)

NAME, KEY = "edits", "edit"  # of the files, and of the number that tells a line


def flags(about: str, limit: int) -> argparse.ArgumentParser:
    """A parser with the flags of every such study; `limit` edits unless another number is given."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="toon", help="with the attribute classifier")
    parser.add_argument("--limit", type=int, default=limit, help="how many edits")
    parser.add_argument("--shard", default="0/1", help="I/N: do every N-th edit from the I-th on")
    return parser


def asked_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of a study of text edits: which attributes are asked for."""
    from textedit_core.toon.edits import ASKED

    parser.add_argument("--asked", default=",".join(ASKED), help="attributes to change, in turn")
    world_flag(parser)


def world_flag(parser: argparse.ArgumentParser) -> None:
    """The flag of a study that goes over held-out portraits: which set of them."""
    parser.add_argument("--world", choices=["closed", "open"], default="closed", help="of the portraits")


def begin(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options; --out is made, the log goes to stderr, and torch takes one thread."""
    options = parser.parse_args(arguments)
    import torch

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr
    )
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    return options


def classifier_of(models, size: int):
    """The attribute classifier of the models' bundle. ValueError where they have none."""
    from textedit_core.models import zoo
    from textedit_core.toon.classifier import load_classifier

    folder = zoo.folder_of(models.name)
    if folder is None:
        raise ValueError(f"--models: {models.name} has no attribute classifier; toon has one.")
    return load_classifier(folder, size)


def run_text_edits(
    options: argparse.Namespace, tell: Callable[[Any], dict], study: Callable[[Any, Any, Any], list[dict]]
) -> None:
    """`run` on the held-out edits of `training.edits`, by study(models, classifier, edit).

    options.asked: the attributes to change, in turn, comma-separated; options.world: the portraits'; see
    `asked_flag`.
    """
    from textedit_core.models import zoo
    from textedit_core.toon.edits import held_out_edits

    models = zoo.load(options.models)
    classifier = classifier_of(models, models.diffusion.size)
    edits = held_out_edits(options.limit, options.asked.split(","), options.world)
    run(options, edits, tell, partial(study, models, classifier))


def run(
    options: argparse.Namespace,
    edits: Sequence,
    tell: Callable[[Any], dict],
    study: Callable[[Any], list[dict]],
) -> None:
    """Do the edits of this shard that no earlier run has done: `tell` says what one is, `study` its rows.

    None stands for an edit that is left out this time, and keeps the numbers of the others.
    """
    index, count = (int(part) for part in options.shard.split("/"))
    done = lines.read(options.out, NAME, KEY)
    for number, edit in enumerate(edits):
        if edit is not None and number % count == index and number not in done:
            told = tell(edit)
            record = {KEY: number} | told | {"pictures": study(edit)}
            # A PSNR is infinite where nothing has changed, so that these lines must hold what is no JSON.
            lines.append(options.out / f"{NAME}-{index}.jsonl", record, allow_nan=True)
            log.info("%d of %d: %s", number + 1, len(edits), "; ".join(map(str, told.values())))


def read_rows(folder: Path) -> list[dict]:
    """One row per picture of the edits done so far, each with what its line says of the edit.

    A line that a kill cut short is an edit not done.
    """
    rows = []
    for record in lines.read(folder, NAME, KEY).values():
        pictures = record.pop("pictures")
        rows += [record | picture for picture in pictures]
    return rows
