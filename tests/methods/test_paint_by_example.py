"""Paint by Example against diffusers' pipeline; every lambda, its cost, crops, pasting, and refusals."""

import copy
import re

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.paint_by_example import PaintByExamplePipeline
from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder

from textedit_core import metrics
from textedit_core.ddim import ddim_step
from textedit_core.knobs import knobs
from textedit_core.methods import paint_by_example
from textedit_core.models.latent_diffusion import count_rows
from textedit_core.models.structure import Lender
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
def exemplar():
    return draw(1, 3, 32, 32, seed=1)


@pytest.fixture(scope="module")
def mask():
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 6:20] = 1
    return mask


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
    eps_null = model.eps(z, 500, around, model.encoder.uncond_vector)
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


@pytest.mark.parametrize("shape", [(50, 70), (33, 200), (17, 13)])
def test_any_size_keeps_every_pixel_outside_of_the_mask(model, exemplar, shape):
    image, mask = draw(1, 3, *shape), torch.zeros(1, 1, *shape)
    mask[..., 4:12, 3:11] = 1
    found = last(paint_by_example.edit(model, image, mask, exemplar, steps=2))
    assert found.shape == image.shape
    assert torch.equal(found * (1 - mask), image * (1 - mask))
    assert not torch.equal(found, image)


def test_only_the_surroundings_are_worked_on(model):
    """In a large picture the crop has the model's size where the mask is small, and grows with the mask."""
    image, mask = draw(1, 3, 200, 300), torch.zeros(1, 1, 200, 300)
    mask[..., 100:110, 200:212] = 1
    region = paint_by_example.prepare(model, image, mask)
    assert region.where == (190, 89, 222, 121)
    assert torch.equal(region.image, image[..., 89:121, 190:222])
    mask[..., 60:140, 150:250] = 1
    wide = paint_by_example.prepare(model, image, mask, context=1.5)
    assert wide.where == (125, 25, 275, 175)
    assert wide.image.shape == (1, 3, 32, 32)
    assert wide.blend.shape == (1, 1, 150, 150)
    cut = mask[..., 25:175, 125:275]
    soft = paint_by_example.prepare(model, image, mask, context=1.5, feather=10).blend
    assert (soft * (1 - cut)).max() == 0 and soft.max() == 1
    assert soft[0, 0, 75, 30:60].diff().min() > -1e-5 and 0 < soft[0, 0, 75, 27] < 0.7


def test_the_blend_is_zero_outside_and_feathered_inside(model, image, mask):
    sharp, soft = (paint_by_example.prepare(model, image, mask, feather=f).blend for f in (0, 25))
    assert torch.equal(sharp, mask)
    assert torch.equal(soft > 0, mask > 0)
    assert 0 < soft[0, 0, 8, 10] < 0.5 < soft[0, 0, 15, 12] <= 1


def test_growing_by_percent_of_the_mask(model, image, mask):
    assert paint_by_example.prepare(model, image, mask, grow=25).mask.sum() == (16 + 8) * (14 + 6 + 2)
    assert paint_by_example.prepare(model, image, mask, grow=-25).mask.sum() == 8 * 6
    with pytest.raises(ValueError, match="Grow mask: nothing of the mask is left at -50 %"):
        paint_by_example.prepare(model, image, mask, grow=-50)


def test_advice_about_masks_the_model_never_saw(model, image, mask):
    assert paint_by_example.advice(paint_by_example.prepare(model, image, mask)) is None
    tiny, huge = torch.zeros_like(mask), torch.ones_like(mask)
    tiny[..., :4, :4] = 1
    huge[..., :2] = 0
    for strange, says in ((tiny, r"covers 1\.6 %.*grow the mask"), (huge, "covers 94 %.*paint less")):
        region = paint_by_example.prepare(model, image, strange)
        assert re.search(says, paint_by_example.advice(region))


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


def test_the_surroundings_are_a_knob_of_large_pictures(model, exemplar):
    image, mask = draw(1, 3, 96, 96), torch.zeros(1, 1, 96, 96)
    mask[..., 30:60, 30:60] = 1
    near, far = (
        last(paint_by_example.edit(model, image, mask, exemplar, steps=2, context=c)) for c in (1.5, 3)
    )
    assert not torch.equal(near, far)


