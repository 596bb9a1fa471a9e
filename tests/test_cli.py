"""The command line, run on tiny models: flags from signatures, presets, records, sweeps, and mistakes."""

import importlib
import json
import os
import subprocess
import sys
import time

import pytest
from PIL import Image

from tests.core import fakes
from textedit_core import __main__ as cli
from textedit_core import cache as caches
from textedit_core import method as methods
from textedit_core.images import square_tensor, to_pil
from textedit_core.methods import sdedit
from textedit_core.record import image_sha, read_png
from textedit_core.steps import last

METHODS = [path.stem for path in cli.METHODS]


@pytest.fixture
def run(tiny_folder, tmp_path, capsys):
    """Runs a command on the tiny models and one picture: (exit code, stdout, stderr)."""
    picture = tmp_path / "in.png"
    Image.effect_mandelbrot((60, 50), (-2, -1.5, 1, 1.5), 30).convert("RGB").save(picture)

    def command(*words, prompt: str | None = "a man in a red hat"):
        given = ["--models", str(tiny_folder), "--device", "cpu", "--image", str(picture)]
        given += ["--prompt", prompt] if prompt is not None else []
        code = cli.main([*map(str, words[:2]), *given, *map(str, words[2:])])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def test_help_answers_at_once_and_without_torch():
    started = time.perf_counter()
    script = (
        "import sys, runpy\nsys.argv[1:] = ['--help']\n"
        "try: runpy.run_module('textedit_core', run_name='__main__', alter_sys=True)\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    helped = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "sweep" in helped.stdout and "edit" in helped.stdout
    assert helped.stderr.strip() == "False"
    assert time.perf_counter() - started < 5  # a busy machine; on an idle one it takes 0.1 s


@pytest.mark.parametrize("command", ["edit", "sweep"])
def test_the_help_of_a_command_lists_the_methods_that_edit(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    listed = [
        line.split()[0]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("    ") and line[4] != " "
    ]
    modules = {name: importlib.import_module(f"textedit_core.methods.{name}") for name in METHODS}
    edits = [name for name, module in modules.items() if hasattr(module, "edit")]
    assert [name for name in listed if name in METHODS] == edits
    assert "projection" not in listed


@pytest.mark.parametrize("command", ["edit", "sweep"])
@pytest.mark.parametrize("method", METHODS)
def test_the_help_of_a_method_names_every_knob_and_input(command, method, capsys):
    try:
        how = methods.load(method)
    except ValueError:
        assert cli.main([command, method, "--help"]) == 2
        return
    with pytest.raises(SystemExit) as leaving:
        cli.main([command, method, "--help"])
    told = capsys.readouterr().out
    given = [one.name for one in how.inputs.values() if one.kind in cli.FLAGS]
    names = [*how.knobs, *given]
    assert leaving.value.code == 0
    assert [name for name in names if f"--{name.replace('_', '-')} " not in told.replace("\n", " ")] == []


def test_an_edit_is_the_method_with_presets_flags_and_defaults(run, tiny, tmp_path):
    out = tmp_path / "new" / "out.png"
    code, told, progress = run("edit", "sdedit", "--strength", "0.5", "--seed", "3", "--out", out)
    assert (code, told.strip()) == (0, str(out)) and "edit 2/2" in progress
    record = read_png(out)
    settings = {"strength": 0.5, "guidance_scale": 7.5, "steps": 4, "seed": 3}  # steps are the tiny preset's
    assert record.knobs == settings and record.prompts == {"prompt": "a man in a red hat"}
    assert (record.method, record.models, record.resize) == ("sdedit", tiny.name, "crop")
    assert record.image == image_sha(Image.open(tmp_path / "in.png"))
    image = square_tensor(Image.open(tmp_path / "in.png"), tiny.diffusion.size)
    wanted = to_pil(last(sdedit.edit(tiny.diffusion, image, "a man in a red hat", **settings)))[0]
    assert image_sha(Image.open(out)) == image_sha(wanted)


def test_a_flag_wins_over_the_preset_and_padding_is_not_cropping(run, tmp_path):
    for name, words in (("a", []), ("b", ["--steps", "2"]), ("c", ["--resize", "pad"])):
        assert run("edit", "sdedit", *words, "--out", tmp_path / f"{name}.png")[0] == 0
    assert [read_png(tmp_path / f"{name}.png").knobs["steps"] for name in "abc"] == [4, 2, 4]
    assert read_png(tmp_path / "c.png").resize == "pad"
    assert len({image_sha(Image.open(tmp_path / f"{name}.png")) for name in "abc"}) == 3


def test_a_fit_is_prepared_once_for_many_edits(run, tmp_path):
    words = ["--cache", tmp_path / "cache", "--out", tmp_path / "out.png"]
    first = run("edit", "imagic", "--eta", "0.9", *words)
    again = run("edit", "imagic", "--eta", "0.1", "--seed", "5", *words)
    assert (first[0], again[0]) == (0, 0)
    assert "fit 1/6" in first[2] and "fit 1/6" not in again[2] and "fit 6/6" in again[2]
    assert "fit 1/6" in run("edit", "imagic", "--fit-seed", "1", *words)[2]
    assert read_png(tmp_path / "out.png").knobs["fit_seed"] == 1


def test_words_the_models_never_saw_are_told(run, tmp_path):
    told = run("edit", "sdedit", "--out", tmp_path / "o.png", prompt="a man in a purple glases")[2]
    assert "does not know 'purple'" in told and "'glases'; it knows glasses" in told and "'man'" not in told


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("sdedit", "in Prompt-to-Prompt alone, as word weights: 'red=1.4'."),
        ("imagic", "in Prompt-to-Prompt alone, as word weights: 'red=1.4'."),
        ("prompt_to_prompt", "write it without the brackets, and 'red=1.4' as word weights."),
    ],
)
def test_weights_in_brackets_are_told_where_they_go(run, method, says, tmp_path):
    source = ["--source-prompt", "a [man]"] if method == "prompt_to_prompt" else []
    words = [*source, "--steps", "0", "--out", tmp_path / "o.png"]  # told before this mistake ends it
    told = run("edit", method, *words, prompt="a (red:1.4) hat")[2]
    assert "note: --prompt: '(red:1.4)' is no weight here but read as letters" in told and says in told
    assert ("--source-prompt: '[man]' is no weight here" in told) == bool(source)
    assert "is no weight" not in run("edit", method, *words[len(source) :], prompt="a (red) hat")[2]


