"""Paint by Example against diffusers' pipeline; every lambda, its cost, crops, pasting, and refusals."""

import copy

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.paint_by_example import PaintByExamplePipeline
from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder

from textedit_core import metrics
from textedit_core.knobs import knobs
from textedit_core.methods import paint_by_example
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import ddim_step
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.noise import noise
from textedit_core.steps import last

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
SCHEDULERS = {
    "ddim": DDIMScheduler(clip_sample=False, set_alpha_to_one=False, **SCHEDULE),
    "plms": PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, **SCHEDULE),
}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.paint_by_example


@pytest.fixture(scope="module")
def pipeline(model, tiny_folder):
    """diffusers' pipeline of the same weights; the masked picture's latent is the mean, not a sample."""
    folder = tiny_folder / "paint_by_example"
    encoder = PaintByExampleImageEncoder(model.encoder.config).eval()
    encoder.load_state_dict(model.encoder.state_dict())
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    made = PaintByExamplePipeline(model.vae, encoder, unet, SCHEDULERS["ddim"], None, None)
    made.set_progress_bar_config(disable=True)
    scale = model.vae.config.scaling_factor
    made._encode_vae_image = lambda image, generator: scale * model.vae.encode(image).latent_dist.mean
    return made


def published(pipeline, model, image, mask, exemplar, sampler, seeds, **options) -> torch.Tensor:
    mean, std = (value.view(1, 3, 1, 1) for value in (model.exemplar_mean, model.exemplar_std))
    pipeline.scheduler = copy.deepcopy(SCHEDULERS[sampler])
    size = [side // model.latent_scale for side in image.shape[2:]]
    found = pipeline(
        example_image=((exemplar + 1) / 2 - mean) / std, image=image, mask_image=mask.clone(),
        latents=noise((1, 4, *size), seeds), num_images_per_prompt=len(seeds), output_type="pt", **options,
    )  # fmt: skip
    return found.images * 2 - 1


@pytest.mark.parametrize(
    ("sampler", "guidance_scale", "steps"),
    [("ddim", 5.0, 6), ("ddim", 1.5, 3), ("plms", 5.0, 7), ("plms", 2.0, 2)],
)
def test_it_is_the_pipeline_inside_of_the_mask(
    pipeline, model, image, mask, exemplar, sampler, guidance_scale, steps
):
    options = {"guidance_scale": guidance_scale}
    expected = published(
        pipeline, model, image, mask, exemplar, sampler, [3, 8], num_inference_steps=steps, **options
    )
    found = last(
        paint_by_example.edit(
            model, image, mask, exemplar, sampler=sampler, steps=steps, seed=[3, 8], feather=0, **options
        )
    )
    torch.testing.assert_close(found * mask, expected * mask, rtol=0, atol=1e-4)
    assert metrics.psnr(found * mask, expected * mask).min() > 90
    assert torch.equal(found * (1 - mask), (image * (1 - mask)).expand(2, -1, -1, -1))


@torch.no_grad()
def test_every_lambda_follows_the_one_formula(model, image, mask, exemplar):
    around, condition = model.surroundings(image, mask), model.encode_exemplar(exemplar)
    z = noise((1, 4, 8, 8), 0)
    eps_null = model.eps(z, 500, around, Condition(model.encoder.uncond_vector))
    eps_exemplar = model.eps(z, 500, around, condition)
    assert (eps_null - eps_exemplar).abs().max() > 1e-3
    scales = [0.0, 0.3, 1.0, 2.5, 10.0]
    together = model.guided_eps(z.repeat(5, 1, 1, 1), 500, around, condition, scales)
    for row, scale in enumerate(scales):
        wanted = eps_null + scale * (eps_exemplar - eps_null)
        torch.testing.assert_close(together[row : row + 1], wanted, rtol=0, atol=1e-4)
        torch.testing.assert_close(
            model.guided_eps(z, 500, around, condition, scale), wanted, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize(
    ("guidance_scale", "sampler", "rows", "calls"),
    [
        (0, "ddim", 4, 4),
        (1, "ddim", 4, 4),
        (0.5, "ddim", 8, 4),
        (5, "plms", 10, 5),
        ([0, 1, 5], "ddim", 16, 4),
    ],
)
def test_lambda_zero_and_one_cost_one_row_a_step(
    model, image, mask, exemplar, guidance_scale, sampler, rows, calls
):
    with count_rows(model) as count:
        options = {"guidance_scale": guidance_scale, "sampler": sampler}
        last(paint_by_example.edit(model, image, mask, exemplar, steps=4, **options))
    assert (count.rows, count.calls) == (rows, calls)


def test_lambda_zero_ignores_the_exemplar(model, image, mask, exemplar):
    other = draw(1, 3, 32, 32, seed=9)
    for scale, same in ((0, True), (1, False), (0.5, False)):
        options = {"guidance_scale": scale, "steps": 3}
        first, second = (
            last(paint_by_example.edit(model, image, mask, example, **options))
            for example in (exemplar, other)
        )
        assert torch.equal(first, second) == same


def test_a_batch_is_its_rows_one_by_one(model, image, mask, exemplar):
    scales, seeds = [0.0, 1.0, 5.0, 5.0], [4, 4, 4, 9]
    together = last(
        paint_by_example.edit(model, image, mask, exemplar, guidance_scale=scales, seed=seeds, steps=4)
    )
    assert together.shape == (4, 3, 32, 32)
    for row, (scale, seed) in enumerate(zip(scales, seeds, strict=True)):
        alone = last(
            paint_by_example.edit(model, image, mask, exemplar, guidance_scale=scale, seed=seed, steps=4)
        )
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)


def test_the_masked_picture_is_encoded_once_and_from_no_seed(model, image, mask, exemplar):
    calls = []
    handle = model.vae.encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        last(paint_by_example.edit(model, image, mask, exemplar, seed=[0, 1], steps=2))
    finally:
        handle.remove()
    assert len(calls) == 1
    assert torch.equal(model.surroundings(image, mask), model.surroundings(image, mask))


def test_the_hole_is_grey_and_what_it_held_does_not_matter(model, image, mask, exemplar):
    other = torch.where(mask.bool(), -image, image)
    first, second = (
        last(paint_by_example.edit(model, one, mask, exemplar, steps=2, feather=0)) for one in (image, other)
    )
    assert torch.equal(first, second)
    around = model.surroundings(image, mask)
    assert torch.equal(around[:, 4:], 1 - mask[..., ::4, ::4])


def test_mistakes_are_sentences(model, image, mask, exemplar):
    cases = [
        ((image, torch.zeros_like(mask), exemplar), {}, "Mask: it is empty"),
        ((image, torch.ones_like(mask), exemplar), {}, "covers the whole picture"),
        ((image, mask[..., :16], exemplar), {}, "Mask: its size 16 x 32 is not the image's 32 x 32"),
        ((image, mask, exemplar[..., :16]), {}, "Exemplar: a square picture"),
        ((image.repeat(2, 1, 1, 1), mask, exemplar), {}, "Image: one picture"),
        ((image, mask, exemplar), {"steps": 0}, "Steps must lie between"),
        ((image, mask, exemplar), {"sampler": "euler"}, "Sampler: 'euler' is neither ddim nor plms"),
        ((image, mask, exemplar), {"seed": [1, 2], "guidance_scale": [1, 2, 3]}, "equally long"),
    ]
    for arguments, options, says in cases:
        with pytest.raises(ValueError, match=says):
            next(paint_by_example.edit(model, *arguments, **options))


@pytest.mark.parametrize(
    "change",
    [
        {"guidance_scale": 2.0},
        {"steps": 5},
        {"sampler": "plms"},
        {"grow": 20},
        {"feather": 20},
        {"seed": 1},
        {"structure": 0.5},
    ],
)
def test_every_knob_is_alive(model, image, mask, exemplar, change):
    base = last(paint_by_example.edit(model, image, mask, exemplar, steps=4))
    other = last(paint_by_example.edit(model, image, mask, exemplar, **{"steps": 4, **change}))
    assert metrics.psnr(base, other).item() < 60


def test_the_defaults_are_the_published_ones():
    defaults = {name: knob.default for name, knob in knobs(paint_by_example.edit).items()}
    assert (defaults["guidance_scale"], defaults["steps"], defaults["seed"]) == (5.0, 50, 0)
    assert defaults["structure"] == 0
    assert paint_by_example.edit.batched == ("guidance_scale", "structure", "seed")


def test_every_step_is_told_and_a_cancel_leaves_nothing(model, image, mask, exemplar):
    state = {name: value.clone() for name, value in model.unet.state_dict().items()}
    run = paint_by_example.edit(model, image, mask, exemplar, steps=5)
    assert [next(run).done for _ in range(2)] == [1, 2]
    assert torch.is_grad_enabled()
    run.close()
    assert all(torch.equal(value, state[name]) for name, value in model.unet.state_dict().items())
    told = [(step.done, step.total) for step in paint_by_example.edit(model, image, mask, exemplar, steps=3)]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_same_seed_same_bytes_whatever_the_global_seed(model, image, mask, exemplar):
    torch.manual_seed(1)
    first = last(paint_by_example.edit(model, image, mask, exemplar, steps=2, seed=7))
    torch.manual_seed(2)
    assert torch.equal(last(paint_by_example.edit(model, image, mask, exemplar, steps=2, seed=7)), first)


@torch.no_grad()
def test_it_is_the_loop_of_the_paper(model, image, mask, exemplar):
    """z, masked latent, kept mask in this order; eps_v + lambda (eps_c - eps_v); a DDIM step."""
    keep, steps = 1 - mask, 3
    zm = model.vae.encode(image * keep).latent_dist.mean * model.vae.config.scaling_factor
    z, m = noise((1, 4, 8, 8), 5), keep[..., ::4, ::4]
    for t, t_to in model.schedule.transitions(steps):
        rows = torch.cat([z, zm, m], dim=1)
        eps_v, eps_c = (
            model.unet(rows, t, encoder_hidden_states=token).sample
            for token in (model.encoder.uncond_vector, model.encode_exemplar(exemplar).tokens)
        )
        z = ddim_step(model.schedule, z, eps_v + 5 * (eps_c - eps_v), t, t_to)
    wanted = model.decode(z).clamp(-1, 1) * mask + image * keep
    found = last(paint_by_example.edit(model, image, mask, exemplar, steps=steps, seed=5, feather=0))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
