"""Pictures at their own aspect: sizes, placing, and that a square one stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from textedit_core import images
from textedit_core.models.diffusion.prompt_control import map_side
from textedit_core.request import request, run
from textedit_core.steps import last

PROMPT = "a man in a blue hat"


def picture(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("shape", [(640, 480), (480, 640), (1000, 300), (333, 500), (97, 97), (5000, 100)])
def test_a_native_size_has_the_aspect_the_area_and_the_multiples(shape):
    width, height = images.native_size(shape, 512)
    aspect = min(4.0, max(0.25, shape[0] / shape[1]))
    assert width % 8 == height % 8 == 0
    assert width / height == pytest.approx(aspect, rel=0.03)
    assert width * height == pytest.approx(512 * 512, rel=0.03)


def test_a_square_picture_gives_the_side():
    assert images.native_size((97, 97), 512) == (512, 512)
    assert images.native_size((97, 97), 1024, buckets=images.BUCKETS) == (1024, 1024)


def test_buckets_are_about_a_megapixel_of_multiples_of_64():
    for width, height in images.BUCKETS:
        assert width % 64 == height % 64 == 0
        assert width * height == pytest.approx(1024 * 1024, rel=0.1)
    assert images.native_size((1920, 1080), 1024, buckets=images.BUCKETS) == (1344, 768)
    assert images.native_size((1080, 1920), 1024, buckets=images.BUCKETS) == (768, 1344)


def test_picture_and_mask_are_placed_alike():
    image = Image.new("RGB", (90, 60), "black")
    image.paste("white", (30, 20, 60, 40))
    mask = image.convert("L")
    tensor, found = images.sized_tensor(image, (72, 48)), images.sized_mask(mask, (72, 48))
    assert tensor.shape == (1, 3, 48, 72) and found.shape == (1, 1, 48, 72)
    assert (((tensor[:, :1] > 0).float() - found).abs().mean()) < 0.01


def test_a_square_picture_gives_the_same_bytes(tiny):
    shared = {"image": picture(50, 50), "prompt": PROMPT}
    one, other = (
        last(run(request("sdedit", tiny, shared, {"steps": 2}, resize=resize))).image
        for resize in ("crop", "native")
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize("method", ["sdedit", "imagic", "prompt_to_prompt"])
def test_every_method_of_texts_works_at_the_picture_s_own_aspect(tiny, method):
    inputs = {"image": picture(64, 40), "prompt": PROMPT}
    settings = {"steps": 2}
    if method == "prompt_to_prompt":
        inputs["source_prompt"] = "a man in a red hat"
        settings |= {"blend_words": "hat", "inversion": "null_text", "inner_steps": 1}
    if method == "imagic":
        settings |= {"embedding_steps": 1, "finetune_steps": 1}
    asked = request(method, tiny, inputs, settings, resize="native")
    width, height = images.native_size((64, 40), tiny.diffusion.size)
    assert asked.inputs["image"].shape == (1, 3, height, width) and width > height
    result = last(run(asked))
    assert result.image.shape == (1, 3, height, width) and result.image.isfinite().all()
    assert result.record.resize == "native"


def test_the_grid_of_maps_follows_the_shorter_side():
    assert map_side((64, 64)) == map_side((64, 96)) == 16
    assert map_side((128, 128)) == 32
    assert map_side((96, 168)) == 24


def test_a_generator_of_squares_says_so(tiny):
    with pytest.raises(ValueError, match="'native' makes no square; use 'crop' or 'pad'"):
        images.square_tensor(picture(4, 4), 8, "native")


def test_details_come_back_over_all_of_a_picture_of_its_own_shape(tiny):
    from textedit_core.details import box_of

    assert box_of(90, 60, "native", shape=(48, 72)) == (0, 0, 90, 60)
    assert box_of(500, 100, "native", shape=(16, 64)) == (50, 0, 450, 100)
    inputs = {"image": picture(90, 60), "prompt": PROMPT}
    asked = request("sdedit", tiny, inputs, {"steps": 2, "keep_details": 1.0}, resize="native")
    assert last(run(asked)).image.shape == (1, 3, 60, 90)
