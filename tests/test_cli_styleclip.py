"""The command line of the StyleCLIP methods: latents by seed or by picture, and what the models bring."""

import json

import pytest
import torch
from PIL import Image

from tests.style_bundle import MAPPER
from textedit_core import __main__ as cli
from textedit_core.images import square_tensor, to_pil
from textedit_core.methods import (
    latent_directions,
    projection,
    styleclip_directions,
    styleclip_mapper,
    styleclip_optimizer,
)
from textedit_core.models.style import latents
from textedit_core.models.style.latent_files import read_latent, write_latent
from textedit_core.record import image_sha, read_png
from textedit_core.steps import last

TEXTS = ["--neutral", "a man", "--prompt", "a smiling man"]


@pytest.fixture
def run(tiny_folder, tmp_path, capsys):
    """Runs a command on the tiny models: (exit code, stderr); the result is out.png."""

    def command(name, method, *words):
        out = [] if "--out" in words else ["--out", tmp_path / "out.png"]
        given = [name, method, "--models", tiny_folder, "--device", "cpu", *words, *out]
        code = cli.main([str(word) for word in given])
        return code, capsys.readouterr().err

    return command


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    Image.effect_mandelbrot((50, 40), (-2, -1.5, 1, 1.5), 30).convert("RGB").save(path)
    return path


def same(path, image: torch.Tensor) -> bool:
    return image_sha(Image.open(path)) == image_sha(to_pil(image)[0])


def test_a_direction_by_seed_uses_the_relevance_that_is_there(run, tiny, tmp_path):
    code, told = run("edit", "styleclip_directions", *TEXTS, "--latent-seed", 3, "--alpha", 2)
    assert code == 0 and "fit" not in told
    latent = latents.from_seed(tiny.generator, seed=3)
    given = tiny.generator, tiny.clip, tiny.relevance, latent, "a man", "a smiling man"
    assert same(tmp_path / "out.png", last(styleclip_directions.edit(*given, alpha=2.0)))
    record = read_png(tmp_path / "out.png")
    assert record.knobs == {
        "alpha": 2.0,
        "beta": 0.15,
        "layers": "",
        "templates": "",
        "accepted": "",
        "latent_seed": 3,
        "latent_truncation": 0.7,
    }
    assert record.prompts == {"neutral": "a man", "prompt": "a smiling man"} and record.image == ""


def test_a_setting_of_the_fit_measures_again(run, tmp_path):
    code, told = run("edit", "styleclip_directions", *TEXTS, "--latent-seed", 3, "--pinning", "none")
    assert code == 0 and "fit 1/" in told
    assert read_png(tmp_path / "out.png").knobs["pinning"] == "none"


def test_a_mapper_that_is_there_is_not_trained(run, tiny, tmp_path):
    code, told = run("edit", "styleclip_mapper", "--prompt", MAPPER, "--latent-seed", 4, "--no", "0")
    assert code == 2 and "--no" in told
    code, told = run("edit", "styleclip_mapper", "--prompt", MAPPER, "--latent-seed", 4, "--fine", "off")
    assert code == 0 and "fit" not in told
    latent = latents.from_seed(tiny.generator, seed=4)
    wanted = last(styleclip_mapper.edit(tiny.generator, tiny.mappers["smiling"], latent, fine=False))
    assert same(tmp_path / "out.png", wanted)
    code, told = run("edit", "styleclip_mapper", "--prompt", "a sad man", "--latent-seed", 4)
    assert code == 0 and "fit 2/2" in told
    assert read_png(tmp_path / "out.png").knobs["fit_coarse"] is True


