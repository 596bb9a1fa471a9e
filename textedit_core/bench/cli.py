"""The flags of `python -m textedit_core bench` and what they set going; --help imports nothing heavy."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

PUBLIC = ("pie", "tedbench", "cocoee")
HELP = "measure methods on many pictures"
ABOUT = (
    "Measure methods on a set of pictures. NAME: toon, toon-open or toon-search (rendered, the true answers "
    "known: the closed world, the open one, and scenes to choose settings on), pie, tedbench or cocoee (with "
    "--data), or the path of a folder with items.jsonl. Run the same command again to go on "
    "where it was stopped. Several processes split the work: accelerate launch --multi_gpu --num_processes 2 "
    "-m textedit_core bench ..., with --device cpu where there is no GPU."
)


def add_flags(parser: Any, given: Sequence[str]) -> None:
    """Add the flags to a parser; each other --KNOB of the command line is a setting of the methods."""
    add = parser.add_argument
    add("name", metavar="NAME", help="toon, toon-open, toon-search, pie, tedbench, cocoee, or a folder")
    add("--methods", metavar="LIST", help="sdedit,imagic,prompt_to_prompt:inversion=npi:steps=25")
    add("--out", required=True, metavar="DIR", help="folder for lines, pictures and the report")
    add("--data", metavar="DIR", help="where pie, tedbench or cocoee was unpacked")
    add("--limit", type=int, metavar="N", help="only the first N items (toon: 200 unless given)")
    add("--sweep", action="append", default=[], metavar="KNOB=VALUES", help="eta=0:1:5; may be given again")
    add("--seed", type=int, metavar="N", help="of every method that has one (default 0, cocoee: 42)")
    of_models = "toon, sd, a folder, a .safetensors file, or owner/name on the hub (default toon)"
    add("--models", default="toon", metavar="NAME", help=of_models)
    add("--device", default="auto", help="auto, cpu, cuda or mps; of several, one a process (default auto)")
    squares = "how pictures become square (default crop, but cocoee's exemplars are squashed)"
    add("--resize", choices=("crop", "pad"), help=squares)
    add("--reference", metavar="DIR", help="pictures for Frechet distance and QS; else answers or sources")
    aims = "name the best settings and write presets.json: 'asked+unasked' or 'psnr_answer, asked>=0.7'"
    add("--choose", default="", metavar="AIM", help=aims)
    add("--extras", default="", metavar="LIST", help="lpips,dino: distances whose networks are fetched")
    add("--fetch", action="store_true", help="allow what --extras needs and says")
    add("--batch-size", type=int, default=8, metavar="N", help="cells of a sweep at once (default 8)")
    add("--threads", type=int, default=1, metavar="N", help="of a process on the CPU (default 1)")
    known = set(parser._option_string_actions)
    for word in dict.fromkeys(word.partition("=")[0] for word in given if word.startswith("--")):
        if word not in known and len(word) > 2:
            add(
                word,
                dest=f"knob {word[2:].replace('-', '_')}",
                metavar="VALUE",
                help="a setting of the methods",
            )


def run(options: Mapping[str, Any], say: Callable[[str], None], note: Callable[[str], None]) -> None:
    """Do what the flags ask for; `say` gets results, `note` progress. ValueError for a mistake."""
    import torch

    for flag in ("threads", "batch_size", "limit"):
        if options[flag] is not None and not 1 <= options[flag] <= 100_000:
            raise ValueError(
                f"--{flag.replace('_', '-')}: {options[flag]} is not a whole number from 1 to 100000."
            )
    out = Path(options["out"])
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: '{out}' is a file; name a folder.")
    torch.set_num_threads(options["threads"])  # the same numbers, however many processes share the work
    _bench(options, out, say, note)


def _bench(options: Mapping[str, Any], out: Path, say: Callable[..., Any], note: Callable[..., Any]) -> None:
    from textedit_core.bench import choose, page
    from textedit_core.bench.run import Share, work
    from textedit_core.images import files_in

    # Mistakes are told before the work, not after it.
    reference = Path(options["reference"]) if options["reference"] else None
    if reference:
        files_in(reference, "--reference")
    aim = choose.Aim.parse(options["choose"]) if options["choose"] else None
    share = Share.of_environment()
    bench = _planned(options, out, note)
    mine = len(range(share.rank, len(bench.items), share.count)) * len(bench.contestants)
    done, started = 0, time.monotonic()
    for record in work(bench, share):
        done += 1
        told = record.get("skipped") or record.get("error") or f"{record['edit_seconds']:.1f} s"
        note(f"{done} of at most {mine}: {record['item']}, {record['label']}: {told}")
    note(f"{done} new results in {time.monotonic() - started:.1f} s")
    written = page.write(bench, command_line(options), reference, aim)
    if written is None:
        note("other processes are still at work; the last one writes the report")
    else:
        say(str(out / "report.md"))
        if aim:
            say(str(out / choose.FILE))


def _planned(options: Mapping[str, Any], out: Path, note: Callable[..., Any]) -> Any:
    """The `plan.Bench` that the flags ask for; `note` gets what is about to be fetched."""
    from textedit_core.bench import plan
    from textedit_core.metrics import extras
    from textedit_core.models import zoo

    if not options["methods"]:
        raise ValueError("--methods: name at least one, such as sdedit or prompt_to_prompt:inversion=direct.")
    further = extras.load(options["extras"], options["fetch"])
    models = zoo.load(options["models"], _device(options["device"]))
    flags = {name.removeprefix("knob "): text for name, text in options.items()
             if name.startswith("knob ") and text is not None}  # fmt: skip
    contestants = plan.read_contestants(options["methods"], models, flags, options["sweep"], options["seed"])
    measuring = [one for one in plan.MEASURING if one in models.sources]
    for line in zoo.fetching(
        options["models"], *dict.fromkeys([*plan.parts_of(contestants, models), *measuring])
    ):
        note(line)
    items = read_items(options, models)
    if options["resize"]:
        items = [replace(item, squash=False) for item in items]
    return plan.Bench(
        Path(options["name"]).name, items, contestants, models, out, options["resize"] or "crop",
        options["batch_size"], further,
    )  # fmt: skip


def read_items(options: Mapping[str, Any], models: Any) -> list[Any]:
    """The items that NAME, --data and --limit ask for. ValueError, a sentence, where they cannot be had."""
    from textedit_core.bench import items, toon
    from textedit_core.models import zoo

    name, data, limit = options["name"], options["data"], options["limit"]
    if name in toon.SETS:
        folder = zoo.folder_of(models.name)
        has_classifier = folder is not None and (folder / "classifier" / "model.safetensors").is_file()
        return toon.items(limit or toon.DEFAULT_COUNT, folder if has_classifier else None, name)
    if name in PUBLIC:
        if not data:
            raise ValueError(f"--data: say where {name} was unpacked; it is fetched from its authors' page.")
        if not Path(data).is_dir():
            raise ValueError(f"--data: there is no folder '{data}'.")
        return getattr(items, name)(Path(data))[:limit]
    return items.read_folder(Path(name))[:limit]


def command_line(options: Mapping[str, Any]) -> str:
    """The command that makes these results, without --out: what the report quotes."""
    words = ["python", "-m", "textedit_core", "bench", options["name"]]
    plain = {"models": "toon", "device": "auto", "batch_size": 8, "threads": 1, "extras": "", "choose": ""}
    skipped = {"command", "name", "out", "fetch"}
    skipped |= {one for one in plain if options[one] == plain[one]}
    for name, value in options.items():
        flag = f"--{name.removeprefix('knob ').replace('_', '-')}"
        for one in value if isinstance(value, list) else [value]:
            if name not in skipped and one is not None:
                words += [flag, str(one)]
    return shlex.join(words)


def _device(name: str) -> str:
    """The device of this process: of several CUDA devices, the one of its local rank."""
    import os

    import torch

    if name in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return name
