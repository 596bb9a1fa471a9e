"""Jobs: what a method of any signature is given, from a person's texts and a folder's presets."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.core import fakes
from textedit_core.jobs import REQUIRED, functions, inputs, read_job
from textedit_core.knobs import Seed
from textedit_core.record import image_sha

PART = SimpleNamespace(size=16, fingerprint="part")


def inpaint(
    model,
    clip,
    image: Tensor,
    mask: "Tensor",
    exemplar: "torch.Tensor | None",
    prompt: "str",
    *,
    seed: Seed = 0,
):
    yield


def paint(model, clip, image: Tensor, mask: "Tensor", prompt: str = "", *, seed: Seed = 0):
    yield


def replace_words(model, fitted: "Fitted", prompt: str, target: "str", *, seed: Seed = 0):  # noqa: F821
    yield


@pytest.fixture
def method(monkeypatch):
    """Makes a method file of these functions and returns its name."""

    def make(**members):
        module = ModuleType("textedit_core.methods.invented")
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        return "invented"

    return make


@pytest.fixture
def models():
    return SimpleNamespace(
        name="toys", diffusion=PART, clip="the clip", device="cpu", presets={"invented": {"seed": 4}}
    )


def test_inputs_are_told_by_name_and_type():
    assert inputs(paint) == {
        "model": ("diffusion", REQUIRED),
        "clip": ("clip", REQUIRED),
        "image": ("image", REQUIRED),
        "mask": ("mask", REQUIRED),
        "prompt": ("text", ""),
    }
    with pytest.raises(ValueError, match="'exemplar'"):
        inputs(inpaint)


def test_the_model_is_the_part_of_its_type():
    from textedit_core.methods import paint_by_example, sdedit

    assert inputs(sdedit.edit)["model"] == ("diffusion", REQUIRED)
    assert {name: kind for name, (kind, _) in inputs(paint_by_example.edit).items()} == {
        "model": "paint_by_example",
        "image": "image",
        "mask": "mask",
        "exemplar": "image",
    }


def test_after_a_fit_the_texts_of_the_edit_are_added():
    found = inputs(replace_words, fakes.fit)
    assert {name: kind for name, (kind, _) in found.items()} == {
        "model": "diffusion",
        "image": "image",
        "prompt": "text",
        "target": "text",
    }


def test_a_method_that_only_prepares_is_told(method):
    with pytest.raises(ValueError, match="'invented' prepares an image"):
        functions(method(fit=fakes.fit))
    assert functions(method(edit=paint)) == (paint, None)
    assert functions(method(edit=fakes.edit, fit=fakes.fit)) == (fakes.edit, fakes.fit)


def test_a_job_has_its_pictures_texts_and_parts_in_order(method, models, tmp_path):
    picture, drawn = Image.effect_noise((20, 16), 60).convert("RGB"), Image.new("L", (20, 16), 0)
    drawn.paste(255, (2, 0, 10, 16))  # the left half of the middle square
    picture.save(tmp_path / "a.png")
    drawn.save(tmp_path / "m.png")
    options = {"image": str(tmp_path / "a.png"), "mask": str(tmp_path / "m.png"), "prompt": None}
    job = read_job(method(edit=paint), options, models)
    model, clip, image, mask, prompt = job.arguments
    assert (model, clip, prompt, job.settings, job.texts) == (PART, "the clip", "", {"seed": 4}, {})
    middle = torch.from_numpy(np.array(picture)[:, 2:18]).permute(2, 0, 1)
    assert torch.equal(((image[0] + 1) * 127.5).round().byte(), middle)
    assert mask.shape == (1, 1, 16, 16) and mask[..., :8].min() == 1 and mask[..., 8:].max() == 0
    assert (job.record.image, job.record.prompts) == (image_sha(picture), {})


def test_settings_are_the_flag_then_the_preset_then_the_default(method, models, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    name = method(edit=fakes.edit, fit=fakes.fit)
    options = {"image": str(tmp_path / "a.png"), "prompt": "x", "rounds": "3", "seed": None}
    job = read_job(name, options, models)
    assert job.settings == {"rounds": 3, "fit_seed": 0, "eta": 0.5, "steps": 3, "seed": 4}
    assert job.fit_settings == {"rounds": 3, "seed": 0}
    assert job.edit_settings == {"eta": 0.5, "steps": 3, "seed": 4}
    assert read_job(name, options | {"seed": "9"}, models).settings["seed"] == 9


def test_what_only_the_edit_takes_is_kept_apart(method, models, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    options = {"image": str(tmp_path / "a.png"), "prompt": "a cat", "target": "a dog"}
    job = read_job(method(edit=replace_words, fit=fakes.fit), options, models)
    assert job.texts == {"target": "a dog"} and len(job.arguments) == 3
    assert job.record.prompts == {"prompt": "a cat", "target": "a dog"}
