"""Large results: keep details and upscale, for every method, through the engine, with tiny random models."""

from functools import cache as remembered

import pytest
import torch
from PIL import Image, ImageDraw

from textedit_core import images, large, metrics
from textedit_core.axes import parse_axis
from textedit_core.cache import Cache
from textedit_core.costs import Costs
from textedit_core.details import box_of, resized
from textedit_core.masks import crop
from textedit_core.request import EDITING, FINISHING, Projected, Sample, finish, fit, request, run
from textedit_core.steps import Step, last
from textedit_core.sweep import plan, sweep

SIZES = [(640, 480), (480, 640), (900, 300), (211, 97), (400, 400)]  # width, height
PROMPT = {"prompt": "a happy man"}
BOTH = {"source_prompt": "a man", "prompt": "a happy man"}
FAST = {"steps": 2}


@remembered
def photograph(width: int, height: int) -> Image.Image:
    """A drawn picture with shapes, slopes and fine lines."""
    across = torch.linspace(0, 255, width).repeat(height, 1)
    down = torch.linspace(0, 255, height)[:, None].repeat(1, width)
    grain = torch.rand(height, width, generator=torch.Generator().manual_seed(0)) * 40
    picture = Image.fromarray(torch.stack([across, down, 128 + grain], -1).to(torch.uint8).numpy())
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width / 4, height / 4, width / 2, height * 3 / 4), "orange", "black")
    for x in range(0, width, 7):
        draw.line((x, 0, width - x, height), (x % 255, 90, 40))
    return picture


def asked(tiny, settings=None, size=(300, 200), **more):
    given = {"image": photograph(*size), **PROMPT}
    return request("sdedit", tiny, given, FAST | {"strength": 0.5} | (settings or {}), **more)


