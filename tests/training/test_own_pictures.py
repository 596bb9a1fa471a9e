"""Paint by Example trained on a person's own pictures, and its ablations, from a bundle and nothing else."""

import json

import pytest
import torch
from PIL import Image

from tests.bench.conftest import write_picture
from textedit_core.models import zoo
from textedit_core.toon import parts as toon_parts
from textedit_core.toon import portraits as data
from textedit_core.toon import render
from textedit_core.training import __main__ as command
from textedit_core.training import example_parts, paint_by_example, toon
from textedit_core.training.loop import trained

TOON = zoo.BUNDLES / "toon"
SMALL = ["--threads", "1", "--only", "paint_by_example"]


@pytest.fixture
def no_portraits(monkeypatch):
    """Any drawing of a portrait is an error."""

    def refuse(*_, **__):
        raise AssertionError("a portrait was drawn")

    for module in (data, render, toon_parts):
        monkeypatch.setattr(module, "render", refuse)
    for name in ("training_portraits", "held_out_portraits"):
        monkeypatch.setattr(toon, name, refuse)
    monkeypatch.setattr(example_parts, "part_boxes", refuse)


@pytest.fixture
def own(tmp_path) -> list[str]:
    """The flags for a folder of three pictures and their boxes."""
    lines = []
    for number in range(3):
        write_picture(tmp_path / "own" / f"{number}.png", number, (90, 70))
        lines.append(json.dumps({"image": f"{number}.png", "boxes": [[10, 10, 50, 45]]}))
    (tmp_path / "boxes.jsonl").write_text("\n".join(lines))
    return ["--images", str(tmp_path / "own"), "--boxes", str(tmp_path / "boxes.jsonl")]


@pytest.fixture
def steps(monkeypatch):
    """The steps that the shipped model has learned; batches and previews are small."""
    if not (TOON / "paint_by_example").is_dir():
        pytest.skip("the toon bundle is not there")
    monkeypatch.setattr(paint_by_example, "BATCH", 2)
    monkeypatch.setattr(example_parts, "PREVIEWS", 2)
    return json.loads((TOON / "manifest.json").read_text())["training"]["paint_by_example"]["steps"]


def state(module) -> dict[str, torch.Tensor]:
    return module.state_dict()


def test_own_pictures_need_the_bundle_to_start_from_and_no_portraits(tmp_path, own, no_portraits, steps):
    out = tmp_path / "run"
    command.main(["toon", "--out", str(out), "--start", str(TOON), *own, *SMALL, "--minutes", "0.001"])
    assert trained(out / "paint_by_example")["steps"] > steps
    learned = torch.load(out / "paint_by_example" / "state.pt", weights_only=True)["module"]
    before, after = zoo.load(TOON), zoo.load(out / "bundle")
    was = state(before.paint_by_example.unet)["conv_in.weight"]
    assert 0 < (learned["unet.conv_in.weight"] - was).abs().max() < 0.01, "it went on from the bundle's"
    for part in ("vae", "unet"):
        was, now = state(getattr(before.diffusion, part)), state(getattr(after.diffusion, part))
        assert all(torch.equal(now[name], was[name]) for name in was), part
    scale = after.diffusion.vae.config.scaling_factor
    assert scale == before.diffusion.vae.config.scaling_factor != toon.vae.build(64).config.scaling_factor
    assert after.manifest["scores"] == {} and not (out / "data").exists()
    old, new = before.manifest["training"], after.manifest["training"]
    assert set(new) == set(old) and {name: new[name] for name in ("mapping", "reader")} == {
        name: old[name] for name in ("mapping", "reader")
    }, "what helped to make the bundle stays told"
    (shown,) = (out / "samples").iterdir()
    with Image.open(shown) as grid:
        assert grid.size[0] >= 2 * 64

    again = tmp_path / "again"  # trained parts alone, without the bundle they came from
    again.mkdir()
    for part in ("vae", "clip", "unet", "tokenizer"):
        (out / part).rename(again / part)
    command.main(["toon", "--out", str(again), *own, *SMALL, "--minutes", "0.001"])
    assert trained(again / "paint_by_example")["steps"] >= 1
    assert set(zoo.load(again / "bundle").manifest["training"]) == {"vae", "clip", "unet", "paint_by_example"}


def test_a_bundle_that_cannot_be_begun_from_is_one_sentence(tmp_path, tiny_folder, own, capsys):
    words = ["toon", "--out", str(tmp_path / "run"), *own, *SMALL, "--start"]
    for folder, says in (
        (tiny_folder, "does not say how it was trained"),
        (tmp_path / "nowhere", "nowhere"),
        (TOON, "is for pictures of 64 pixels; add --size 64"),
    ):
        size = ["--size", "128"] if folder == TOON else []
        with pytest.raises(SystemExit) as ended:
            command.main([*words, str(folder), *size])
        told = capsys.readouterr().err
        assert ended.value.code == 2 and says in told and "Traceback" not in told, told


def test_boxes_that_cannot_be_read_are_one_sentence(tmp_path, capsys):
    words = ["toon", "--out", str(tmp_path / "run"), "--images", str(tmp_path), "--boxes", "nowhere.jsonl"]
    with pytest.raises(SystemExit):
        command.main([*words, *SMALL])
    assert "Boxes: nowhere.jsonl cannot be read" in capsys.readouterr().err


def test_an_ablation_begins_as_the_text_to_image_model(tmp_path, own, no_portraits, steps):
    """Though the bundle holds a Paint by Example that has learned for long; and no bundle is written."""
    out = tmp_path / "run"
    words = ["toon", "--out", str(out), "--start", str(TOON), *own, *SMALL, "--ablate", "bottleneck"]
    command.main([*words, "--minutes", "0.0001"])
    (begun,) = (out / "ablations").glob("paint_by_example-*")
    assert begun.name == "paint_by_example-without-bottleneck" and trained(begun)["steps"] <= 2
    assert trained(out / "paint_by_example")["steps"] == steps and not (out / "bundle").exists()
    shipped, made = zoo.load(TOON), zoo.load(out / "ablations" / "bottleneck").paint_by_example
    first = made.unet.conv_in.weight
    plain, learned = shipped.diffusion.unet.conv_in.weight, shipped.paint_by_example.unet.conv_in.weight
    assert (first[:, :4] - plain).abs().max() < 0.01 < (learned[:, :4] - plain).abs().max()
    assert first[:, 4:].abs().max() < 0.01 < learned[:, 4:].abs().max()
    assert made.encode_exemplar(torch.zeros(1, 3, 64, 64)).tokens.shape[1] > 1


def test_an_ablation_is_of_paint_by_example_alone(tmp_path, capsys):
    with pytest.raises(SystemExit):
        command.main(["toon", "--out", str(tmp_path), "--only", "vae", "--ablate", "guidance"])
    assert "--ablate is of --only paint_by_example" in capsys.readouterr().err


def test_the_scaling_factor_is_of_the_training_it_was_noted_for(tmp_path):
    module = toon.vae.build(64)
    toon.begin_from(tmp_path, module, steps=3, seconds=1)
    assert toon.vae.kept_scaling_factor(tmp_path) is None
    module.register_to_config(scaling_factor=0.7)
    toon.vae.keep_scaling_factor(module, tmp_path)
    assert toon.vae.kept_scaling_factor(tmp_path) == 0.7
    toon.begin_from(tmp_path, module, steps=4, seconds=1)
    assert toon.vae.kept_scaling_factor(tmp_path) is None
