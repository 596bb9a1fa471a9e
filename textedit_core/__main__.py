"""The command line: `textedit edit|sweep METHOD ...`, `bench NAME ...`, `relevance ...`, `train toon ...`."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from textedit_core import choices, like, threads

# Nothing that imports torch stands up here: --help answers at once.
METHODS = sorted((Path(__file__).parent / "methods").glob("[a-z]*.py"))
# The kinds of input that a flag gives as they are; a latent has flags of its own.
FLAGS = {
    "image": "path of a picture",
    "mask": "path of a picture: white, painted or labelled = change here",
    "text": "a text",
}
MODELS = (
    "toon, sd, a folder, a file of Stable Diffusion or StyleGAN2, or owner/name on the hub (default toon)"
)
MEMORY = "how much of the device's memory a diffusion model may take (default auto: as much as is free)"
DTYPE = "precision of the diffusion models (default auto: float16 on cuda and mps, float32 on a CPU)"
MORE = "; several, or a folder of them, are swept one after the other"
COMMANDS = {"edit": "edit one image", "sweep": "edit one image at many values of its knobs"}
UNFINISHED = ".unfinished"  # in the folder of a sweep: what it has made, until it ends
# Inversions that were methods of their own in version 0.1, and their names as a knob.
INVERSIONS = {"null_text": "null_text", "direct_inversion": "direct"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command: 0 when done, 2 after a user's mistake (one sentence on stderr), 130 when stopped."""
    given = list(sys.argv[1:] if argv is None else argv)
    threads.wait_asleep()
    try:
        if given[:1] == ["train"]:  # its flags are of a parser of its own
            return _train(given[1:])
        options = parse(given)
        commands = {"edit": _edit, "sweep": _sweep, "bench": _bench, "relevance": _relevance}
        commands[options["command"]](options)
        return 0
    except ValueError as error:
        return _end(2, f"error: {error}")
    except OSError as error:
        return _end(2, f"error: {error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    except KeyboardInterrupt:
        return _end(130, "Stopped.")
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        return _end(
            2,
            "error: The device's memory is full; use --memory low, --device cpu, or a smaller --batch-size.",
        )


def parse(given: Sequence[str]) -> dict[str, Any]:
    """The words of a command line as options by name. ValueError, a sentence, for a mistake."""
    words = like.expanded(given) if given[:1] and given[0] in COMMANDS else list(given)
    options = vars(_parser(words).parse_args(words))
    if options.get("add"):
        options["models"] = " + ".join([options["models"], *options["add"]])
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are a ValueError, to be told as one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help.")


def _parser(given: list[str]) -> _Parser:
    """The parser of all commands; only the method that `given` names is imported, for its own flags."""
    from textedit_core.bench import cli

    if given[:1] and given[0] in COMMANDS and given[1:2]:
        _check_method(*given[:2])
    parser = _Parser(prog="textedit", description="Text-guided image editing.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command, job in COMMANDS.items():
        of_command = commands.add_parser(command, help=job, description=f"{job.capitalize()}.")
        methods = of_command.add_subparsers(dest="method", metavar="METHOD", required=True)
        for path in METHODS:
            source = path.read_text(encoding="utf-8")
            about = source.split('"""')[1].splitlines()[0].replace("%", "%%")
            # One that only prepares an image is not listed, but says so where it is asked for.
            if "\ndef edit(" in source:
                of_method = methods.add_parser(path.stem, help=about, description=about, allow_abbrev=False)
            else:
                of_method = methods.add_parser(path.stem, description=about, allow_abbrev=False)
            if given[:2] == [command, path.stem]:
                _add_flags(of_method, command, path.stem)
    bench = commands.add_parser("bench", help=cli.HELP, description=cli.ABOUT, allow_abbrev=False)
    cli.add_flags(bench, given if given[:1] == ["bench"] else [])
    about = "measure what a generator's channels do, for global directions, into a file beside it"
    measuring = commands.add_parser("relevance", help=about, description=about, allow_abbrev=False)
    if given[:1] == ["relevance"]:
        _add_measuring_flags(measuring)
    commands.add_parser("train", help="train models like the shipped ones")
    return parser


def _check_method(command: str, name: str) -> None:
    """ValueError, a sentence, for the name of a method that there is not, or that only prepares."""
    if name in INVERSIONS:
        instead = f"{command} prompt_to_prompt --inversion {INVERSIONS[name]}"
        raise ValueError(f"'{name}' prepares an image and does not edit it: use {instead} instead.")
    if not name.startswith("-") and name not in [path.stem for path in METHODS]:
        from textedit_core import method

        raise method.unknown(name)


def _add_flags(parser: _Parser, command: str, name: str) -> None:
    from textedit_core import method
    from textedit_core.request import SAMPLE

    how = method.load(name)
    add = parser.add_argument
    add(like.FLAG, metavar="PNG", help="take models, texts and settings from a picture that was saved here")
    add("--models", default="toon", metavar="NAME", help=MODELS)
    about = (
        "add a LoRA or a textual inversion to the models, FILE:0.8 or FILE:WORD; may be given several times"
    )
    add("--add", action="append", metavar="FILE", help=about)
    add("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    add("--cache", metavar="DIR", help="keep results in this folder, for the next run")
    help = "how pictures become square; native keeps their shape, for the models of texts (default crop)"
    add("--resize", choices=choices.SIZINGS, default="crop", help=help)
    add("--memory", choices=choices.MEMORY, default="auto", help=MEMORY)
    add("--dtype", choices=choices.DTYPES, default="auto", help=DTYPE)
    if command == "sweep":
        add("--x", required=True, metavar="KNOB=VALUES", help="columns: eta=0,0.5,1, or eta=0:1:5 for five")
        add("--y", metavar="KNOB=VALUES", help="rows, such as seed=0-3")
        add("--z", metavar="KNOB=VALUES", help="a third axis, as further rows")
        add("--batch-size", type=int, default=8, metavar="N", help="cells computed at once (default 8)")
        add("--cell-size", type=int, default=192, metavar="PIXELS", help="on the sheet (default 192)")
        add("--out", required=True, metavar="DIR", help="folder for the cells, sheet.png and sweep.json")
    else:
        add("--out", required=True, metavar="PNG", help="the file to write")
    several: dict[str, Any] = {"nargs": "+"} if command == "sweep" and _takes_pictures(how) else {}
    for one in how.inputs.values():
        if one.kind in FLAGS:
            # A text that is swept need not be given.
            needed = one.required and not (command == "sweep" and one.kind == "text")
            help = FLAGS[one.kind] + MORE * bool(several and one.kind == "image")
            more = several if one.kind == "image" else {}
            add(_flag(one.name), required=needed, metavar=one.kind.upper(), help=help, **more)
    if how.latent:
        of_file = "a latent of yours, .pt or .npy: (n, D), (B, n, D) or (B, D), instead of a seed"
        add("--latent", metavar="FILE", help=of_file)
        add("--latent-index", metavar="NUMBER", type=int, help="which of several latents in the file, from 0")
        if command == "edit" and how.edited_latent:
            add("--save-latent", metavar="FILE", help="write the edited latent here, .pt or .npy")
        of_picture = "path of a picture to project, instead of a seed" + MORE * bool(several)
        add("--image", metavar="IMAGE", help=of_picture, **several)
        of_face = "cut the face out of --image as FFHQ's were: auto, or its eyes and mouth corners, left as"
        add("--face", metavar="POINTS", help=f"{of_face} the picture shows them, 'x,y x,y x,y x,y'")
        if command == "edit":
            add("--paste", metavar="PNG", help="write --image with the edited --face put back here")
    _add_knobs(parser, {**how.knobs, **(SAMPLE if how.latent else {})}, _toon_presets(name))


def _takes_pictures(how: Any) -> bool:
    """Whether several pictures may be swept: not where each would need a mask of its own."""
    return all(one.kind != "mask" for one in how.inputs.values())


def _toon_presets(method: str) -> dict[str, Any]:
    """The values of knobs that the models have which run where no others are named."""
    file = Path(__file__).parent / "weights" / "toon" / "presets.json"
    return json.loads(file.read_text(encoding="utf-8")).get(method, {}) if file.is_file() else {}


def _add_measuring_flags(parser: _Parser) -> None:
    from textedit_core import method, relevance

    how = method.load(relevance.METHOD)
    help = "the file of a StyleGAN2 generator, or a folder with one"
    parser.add_argument("--models", required=True, metavar="PATH", help=help)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto)")
    _add_knobs(parser, {name: how.knobs[name] for name in how.fit_knobs})


def _add_knobs(parser: _Parser, known: Mapping[str, Any], suited: Mapping[str, Any] = {}) -> None:
    """A flag for each knob; its help tells the default, and where that differs toon's preset, in `suited`."""
    for knob_name, knob in known.items():
        about = ": ".join(part for part in (knob.label, knob.knob.help) if part)
        preset = suited.get(knob_name, knob.default)
        of_toon = f", for toon {preset}" if preset != knob.default else ""
        about = f"{about} ({knob.expected}; default {knob.default}{of_toon})".replace("%", "%%")
        if knob.type is bool:  # --knob alone switches it on
            parser.add_argument(_flag(knob_name), metavar="VALUE", help=about, nargs="?", const="true")
        else:
            parser.add_argument(_flag(knob_name), metavar="VALUE", help=about)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _edit(options: Mapping[str, Any]) -> None:
    """Edit one image and write it, with its settings, to --out."""
    from textedit_core.cache import Cache
    from textedit_core.images import to_pil
    from textedit_core.models.style.latent_files import check_ending, write_latent
    from textedit_core.record import save_png
    from textedit_core.request import run
    from textedit_core.steps import last

    out = Path(options["out"])
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out: '{out}' must end in .png, for the settings go into the file.")
    kept = Path(options["save_latent"]) if options.get("save_latent") else None
    if kept:
        check_ending(kept)
    if options.get("paste") and (not options["face"] or Path(options["paste"]).suffix.lower() != ".png"):
        raise ValueError("--paste: name a file that ends in .png, and say with --face where the face is.")
    asked = request_of(options)
    _tell_memory(asked)
    out.parent.mkdir(parents=True, exist_ok=True)
    result = last(_with_progress(run(asked, Cache(folder=options["cache"]))))
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_latent(result.latent, kept)
    save_png(to_pil(result.image)[0], out, result.record)
    if options.get("paste"):
        _paste(Path(options["paste"]), options, result)
    print(out)


def _paste(path: Path, options: Mapping[str, Any], result: Any) -> None:
    """Write the photograph with the edited face in its place, with the settings of the edit."""
    from textedit_core.images import native_tensor, open_image, to_pil
    from textedit_core.models.style.alignment_of_faces import put_back, square_of_points
    from textedit_core.record import save_png

    square = square_of_points(result.record.knobs["face_points"])
    photo = native_tensor(open_image(options["image"], "--image"))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = put_back(photo, result.image, result.source, square)
    save_png(to_pil(whole)[0], path, result.record)


def _sweep(options: Mapping[str, Any]) -> None:
    """Edit one image, or each of several, at every point of the axes."""
    from textedit_core import method
    from textedit_core.cache import Cache
    from textedit_core.request import fit
    from textedit_core.steps import last
    from textedit_core.sweep import sweep_pictures

    how = method.load(options["method"])
    axes = _axes(options, how)
    values = {axis.name: axis.values for axis in axes}
    for flag in ("batch_size", "cell_size"):
        if not 1 <= options[flag] <= 4096:
            raise ValueError(f"{_flag(flag)}: {options[flag]} is not a whole number from 1 to 4096.")
    folder = Path(options["out"])
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out: '{folder}' is a file; name a folder.")
    unfinished = folder / UNFINISHED  # so that a run that was killed goes on
    asked, cache = _swept(options, how, axes), Cache(folder=options["cache"] or unfinished)
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(asked.values()))
    _tell_memory(first, options["batch_size"])
    of_fit = {*how.fit_knobs, *how.fit_arguments, *how.weights}
    if len(asked) == 1 and first.has_fit and not set(values) & of_fit:  # one fit: tell its steps
        last(_with_progress(fit(first, cache)))
    steps = sweep_pictures(asked, values, cache, batch_size=options["batch_size"])
    _write_sweep(folder, _with_progress(steps, "cells"), axes, options["cell_size"], asked)
    shutil.rmtree(unfinished, ignore_errors=True)
    print(folder)


def _axes(options: Mapping[str, Any], how: Any) -> list[Any]:
    """The axes that the flags name. ValueError, a sentence, for one that is none or is there twice."""
    from textedit_core.sweep import parse_axis

    axes: dict[str, Any] = {}
    for flag in ("x", "y", "z"):
        if options[flag]:
            axis = parse_axis(options[flag], how.axes)
            if axis.name in axes:
                raise ValueError(f"--{flag}: '{axis.name}' is on another axis already; use another knob.")
            axes[axis.name] = axis
    return list(axes.values())


def _swept(options: Mapping[str, Any], how: Any, axes: Sequence[Any]) -> dict[str, Any]:
    """The request of each picture that the flags name, by its name; of one alone, or none, as ""."""
    options = dict(options)
    for axis in axes:
        if axis.name in how.texts and options[axis.name] is None:
            options[axis.name] = axis.values[0]
    for one in how.inputs.values():
        if one.kind == "text" and one.required and options[one.name] is None:
            raise ValueError(f"{_flag(one.name)}: there is no text; give one, or put it on an axis.")
    swept = {axis.name: axis.values for axis in axes}
    paths = _pictures(options.get("image")) if _takes_pictures(how) else {"": options.get("image")}
    asked: dict[str, Any] = {}
    for name, path in paths.items():
        earlier = next(iter(asked.values()), None)
        asked[name] = request_of(options | {"image": path}, swept, earlier)
    return asked


def _pictures(given: Sequence[str] | None) -> dict[str, str | None]:
    """Pictures by their names, of paths of pictures and of folders; one alone, or none, is named ""."""
    from textedit_core.images import files_in

    paths: list[Path] = []
    for one in map(Path, given or ()):
        paths += files_in(one, "--image") if one.is_dir() else [one]
    if len(paths) < 2:
        return {"": str(paths[0]) if paths else None}
    names = [path.name for path in paths]
    unique = len(set(names)) == len(names)
    return {name if unique else str(path): str(path) for name, path in zip(names, paths, strict=True)}


def _bench(options: Mapping[str, Any]) -> None:
    """Measure methods on many pictures."""
    from textedit_core.bench import cli

    cli.run(options, print, _note)


def _relevance(options: Mapping[str, Any]) -> None:
    """Measure the relevance of a generator; says how long the rest will take, at the pace so far."""
    from textedit_core import method, relevance
    from textedit_core.models import zoo

    known = method.load(relevance.METHOD).knobs
    typed = {
        name: known[name].parse(text) for name, text in options.items() if name in known and text is not None
    }
    told, measured = 0.0, -1
    measuring = relevance.measure(zoo.load(options["models"], options["device"]), typed)
    for step in _with_progress(measuring, "relevance"):
        progress, now = step.value, time.monotonic()
        rows = progress.relevance.measured if progress.relevance else 0
        if progress.left is not None and (rows != measured or now - told >= 60):
            _note(f"{rows} channels are finished; about {_duration(progress.left)} left at this pace")
            told, measured = now, rows
    print(progress.path)


def _duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _train(given: list[str]) -> int:
    """Train the toon models, as `python -m textedit_core.training` does."""
    from textedit_core.training.__main__ import main as train

    train(given, prog="textedit train")
    return 0


def request_of(
    options: Mapping[str, Any], swept: Mapping[str, Any] | None = None, earlier: Any = None
) -> Any:
    """The request that these flags describe.

    earlier: the request of another picture of the same command: its models are used, and nothing is told of
    them and of the texts again.
    Writes on stderr what will be fetched, which words of the prompts the models were not trained on, what the
    mask was read as, and that brackets in a prompt are no weights.
    """
    from textedit_core import bracketed, method
    from textedit_core.images import open_image, read_mask
    from textedit_core.models import zoo
    from textedit_core.request import request

    how = method.load(options["method"])
    models = _models(options) if earlier is None else earlier.models
    tell = _note if earlier is None else lambda text: None
    parts = [one.kind for one in how.inputs.values()]
    if "diffusion" in (options["upscale"], *(swept or {}).get("upscale", ())):
        parts.append("upscaler")
    for line in zoo.fetching(options["models"], *parts):
        tell(line)
    if models.additions is not None and earlier is None:
        _note_additions(how, models)
    opened: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    for one in how.inputs.values():
        if one.kind == "text":
            opened[one.name] = options[one.name]
            for word, alike in models.unknown_words(options[one.name] or "").items():
                hint = f"; it knows {', '.join(alike)}" if alike else ""
                tell(f"{models.name} does not know '{word}'{hint}")
            weighs = one.name == "prompt" and "word_weights" in how.knobs
            if said := bracketed.advice(options[one.name] or "", weighs):
                tell(f"{_flag(one.name)}: {said}")
        elif one.kind == "image" and options[one.name]:
            opened[one.name] = open_image(options[one.name], _flag(one.name))
        elif one.kind == "mask" and options[one.name]:
            reading = read_mask(options[one.name], _flag(one.name))
            _note(f"{_flag(one.name)} read as: {reading}")
            opened[one.name] = reading.image
        elif one.kind == "latent":
            opened[one.name] = _latent(options, one.required, models, notes)
    typed = {name: knob.parse(options[name]) for name, knob in how.knobs.items() if options[name] is not None}
    return request(how, models, opened, typed, resize=options["resize"], swept=swept or (), notes=notes)


def _models(options: Mapping[str, Any]) -> Any:
    """The models that the flags name."""
    import torch

    from textedit_core.models import zoo

    dtype = None if options["dtype"] == "auto" else getattr(torch, options["dtype"])
    return zoo.load(options["models"], options["device"], dtype, options["memory"])


def _tell_memory(asked: Any, rows: int = 1) -> None:
    """Say on stderr how much memory a heavy request will take, and which knob helps where it does not fit."""
    from textedit_core import estimate

    if found := estimate.of(asked, rows):
        _note(f"this takes {found.text}")


def _note_additions(how: Any, models: Any) -> None:
    """Say which words are added, or that the method does not use what something is added to."""
    if not how.weights:
        _note(f"{how.name} does not use the text-to-image model: what is added to that is left out")
        return
    for word in models.additions.words:
        _note(f"the word that is added to prompts is {word}")


def _latent(options: Mapping[str, Any], required: bool, models: Any, notes: dict[str, Any]) -> Any:
    """The latent that the flags name: a file, a picture to project, or a seed; None for none.

    Where a file or a face was named, `notes` are given it for the record.
    """
    from textedit_core.images import open_image
    from textedit_core.models.style.latent_files import read_latent
    from textedit_core.request import SAMPLE, Sample

    facts = {name: knob.parse(options[name]) for name, knob in SAMPLE.items() if options[name] is not None}
    if options["latent"] and (facts or options["image"]):
        raise ValueError("--latent: give one of --latent, --image and --latent-seed.")
    if options["latent_index"] is not None and not options["latent"]:
        raise ValueError("--latent-index: there is no file of latents; give --latent.")
    if options["face"] and not options["image"]:
        raise ValueError("--face: there is no picture with a face; give --image.")
    if options["latent"]:
        notes["latent_file"] = Path(options["latent"]).name
        return read_latent(options["latent"], models.generator, options["latent_index"])
    if options["image"] and facts:
        raise ValueError("--latent-seed: the latent comes from --image already; give one of the two.")
    if options["image"]:
        photo = open_image(options["image"], "--image")
        return _face(photo, options["face"], models.generator.size, notes) if options["face"] else photo
    if not facts and required:
        raise ValueError(
            "--latent-seed: there is no latent; give a seed, or --image to project one, or --latent."
        )
    chosen = {name: facts.get(name, knob.default) for name, knob in SAMPLE.items()}
    return Sample(chosen["latent_seed"], chosen["latent_truncation"]) if facts else None


def _face(photo: Any, asked: str, size: int, notes: dict[str, Any]) -> Any:
    """The face of a photograph, upright in a square of `size` pixels."""
    from textedit_core.models.style import face_detector
    from textedit_core.models.style.alignment_of_faces import (
        aligned,
        read_points,
        square_of_points,
        write_points,
    )

    points = face_detector.find_face(photo) if asked.strip() == "auto" else read_points(asked)
    notes["face_points"] = write_points(points)
    square = square_of_points(notes["face_points"])
    _note(f"--face read as: {notes['face_points']}, the eyes and the corners of the mouth")
    return aligned(photo, square, size)


def _write_sweep(
    folder: Path, steps: Iterator[Any], axes: Sequence[Any], cell_size: int, asked: Mapping[str, Any]
) -> None:
    """Each cell as a PNG once it is finished; sheet.png and sweep.json at the end, also of a stopped one."""
    from textedit_core.axes import written
    from textedit_core.images import to_pil
    from textedit_core.record import save_png
    from textedit_core.sweep import PICTURE, cell_name, contact_sheet, pictures_told, summary

    cells, saved, record = (), set(), next(iter(asked.values())).record
    try:
        for step in steps:
            cells = step.value
            for cell in cells:
                name = cell_name(cell)
                if name not in saved:
                    place = {axis.name: cell.settings[axis.name] for axis in axes}
                    of_cell = asked[cell.coords.get(PICTURE, "")].at(**place).record
                    save_png(to_pil(cell.image)[0], folder / name, of_cell)
                    saved.add(name)
    finally:
        if cells:
            title = ", ".join([f"{record.method} on {record.models}", *record.prompts.values()])
            sources = {name or "source": one.picture for name, one in asked.items() if one.picture}
            sheet = contact_sheet(cells, *axes[:2], cell_size=cell_size, title=title, sources=sources)
            save_png(sheet, folder / "sheet.png", record, {one.name: written(one.values) for one in axes})
            found = {
                "method": record.method,
                "models": record.models,
                "prompts": record.prompts,
                **pictures_told(asked),
                "resize": record.resize,
                "axes": {axis.name: axis.values for axis in axes},
                "cells": summary(cells),
            }
            (folder / "sweep.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


def _with_progress(steps: Iterator[Any], title: str = "") -> Iterator[Any]:
    """The same steps, each written to stderr with its stage: in one line on a terminal, else every tenth."""
    lively, told, stage = sys.stderr.isatty(), -1, ""
    for step in steps:
        tenth = 10 * step.done // max(1, step.total)
        if lively or tenth > told or (not title and step.stage != stage):
            stage = title or step.stage
            loss = "" if step.loss is None else f", loss {step.loss:.4g}"
            text = f"{stage} {step.done}/{step.total}{loss}"
            print(f"\r{text}\033[K" if lively else f"{text}\n", end="", file=sys.stderr, flush=True)
            told = tenth
        yield step
    if lively:
        print(file=sys.stderr)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _end(code: int, text: str) -> int:
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
