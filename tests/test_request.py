"""Requests: what a person gives is checked and filled in; and one way leads from there to the picture."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.core import fakes
from tests.core.fakes import asked
from textedit_core import cache as caches
from textedit_core import large
from textedit_core.cache import Cache, cached
from textedit_core.knobs import Seed
from textedit_core.method import read
from textedit_core.record import image_sha
from textedit_core.request import Sample, fit, known_fit, projected, request, run
from textedit_core.steps import Step, last

PART = SimpleNamespace(size=16, fingerprint="part")


def paint(model, clip, image: Tensor, mask: Tensor, prompt: str = "", *, seed: Seed = 0):
    yield Step(1, 1, image)


@pytest.fixture
def models():
    return SimpleNamespace(
        name="toys",
        diffusion=PART,
        clip="the clip",
        device=torch.device("cpu"),
        presets={"invented": {"seed": 4}},
        base=None,
        additions=None,
    )


def test_pictures_become_square_and_parts_and_texts_are_filled_in(models):
    picture, drawn = Image.effect_noise((20, 16), 60).convert("RGB"), Image.new("L", (20, 16), 0)
    drawn.paste(255, (2, 0, 10, 16))  # the left half of the middle square
    made = request(read("invented", paint), models, {"image": picture, "mask": drawn})
    image, mask = made.inputs["image"], made.inputs["mask"]
    assert (made.inputs["model"], made.inputs["clip"], made.inputs["prompt"]) == (PART, "the clip", "")
    middle = torch.from_numpy(np.array(picture)[:, 2:18]).permute(2, 0, 1)
    assert torch.equal(((image[0] + 1) * 127.5).round().byte(), middle)
    assert mask.shape == (1, 1, 16, 16) and mask[..., :8].min() == 1 and mask[..., 8:].max() == 0
    assert (made.record.image, made.record.prompts) == (image_sha(picture), {})


def test_settings_are_what_was_given_then_the_preset_then_the_default(models):
    how = read("invented", fakes.edit, fakes.fit)
    given = {"image": Image.new("RGB", (4, 4)), "prompt": "x"}
    made = request(how, models, given, {"rounds": 3})
    settings = {"rounds": 3, "fit_seed": 0, "eta": 0.5, "steps": 3, "seed": 4}
    assert made.settings == settings | {name: knob.default for name, knob in large.KNOBS.items()}
    assert request(how, models, given, {"seed": 9}).settings["seed"] == 9
    assert made.at(seed=2).settings["seed"] == 2 and made.settings["seed"] == 4
    assert made.record.knobs == settings and made.record.prompts == {"prompt": "x"}


@pytest.mark.parametrize(
    ("inputs", "settings", "says"),
    [
        ({"prompt": "x"}, {}, "image: invented needs a picture"),
        ({"image": Image.new("RGB", (4, 4))}, {}, "prompt: invented needs a text"),
        ({"image": Image.new("RGB", (4, 4)), "prompt": 3}, {}, "needs a text, not a int"),
        ({"image": Image.new("RGB", (4, 4)), "prompt": "x"}, {"mood": 1}, "no knob called 'mood'"),
        ({"image": Image.new("RGB", (4, 4)), "prompt": "x"}, {"eta": 9}, "Eta: 9 is not"),
    ],
)
def test_mistakes_are_one_sentence(models, inputs, settings, says):
    with pytest.raises(ValueError, match=says):
        request(read("invented", fakes.edit, fakes.fit), models, inputs, settings)


def test_a_preset_for_an_unknown_knob_is_told(models):
    models.presets["invented"]["mood"] = 1
    given = {"image": Image.new("RGB", (4, 4)), "prompt": "x"}
    with pytest.raises(ValueError, match=r"presets.json of toys: 'invented' has no knob called mood"):
        request(read("invented", fakes.edit, fakes.fit), models, given)


def test_a_run_tells_its_stages_and_gives_what_the_functions_give():
    model = fakes.Model()
    steps = list(run(asked(model, rounds=2, steps=3, eta=0.25), Cache()))
    assert [(step.stage, step.done, step.total) for step in steps] == [
        ("fit", 1, 2),
        ("fit", 2, 2),
        ("edit", 1, 3),
        ("edit", 2, 3),
        ("edit", 3, 3),
    ]
    result = steps[-1].value
    fitted = last(fakes.fit(fakes.Model(), fakes.IMAGE, "a man", rounds=2))
    assert torch.equal(result.image, last(fakes.edit(fakes.Model(), fitted, eta=0.25, steps=3)))
    assert result.fitted == fitted and result.source is fakes.IMAGE
    assert {stage: cost.cached for stage, cost in result.costs.items()} == {"fit": False, "edit": False}
    assert result.seconds > 0 and result.rows is None
    assert [step.value is None for step in steps] == [False, False, True, True, False]


def test_what_is_known_is_not_made_again_and_is_told_to_be_cached():
    model, cache = fakes.Model(), Cache()
    first = last(run(asked(model, eta=0.25), cache))
    assert known_fit(asked(model, eta=1.0), cache).value == first.fitted
    other = last(run(asked(model, eta=1.0), cache))
    again = last(run(asked(model, eta=0.25), cache))
    assert [call[0] for call in model.calls] == ["fit", "edit", "edit"]
    assert (other.costs["fit"].cached, other.costs["edit"].cached) == (True, False)
    assert again.costs["edit"].cached and torch.equal(again.image, first.image)
    assert known_fit(asked(model, rounds=5), cache) is None


def test_a_run_and_a_single_call_share_the_cache():
    model, cache = fakes.Model(), Cache()
    result = last(run(asked(model, eta=0.25), cache))
    model.calls.clear()
    fitted = last(cached(fakes.fit, model, fakes.IMAGE, "a man", cache=cache))
    assert torch.equal(last(cached(fakes.edit, model, fitted, cache=cache, eta=0.25)), result.image)
    assert not model.calls


def test_without_a_cache_the_common_one_serves(monkeypatch):
    monkeypatch.setattr(caches, "default", Cache())
    model = fakes.Model()
    last(run(asked(model)))
    last(run(asked(model)))
    assert [call[0] for call in model.calls] == ["fit", "edit"]


def test_a_fit_can_be_made_alone():
    model, cache = fakes.Model(), Cache()
    steps = list(fit(asked(model, rounds=3), cache))
    assert [(step.stage, step.done, step.total) for step in steps] == [("fit", n, 3) for n in (1, 2, 3)]
    assert steps[-1].value.level == last(run(asked(model, rounds=3), cache)).fitted.level
    assert model.calls.pop()[0] == "edit", "what was fitted alone is not fitted again"
    assert [call[0] for call in model.calls] == ["fit"]


def test_closing_a_run_stops_the_work():
    model = fakes.Model()
    steps = run(asked(model, steps=5), Cache())
    while next(steps).stage != "edit":
        pass
    steps.close()
    assert model.closed == 1 and model.calls[-1][0] == "edit"


# --- on models of every part ------------------------------------------------------------------------------


def test_a_latent_is_a_seed_or_a_picture_to_project(tiny):
    picture = Image.effect_noise((40, 40), 60).convert("RGB")
    texts, cache = {"neutral": "a man", _target(): "a man with glasses"}, Cache()
    seeded = request("styleclip_directions", tiny, {"latent": Sample(3), **texts})
    result = last(run(seeded, cache))
    assert result.record.knobs["latent_seed"] == 3 and result.record.image == ""
    given = {"latent": projected(tiny, picture, settings={"steps": 2}), **texts}
    steps = list(run(request("styleclip_directions", tiny, given), cache))
    assert list(dict.fromkeys(step.stage for step in steps)) == ["projection", "edit"]
    assert steps[-1].value.record.knobs["projection_steps"] == 2
    assert last(run(request("styleclip_directions", tiny, given), cache)).costs["projection"].cached
    with pytest.raises(ValueError, match="latent: styleclip_directions needs a latent"):
        request("styleclip_directions", tiny, texts)


def test_what_the_models_bring_is_not_fitted_unless_a_setting_of_the_fit_is_asked_for(tiny):
    given = {"latent": Sample(), "neutral": "a man", _target(): "a happy man"}
    made = request("styleclip_directions", tiny, given, {"alpha": 2})
    assert made.fitted is tiny.relevance and not made.has_fit
    assert set(made.record.knobs) == {*made.method.edit_knobs, "latent_seed", "latent_truncation"}
    anew = request("styleclip_directions", tiny, given, {"samples": 2})
    assert anew.fitted is None and anew.has_fit and "samples" in anew.record.knobs
    assert request("styleclip_directions", tiny, given, swept=["samples"]).has_fit


def _target() -> str:
    from textedit_core import method

    return next(name for name in method.load("styleclip_directions").texts if name != "neutral")
