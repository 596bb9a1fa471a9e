"""SDEdit against diffusers' image-to-image pipeline, its limits, its cost and its batches."""

import dataclasses

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

from textedit_core import metrics
from textedit_core.images import to_pil
from textedit_core.knobs import knobs
from textedit_core.methods import sdedit
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.steps import last

PROMPT = "a portrait of the man in a red hat"


def img2img(model, image, prediction_type="epsilon", **options) -> torch.Tensor:
    """diffusers' result in [-1,1]; it is handed latents, so that it draws the start noise alone."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction_type,
    )
    pipeline = StableDiffusionImg2ImgPipeline(
        model.vae,
        model.text_encoder,
        model.tokenizer,
        model.unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    seed = torch.Generator().manual_seed(options.pop("seed"))
    return pipeline(PROMPT, model.encode(image), generator=seed, output_type="pt", **options).images * 2 - 1


@pytest.mark.parametrize(
    ("strength", "guidance_scale", "steps", "seed"),
    [(0.8, 7.5, 10, 0), (1.0, 3.0, 7, 5), (0.5, 1.0, 6, 2), (0.29, 2.5, 20, 3)],
)
def test_it_is_the_image_to_image_pipeline(model, image, strength, guidance_scale, steps, seed):
    knob = {"strength": strength, "guidance_scale": guidance_scale, "seed": seed}
    expected = img2img(model, image, num_inference_steps=steps, **knob)
    found = last(sdedit.edit(model, image, PROMPT, steps=steps, **knob)).clamp(-1, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert metrics.psnr(found, expected).item() > 70


def test_it_is_the_pipeline_for_a_velocity_model_too(model, image):
    schedule = Schedule(model.schedule.alphas_cumprod, "v_prediction")
    velocity = dataclasses.replace(model, schedule=schedule)
    expected = img2img(model, image, "v_prediction", num_inference_steps=6, strength=0.7, seed=1)
    found = last(sdedit.edit(velocity, image, PROMPT, steps=6, strength=0.7, seed=1)).clamp(-1, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("strength", [0, 0.05])
def test_without_a_step_it_is_the_autoencoder(model, image, strength):
    with count_rows(model) as count:
        steps = list(sdedit.edit(model, image, PROMPT, strength=strength, steps=10))
    assert len(steps) == 1
    assert steps[0].done == steps[0].total == 1
    assert torch.equal(steps[0].value, model.decode(model.encode(image)))
    assert count.rows == 0


@pytest.mark.parametrize(
    ("strength", "guidance_scale", "rows", "calls"), [(1, 7.5, 20, 10), (0.8, 7.5, 16, 8), (0.8, 1, 8, 8)]
)
def test_it_costs_two_rows_a_step_and_one_without_guidance(
    model, image, strength, guidance_scale, rows, calls
):
    with count_rows(model) as count:
        last(sdedit.edit(model, image, PROMPT, strength=strength, guidance_scale=guidance_scale, steps=10))
    assert (count.rows, count.calls) == (rows, calls)


def test_every_step_is_told_and_the_last_has_the_image(model, image):
    steps = list(sdedit.edit(model, image, PROMPT, steps=5, strength=0.8))
    assert [(step.done, step.total) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step.value is not None for step in steps] == [False, False, False, True]
    assert steps[-1].value.shape == image.shape
    assert not steps[-1].value.requires_grad


def test_a_batch_is_its_rows_one_by_one(model, image):
    guidance, seeds = [1.0, 3.0, 7.5], [4, 4, 9]
    with count_rows(model) as count:
        rows = last(sdedit.edit(model, image, PROMPT, guidance_scale=guidance, seed=seeds, steps=5))
    assert (rows.shape, count.calls) == ((3, 3, 32, 32), 4)
    for row, (scale, seed) in enumerate(zip(guidance, seeds, strict=True)):
        alone = last(sdedit.edit(model, image, PROMPT, guidance_scale=scale, seed=seed, steps=5))
        torch.testing.assert_close(rows[row : row + 1], alone, rtol=0, atol=1e-3)


def test_only_what_keeps_the_timesteps_is_batched():
    assert sdedit.edit.batched == ("guidance_scale", "seed")


def test_the_knobs_have_the_papers_baseline_as_defaults():
    defaults = {name: knob.default for name, knob in knobs(sdedit.edit).items()}
    assert defaults == {"strength": 0.8, "guidance_scale": 7.5, "steps": 50, "seed": 0}


def test_same_seed_same_bytes_whatever_the_global_seed(model, image):
    torch.manual_seed(1)
    first = last(sdedit.edit(model, image, PROMPT, steps=3, seed=7))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(last(sdedit.edit(model, image, PROMPT, steps=3, seed=7)), first)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "change", [{"strength": 0.5}, {"guidance_scale": 2.0}, {"steps": 7}, {"seed": 1}, {"prompt": "sad woman"}]
)
def test_every_knob_is_alive(model, image, change):
    settings = {"prompt": PROMPT, "steps": 6, **change}
    base = last(sdedit.edit(model, image, PROMPT, steps=6))
    other = last(sdedit.edit(model, image, settings.pop("prompt"), **settings))
    assert metrics.psnr(base, other).item() < 45


def test_mistakes_are_sentences(model, image):
    for strength in (-0.1, 1.5):
        with pytest.raises(ValueError, match="Strength must lie between 0 and 1"):
            next(sdedit.edit(model, image, PROMPT, strength=strength))
    with pytest.raises(ValueError, match="at most 30"):
        next(sdedit.edit(model, image, "red " * 40))
    with pytest.raises(ValueError, match="Steps"):
        next(sdedit.edit(model, image, PROMPT, steps=0))
    with pytest.raises(ValueError, match="multiples of 4"):
        next(sdedit.edit(model, image[0], PROMPT))


def test_gradients_stay_on_for_the_caller(model, image):
    run = sdedit.edit(model, image, PROMPT, steps=4)
    next(run)
    assert torch.is_grad_enabled()
    run.close()
    assert torch.is_grad_enabled()


def test_other_aspects_keep_their_size(model):
    wide = torch.zeros(1, 3, 16, 40)
    found = last(sdedit.edit(model, wide, PROMPT, steps=3))
    assert found.shape == wide.shape
    assert to_pil(found)[0].size == (40, 16)


def test_toon_more_strength_means_less_of_the_source(toon, portrait):
    kept = [
        metrics.psnr(run, portrait).item()
        for strength in (0, 0.3, 0.6, 0.9)
        for run in [last(sdedit.edit(toon.diffusion, portrait, "a sad woman", strength=strength, steps=20))]
    ]
    assert kept == sorted(kept, reverse=True), kept
