"""Details from the source: the limits of the composition, at any size and aspect, without a seam."""

import pytest
import torch

from textedit_core import metrics
from textedit_core.details import (
    FEATHER,
    RIM,
    box_of,
    feather,
    kept,
    resized,
    with_details,
)
from textedit_core.images import native_tensor, square_tensor, to_pil
from textedit_core.masks import crop
from textedit_core.noise import noise

SIZES = [(300, 300), (700, 300), (300, 701), (1600, 900), (97, 211)]  # width, height


def photograph(width: int, height: int, seed: int = 0) -> torch.Tensor:
    """A picture with large shapes and fine grain, (1,3,height,width) in [-1,1]."""
    coarse = noise((1, 3, 6, 6), seed)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (0.4 * smooth + 0.15 * noise((1, 3, height, width), seed + 1)).clamp(-1, 1)


def small(source: torch.Tensor, fit="crop", size: int = 64) -> torch.Tensor:
    """What the models are given of it."""
    return square_tensor(to_pil(source)[0], size, fit)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_an_edit_that_changes_nothing_gives_the_source_back(size, fit):
    source = photograph(*size)
    rec = small(source, fit)
    blurred = torch.nn.functional.avg_pool2d(rec, 3, stride=1, padding=1)  # an autoencoder's loss
    for unedited in (rec, blurred):
        result = with_details(unedited, unedited, source, box=box_of(*size, fit))
        assert result.shape == source.shape
        assert metrics.psnr(result, source).item() > 45
    almost = (rec + 0.02 * noise(rec.shape, 5)).clamp(-1, 1)
    result = with_details(almost, rec, source, box=box_of(*size, fit))
    assert metrics.psnr(result, source) > metrics.psnr(native_tensor(to_pil(source)[0]) * 0.9, source)
    assert metrics.psnr(result, source) > 30


@pytest.mark.parametrize("size", SIZES)
def test_an_edit_of_everything_gives_the_edit_enlarged(size):
    source = photograph(*size)
    rec = small(source)
    edit = torch.where(rec > 0, rec - 0.9, rec + 0.9)
    box = box_of(*size)
    mask = kept(edit, rec)
    assert mask.max() == 0
    result = with_details(edit, rec, source, box=box)
    side = box[2] - box[0]
    rim = side // FEATHER + 1
    inner = (box[0] + rim, box[1] + rim, box[2] - rim, box[3] - rim)
    wanted = resized(edit, (side, side))[..., rim : side - rim, rim : side - rim]
    assert (crop(result, inner) - wanted).abs().max() < 1e-5
    outside = torch.ones_like(source)
    crop(outside, box).zero_()
    assert torch.equal(result * outside, source * outside), "what the models did not see stays, to the byte"


def test_keep_0_is_the_edit_itself_and_more_keeps_more():
    source = photograph(300, 300)
    rec = small(source)
    edit = rec.clone()
    edit[..., 20:40, 20:40] = 1
    assert with_details(edit, rec, source, keep=0) is edit
    far = [metrics.psnr(with_details(edit, rec, source, keep=keep), source).item() for keep in (0.25, 0.5, 1)]
    assert far[0] < far[1] < far[2]
    with pytest.raises(ValueError, match=r"Keep details: 1\.5 is not between 0 and 1"):
        with_details(edit, rec, source, keep=1.5)


def test_a_local_edit_is_shown_and_the_rest_is_the_source():
    source = photograph(512, 512)
    rec = small(source)
    edit = rec.clone()
    edit[..., 24:40, 24:40] = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    result = with_details(edit, rec, source)
    red = torch.tensor([1.0, -1.0, -1.0]).view(3, 1, 1)
    assert (crop(result, (216, 216, 296, 296)) - red).abs().mean() < 0.05
    rim = 8 * (RIM + 4)  # the change, its rim, the two means, in pixels of the source
    away = torch.ones(1, 1, 512, 512)
    away[..., 192 - rim : 320 + rim, 192 - rim : 320 + rim] = 0
    assert metrics.psnr(result, source, away).item() > 45


def test_one_source_serves_many_edits():
    source = photograph(200, 120)
    rec = small(source)
    edits = torch.cat([rec, (rec + 1).clamp(-1, 1), -rec])
    together = with_details(edits, rec, source, box=box_of(200, 120))
    for row in range(3):
        alone = with_details(edits[row : row + 1], rec, source, box=box_of(200, 120))
        assert torch.equal(together[row : row + 1], alone)


def test_what_differs_a_little_beside_a_change_is_the_models_and_not_the_edits():
    rec = torch.zeros(1, 3, 64, 64)
    edit = rec + 0.2  # the whole picture in another tone, as Imagic leaves it
    edit[..., 10:20, 10:20] = 0.9
    mask = kept(edit, rec)
    assert mask[0, 0, 15, 15] == 0 and mask[0, 0, 40, 40] == 1
    source = photograph(256, 256)
    result = with_details(edit, rec, source)
    assert torch.equal(result[..., 120:, 120:], source[..., 120:, 120:])


@pytest.mark.parametrize("strength", [0.06, 0.2, 0.3])
def test_a_faint_edit_is_an_edit_where_nothing_is_stronger(strength):
    source = 0.5 * photograph(256, 256)
    rec = small(source)
    result = with_details(rec + strength, rec, source)
    assert torch.allclose(result, source + strength, atol=1e-5), "its tone, with the source's own details"


def test_a_part_that_was_cut_out_comes_back_without_a_seam():
    """The largest step across the sides of the box is no larger than it is in the source."""
    source = torch.zeros(1, 3, 200, 400)
    rec = small(source)
    box = box_of(400, 200)
    assert box == (100, 0, 300, 200)
    result = with_details((rec + 0.15), rec, source, box=box)  # a change of tone, up to the box's sides
    assert crop(result, (150, 50, 250, 150)).min() > 0.1
    step = (rec + 0.15).max() / (200 // FEATHER)
    assert result.diff(dim=-1).abs().max() <= step + 1e-6
    assert result.diff(dim=-2).abs().max() < 1e-6, "along the picture's own rim nothing is blended"


def test_boxes_are_what_the_models_were_given():
    assert box_of(400, 200) == (100, 0, 300, 200)
    assert box_of(400, 200, "pad") == (0, -100, 400, 300)
    assert box_of(400, 200, "crop", (10, 20, 110, 180)) == (10, 50, 110, 150)
    picture = photograph(400, 200)
    given = small(picture, size=200)
    assert torch.allclose(given, native_tensor(to_pil(crop(picture, box_of(400, 200)))[0]))
    assert feather((0, 0, 64, 64), 64, 64).min() == 1
    inner = feather((100, 0, 300, 200), 400, 200)[0, 0]
    assert inner[100, 0] < inner[100, 3] < inner[100, 6] == 1 and inner[0, 100] == 1


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="both must be the models' own size"):
        kept(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 64, 64))


def test_an_enlarger_is_used_where_it_helps():
    asked = []

    def enlarge(picture):
        asked.append(tuple(picture.shape))
        return torch.nn.functional.interpolate(picture, scale_factor=4)

    picture = small(photograph(64, 64))
    assert resized(picture, (256, 256), enlarge).shape == (1, 3, 256, 256)
    assert resized(picture, (300, 300), enlarge).shape == (1, 3, 300, 300)
    assert len(asked) == 2
    assert torch.equal(resized(picture, (64, 64), enlarge), picture) and len(asked) == 2