def test_a_sweep_writes_cells_sheet_and_settings(run, tmp_path):
    folder = tmp_path / "sweep"
    words = ["--y", "seed=0,1", "--cache", tmp_path / "cache", "--cell-size", "64", "--out", folder]
    code, told, _ = run("sweep", "imagic", "--x", "eta=0:1:3", *words)
    assert (code, told.strip()) == (0, str(folder))
    found = json.loads((folder / "sweep.json").read_text())
    assert found["axes"] == {"eta": [0, 0.5, 1], "seed": [0, 1]} and found["method"] == "imagic"
    assert [cell["coords"] for cell in found["cells"]] == [
        {"eta": eta, "seed": seed} for eta in (0, 0.5, 1) for seed in (0, 1)
    ]
    assert {path.name for path in folder.iterdir()} == {cell["file"] for cell in found["cells"]} | {
        "sheet.png",
        "sweep.json",
    }
    for cell in found["cells"]:
        assert read_png(folder / cell["file"]).knobs == cell["settings"]
        assert cell["coords"].items() <= cell["settings"].items()
    assert Image.open(folder / "sheet.png").width > 3 * 64
    run("sweep", "imagic", "--x", "eta=0:1:5", *words)
    wider = json.loads((folder / "sweep.json").read_text())["cells"]
    computed = [cell["coords"]["eta"] for cell in wider if cell["seconds"] > 0]
    assert computed == [0.25, 0.25, 0.75, 0.75]


def test_a_cell_of_a_sweep_is_the_edit_with_its_settings(run, tmp_path):
    run("sweep", "sdedit", "--x", "strength=0.5", "--y", "seed=0-2", "--out", tmp_path / "sweep")
    run("edit", "sdedit", "--strength", "0.5", "--seed", "2", "--out", tmp_path / "alone.png")
    cell = tmp_path / "sweep" / "strength=0.5 seed=2.png"
    assert read_png(cell) == read_png(tmp_path / "alone.png")
    apart = max(high for _, high in _difference(cell, tmp_path / "alone.png").getextrema())
    assert apart <= 1  # a batch gives the same pixels to rounding


def _difference(first, second):
    from PIL import ImageChops

    return ImageChops.difference(Image.open(first).convert("RGB"), Image.open(second).convert("RGB"))


