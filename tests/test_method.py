"""Methods: what they take by position and by knob is read from their functions."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from tests.core import fakes
from textedit_core import method
from textedit_core.knobs import Seed
from textedit_core.method import REQUIRED, Input, read
from textedit_core.request import Request


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


def test_inputs_are_told_by_name_and_type():
    found = read("invented", paint)
    assert list(found.inputs.values()) == [
        Input("model", "diffusion"),
        Input("clip", "clip"),
        Input("image", "image"),
        Input("mask", "mask"),
        Input("prompt", "text", ""),
    ]
    assert (found.fit, found.fitted, found.texts, found.latent) == (None, "", ("prompt",), None)
    with pytest.raises(ValueError, match="'exemplar'"):
        read("invented", inpaint)


def test_the_model_is_the_part_of_its_type():
    assert method.load("sdedit").inputs["model"] == Input("model", "diffusion", REQUIRED)
    assert {name: one.kind for name, one in method.load("paint_by_example").inputs.items()} == {
        "model": "paint_by_example",
        "image": "image",
        "mask": "mask",
        "exemplar": "image",
    }


def test_after_a_fit_the_texts_of_the_edit_are_added_and_one_parameter_takes_the_fitted_value():
    found = read("invented", replace_words, fakes.fit)
    kinds = {name: one.kind for name, one in found.inputs.items()}
    assert kinds == {"model": "diffusion", "image": "image", "prompt": "text", "target": "text"}
    assert found.fitted == "fitted"
    given = {"model": "M", "image": "I", "prompt": "a cat", "target": "a dog"}
    asked = Request(found, None, given, {"seed": 5, "fit_seed": 2, "rounds": 1})
    assert asked.fit_call() == (fakes.fit, ("M", "I", "a cat"), {"rounds": 1, "seed": 2})
    assert asked.edit_call("F") == (replace_words, ("M", "F", "a cat", "a dog"), {"seed": 5})

    def two_left(model, fitted, other, *, seed: Seed = 0): ...

    def none_left(model, *, seed: Seed = 0): ...

    for edit in (two_left, none_left):
        with pytest.raises(TypeError, match="one is left for the fitted value"):
            read("invented", edit, fakes.fit)


def test_the_latent_of_a_method_is_told_apart_from_what_its_fit_makes():
    found = method.load("styleclip_mapper")
    assert (found.latent.name, found.latent.required, found.fitted) == ("latent", True, "mapper")
    assert method.load("styleclip_optimizer").latent == Input("latent", "latent", None)


def test_the_settings_have_a_name_each_and_go_to_their_functions():
    found = read("invented", fakes.edit, fakes.fit)
    assert list(found.knobs) == ["rounds", "fit_seed", "eta", "steps", "seed", *found.finish_knobs]
    assert found.fit_knobs == {"rounds": "rounds", "fit_seed": "seed"}
    assert found.edit_knobs == ("eta", "steps", "seed")
    assert found.batched == ("eta", "seed")
    assert found.checked({"fit_seed": 2.0, "eta": 1}) == {"fit_seed": 2, "eta": 1.0}
    with pytest.raises(ValueError, match="invented has no knob called 'ETA'; it has rounds, fit_seed, eta"):
        found.checked({"ETA": 1})
    with pytest.raises(ValueError, match=r"Seed of the fit: 0\.5 is not a whole number"):
        found.checked({"fit_seed": 0.5})


def test_what_is_no_method_is_told(monkeypatch):
    with pytest.raises(ValueError, match="no method called 'imagik'"):
        method.load("imagik")
    with pytest.raises(ValueError, match="'projection' prepares an image"):
        method.load("projection")
    broken = ModuleType("textedit_core.methods.broken")
    monkeypatch.setitem(sys.modules, broken.__name__, broken)
    with pytest.raises(ValueError, match="'broken' prepares an image"):
        method.load("broken")


def test_every_method_can_be_read():
    edits = [name for name in method.names() if name not in ("projection", "null_text", "direct_inversion")]
    assert len(edits) >= 8
    for name in edits:
        found = method.load(name)
        assert found.name == name and found.knobs and found.edit_knobs and method.load(name) is found