def test_comparators_need_texts_only_where_they_look_for_one(run, tiny, tmp_path):
    code, told = run("edit", "latent_directions", "--latent-seed", 3, "--component", 2)
    assert code == 0 and "fit 1/1" in told
    latent = latents.from_seed(tiny.generator, seed=3)
    found = last(latent_directions.fit(tiny.generator, None, None, samples=100))
    wanted = last(latent_directions.edit(tiny.generator, found, latent, component=2))
    assert same(tmp_path / "out.png", wanted)
    words = "--latent-seed", 3, "--technique", "interfacegan"
    code, told = run("edit", "latent_directions", *words)
    assert code == 2 and "neutral text is empty" in told
    assert run("edit", "latent_directions", *words, *TEXTS)[0] == 0
    assert read_png(tmp_path / "out.png").prompts == {"neutral": "a man", "prompt": "a smiling man"}


def test_a_picture_is_projected_first(run, tiny, tmp_path, picture):
    words = "--prompt", "a man in a red hat", "--image", picture, "--space", "s"
    code, told = run("edit", "styleclip_optimizer", *words)
    assert code == 0 and "projection 1/3" in told and "fit 3/3" in told
    image = square_tensor(Image.open(picture).convert("RGB"), 32)
    parts = tiny.generator, tiny.encoder, tiny.clip, tiny.identity
    latent = last(projection.fit(*parts, image, steps=3)).latent
    given = tiny.generator, tiny.clip, tiny.identity, latent, "a man in a red hat"
    fitted = last(styleclip_optimizer.fit(*given, steps=3, keep_every=1, space="s"))
    assert same(tmp_path / "out.png", fitted.image)
    record = read_png(tmp_path / "out.png")
    assert record.image == image_sha(Image.open(picture)) and "latent_seed" not in record.knobs


def test_projection_and_fit_are_kept_in_a_folder(run, tmp_path, picture):
    words = "--prompt", "a man in a red hat", "--image", picture, "--cache", tmp_path / "kept"
    first = run("edit", "styleclip_optimizer", *words)[1]
    again = run("edit", "styleclip_optimizer", *words, "--position", "0.5")[1]
    assert "projection 1/3" in first and "fit 1/3" in first
    assert "projection 1/3" not in again and "fit 1/3" not in again


def test_free_generation_needs_no_latent(run):
    words = "--prompt", "a hat"
    assert run("edit", "styleclip_optimizer", *words, "--mode", "free_generation")[0] == 0
    code, told = run("edit", "styleclip_optimizer", *words)
    assert code == 2 and "The latent is missing" in told


def test_alpha_by_beta_is_a_sweep(run, tmp_path):
    words = *TEXTS, "--latent-seed", 3, "--x", "alpha=0,2,4", "--y", "beta=0.1,1", "--out", tmp_path / "s"
    code, told = run("sweep", "styleclip_directions", *words)
    assert code == 0 and "fit" not in told
    found = json.loads((tmp_path / "s" / "sweep.json").read_text())["cells"]
    assert len(found) == 6
    files = {
        (cell["coords"]["alpha"], cell["coords"]["beta"]): tmp_path / "s" / cell["file"] for cell in found
    }
    shown = {key: image_sha(Image.open(path)) for key, path in files.items()}
    assert len({shown[0, 0.1], shown[0, 1], shown[2, 1], shown[4, 1]}) == 1  # all the source
    assert shown[2, 0.1] != shown[4, 0.1] != shown[0, 0.1]
    assert read_png(files[2, 0.1]).knobs["latent_seed"] == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([*TEXTS], "there is no latent; give a seed, or --image"),
        ([*TEXTS, "--latent-seed", "1", "--image", "x.png"], "give one of the two"),
        ([*TEXTS, "--latent-seed", "many"], "Seed: 'many' is not a whole number"),
        (
            [*TEXTS, "--latent-seed", "1", "--latent-truncation", "2"],
            "Truncation: 2 is not a number from 0 to 1",
        ),
        (["--latent-seed", "1"], "--neutral, --prompt"),
    ],
)
def test_a_mistake_is_one_sentence(run, words, says):
    code, told = run("edit", "styleclip_directions", *words)
    assert code == 2 and says in told