def test_a_stopped_sweep_keeps_its_finished_cells(run, tmp_path, monkeypatch):
    write = caches.Cache.put
    stored = []

    def put(self, name, entry):
        write(self, name, entry)
        stored.append(name)
        if len(stored) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(caches.Cache, "put", put)
    folder = tmp_path / "sweep"
    code, _, told = run(
        "sweep", "sdedit", "--x", "strength=0.5,1", "--y", "seed=0-2", "--batch-size", "1", "--out", folder
    )
    assert code == 130 and told.strip().endswith("Stopped.")
    cells = json.loads((folder / "sweep.json").read_text())["cells"]
    assert len(cells) == 2 and (folder / "sheet.png").exists()
    assert all((folder / cell["file"]).exists() for cell in cells)


def test_a_sweep_that_was_killed_goes_on(run, tmp_path, monkeypatch):
    write, stored, folder = caches.Cache.put, [], tmp_path / "sweep"

    def put(self, name, entry):
        write(self, name, entry)
        stored.append(name)
        if len(stored) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(caches.Cache, "put", put)
    words = "sweep", "sdedit", "--x", "seed=0-3", "--batch-size", "1", "--out", folder
    assert run(*words)[0] == 130 and (folder / cli.UNFINISHED).is_dir()
    assert run(*words)[0] == 0
    assert len(stored) == len(set(stored)) == 4, "the first three were made already"
    assert not (folder / cli.UNFINISHED).exists() and len(list(folder.glob("seed=*.png"))) == 4


MISTAKES = [
    (["edit", "sdedit", "--strength", "3"], "Strength: 3 is not a number from 0 to 1."),
    (["edit", "sdedit", "--steps", "many"], "Sampling steps: 'many' is not a whole number from 1 to 200."),
    (["edit", "sdedit", "--mood", "3"], "--mood"),
    (["edit", "sdedit", "--streng", "0.5"], "--streng"),
    (["edit", "sdedit", "--image", "no.png"], "--image: there is no readable file 'no.png'"),
    (["edit", "sdedit", "--image", __file__], "--image: this is not an image"),
    (["edit", "sdedit", "--models", "nothing"], "There is no model 'nothing'"),
    (["edit", "sdedit", "--device", "abacus"], "abacus"),
    (["edit", "sdedit", "--out", "out.jpg"], "must end in .png"),
    (["edit", "sdedit", "--out", os.path.join(__file__, "x.png")], "cannot be used"),
    (["edit", "sdedit", "--resize", "stretch"], "--resize"),
    (["sweep", "sdedit", "--x", "seed"], "NAME=VALUES"),
    (["sweep", "sdedit", "--x", "mood=1"], "no knob called 'mood'"),
    (["sweep", "sdedit", "--x", "strength=0-2 [3]"], "Strength: 2.0 is not a number from 0 to 1."),
    (["sweep", "sdedit", "--x", "seed=1", "--y", "seed=2"], "--y: 'seed' is on another axis already"),
    (["sweep", "sdedit", "--x", "seed=1", "--z", "seed=2"], "--z: 'seed' is on another axis already"),
    (["sweep", "sdedit", "--x", "seed=1", "--batch-size", "0"], "--batch-size: 0"),
    (["edit", "null_text", "--image", "a.png"], "use edit prompt_to_prompt --inversion null_text instead"),
    (["sweep", "direct_inversion"], "use sweep prompt_to_prompt --inversion direct instead"),
    (["sweep", "sdedit", "--x", "seed=1", "--out", __file__], "is a file; name a folder"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[" ".join(words[:-1][1:]) for words, _ in MISTAKES])
def test_a_mistake_is_one_sentence_and_code_two(run, words, says, tmp_path):
    out = [] if "--out" in words else ["--out", tmp_path / "out.png"]
    code, told, error = run(*words, *out)
    sentence = error.strip().splitlines()[-1]
    assert code == 2 and told == ""
    assert sentence.startswith("error: ") and says in sentence and sentence.endswith(".")
    assert "Traceback" not in error and not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "COMMAND"),
        (["edit"], "METHOD"),
        (["edit", "magic"], "did you mean imagic? There are imagic,"),
        (["sweep", "imagik"], "no method called 'imagik'; did you mean imagic? There are"),
        (["edit", "zzz"], "no method called 'zzz'; use one of imagic,"),
        (["paint"], "edit"),
        (["edit", "sdedit"], "--image, --prompt"),
    ],
)
def test_what_is_missing_is_named(words, says, capsys):
    assert cli.main(words) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", ["imagik", "zzz"])
