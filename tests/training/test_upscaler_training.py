"""Training of the toon upscaler: its pairs, what it learns, and the folder that a bundle gets."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from textedit_core.models import zoo
from textedit_core.models.diffusion import upscaler as drawing
from textedit_core.models.source import Source
from textedit_core.steps import last
from textedit_core.toon.portraits import held_out_portraits
from textedit_core.training import bundle, loop, upscaler, upscaler_part
from textedit_core.training.loop import Budget

COUNT = 8


@pytest.fixture(scope="module")
def toon():
    return zoo.load("toon")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return held_out_portraits(COUNT, 64, tmp_path_factory.mktemp("data"), workers=1)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return held_out_portraits(COUNT, 256, tmp_path_factory.mktemp("data"), workers=1)


@pytest.fixture(scope="module")
def latents(toon, large):
    return upscaler.encode_large(large, toon.diffusion.vae, "cpu")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(loop, "WARMUP_STEPS", 5)
    monkeypatch.setattr(upscaler, "WIDTHS", (16, 16, 32))
    monkeypatch.setattr(upscaler, "BATCH", 4)


def test_latents_of_large_drawings_have_the_side_of_the_small_ones(toon, latents, large):
    assert latents.shape == (COUNT, 4, 64, 64) and latents.dtype is torch.float16
    one = toon.diffusion.encode(large.batch(np.array([3])))
    assert (latents[3].float() - one[0]).abs().max() < 1e-2


def test_a_pair_is_the_same_place_of_picture_and_latents(small):
    rows, rng = np.arange(COUNT), np.random.default_rng(0)
    at = torch.arange(64 * 64.0).view(1, 1, 64, 64).expand(COUNT, 4, 64, 64)
    pictures = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (COUNT, 64, 64, 3))
    source, answer = upscaler.paired_crops(pictures, pictures, at, rows, rng)
    assert source.shape == (COUNT, 3, 32, 32) and answer.shape == (COUNT, 4, 32, 32)
    above = ((source[:, 0, 0, 0] + 1) * 127.5).round()
    assert torch.equal(above, answer[:, 0, 0, 0].div(64, rounding_mode="floor"))


def test_the_noise_of_the_small_picture_is_that_of_the_published_schedule():
    alphas = upscaler.build_low_res().alphas_cumprod
    draw = torch.Generator().manual_seed(0)
    seen = upscaler.noised(torch.ones(2, 3, 64, 64), alphas[torch.tensor([0, 300])], draw)
    assert abs(float(seen[0].std())) < 0.02 and abs(float(seen[0].mean()) - 1) < 1e-3
    assert float(seen[1].std()) == pytest.approx(float((1 - alphas[300]).sqrt()), rel=0.03)
    assert float(seen[1].mean()) == pytest.approx(float(alphas[300].sqrt()), abs=0.02)


def test_it_learns_and_the_folder_it_leaves_draws_at_four_times_the_side(toon, small, latents, tmp_path):
    """A few steps are enough to be nearer to the latents than no upscaler at all."""
    own = toon.diffusion
    parts = latents, own.vae, own.text_encoder, own.tokenizer
    model = upscaler.fit(small, *parts, tmp_path / "state", Budget(60), 0, "cpu")
    before = own.text_encoder.state_dict()
    assert all(torch.equal(one, before[name]) for name, one in model.text_encoder.state_dict().items())
    bundle.write_upscaler(tmp_path / "upscaler", own.tokenizer, model.text_encoder, own.vae, model.unet)
    found = drawing.load(
        Source(str(tmp_path / "upscaler"), "", drawing.WEIGHTS), torch.device("cpu"), torch.float32
    )
    assert found.schedule.prediction_type == "v_prediction"
    picture = small.batch(np.array([0]))
    settings = {"steps": 3, "guidance_scale": 1.0, "noise_level": 0}
    drawn = last(drawing.upscaled(found, picture, "a person", **settings))
    assert drawn.shape == (1, 3, 256, 256)

    def error(eps_of) -> float:
        z = latents[:1, :, :32, :32].float()
        noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        alpha = found.schedule.alpha(500)
        noisy = alpha**0.5 * z + (1 - alpha) ** 0.5 * noise
        return float((eps_of(noisy) - noise).square().mean())

    text, seen = found.encode_text([""]), picture[..., :32, :32]
    with torch.no_grad():
        learned = error(lambda noisy: found.eps(noisy, 500, seen, 0, text))
    assert learned < error(lambda noisy: noisy), "better than to take all that is seen for noise"


def test_scores_are_there_only_with_an_upscaler(toon, small, large, tmp_path):
    assert upscaler_part.measure(replace(toon, sources={}), small, large) == {}
    own = toon.diffusion
    network = upscaler.build(copy.deepcopy(own.text_encoder))
    bundle.write_upscaler(tmp_path, own.tokenizer, network.text_encoder, own.vae, network.unet)
    source = Source(str(tmp_path), "", drawing.WEIGHTS)
    models = replace(toon, sources={**toon.sources, "upscaler": source})
    found = upscaler_part.measure(models, small.first(2), large.first(2))["upscaler"]
    assert set(found) == {"psnr_db", "bicubic_db"} and found["bicubic_db"] > found["psnr_db"], "untrained"


def test_what_it_shares_with_the_text_to_image_model_is_not_written_twice(toon, small, tmp_path):
    """A bundle whose upscaler has neither text model nor autoencoder draws what the whole folder draws."""
    own, place = toon.diffusion, torch.device("cpu")
    network = upscaler.build(copy.deepcopy(own.text_encoder))
    parts = own.tokenizer, network.text_encoder, own.vae, network.unet
    bundle.write_diffusion(tmp_path / "diffusion", *parts[:3], own.unet)
    bundle.write_upscaler(tmp_path / "upscaler", *parts)
    whole = drawing.load(Source(str(tmp_path / "upscaler"), "", drawing.WEIGHTS), place, torch.float32)
    settings = {"steps": 1, "guidance_scale": 1.0, "noise_level": 0}
    picture = small.batch(np.array([0]))[..., :32, :32]
    drawn = last(drawing.upscaled(whole, picture, "a person", **settings))
    bundle.drop_copies(tmp_path / "upscaler", tmp_path / "diffusion")
    left = {path.name for path in (tmp_path / "upscaler").iterdir()}
    assert left == {"unet", "scheduler", "low_res_scheduler"}
    models = zoo.load(tmp_path)
    assert torch.equal(last(drawing.upscaled(models.upscaler, picture, "a person", **settings)), drawn)
    bundle.write_upscaler(tmp_path / "upscaler", *parts)
    (tmp_path / "diffusion" / "tokenizer" / "vocab.json").unlink(missing_ok=True)
    (tmp_path / "diffusion" / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    bundle.drop_copies(tmp_path / "upscaler", tmp_path / "diffusion")
    left = {path.name for path in (tmp_path / "upscaler").iterdir()}
    assert left == {"unet", "scheduler", "low_res_scheduler", "tokenizer", "text_encoder"}