@pytest.mark.parametrize("resize", ["crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_an_edit_of_nothing_gives_a_large_photograph_back(tiny, size, resize):
    """SDEdit without a step is the autoencoder's picture, however bad that of random models is."""
    found = last(run(asked(tiny, {"strength": 0, "keep_details": 1}, size, resize=resize), Cache()))
    source = images.native_tensor(photograph(*size))
    assert found.image.shape == source.shape and found.edited.shape[-1] == tiny.diffusion.size
    assert metrics.psnr(found.image, source).item() > 45
    assert torch.equal(found.source_shown, source)


def test_without_either_knob_the_picture_is_the_edit_itself(tiny):
    plain = asked(tiny)
    made = last(plain.edit_call().cached(Cache()))
    found = last(run(plain, Cache()))
    assert plain.finishing == {} and found.unfinished is None and FINISHING not in found.costs
    assert torch.equal(found.image, made) and torch.equal(found.source_shown, found.source)
    assert list(found.record.knobs) == ["strength", "guidance_scale", "steps", "seed"]
    large_one = asked(tiny, {"keep_details": 0.5}).record.knobs
    assert (large_one["keep_details"], large_one["upscale"]) == (0.5, "none")


def test_a_change_is_shown_where_it_is_and_what_the_models_did_not_see_stays(tiny):
    width, height = 300, 200
    asking = asked(tiny, {"keep_details": 1})
    rec = last(asking.rebuild_call().cached(Cache()))
    assert torch.equal(rec, tiny.diffusion.decode(tiny.diffusion.encode(asking.inputs["image"])))
    opposite = torch.where(rec > 0, rec - 0.9, rec + 0.9)
    found = last(finish(asking, None, opposite, Cache()))
    box = box_of(width, height)
    inner = (box[0] + 10, box[1] + 10, box[2] - 10, box[3] - 10)
    large_edit = torch.zeros_like(found.image)
    crop(large_edit, box).copy_(resized(opposite, (height, height)))
    assert (crop(found.image, inner) - crop(large_edit, inner)).abs().max() < 1e-5
    source, outside = images.native_tensor(photograph(width, height)), torch.ones_like(found.image)
    crop(outside, box).zero_()
    assert torch.equal(found.image * outside, source * outside)


def test_between_the_two_ends_more_is_kept(tiny):
    source = images.native_tensor(photograph(300, 200))
    asking, store = asked(tiny), Cache()
    near = [
        metrics.psnr(last(run(asking.at(keep_details=keep), store)).image, source).item()
        for keep in (0.2, 0.6, 1)
    ]
    assert near[0] < near[1] < near[2]


def test_the_edit_is_not_made_again_for_another_value(tiny):
    store, asking = Cache(), asked(tiny)
    last(run(asking, store))
    costs = Costs(tiny.device, asking.inputs)
    found = last(run(asking.at(keep_details=0.5), store, costs))
    assert found.costs[EDITING].cached and found.costs[EDITING].rows == 0
    assert not found.costs[FINISHING].cached
    again = last(run(asking.at(keep_details=0.5), store))
    assert again.costs[FINISHING].cached and torch.equal(again.image, found.image)


def test_a_sweep_over_it_makes_each_edit_once(tiny):
    asking, store = asked(tiny), Cache()
    costs = Costs(tiny.device, asking.inputs)
    axes = {"keep_details": [0, 0.5, 1], "seed": [0, 1]}
    assert [list(one.values()) for one in plan(axes, asking.method)][:3] == [[0, 0], [0.5, 0], [1, 0]]
    cells = last(sweep(asking, axes, store, costs=costs))
    one = Costs(tiny.device, asking.inputs)
    last(sweep(asking, {"seed": [0, 1]}, Cache(), costs=one))
    assert costs.stages[EDITING].rows == one.stages[EDITING].rows > 0
    assert len(cells) == 6
    for cell in cells:
        alone = last(run(asking.at(**cell.coords), store))
        assert torch.equal(cell.image, alone.image) and torch.equal(alone.edited, cell.unfinished
            if cell.unfinished is not None else cell.image)  # fmt: skip
        assert (cell.unfinished is None) == (cell.coords["keep_details"] == 0)
        assert cell.settings["keep_details"] == cell.coords["keep_details"]
    rows = Costs(tiny.device, asking.inputs)
    last(sweep(asking, axes | {"keep_details": [0.25, 0.75]}, store, costs=rows))
    assert EDITING not in rows.stages, "the edits are in the cache"


def test_a_stopped_sweep_keeps_its_cells_and_stops_at_once(tiny):
    asking, store, kept = asked(tiny), Cache(), []
    steps = sweep(asking, {"keep_details": [0.5, 1]}, store, keep=lambda cell: kept.append(cell) or cell)
    for step in steps:
        if step.done == 1:
            break
    steps.close()
    assert len(kept) == 1 and store.get(asking.edit_call().key()) is not None


@pytest.mark.parametrize("inversion", ["direct", "ddim"])
def test_an_inversion_is_compared_with_what_it_rebuilds(tiny, inversion):
    from textedit_core.methods.prompt_to_prompt import reconstruct

    given = {"image": photograph(300, 200), **BOTH}
    asking = request("prompt_to_prompt", tiny, given, FAST | {"inversion": inversion, "keep_details": 1})
    fitted = last(fit(asking, Cache()))
    rebuilt = last(asking.rebuild_call(fitted).cached(Cache()))
    assert torch.equal(rebuilt, reconstruct(tiny.diffusion, fitted))
    found = last(finish(asking, fitted, rebuilt, Cache()))
    assert metrics.psnr(found.image, images.native_tensor(photograph(300, 200))).item() > 45


def test_a_projection_is_compared_with_itself_and_the_picture_comes_back(toon):
    """StyleCLIP at alpha 0 is the projection: the result is one's own picture, whole."""
    texts = {"neutral": "a person", "prompt": "a person with sunglasses"}
    picture = photograph(300, 200)
    settings = {"alpha": 0, "keep_details": 1, "upscale": "none"}
    asking = request("styleclip_directions", toon, texts | {"latent": picture}, settings)
    chosen = asking.inputs["latent"]
    quick = Projected(chosen.image, dict(chosen.settings) | {"steps": 2})
    asking = request("styleclip_directions", toon, texts | {"latent": picture}, settings)
    from dataclasses import replace

    asking = replace(asking, inputs={**asking.inputs, "latent": quick})
    found = last(run(asking, Cache()))
    assert metrics.psnr(found.image, images.native_tensor(picture)).item() > 45
    assert found.source.shape[-1] == toon.generator.size and found.source_shown.shape == found.image.shape


def test_what_has_no_picture_has_no_details(toon):
    texts = {"neutral": "a person", "prompt": "a person with sunglasses", "latent": Sample(0)}
    with pytest.raises(ValueError, match="Keep details: there is no picture of yours"):
        request("styleclip_directions", toon, texts, {"keep_details": 1})


def test_the_details_of_a_preset_are_for_whoever_has_a_picture(toon):
    """Toon keeps details unless asked; a latent that was picked has none, and a projected picture has."""
    texts = {"neutral": "a person", "prompt": "a person with sunglasses"}
    picked = request("styleclip_directions", toon, texts | {"latent": Sample(0)})
    assert picked.settings["keep_details"] == 0
    own = request("styleclip_directions", toon, texts | {"latent": photograph(64, 64)})
    assert own.settings["keep_details"] == 1
    already = request("styleclip_directions", toon, texts | {"latent": own.inputs["latent"]})
    assert already.settings["keep_details"] == 1
    assert torch.allclose(already.own_picture, own.own_picture, atol=1 / 127)


def test_paint_by_example_keeps_its_details_by_itself(tiny):
    from textedit_core.method import load

    known = load("paint_by_example").knobs
    assert "keep_details" not in known and "upscale" in known


@pytest.mark.parametrize("name", ["imagic", "sdedit", "prompt_to_prompt", "styleclip_optimizer"])
def test_every_method_has_the_knobs_last(name):
    from textedit_core.method import load

    how = load(name)
    assert how.finish_knobs == tuple(large.KNOBS) == tuple(how.knobs)[-len(large.KNOBS) :]
    assert not set(how.finish_knobs) & {*how.fit_knobs, *how.edit_knobs}
    assert parse_axis("keep_details=0,1", how.knobs).values == (0.0, 1.0)


def test_fast_is_four_times_the_side_in_the_frame_of_the_edit(tiny):
    found = last(run(asked(tiny, {"upscale": "fast"}), Cache()))
    side = 4 * tiny.diffusion.size
    assert found.image.shape == (1, 3, side, side)
    assert torch.equal(found.image, resized(found.edited, (side, side))), "Lanczos: there is no enlarger"
    assert torch.equal(found.source_shown, images.square_tensor(photograph(300, 200), side))


def test_a_source_smaller_than_the_enlarged_edit_is_enlarged_with_it(tiny):
    settings = {"upscale": "fast", "keep_details": 1}
    found = last(run(asked(tiny, settings, (60, 40)), Cache()))
    side = 4 * tiny.diffusion.size
    assert found.image.shape == (1, 3, side, round(side * 60 / 40))
    assert found.source_shown.shape == found.image.shape
    own = last(run(asked(tiny, settings, (600, 400)), Cache()))
    assert own.image.shape == (1, 3, 400, 600)


def test_the_enlarger_of_the_models_is_used():
    class Doubling:
        """An enlarger that says what it was given."""

        fingerprint = "doubling"

        def enlarge(self, image):
            return torch.nn.functional.interpolate(image, scale_factor=4)

    edit = torch.rand(1, 3, 8, 8) * 2 - 1
    step = last(large.finish(edit, None, None, None, Doubling(), 4, upscale="fast"))
    assert torch.equal(step, torch.nn.functional.interpolate(edit, scale_factor=4))


def test_steps_name_their_stage_and_one_picture_comes_at_the_end(tiny):
    steps = list(run(asked(tiny, {"keep_details": 1}), Cache()))
    assert steps[-1].stage == EDITING and steps[-1].value.image.shape == (1, 3, 200, 300)
    assert all(isinstance(step, Step) for step in steps)