def test_the_defaults_are_the_published_ones():
    defaults = {name: knob.default for name, knob in knobs(paint_by_example.edit).items()}
    assert (defaults["guidance_scale"], defaults["steps"], defaults["seed"]) == (5.0, 50, 0)
    assert defaults["structure"] == 0
    assert paint_by_example.edit.batched == ("guidance_scale", "structure", "seed")


def test_without_structure_nothing_is_lent(model, image, mask, exemplar, monkeypatch):
    plain = last(paint_by_example.edit(model, image, mask, exemplar, steps=3))
    monkeypatch.setattr(paint_by_example, "Lender", None)
    assert torch.equal(last(paint_by_example.edit(model, image, mask, exemplar, steps=3, structure=0)), plain)


@pytest.mark.parametrize(
    ("structure", "seeds", "rows"),
    [
        (0.5, 0, 2 * 3 + 2 * 2),
        (1.0, 0, 4 * 3),
        ([0.5, 1.0], [0, 0], 4 * 4 + 4),
        ([0, 1.0], [0, 1], 4 * 4 + 4),
    ],
)
def test_structure_costs_a_row_a_step_for_every_seed(model, image, mask, exemplar, structure, seeds, rows):
    with count_rows(model) as count:
        options = {"structure": structure, "seed": seeds, "steps": 4}
        last(paint_by_example.edit(model, image, mask, exemplar, **options))
    assert (count.rows, count.calls) == (rows, 4)


def test_a_batch_with_structure_is_its_rows_one_by_one(model, image, mask, exemplar):
    shares, seeds, scales = [0.0, 0.5, 1.0, 1.0], [4, 4, 4, 9], [5.0, 0.0, 1.0, 3.0]
    options = {"steps": 4}
    together = last(
        paint_by_example.edit(
            model, image, mask, exemplar, structure=shares, seed=seeds, guidance_scale=scales, **options
        )
    )
    for row, (share, seed, scale) in enumerate(zip(shares, seeds, scales, strict=True)):
        options |= {"structure": share, "seed": seed, "guidance_scale": scale}
        alone = last(paint_by_example.edit(model, image, mask, exemplar, **options))
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)


@torch.no_grad()
def test_borrowing_from_oneself_is_nothing_and_from_another_is_not(model, image, mask, exemplar):
    whole = model.surroundings(image, torch.zeros_like(mask))
    z, condition = noise((1, 4, 8, 8), 0), model.encode_exemplar(exemplar)
    plain = model.guided_eps(z, 300, whole, condition, 0.0)
    same = model.guided_eps(z, 300, whole, condition, 0.0, Lender(z, whole, (0,)))
    other = model.guided_eps(z, 300, whole, condition, 0.0, Lender(noise((1, 4, 8, 8), 1), whole, (0,)))
    torch.testing.assert_close(same, plain, rtol=0, atol=1e-5)
    assert (other - plain).abs().max() > 1e-3


@torch.no_grad()
def test_the_attention_is_as_before_also_after_an_error(model, image, mask, exemplar):
    processors = dict(model.unet.attn_processors)
    last(paint_by_example.edit(model, image, mask, exemplar, steps=2, structure=1))
    assert model.unet.attn_processors == processors

    def broken(*_):
        raise RuntimeError("broken")

    handle = model.unet.mid_block.register_forward_hook(broken)
    try:
        with pytest.raises(RuntimeError, match="broken"):
            last(paint_by_example.edit(model, image, mask, exemplar, steps=2, structure=1))
    finally:
        handle.remove()
    assert model.unet.attn_processors == processors


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
    for t in model.schedule.timesteps(steps):
        rows = torch.cat([z, zm, m], dim=1)
        eps_v, eps_c = (
            model.unet(rows, t, encoder_hidden_states=token).sample
            for token in (model.encoder.uncond_vector, model.encode_exemplar(exemplar))
        )
        z = ddim_step(model.schedule, z, eps_v + 5 * (eps_c - eps_v), t, t - model.schedule.stride(steps))
    wanted = model.decode(z).clamp(-1, 1) * mask + image * keep
    found = last(paint_by_example.edit(model, image, mask, exemplar, steps=steps, seed=5, feather=0))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
