"""Levels of memory give the same pictures; what a step takes is foretold, and measured here."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from studies.attention_memory import peak_bytes
from tests.families import write_tiny_family
from textedit_core import estimate
from textedit_core.methods import imagic, paint_by_example, prompt_to_prompt, sdedit
from textedit_core.models import zoo
from textedit_core.models.diffusion import memory, placing, rehearsal, tuning
from textedit_core.request import request
from textedit_core.steps import last

GB = 2**30
SOURCE, PROMPT = "a man in a red hat", "a man in a blue hat"
OF_FIT = {"embedding_steps": 2, "finetune_steps": 2, "finetune_lr": 1e-4}


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def family(request, tmp_path_factory):
    return zoo.load(write_tiny_family(tmp_path_factory.mktemp(request.param), request.param)).diffusion


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def at(model, level):
    return dataclasses.replace(model, memory=level)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_what_a_step_takes_is_foretold(family, side):
    latent, z = (side, side), torch.randn(3, 4, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        text = family.encode_text(["a man", "a woman", ""])
        found, _ = peak_bytes(lambda: family.eps(z, 1, text))
        assert rehearsal.sampling(family, 3, latent) == pytest.approx(found, rel=0.1)
        found, _ = peak_bytes(lambda: family.decode(z[:1]))
        # On the CPU a convolution of 8 channels takes the room of 16.
        assert rehearsal.decoding(family, 1, latent) == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("tune", ["none", "lora", "full"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_an_optimisation_takes_is_foretold(family, tune, checkpointing):
    z = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    copied = tuning.trainable(family, tune, 4, checkpointing, torch.Generator().manual_seed(0))
    with torch.no_grad():
        text = family.encode_text([PROMPT])
    tokens = text.tokens.clone().requires_grad_(tune == "none")

    def step():
        predicted = copied.model.eps(z, 1, dataclasses.replace(text, tokens=tokens))
        return torch.autograd.grad(F.mse_loss(predicted, z), copied.parameters or [tokens])

    found, _ = peak_bytes(step)
    told = rehearsal.training(family, (32, 32), tune, 4, checkpointing)
    assert told.activations == pytest.approx(found, rel=0.15)
    assert told.trained == 3 * 4 * sum(one.numel() for one in copied.parameters)


@pytest.mark.parametrize("level", ["balanced", "low"])
def test_levels_give_the_same_pictures(family, image, level):
    def results(model):
        yield last(sdedit.edit(model, image, PROMPT, steps=4, strength=1, seed=[0, 1], guidance_scale=3))
        fitted = last(imagic.fit(model, image, PROMPT, **OF_FIT))
        yield last(imagic.edit(model, fitted, steps=3))
        asked = {"inversion": "null_text", "steps": 3, "inner_steps": 2}
        inverted = last(prompt_to_prompt.fit(model, image, SOURCE, **asked))
        yield last(prompt_to_prompt.edit(model, inverted, PROMPT, blend_words="hat"))

    for one, other in zip(results(at(family, "fast")), results(at(family, level)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)


@pytest.mark.parametrize("level", ["balanced", "low"])
def test_paint_by_example_gives_the_same_pictures(tiny, image, level):
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    given = {"steps": 3, "seed": [0, 1], "guidance_scale": [0, 4]}
    models = (tiny.paint_by_example, at(tiny.paint_by_example, level))
    one, other = (last(paint_by_example.edit(model, image, mask, image, **given)) for model in models)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


def test_low_computes_one_row_at_a_time_and_balanced_recomputes(family, image):
    rows = []
    handle = family.unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    try:
        last(sdedit.edit(at(family, "low"), image, PROMPT, steps=2, strength=1))
    finally:
        handle.remove()
    assert rows == [1, 1, 1, 1]
    assert tuning.trainable(at(family, "balanced"), "none").model.unet.down_blocks[0].gradient_checkpointing
    assert not tuning.trainable(family, "none").model.unet.down_blocks[0].gradient_checkpointing


def test_pictures_beyond_the_native_size_alone_are_tiled(family, monkeypatch):
    tiled = []
    decode = type(family.vae).tiled_decode
    monkeypatch.setattr(type(family.vae), "tiled_decode", lambda *a, **k: tiled.append(1) or decode(*a, **k))
    for side in (8, 16):
        assert at(family, "low").decode(torch.zeros(1, 4, side, side)).shape[2] == side * family.latent_scale
    assert tiled == [1]


class Network(torch.nn.Module):
    """Notes where it was sent."""

    def __init__(self, name, log):
        super().__init__()
        self.name, self.log = name, log

    def to(self, device):
        self.log.append((self.name, str(device)))


def test_one_network_at_a_time_is_on_the_device():
    log: list = []
    unet, vae, offload = Network("unet", log), Network("vae", log), memory.Offload(torch.device("cuda"))
    for network in (vae, unet, unet, vae):
        offload.bring(network)
    there_and_back = [("unet", "cpu"), ("vae", "cuda")]
    assert log == [("vae", "cuda"), ("vae", "cpu"), ("unet", "cuda"), *there_and_back]
    del vae
    offload.bring(unet)  # the one before it is gone, and was not kept alive
    assert log[-1] == ("unet", "cuda")


def test_offload_is_for_devices_with_memory_of_their_own():
    assert memory.offload_for("low", torch.device("cuda")) is not None
    assert memory.offload_for("low", torch.device("cpu")) is None
    assert memory.offload_for("balanced", torch.device("cuda")) is None


def test_the_level_follows_what_is_free(family, monkeypatch):
    def level(free):
        monkeypatch.setattr(memory, "device_bytes", lambda device: (free, GB))
        return placing.automatic(family, torch.device("cpu"))

    need = {name: placing._work(family, name) / memory.SPARE for name in ("fast", "balanced")}
    assert need["balanced"] < need["fast"]
    assert level(GB * 100) == level(int(need["fast"]) + 2) == "fast"
    assert level(int(need["fast"]) - 2) == level(int(need["balanced"]) + 2) == "balanced"
    assert level(int(need["balanced"]) - 2) == "low"


def test_an_unknown_level_is_refused(tiny_folder):
    with pytest.raises(ValueError, match="Memory: 'much' is none of auto, fast, balanced, low"):
        zoo.load(tiny_folder, memory="much")


def test_another_level_keeps_what_is_loaded(tiny_folder):
    models = zoo.load(tiny_folder, memory="fast")
    before = models.diffusion
    changed = models.with_memory("low")
    assert (changed.diffusion.memory, before.memory) == ("low", "fast")
    assert changed.diffusion.unet is before.unet
    assert changed.diffusion.fingerprint == before.fingerprint


@pytest.fixture
def asked(tiny, image, monkeypatch):
    """A request whose estimate is told, however small, on a device of so many bytes."""
    monkeypatch.setattr(estimate, "HEAVY", 1)

    def made(free, method="imagic", **settings):
        monkeypatch.setattr(memory, "device_bytes", lambda device: (free, 12 * GB))
        inputs = {"image": image, "prompt": PROMPT}
        if method == "prompt_to_prompt":
            inputs["source_prompt"] = SOURCE
        return request(method, tiny, inputs, settings)

    return made


def test_an_estimate_has_its_parts_and_words(asked):
    full, lora = (estimate.of(asked(12 * GB, tune=tune)) for tune in ("full", "lora"))
    assert full.parts["optimiser"] > 3 * lora.parts["optimiser"] > 0
    assert full.peak == sum(full.parts.values()) > lora.peak
    assert full.fits and full.text == f"about {full.peak / GB:.1f} GB of 12 GB"
    edit = estimate.of(asked(12 * GB, "sdedit"))
    assert edit.parts["optimiser"] == 0 and edit.peak < lora.peak
    maps = estimate.of(asked(12 * GB, "prompt_to_prompt"), rows=4)
    assert maps.parts["attention maps"] > 0 or maps.parts["activations"] > edit.parts["activations"]


def test_what_does_not_fit_is_told_with_the_knob_that_helps(asked):
    full = estimate.of(asked(12 * GB, tune="full"))
    lora = estimate.of(asked(12 * GB, tune="lora"))
    between = ((full.peak - full.resident) + (lora.peak - lora.resident)) // 2
    found = estimate.of(asked(between, tune="full"))
    assert not found.fits
    assert "It fits with" in found.text and "Tuned weights at" in found.text
    assert "The least is about" in estimate.of(asked(1, tune="full")).text


def test_what_takes_little_is_not_spoken_of(tiny, image):
    asked = request("sdedit", tiny, {"image": image, "prompt": PROMPT})
    assert estimate.of(asked) is None
