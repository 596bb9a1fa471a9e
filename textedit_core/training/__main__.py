"""python -m textedit_core.training toon --out DIR: train the toon models, evaluate them, write the bundle."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from textedit_core import threads

if TYPE_CHECKING:
    from textedit_core.training.toon import Studio

PARTS = ("classifier", "vae", "enlarger", "text", "clip", "reader", "unet", "mapping", "generator", "encoder",
         "identity", "paint_by_example", "upscaler", "relevance", "mappers", "flow")  # fmt: skip
SHIPPED = ("classifier", "vae", "clip", "unet")  # a bundle holds these, and of the others those it can
# How the minutes are shared, and the steps of a full training without a limit.
SHARE = {"classifier": 0.03, "vae": 0.10, "enlarger": 0.06, "text": 0.02, "clip": 0.12, "reader": 0.02,
         "unet": 0.46, "mapping": 0.01, "generator": 0.15, "encoder": 0.05, "identity": 0.04,
         "paint_by_example": 0.30, "upscaler": 0.10, "relevance": 0.02, "mappers": 0.05,
         "flow": 0.03}  # fmt: skip
STEPS = {"classifier": 8_000, "vae": 40_000, "enlarger": 30_000, "text": 2_000, "clip": 20_000,
         "reader": 3_000, "unet": 60_000, "mapping": 5_000, "generator": 60_000, "encoder": 15_000,
         "identity": 8_000, "paint_by_example": 30_000, "upscaler": 30_000, "relevance": 1, "mappers": 600,
         "flow": 2_000}  # fmt: skip

DRAWING = ("dicebear", "resvg_py")  # the modules that draw a portrait

log = logging.getLogger("textedit_core.training")


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("world", choices=["toon"])
    add("--out", type=Path, required=True, help="training state; run again to go on from it")
    add("--bundle", type=Path, help="where to write the bundle (default OUT/bundle)")
    add("--start", type=Path, help="a bundle whose weights to go on from, where OUT has none yet")
    add("--only", default=",".join(PARTS), help="parts to train, of " + ", ".join(PARTS))
    add("--minutes", type=float, help="time for all the parts together (default: a fixed step count)")
    add(
        "--open",
        action="store_true",
        help="draw the training portraits, but those of StyleCLIP's models, from the open world (any colour, "
        "pose and variant); with --start the autoencoder's latents are held near those it begins with",
    )
    add(
        "--keep-latents",
        action="store_true",
        help="of the autoencoder only the decoder learns: what knows its latents needs no training",
    )
    add("--large", type=int, default=6_000, help="how many portraits to draw at four times the size too")
    add("--rate", type=float, default=1.0, help="times every learning rate; under 1 to go on from weights")
    add(
        "--accept-worse",
        default="",
        metavar="PARTS",
        help="bundle these parts although they fell on the closed held-out scenes by more than .5 dB or 1 %%",
    )
    add("--no-bundle", action="store_true", help="train alone: measure and write no bundle")
    add(
        "--busy", action="store_true", help="count minutes of this process's processor, not those of the wall"
    )
    add("--device", default="cpu")
    add("--threads", type=int, default=0, help="CPU threads (default: all)")
    add("--seed", type=int, default=0)
    _add_data_flags(parser)
    return parser


def _add_data_flags(parser: argparse.ArgumentParser) -> None:
    """What is trained on, and what is measured."""
    add = parser.add_argument
    add("--size", type=int, default=64, choices=[64, 128], help="pixels")
    add("--scenes", type=int, default=40_000, help="how many training portraits to draw")
    add("--held-out", type=int, default=2_000, help="how many held-out portraits to evaluate on")
    add("--samples", type=int, default=256, help="how many of them to sample from their captions")
    add(
        "--images",
        type=Path,
        help="of paint_by_example: train on the pictures of a folder; alone (--only) no portraits are drawn",
    )
    add(
        "--boxes",
        type=Path,
        help='with --images: lines of {"image": "a.jpg", "boxes": [[left, top, right, bottom], ...]}',
    )
    add("--part-portraits", type=int, default=8_000, help="of how many portraits to find the parts")
    add(
        "--ablate",
        choices=["nothing", "augmentation", "bottleneck", "guidance"],
        help="leave this out of paint_by_example's recipe, begun anew from the text-to-image UNet; the model "
        "goes to OUT/ablations, and no bundle is written. Compare at equal minutes with nothing left out",
    )


def main(arguments: list[str] | None = None, prog: str = "python -m textedit_core.training") -> None:
    """Train as the arguments say, those of the process unless given. A mistake is a sentence, exit code 2."""
    threads.wait_asleep()
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else arguments
    unknown = set(options.only.split(",")) - {*PARTS, ""}
    if unknown:
        parser.error(f"--only knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}.")
    if (options.images is None) != (options.boxes is None):
        parser.error("--images and --boxes go together.")
    if not options.images and (missing := [name for name in DRAWING if find_spec(name) is None]):
        parser.error(
            f"Portraits are drawn by packages that are not here ({', '.join(missing)}): install those of "
            "requirements-dev.txt (pip install dicebear-core dicebear-styles resvg-py)."
        )
    if options.ablate and options.only != "paint_by_example":
        parser.error("--ablate is of --only paint_by_example.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        run(options)
    except ValueError as error:
        log.debug("the training broke off", exc_info=True)
        parser.error(str(error))


def run(options: argparse.Namespace) -> None:
    """Train what `--only` names, then evaluate and bundle everything that the folder holds."""
    import torch

    from textedit_core.training import ranks, toon

    if options.threads:
        torch.set_num_threads(options.threads)
    ranks.join()
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # the start of every layer
        studio = toon.Studio(options.out, options.size, options.scenes, options.seed, options.device)
        studio.boxed = (options.images, options.boxes) if options.images else None
        studio.part_portraits, studio.ablate = options.part_portraits, options.ablate
        studio.world = "open" if options.open else "closed"
        studio.clock = time.process_time if options.busy else time.monotonic
        studio.keep_latents = options.keep_latents
        studio.large, studio.rate, studio.workers = options.large, options.rate, options.threads or None
        work(options, studio)


def work(options: argparse.Namespace, studio: Studio) -> None:
    """The parts in turn; then, in the first process, the bundle if all are there."""
    from textedit_core.training import ranks

    chosen = [part for part in PARTS if part in options.only.split(",")]
    if ranks.rank() == 0:
        if options.start and not (options.out / "commands.txt").exists():
            studio.adopt(options.start)
        if chosen:
            studio.prepare(chosen)
    ranks.agreed(0.0)  # the other processes wait, and read what the first has written
    begun = time.monotonic()
    for part in chosen:
        minutes = options.minutes and options.minutes * SHARE[part] / sum(SHARE[p] for p in chosen)
        studio.train(part, STEPS[part], minutes)
    log.info("trained in %d s", time.monotonic() - begun)
    if ranks.rank():
        return
    launcher = f"torchrun --nproc_per_node {ranks.count()}" if ranks.count() > 1 else "python"
    if chosen:
        studio.remember(f"{launcher} -m textedit_core.training {' '.join(sys.argv[1:])}")
    if options.ablate or options.no_bundle:
        return  # the model has a folder of its own; no bundle changes
    wanted = [part for part in SHIPPED if part != "classifier" or not options.images]
    if missing := [part for part in wanted if not (options.out / part / "state.pt").exists()]:
        log.info("no bundle yet: %s not trained", ", ".join(missing))
        return
    accepted = options.accept_worse.split(",")
    studio.bundle(options.bundle or options.out / "bundle", options.held_out, options.samples, accepted)


if __name__ == "__main__":
    main()