def test_a_seed_and_a_picture_are_too_much(run, picture):
    code, told = run("edit", "styleclip_directions", *TEXTS, "--latent-seed", 1, "--image", picture)
    assert code == 2 and "give one of the two" in told


def test_projection_is_no_edit(run):
    code, told = run("edit", "projection", "--help")
    assert code == 2 and "prepares an image" in told


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("styleclip_directions", [*TEXTS, "--alpha", "2"]),
        ("styleclip_mapper", ["--prompt", MAPPER]),
        ("styleclip_optimizer", ["--prompt", "a hat"]),
        ("styleclip_optimizer", ["--prompt", "a hat", "--space", "s"]),
        ("latent_directions", ["--component", "2"]),
        ("latent_directions", ["--technique", "stylespace", "--channel", "3:1"]),
    ],
)
def test_every_technique_starts_from_a_file_and_writes_one(run, tiny, tmp_path, method, words):
    """The same latent by its seed and from a file gives the same picture; what is written draws it again."""
    by_seed, start, after = tmp_path / "seed.png", tmp_path / "start.npy", tmp_path / "kept" / "after.pt"
    latent = latents.from_seed(tiny.generator, seed=5)
    write_latent(latent, start)
    assert run("edit", method, *words, "--latent-seed", 5, "--out", by_seed)[0] == 0
    code, _ = run("edit", method, *words, "--latent", start, "--save-latent", after)
    assert code == 0 and same(tmp_path / "out.png", square_tensor(Image.open(by_seed), 32))
    record = read_png(tmp_path / "out.png")
    assert record.knobs["latent_sha"] == latent.fingerprint and record.knobs["latent_file"] == "start.npy"
    assert "latent_seed" not in record.knobs
    image = read_latent(after, tiny.generator).image(tiny.generator)
    drawn = square_tensor(to_pil(image)[0], 32)
    assert (drawn - square_tensor(Image.open(by_seed), 32)).abs().max() <= 2 / 255 + 1e-6  # to rounding
    assert (image - latent.image(tiny.generator)).abs().max() > 0.01, "it is an edit"


def test_one_of_several_latents_and_what_does_not_go_together(run, tiny, tmp_path, picture):
    many, one = tmp_path / "many.pt", tmp_path / "out.png"
    rows = [latents.from_seed(tiny.generator, seed=seed) for seed in range(3)]
    write_latent(latents.Latent(torch.cat([row.w_plus for row in rows])), many)
    given = "edit", "styleclip_directions", *TEXTS, "--latent", many
    code, told = run(*given)
    assert code == 2 and "holds 3 latents: say which, from 0 to 2" in told
    assert run(*given, "--latent-index", 2)[0] == 0
    assert read_png(one).knobs["latent_sha"] == rows[2].fingerprint
    for words, says in [
        ([*given, "--latent-seed", 1], "give one of --latent, --image and --latent-seed"),
        ([*given, "--image", picture], "give one of --latent, --image and --latent-seed"),
        ([*given[:-2], "--latent-index", 1], "no file of latents"),
        ([*given, "--latent-index", 1, "--save-latent", tmp_path / "a.png"], "no file for a latent"),
        ([*given, "--latent-index", 1, "--save-latent", tmp_path / "a.npy"], "edit in StyleSpace"),
    ]:
        code, told = run(*words)
        assert code == 2 and says in told


def test_an_edited_latent_is_edited_further(run, tiny, tmp_path):
    """The optimizer's code in W+ goes into the mapper; one in StyleSpace has no W+ code, which is told."""
    after, further = tmp_path / "after.pt", ["edit", "styleclip_mapper", "--prompt", MAPPER, "--latent"]
    words = "edit", "styleclip_optimizer", "--prompt", "a hat", "--latent-seed", 5, "--save-latent", after
    assert run(*words)[0] == 0
    assert run(*further, after)[0] == 0
    w_plus = read_latent(after, tiny.generator)
    wanted = last(styleclip_mapper.edit(tiny.generator, tiny.mappers["smiling"], w_plus))
    assert same(tmp_path / "out.png", wanted)
    assert run(*words, "--space", "s")[0] == 0
    code, told = run(*further, after)
    assert code == 2 and "no W+ code" in told