def test_a_name_that_is_no_method_is_offered_those_of_the_help_alone(name, capsys):
    assert cli.main(["edit", name, "--image", "a.png"]) == 2
    offered = capsys.readouterr().err.rstrip(".\n").replace("use one of", "There are").split("There are ")[1]
    assert tuple(offered.split(", ")) == methods.editing()
    assert set(methods.names()) - set(methods.editing()) == {"projection"}


def test_a_preset_that_cannot_be_is_told(run, tiny_folder, tmp_path, monkeypatch):
    for preset, says in (({"mood": 1}, "no knob called mood"), ({"steps": 0}, "Sampling steps: 0")):
        monkeypatch.setattr("textedit_core.models.zoo._json", lambda path, preset=preset: {"sdedit": preset})
        code, _, error = run("edit", "sdedit", "--out", tmp_path / "out.png")
        assert code == 2 and says in error


def test_full_memory_is_a_sentence_and_a_fault_of_ours_is_not_hidden(run, tmp_path, monkeypatch):
    full = fakes.Model(rows_that_fit=0)
    monkeypatch.setattr(cli, "_edit", lambda options: last(fakes.edit(full, None)))
    code, _, error = run("edit", "sdedit", "--out", tmp_path / "out.png")
    assert code == 2 and "memory is full" in error

    def broken(options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "_edit", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        run("edit", "sdedit", "--out", tmp_path / "out.png")


def test_paint_by_example_keeps_the_size_of_the_picture(tiny, tiny_folder, tmp_path, capsys):
    from textedit_core.images import native_mask, native_tensor
    from textedit_core.methods import paint_by_example

    picture = Image.effect_mandelbrot((70, 50), (-2, -1.5, 1, 1.5), 30).convert("RGB")
    mask, exemplar = Image.new("L", (70, 50)), Image.effect_noise((40, 30), 60).convert("RGB")
    mask.paste(255, (20, 10, 45, 30))
    words = ["--models", str(tiny_folder), "--device", "cpu", "--out", str(tmp_path / "out.png")]
    words += ["--steps", "2"]
    for name, one in (("image", picture), ("mask", mask), ("exemplar", exemplar)):
        one.save(tmp_path / f"{name}.png")
        words += [f"--{name}", str(tmp_path / f"{name}.png")]
    assert cli.main(["edit", "paint_by_example", *words, "--guidance-scale", "3", "--resize", "pad"]) == 0
    example = square_tensor(exemplar, 32, "pad")
    wanted = last(
        paint_by_example.edit(
            tiny.paint_by_example,
            native_tensor(picture),
            native_mask(mask),
            example,
            guidance_scale=3.0,
            steps=2,
        )
    )
    found = Image.open(tmp_path / "out.png")
    assert found.size == (70, 50) and image_sha(found) == image_sha(to_pil(wanted)[0])
    assert read_png(tmp_path / "out.png").knobs["structure"] == 0
    mask.resize((35, 35)).save(tmp_path / "mask.png")
    assert cli.main(["edit", "paint_by_example", *words]) == 2
    assert "Mask: its size 35 x 35 has another shape than the image's 70 x 50" in capsys.readouterr().err


def test_a_mask_as_people_have_it_gives_the_edit_of_the_plain_one(tiny_folder, tmp_path, capsys):
    """The same box as white on black, and as a half as large red box on black; what was read is told."""
    picture = Image.effect_mandelbrot((70, 50), (-2, -1.5, 1, 1.5), 30).convert("RGB")
    picture.save(tmp_path / "image.png")
    white, red = Image.new("L", (70, 50)), Image.new("RGB", (35, 25))
    white.paste(255, (20, 10, 46, 30))
    red.paste("red", (10, 5, 23, 15))
    words = ["--models", str(tiny_folder), "--device", "cpu", "--steps", "2"]
    words += ["--image", str(tmp_path / "image.png"), "--exemplar", str(tmp_path / "image.png")]
    found = []
    for name, mask, kind in (("white", white, "black and white"), ("red", red, "strokes on a plain ground")):
        mask.save(tmp_path / "mask.png")
        out = tmp_path / f"{name}.png"
        given = ["--mask", str(tmp_path / "mask.png"), "--out", str(out)]
        assert cli.main(["edit", "paint_by_example", *words, *given]) == 0
        assert f"note: --mask read as: {kind}, 15 % of the picture" in capsys.readouterr().err
        found.append(image_sha(Image.open(out)))
    assert found[0] == found[1]
    noise = [Image.effect_noise((70, 50), 60) for _ in "rgb"]
    Image.merge("RGB", noise).save(tmp_path / "mask.png")
    assert cli.main(["edit", "paint_by_example", *words, *given]) == 2
    assert "error: --mask: it is " in capsys.readouterr().err


def test_a_saved_picture_gives_the_flags_of_another(tiny_folder, tmp_path, capsys):
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "in.png")
    base = ["--device", "cpu", "--image", str(tmp_path / "in.png")]
    made = ["edit", "sdedit", *base, "--models", str(tiny_folder), "--prompt", "-5 degrees, a man",
            "--steps", "2", "--strength", "0.9", "--seed", "3", "--out", str(tmp_path / "a.png")]  # fmt: skip
    made[made.index("--prompt") : made.index("--prompt") + 2] = ["--prompt=-5 degrees, a man"]
    assert cli.main(made) == 0
    again = ["edit", "sdedit", "--like", str(tmp_path / "a.png"), *base]
    assert cli.main([*again, "--out", str(tmp_path / "b.png")]) == 0
    first, second = (Image.open(tmp_path / name) for name in ("a.png", "b.png"))
    assert first.tobytes() == second.tobytes() and read_png(tmp_path / "a.png") == read_png(
        tmp_path / "b.png"
    )
    assert cli.main([*again, "--seed", "4", "--out", str(tmp_path / "c.png")]) == 0
    assert read_png(tmp_path / "c.png").knobs == read_png(tmp_path / "a.png").knobs | {"seed": 4}
    capsys.readouterr()
    assert cli.main(["edit", "imagic", "--like", str(tmp_path / "a.png"), *base, "--out", "x.png"]) == 2
    assert "was made by sdedit, not by imagic" in capsys.readouterr().err
    assert (
        cli.main(["sweep", "sdedit", f"--like={tmp_path / 'in.png'}", *base, "--x", "seed=0", "--out", "x"])
        == 2
    )
    assert capsys.readouterr().err.startswith("error: ")


