"""Mask tools: what grows, what stays zero, which box, which crop."""

import pytest
import torch

from textedit_core import masks


@pytest.fixture
def mask():
    mask = torch.zeros(1, 1, 20, 30)
    mask[..., 6:12, 10:20] = 1
    return mask


def test_growing_moves_every_side_and_shrinking_takes_it_back(mask):
    grown = masks.grown(mask, 3)
    assert masks.box(grown) == (7, 3, 23, 15)
    assert torch.equal(masks.grown(grown, -3), mask)
    assert masks.grown(mask, -3).sum() == 0
    assert torch.equal(masks.grown(mask, 0), mask)


def test_growth_is_a_maximum_over_a_square():
    mask = (torch.rand(2, 1, 11, 9, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    for pixels in (1, 2, 4):
        wanted = torch.nn.functional.max_pool2d(mask, 2 * pixels + 1, stride=1, padding=pixels)
        assert torch.equal(masks.grown(mask, pixels), wanted)


def test_the_rim_of_the_picture_does_not_shrink_a_mask():
    assert torch.equal(masks.grown(torch.ones(1, 1, 5, 5), -2), torch.ones(1, 1, 5, 5))


def test_inverting_twice_is_nothing(mask):
    assert masks.inverted(mask).sum() == 600 - 60
    assert torch.equal(masks.inverted(masks.inverted(mask)), mask)


def test_blur_keeps_the_sum_and_rounds_corners(mask):
    soft = masks.blurred(mask, 1.5)
    assert soft.sum().item() == pytest.approx(60, rel=1e-3)
    assert soft.min() >= 0 and soft.max() <= 1
    round_ = masks.binary(soft)
    assert round_[0, 0, 6, 10] == 0 and round_[0, 0, 9, 15] == 1
    assert torch.equal(masks.blurred(mask, 0), mask)
    assert masks.blurred(torch.ones(1, 1, 3, 3), 50).min().item() == pytest.approx(1)


def test_a_feather_lies_inside_of_the_mask_and_rises_to_one(mask):
    soft = masks.feathered(mask, 2)
    assert torch.equal(soft > 0, mask > 0)
    middle = soft[0, 0, 6:12, 15]
    assert middle.tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    assert torch.equal(masks.feathered(mask, 0), mask)


def test_a_feather_deeper_than_the_mask_reaches_one_where_the_mask_is_deepest(mask):
    soft = masks.feathered(mask, 50)
    assert soft[0, 0, 6:12, 15].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    stroke = torch.zeros_like(mask)
    stroke[..., 9, 2:28] = 1
    both = masks.feathered(torch.cat([stroke, mask]), 2)
    assert torch.equal(both[:1], stroke) and torch.equal(both[1:], masks.feathered(mask, 2))


def test_the_box_is_the_smallest_and_an_empty_mask_is_refused(mask):
    assert masks.box(mask) == (10, 6, 20, 12)
    assert masks.longest_side(mask) == 10
    assert masks.coverage(mask) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="Mask: it is empty"):
        masks.box(torch.zeros(1, 1, 4, 4))


@pytest.mark.parametrize(
    ("side", "where"),
    [
        (16, (7, 1, 23, 17)),
        (20, (5, 0, 25, 20)),
        (25, (2, 0, 27, 20)),
        (99, (0, 0, 30, 20)),
        (4, (10, 4, 20, 14)),
    ],
)
def test_the_crop_holds_the_mask_in_its_middle(mask, side, where):
    found = masks.crop_around(mask, max(side, masks.longest_side(mask)))
    assert found == where
    assert masks.crop(mask, found).sum() == mask.sum()


def test_a_mask_at_the_rim_moves_the_crop_inside():
    mask = torch.zeros(1, 1, 20, 30)
    mask[..., 17:, 27:] = 1
    assert masks.crop_around(mask, 12) == (18, 8, 30, 20)
