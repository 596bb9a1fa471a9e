"""Paint by Example around the sampling: crops, blends, masks of any kind, and the structure knob."""

import re

import pytest
import torch

from textedit_core import masks
from textedit_core.methods import paint_by_example
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.models.diffusion.structure import LayoutSource
from textedit_core.noise import noise
from textedit_core.steps import last


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.paint_by_example


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


@pytest.mark.parametrize("side", [32, 48, 100, 256, 500])
def test_a_thin_stroke_is_really_repainted_whatever_the_size_of_the_picture(model, side):
    places = torch.arange(side)
    mask = ((places[:, None] - places).abs() < max(1, side / 48)).float()[None, None]
    region = paint_by_example.prepare(model, draw(1, 3, side, side), mask, feather=25)
    cut = masks.crop(mask, region.where)
    assert region.blend.max() == 1 and (region.blend * (1 - cut)).max() == 0
    assert region.blend[cut > 0].mean() > 0.5


def test_a_mask_that_leaves_no_hole_is_refused(model, exemplar):
    """One between the places where latents look, and one that is lost as the photo is made small."""
    small, large = draw(1, 3, 32, 32), draw(1, 3, 512, 512)
    between, lost = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 512, 512)
    between[..., 9:12, 9:12] = 1
    lost[..., 200:202, 10:500] = 1
    for image, mask in ((small, between), (large, lost)):
        with pytest.raises(ValueError, match="Mask: it is too small for this model; grow it"):
            next(paint_by_example.edit(model, image, mask, exemplar, steps=2))
    assert last(paint_by_example.edit(model, small, between, exemplar, steps=2, grow=50)).shape == small.shape


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


def test_the_surroundings_are_a_knob_of_large_pictures(model, exemplar):
    image, mask = draw(1, 3, 96, 96), torch.zeros(1, 1, 96, 96)
    mask[..., 30:60, 30:60] = 1
    near, far = (
        last(paint_by_example.edit(model, image, mask, exemplar, steps=2, context=c)) for c in (1.5, 3)
    )
    assert not torch.equal(near, far)


def test_without_structure_nothing_is_lent(model, image, mask, exemplar, monkeypatch):
    plain = last(paint_by_example.edit(model, image, mask, exemplar, steps=3))
    monkeypatch.setattr(paint_by_example, "LayoutSource", None)
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
        options = {"structure": structure, "structure_by": "attention", "seed": seeds, "steps": 4}
        last(paint_by_example.edit(model, image, mask, exemplar, **options))
    assert (count.rows, count.calls) == (rows, 4)


def test_structure_one_guides_every_call_of_plms_too(model, image, mask, exemplar):
    with count_rows(model) as count:
        options = {"structure": 1.0, "structure_by": "attention", "sampler": "plms", "steps": 4}
        last(paint_by_example.edit(model, image, mask, exemplar, **options))
    assert (count.rows, count.calls) == (3 * 5, 5)


def test_structure_by_start_leaves_the_first_steps_out_and_ends_at_the_source(model, image, mask, exemplar):
    options = {"structure_by": "start", "steps": 4, "structure": [0.0, 0.5, 1.0], "seed": [3, 3, 3]}
    with count_rows(model) as count:
        plain, half, whole = last(paint_by_example.edit(model, image, mask, exemplar, **options)).split(1)
    assert count.rows == 2 * (4 + 2)
    expected = last(paint_by_example.edit(model, image, mask, exemplar, steps=4, seed=3))
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-4)
    alone = options | {"structure": 0.0, "seed": 3}
    assert torch.equal(last(paint_by_example.edit(model, image, mask, exemplar, **alone)), expected)
    region = paint_by_example.prepare(model, image, mask)
    rebuilt = region.paste(image, model.decode(model.surroundings(region.image, 0 * region.mask)[:, :4]))
    torch.testing.assert_close(whole, rebuilt, rtol=0, atol=1e-5)
    assert (half - plain).abs().max() > 1e-2 and (half - whole).abs().max() > 1e-2
    with pytest.raises(ValueError, match="start needs the sampler ddim"):
        next(paint_by_example.edit(model, image, mask, exemplar, **options, sampler="plms"))


@pytest.mark.parametrize("by", ["attention", "start"])
def test_a_batch_with_structure_is_its_rows_one_by_one(model, image, mask, exemplar, by):
    shares, seeds, scales = [0.0, 0.5, 1.0, 1.0], [4, 4, 4, 9], [5.0, 0.0, 1.0, 3.0]
    options = {"steps": 4, "structure_by": by}
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
    same = model.guided_eps(z, 300, whole, condition, 0.0, LayoutSource(z, whole, (0,)))
    other = model.guided_eps(z, 300, whole, condition, 0.0, LayoutSource(noise((1, 4, 8, 8), 1), whole, (0,)))
    torch.testing.assert_close(same, plain, rtol=0, atol=1e-5)
    assert (other - plain).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("lent", [False, True])
def test_cross_attention_to_one_token_asks_for_no_queries(model, image, mask, exemplar, lent):
    """Also under a layout; what it gives is what the queries and keys would."""
    around, condition = model.surroundings(image, mask), model.encode_exemplar(exemplar)
    z, calls = noise((1, 4, 8, 8), 0), []
    layout = LayoutSource(noise((1, 4, 8, 8), 1), around, (0,)) if lent else None
    found, originals = model.guided_eps(z, 300, around, condition, 3.0, layout), model.unet.attn_processors
    layers = [one for name, one in model.unet.named_modules() if name.endswith(("attn1", "attn2"))]
    handles = [one.to_q.register_forward_hook(lambda *_: calls.append(1)) for one in layers]
    try:
        model.guided_eps(z, 300, around, condition, 3.0, layout)
        short = len(calls)
        model.unet.set_attn_processor({name: getattr(one, "usual", one) for name, one in originals.items()})
        plain = model.guided_eps(z, 300, around, condition, 3.0, layout)
    finally:
        model.unet.set_attn_processor(originals)
        [handle.remove() for handle in handles]
    assert 2 * short == len(layers) and len(calls) - short == len(layers)
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_attention_is_as_before_also_after_an_error(model, image, mask, exemplar):
    processors = dict(model.unet.attn_processors)
    last(paint_by_example.edit(model, image, mask, exemplar, steps=2, structure=1, structure_by="attention"))
    assert model.unet.attn_processors == processors

    def broken(*_):
        raise RuntimeError("broken")

    handle = model.unet.mid_block.register_forward_hook(broken)
    try:
        with pytest.raises(RuntimeError, match="broken"):
            last(
                paint_by_example.edit(
                    model, image, mask, exemplar, steps=2, structure=1, structure_by="attention"
                )
            )
    finally:
        handle.remove()
    assert model.unet.attn_processors == processors
