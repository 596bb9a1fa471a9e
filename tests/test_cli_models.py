"""The command line with a person's own models of any family; mistakes are sentences."""

import os

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.families import FAMILIES, write_tiny_family
from textedit_core.__main__ import main


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "in.png"
    Image.new("RGB", (32, 32), (200, 40, 40)).save(path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edit_by_each_family(tmp_path, picture, capsys, family):
    folder, out = write_tiny_family(tmp_path / "models", family), tmp_path / "out.png"
    flags = ["--models", folder, "--image", picture, "--prompt", "a red hat", "--steps", "3", "--out", out]
    assert main(["edit", "sdedit", *map(str, flags), "--device", "cpu"]) == 0
    assert Image.open(out).size == (32, 32)
    assert "fetching" not in capsys.readouterr().err


def test_models_that_are_none_are_one_sentence(tmp_path, picture, capsys):
    lora = tmp_path / "some.safetensors"
    save_file({"lora_unet.lora_up.weight": torch.zeros(4, 4)}, lora)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"nothing")
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    for models, said in [
        (lora, "is a LoRA, not a model"),
        (damaged, "could not be read"),
        ("somebody/some-model", "cannot be asked about it (HF_HUB_OFFLINE is set)"),
        (tmp_path / "no.safetensors", "There is no file"),
    ]:
        flags = ["--models", models, "--image", picture, "--prompt", "a hat", "--out", tmp_path / "out.png"]
        assert main(["edit", "sdedit", *map(str, flags)]) == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith("error: ") and said in told and "\n" not in told


def test_memory_and_precision_are_flags(tiny_folder):
    from textedit_core.__main__ import _models, parse

    given = ["edit", "sdedit", "--models", str(tiny_folder), "--device", "cpu", "--image", "a.png"]
    given += ["--prompt", "a man", "--out", "b.png"]
    found = _models(parse([*given, "--memory", "low", "--dtype", "bfloat16"]))
    assert (found.memory, str(found.dtype)) == ("low", "torch.bfloat16")
    assert found.diffusion.memory == "low"
    assert (_models(parse(given)).memory, str(_models(parse(given)).dtype)) == ("auto", "torch.float32")


def test_a_heavy_run_is_told(monkeypatch, capsys):
    from textedit_core import __main__, estimate

    told = estimate.Estimate({"weights": 9 * 2**30}, 0, 2**30, 12 * 2**30, "It fits with Memory at low.")
    monkeypatch.setattr(estimate, "of", lambda asked, rows: told)
    __main__._tell_memory(None)
    assert (
        "this takes about 9.0 GB of 12 GB, of which 1.0 GB are free. It fits with" in capsys.readouterr().err
    )