def test_pictures_by_prompts_by_seeds_are_one_sweep_and_its_sheet_makes_it_again(
    tiny_folder, tmp_path, capsys
):
    (tmp_path / "photos").mkdir()
    for name in ("b.png", "a.jpg"):
        Image.linear_gradient("L").convert("RGB").resize((40, 40)).save(tmp_path / "photos" / name)
    base = ["--device", "cpu", "--image", str(tmp_path / "photos")]
    axes = ["--x", "prompt=a man,a cat", "--y", "strength=0.5,0.9", "--z", "seed=1,2"]
    given = ["sweep", "sdedit", *base, "--models", str(tiny_folder), *axes, "--steps", "2"]
    assert cli.main([*given, "--out", str(tmp_path / "one")]) == 0
    told = json.loads((tmp_path / "one" / "sweep.json").read_text())
    assert len(told["cells"]) == 16 and set(told["images"]) == {"a.jpg", "b.png"}
    assert len(list((tmp_path / "one").glob("image=b.png*.png"))) == 8
    assert all((tmp_path / "one" / cell["file"]).is_file() for cell in told["cells"])
    assert capsys.readouterr().err.count("does not know") <= 2, "words are told once"
    again = ["sweep", "sdedit", "--like", str(tmp_path / "one" / "sheet.png"), *base]
    assert cli.main([*again, "--out", str(tmp_path / "two")]) == 0
    assert json.loads((tmp_path / "two" / "sweep.json").read_text())["axes"] == told["axes"]
    for cell in told["cells"]:
        first, second = (Image.open(tmp_path / name / cell["file"]) for name in ("one", "two"))
        assert first.tobytes() == second.tobytes()


def test_a_sweep_needs_a_text_given_or_on_an_axis(run, tmp_path, capsys):
    code, _, error = run("sweep", "sdedit", "--x", "seed=1", "--out", tmp_path / "out", prompt=None)
    assert code == 2 and "--prompt: there is no text; give one, or put it on an axis." in error
