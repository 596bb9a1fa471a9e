"""The x4 upscaler: the pipeline of diffusers is what it must equal; then through the engine."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from tests.bundles import write_tiny_upscaler
from textedit_core import images
from textedit_core.cache import Cache
from textedit_core.details import resized, with_details
from textedit_core.models.diffusion import upscaler
from textedit_core.models.diffusion.ddim import add_noise
from textedit_core.models.diffusion.upscaler_tuning import tune
from textedit_core.models.source import Source
from textedit_core.noise import noise
from textedit_core.request import FINISHING, TUNING, request, run
from textedit_core.steps import last

PROMPT = "a man with red hat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_upscaler(tmp_path_factory.mktemp("upscaler"))


@pytest.fixture(scope="module")
def source(folder):
    return Source(str(folder), "", upscaler.WEIGHTS)


@pytest.fixture(scope="module")
def model(source):
    return upscaler.load(source, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def models(tiny, source):
    return replace(tiny, sources={**tiny.sources, "upscaler": source})


def small(height: int = 16, width: int = 24) -> torch.Tensor:
    return noise((1, 3, height, width), 3).mul(0.4).clamp(-1, 1)


def test_a_picture_that_agrees_is_the_small_one_again_when_made_small():
    small, drawn = noise((1, 3, 8, 8), 1).mul(0.2), noise((1, 3, 32, 32), 2).mul(0.2)
    shown = torch.nn.functional.avg_pool2d(upscaler.agreeing(drawn + 0.3, small), upscaler.SCALE)
    before = torch.nn.functional.avg_pool2d(drawn + 0.3, upscaler.SCALE)
    assert (shown - small).abs().mean() < 0.25 * (before - small).abs().mean()
    flat = torch.full((1, 3, 8, 8), 0.25)
    assert torch.allclose(
        upscaler.agreeing(torch.full((1, 3, 32, 32), -0.5), flat), torch.tensor(0.25), atol=1e-6
    )
    own = upscaler.agreeing(drawn, torch.nn.functional.avg_pool2d(drawn, upscaler.SCALE))
    assert torch.allclose(own, drawn, atol=1e-5), "what agrees already stays"


def test_it_agrees_with_the_small_picture_at_noise_level_0_alone(model):
    gaps, seen = {}, small(16, 16)
    for level in (0, 20):
        settings = {"steps": 2, "guidance_scale": 1.0, "noise_level": level, "seed": 3}
        drawn = last(upscaler.upscaled(model, seen, PROMPT, **settings))
        gaps[level] = float((torch.nn.functional.avg_pool2d(drawn, upscaler.SCALE) - seen).abs().mean())
    assert gaps[0] < 0.5 * gaps[20]


@pytest.mark.parametrize(("scale", "level"), [(9.0, 20), (1.0, 20), (3.0, 250)])
def test_it_is_the_pipeline_of_diffusers(model, folder, scale, level, monkeypatch):
    """With the same noise, to 1e-4 of the largest value, latents and pictures alike."""
    from diffusers import DDIMScheduler, DDPMScheduler, StableDiffusionUpscalePipeline
    from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_upscale as theirs

    pipeline = StableDiffusionUpscalePipeline(
        model.vae,
        model.text_encoder,
        model.tokenizer,
        model.unet,
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
        low_res_scheduler=DDPMScheduler.from_pretrained(folder / "low_res_scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    drawn, z = noise((1, 3, 16, 24), 7), noise((1, 4, 16, 24), 8)
    monkeypatch.setattr(theirs, "randn_tensor", lambda shape, **_: drawn)
    asked = {"num_inference_steps": 4, "guidance_scale": scale, "noise_level": level, "output_type": "latent"}
    wanted = pipeline(PROMPT, (small() + 1) / 2, latents=z, **asked).images
    found, decode = [], type(model).decode
    monkeypatch.setattr(type(model), "decode", lambda self, z: found.append(z) or decode(self, z))
    chosen = {"steps": 4, "guidance_scale": scale, "noise_level": level}
    image = last(upscaler.sample(model, small(), PROMPT, drawn, z, **chosen))
    assert (found[0] - wanted).abs().max() < 1e-4 * wanted.abs().max()
    decoded = pipeline.vae.decode(wanted / model.vae.config.scaling_factor).sample
    assert image.shape == (1, 3, 64, 96) and (image - decoded).abs().max() < 1e-4 * decoded.abs().max()


def test_the_same_seed_is_the_same_picture_and_any_size_is_taken(model):
    first, again, other = (
        last(upscaler.upscaled(model, small(), PROMPT, steps=2, seed=k)) for k in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    odd = last(upscaler.upscaled(model, small(15, 17), PROMPT, steps=2))
    assert odd.shape == (1, 3, 60, 68) and odd.abs().max() <= 1


def test_text_guidance_and_noise_level_all_matter(model):
    plain = {"steps": 2, "guidance_scale": 4.0, "noise_level": 20}
    changes = ({}, {"steps": 3}, {"guidance_scale": 2.0}, {"noise_level": 200})
    pictures = [last(upscaler.upscaled(model, small(), PROMPT, **(plain | one))) for one in changes]
    pictures.append(last(upscaler.upscaled(model, small(), "a sad woman", **plain)))
    assert all((one - pictures[0]).abs().max() > 1e-4 for one in pictures[1:])


def test_what_is_no_upscaler_is_refused(model, tiny, tiny_folder):
    with pytest.raises(ValueError, match="not the 7 input channels"):
        upscaler.load(Source(str(tiny_folder), "diffusion", upscaler.WEIGHTS), tiny.device, tiny.dtype)
    with pytest.raises(ValueError, match="multiples of 2, not 17 x 16"):
        last(upscaler.sample(model, small(16, 17), PROMPT, small(16, 17), small(16, 17)))


def asked(models, settings, size=(300, 200)):
    given = {"image": Image.linear_gradient("L").resize(size).convert("RGB"), "prompt": PROMPT}
    quick = {"steps": 2, "strength": 0.5, "upscale": "diffusion", "upscaler_steps": 3}
    return request("sdedit", models, given, quick | settings)


def test_an_edit_is_upscaled_by_diffusion_with_progress_and_its_seed(models):
    steps = list(run(asked(models, {"seed": 5}), Cache()))
    found = steps[-1].value
    assert [step.done for step in steps if step.stage == FINISHING] == [1, 2, 3]
    assert found.image.shape == (1, 3, 128, 128)
    drawn = last(upscaler.upscaled(models.upscaler, found.edited.clamp(-1, 1), PROMPT, steps=3, seed=5))
    assert torch.equal(found.image, drawn)
    assert found.record.knobs["upscaler_steps"] == 3 and found.record.knobs["upscale"] == "diffusion"


def test_stopped_while_it_is_upscaled_the_edit_itself_is_kept(models):
    half = run(asking := asked(models, {"seed": 6}), store := Cache())
    for step in half:
        if step.stage == FINISHING:
            break
    half.close()
    assert store.get(asking.edit_call().key()) is not None


def test_details_are_kept_where_nothing_changed_and_the_rest_is_drawn_anew(models):
    kept = last(run(asked(models, {"strength": 0, "keep_details": 1}), Cache()))
    assert (kept.image - kept.request.own_picture).abs().max() < 1e-2, "an edit of nothing is the source"
    rec, drawn = torch.zeros(1, 3, 16, 16), small(64, 64)
    result = with_details(rec + 0.9, rec, small(64, 64), drawn=drawn)
    assert (result - resized(drawn, (64, 64))).abs().max() < 1e-5


def test_models_without_one_say_so_before_any_work(tiny):
    with pytest.raises(ValueError, match="has no upscaler part"):
        asked(tiny, {})
    far = Source("some/upscaler", "", upscaler.WEIGHTS, license="MIT", size_gb=3.5)
    remote = replace(tiny, sources={**tiny.sources, "upscaler": far})
    given = {"image": Image.new("RGB", (40, 40)), "prompt": PROMPT}
    with pytest.raises(ValueError, match=r"Upscale: some/upscaler \(3\.5 GB, MIT\) is not on this machine"):
        request("sdedit", remote, given, {"upscale": "diffusion"}, fetch=False)


def test_what_is_tuned_is_drawn_nearer_to_the_picture_and_the_model_stays(model):
    large = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    picture = images.native_tensor(large)
    before = {name: one.clone() for name, one in model.unet.state_dict().items()}
    learned = last(tune(model, picture, PROMPT, 0, upscaler_tuning_steps=60, upscaler_tuning_lr=2e-3))
    assert all(torch.equal(one, before[name]) for name, one in model.unet.state_dict().items())
    assert sum(learned.losses[-10:]) < 0.9 * sum(learned.losses[:10])
    z, text = model.encode(picture), model.encode_text([PROMPT])
    less = torch.nn.functional.interpolate(picture, scale_factor=1 / 4, mode="bicubic", antialias=True)

    def error(one) -> float:
        eps = noise(tuple(z.shape), 9)
        noisy = add_noise(one.schedule, z, eps, 500)
        return float((one.eps(noisy, 500, less.clamp(-1, 1), 0, text) - eps).square().mean())

    assert error(learned.applied(model)) < error(model)
    nothing = last(tune(model, picture, PROMPT, 0))
    assert nothing.losses == () and not any(one.any() for one in nothing.tuned.values())


def test_edits_of_every_seed_share_one_tuning_and_the_record_tells_it(models):
    tuning = {"upscaler_tuning_steps": 3, "upscaler_tuning_lr": 1e-3}
    store, steps = Cache(), []
    found = [last(run(asked(models, tuning | {"seed": seed}), store)) for seed in (1, 2)]
    assert TUNING in found[0].costs and found[1].costs[TUNING].cached
    plain = last(run(asked(models, {"seed": 1}), store))
    assert TUNING not in plain.costs and not torch.equal(plain.image, found[0].image)
    assert found[0].record.knobs["upscaler_tuning_steps"] == 3
    assert "upscaler_tuning_steps" not in plain.record.knobs
    for step in run(asked(models, tuning | {"upscaler_tuning_steps": 4}), store):
        steps += [step.done] if step.stage == TUNING else []
    assert steps == [1, 2, 3], "the last one is not shown: the upscaler draws next"


def test_a_small_picture_or_no_prompt_teaches_an_upscaler_nothing(models):
    with pytest.raises(ValueError, match=r"about 128 x 128 pixels, and yours has 40 x 30 pixels"):
        asked(models, {"upscaler_tuning_steps": 3}, (40, 30))
    assert not asked(models, {"upscaler_tuning_steps": 3, "upscale": "fast"}, (40, 30)).tunes_upscaler
