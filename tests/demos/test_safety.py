"""The safety checker of a host, a tiny random one in the hub's layout: off unless asked for, one sentence."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessor

from demos.context import Context
from demos.imagic import runs as imagic
from demos.shared import safety
from demos.shared.present import present
from textedit_core.models import zoo
from textedit_core.models.diffusion import safety as checkers
from textedit_core.models.source import Source
from textedit_core.request import Result

SIZE = 32


@pytest.fixture
def source(tmp_path):
    """source(threshold) -> where a tiny checker lies, whose concepts refuse from this cosine on."""
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": SIZE, "patch_size": 16}

    def write(threshold: float) -> Source:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=24))
        with torch.no_grad():
            network.concept_embeds_weights.fill_(threshold)
            network.special_care_embeds_weights.fill_(2)
        network.save_pretrained(tmp_path)
        CLIPImageProcessor(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        ).save_pretrained(tmp_path)
        as_published(tmp_path / "model.safetensors")
        return replace(checkers.SAFETY, repo=str(tmp_path))

    return write


def as_published(path) -> None:
    """The published file nests the vision tower once more, and holds the positions' numbers."""
    tower, nested = "vision_model.", "vision_model.vision_model."
    state = {
        name.replace(tower, nested) if name.startswith(tower) and nested not in name else name: tensor
        for name, tensor in load_file(path).items()
    }
    state["vision_model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(state, path, {"format": "pt"})


def result(ctx: Context, path: str) -> Result:
    """The source itself as what Imagic has made."""
    values = {name: knob.default for name, knob in imagic.VIEW.knobs.items()} | {"models": ctx.default}
    asked = imagic.VIEW.read(ctx, values | {"image": path, "prompt": "a man", "sizing": "crop"})
    return Result(asked.inputs["image"], asked)


def test_a_picture_near_a_concept_is_refused_and_another_is_not(source):
    image = torch.linspace(-1, 1, 3 * 40 * 52).view(1, 3, 40, 52)
    before = image.clone()
    assert checkers.load_checker("cpu", source(-2.0)).refuses(image), "every cosine is above -2"
    assert not checkers.load_checker("cpu", source(2.0)).refuses(image)
    assert torch.equal(image, before), "it blackens nothing"


def test_a_refusal_is_one_sentence_and_nothing_is_written(source, tiny_folder, picture, tmp_path):
    refusing = checkers.load_checker("cpu", source(-2.0))
    made = result(Context(zoo, str(tiny_folder), "cpu", checker=refusing), picture())
    folder = tmp_path / "results"
    folder.mkdir()
    with pytest.raises(ValueError, match="safety checker of this host refuses") as told:
        present(imagic.VIEW, made, folder)
    assert str(told.value).count(".") == 1
    with pytest.raises(ValueError, match="refuses"):
        imagic.save_beside(made, folder)
    assert not list(folder.iterdir())


def test_what_passes_is_shown_as_it_is(source, tiny_folder, picture, tmp_path):
    passing = checkers.load_checker("cpu", source(2.0))
    shown = []
    for checker in (None, passing):
        made = result(Context(zoo, str(tiny_folder), "cpu", checker=checker), picture())
        shown.append(present(imagic.VIEW, made, tmp_path, f"edit-{len(shown)}"))
    assert Path(shown[0]["edit"]).read_bytes() == Path(shown[1]["edit"]).read_bytes()


def test_the_bundled_models_are_not_judged_and_others_are():
    ctx = Context(zoo, device="cpu", checker=object())
    assert ctx.models("toon").checker is None and ctx.models("sd").checker is ctx.checker
    assert Context(zoo, device="cpu").models("sd").checker is None, "off unless a host turns it on"


def test_what_will_be_fetched_is_said_first(monkeypatch, caplog):
    told = []
    monkeypatch.setattr(checkers, "load_checker", lambda device, source: told.append(caplog.text))
    with caplog.at_level(logging.WARNING, "textedit"):
        safety.prepared("cpu")
    assert "CompVis/stable-diffusion-safety-checker" in told[0] and "1.2 GB" in told[0]
