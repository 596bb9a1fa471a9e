"""The diffusion model's equations, its row count and its copies, against diffusers' own pipeline."""

import dataclasses

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_diffusion import count_rows


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.diffusion


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def texts(model):
    """Two prompts and the empty one, each (1,L,D)."""
    return model.encode_text(["a red hat", "smiling man", ""]).split()


def test_sizes(model):
    assert (model.size, model.latent_scale) == (32, 4)
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)


def test_encode_is_the_scaled_posterior_mean(model, image):
    z = model.encode(image)
    torch.testing.assert_close(z, model.vae.encode(image).latent_dist.mean * 0.7)
    assert z.shape == (2, 4, 8, 8)
    assert torch.equal(z, model.encode(image))


def test_decode_undoes_the_scaling_row_by_row(model, image):
    z = model.encode(image)
    torch.testing.assert_close(model.decode(z), model.vae.decode(z / 0.7).sample)
    many = model.decode(z.repeat(3, 1, 1, 1))
    torch.testing.assert_close(many, model.decode(z).repeat(3, 1, 1, 1))


def test_images_of_other_aspects_pass_and_of_odd_sizes_are_refused(model):
    assert model.encode(torch.zeros(1, 3, 16, 40)).shape == (1, 4, 4, 10)
    for shape in [(1, 3, 33, 32), (1, 1, 32, 32), (3, 32, 32)]:
        with pytest.raises(ValueError, match="multiples of 4"):
            model.encode(torch.zeros(shape))


def test_text_is_encoded_as_by_the_diffusers_pipeline(model):
    pipeline = StableDiffusionPipeline(
        model.vae,
        model.text_encoder,
        model.tokenizer,
        model.unet,
        DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    expected, null = pipeline.encode_prompt("a red hat on the zebra", "cpu", 1, True)
    torch.testing.assert_close(
        model.encode_text(["a red hat on the zebra", ""]).tokens, torch.cat([expected, null])
    )


def test_a_long_prompt_is_refused_with_count_and_limit(model):
    assert model.encode_text(["red " * 30]).tokens.shape == (1, 32, 32)
    with pytest.raises(ValueError, match="31 tokens and this model reads at most 30"):
        model.encode_text(["fine", "red " * 31])


def test_one_text_is_not_taken_for_a_list_of_letters(model):
    with pytest.raises(ValueError, match="list"):
        model.encode_text("red")


def test_unknown_words_and_scripts_are_spelled(model):
    first, second, third = model.encode_text(["zebra", "żółć 🦄", "漢字"]).tokens.unbind()
    assert not torch.allclose(first, second)
    assert not torch.allclose(second, third)


def test_text_and_timestep_reach_the_noise(model, image, texts):
    z = model.encode(image)
    base = model.eps(z, 500, texts[0])
    assert (base - model.eps(z, 500, texts[1])).std() > 0.01
    assert (base - model.eps(z, 10, texts[0])).std() > 0.01


def test_eps_takes_a_timestep_and_a_text_per_row(model, image, texts):
    z = model.encode(image)
    both = model.eps(z, torch.tensor([10, 900]), texts[0].cat(texts[1]))
    torch.testing.assert_close(both[:1], model.eps(z[:1], 10, texts[0]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both[1:], model.eps(z[1:], 900, texts[1]), rtol=1e-4, atol=1e-5)


def test_a_velocity_model_gives_the_noise(model, image, texts):
    z, t = model.encode(image), 400
    v = model.eps(z, t, texts[0])
    schedule = Schedule(model.schedule.alphas_cumprod, "v_prediction")
    eps = dataclasses.replace(model, schedule=schedule).eps(z, t, texts[0])
    alpha = schedule.alpha(t)
    torch.testing.assert_close(eps, alpha**0.5 * v + (1 - alpha) ** 0.5 * z)


def test_guidance_is_null_plus_s_times_the_difference(model, image, texts):
    z = model.encode(image)
    text, _, null = texts
    eps_text, eps_null = model.eps(z, 500, text), model.eps(z, 500, null)
    for scale in (0.0, 3.0, -1.0):
        found = model.guided_eps(z, 500, text, null, scale)
        torch.testing.assert_close(found, eps_null + scale * (eps_text - eps_null), rtol=1e-4, atol=5e-5)
    rows = model.guided_eps(z, 500, text, null, torch.tensor([1.0, 7.5]))
    torch.testing.assert_close(rows[:1], eps_text[:1], rtol=1e-4, atol=5e-5)
    expected = eps_null[1:] + 7.5 * (eps_text - eps_null)[1:]
    torch.testing.assert_close(rows[1:], expected, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize(("scale", "rows"), [(1, 2), ([1, 1], 2), ([1, 1.5], 4), (7.5, 4)])
def test_null_rows_are_evaluated_only_where_guidance_needs_them(model, image, texts, scale, rows):
    with count_rows(model) as count:
        model.guided_eps(model.encode(image), 500, texts[0], texts[2], scale)
    assert (count.rows, count.calls) == (rows, 1)


def test_counting_ends_with_its_block(model, image, texts):
    with pytest.raises(RuntimeError), count_rows(model) as count:
        model.eps(model.encode(image), 1, texts[0])
        raise RuntimeError
    assert count.rows == 2
    model.eps(model.encode(image), 1, texts[0])
    assert count.rows == 2
    assert not model.unet._forward_pre_hooks


def test_replaced_weights_act_on_the_copy_alone(model, image, texts):
    z, name = model.encode(image), "conv_out.weight"
    original = model.unet.get_parameter(name)
    before = model.eps(z, 500, texts[0])
    copy = model.with_weights({name: original * 2})
    bias = model.unet.conv_out.bias.view(1, -1, 1, 1)
    torch.testing.assert_close(copy.eps(z, 500, texts[0]) - bias, 2 * (before - bias), rtol=1e-4, atol=1e-4)
    assert torch.equal(model.eps(z, 500, texts[0]), before)
    assert model.unet.get_parameter(name) is original


def test_a_copy_shares_storage_but_neither_parameters_nor_modules(model):
    copy = model.with_weights({})
    pairs = zip(model.unet.parameters(), copy.unet.parameters(), strict=True)
    assert all(a is not b and a.data_ptr() == b.data_ptr() for a, b in pairs)
    assert not {id(m) for m in model.unet.modules()} & {id(m) for m in copy.unet.modules()}
    copy.unet.requires_grad_(True)
    copy.unet.train()
    copy.unet.enable_gradient_checkpointing()
    assert not any(p.requires_grad for p in model.unet.parameters())
    assert not model.unet.training
    assert not model.unet.is_gradient_checkpointing


def test_a_copy_has_no_fingerprint_so_that_no_cache_takes_it_for_the_original(model):
    assert model.with_weights({}).fingerprint is None


@pytest.mark.parametrize("weights", [{"no.such": torch.zeros(1)}, {"conv_out.bias": torch.zeros(3)}])
def test_weights_of_another_model_are_refused(model, weights):
    with pytest.raises(ValueError, match="does not belong"):
        model.with_weights(weights)