def test_the_edit_of_a_picture_is_written_too(run, tiny, tmp_path, picture):
    words = "--prompt", "a man in a red hat", "--image", picture, "--save-latent", tmp_path / "after.pt"
    assert run("edit", "styleclip_optimizer", *words)[0] == 0
    image = read_latent(tmp_path / "after.pt", tiny.generator).image(tiny.generator)
    assert same(tmp_path / "out.png", image)


def test_a_sweep_starts_from_a_file_too(run, tiny, tmp_path):
    write_latent(latents.from_seed(tiny.generator, seed=5), tmp_path / "start.pt")
    words = *TEXTS, "--latent", tmp_path / "start.pt", "--x", "alpha=0,2", "--out", tmp_path / "s"
    assert run("sweep", "styleclip_directions", *words)[0] == 0
    source = latents.from_seed(tiny.generator, seed=5).image(tiny.generator)
    found = json.loads((tmp_path / "s" / "sweep.json").read_text())["cells"]
    assert same(tmp_path / "s" / found[0]["file"], source)
    assert not same(tmp_path / "s" / found[1]["file"], source)


def test_a_method_without_a_latent_has_no_such_flags(run, tmp_path, picture):
    words = "--image", picture, "--prompt", "a man", "--save-latent", tmp_path / "a.pt"
    code, told = run("edit", "sdedit", *words)
    assert code == 2 and "--save-latent" in told


def test_a_face_is_cut_out_of_a_photograph_and_its_edit_put_back(run, tiny, picture, tmp_path, monkeypatch):
    from textedit_core.images import native_tensor
    from textedit_core.models.style import face_detector
    from textedit_core.models.style.alignment_of_faces import aligned, read_points, square_of_face

    points = "22,18 28,18 23,22 27,22"
    monkeypatch.setattr(face_detector, "find_face", lambda photo: read_points(points))
    for face in (points, "auto"):
        words = "--image", picture, "--face", face, "--paste", tmp_path / "whole" / "photo.png", "--alpha", 3
        code, told = run("edit", "styleclip_directions", *TEXTS, *words)
        assert code == 0 and f"--face read as: {points}" in told
        photo, square = Image.open(picture), square_of_face(*read_points(points))
        image = square_tensor(aligned(photo, square, tiny.generator.size), tiny.generator.size)
        parts = tiny.generator, tiny.encoder, tiny.clip, tiny.identity
        found = last(projection.fit(*parts, image, steps=3))
        given = tiny.generator, tiny.clip, tiny.relevance, found.latent, "a man", "a smiling man"
        assert same(tmp_path / "out.png", last(styleclip_directions.edit(*given, alpha=3.0)))
        whole = Image.open(tmp_path / "whole" / "photo.png")
        before, after = native_tensor(photo), native_tensor(whole)
        changed = (before - after).abs().amax(dim=(0, 1)) > 0
        assert (
            whole.size == photo.size and changed.any() and not changed[:6].any() and not changed[:, :12].any()
        )
        assert read_png(tmp_path / "whole" / "photo.png").knobs["face_points"] == points


def test_mistakes_about_a_face_are_one_sentence(run, picture, tmp_path):
    for words, says in (
        (["--latent-seed", 1, "--face", "auto"], "--face: there is no picture"),
        (["--image", picture, "--face", "here"], "'here' are not four points"),
        (["--image", picture, "--face", "1,1 1,1 1,1 1,1"], "fall together"),
        (["--image", picture, "--paste", tmp_path / "a.png"], "say with --face where the face is"),
        (["--image", picture, "--face", "auto", "--paste", tmp_path / "a.jpg"], "ends in .png"),
    ):
        code, told = run("edit", "styleclip_directions", *TEXTS, *words)
        assert code == 2 and says in told and len(told.strip().splitlines()) == 1
