"""CLIP's input: the product of small matrices equals the large image averaged."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.golden import Largest, random
from textedit_core.models.style.clip_input import averaging_matrix, clip_input, random_views


def published(image, zoom, cell):
    large = F.interpolate(image, scale_factor=zoom, mode="nearest")
    return F.avg_pool2d(large, cell)


@pytest.mark.parametrize("side", [32, 64, 96, 128, 256])
def test_it_equals_magnifying_by_seven_and_averaging(side):
    image = 3 * random(2, 3, side, side)
    expected = published(image, 7, side // 32)
    assert expected.shape == (2, 3, 224, 224)
    torch.testing.assert_close(clip_input(image), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(clip_input(image.float()), expected.float(), rtol=0, atol=5e-6)


def test_the_largest_side_row_by_row():
    """At 1024 the large image is left out: a column is magnified and averaged alone."""
    column = random(1, 1, 1024, 1)
    expected = F.avg_pool2d(column.repeat_interleave(7, dim=2), (32, 1))
    torch.testing.assert_close(averaging_matrix(1024, 224) @ column, expected, rtol=0, atol=1e-12)
    assert set((averaging_matrix(1024, 224) > 0).sum(dim=1).tolist()) == {5, 6}


def test_a_side_that_is_no_multiple_of_32_is_averaged_over_parts_of_pixels():
    image = random(1, 3, 48, 80)
    rows = published(image.transpose(2, 3).reshape(1, 3 * 80, 48, 1).expand(-1, -1, -1, 3), 14, 3)
    rows = rows[..., 0].reshape(1, 3, 80, 224).transpose(2, 3)
    assert clip_input(image).shape == (1, 3, 224, 224)
    torch.testing.assert_close(averaging_matrix(48, 224) @ image, rows, rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [1, 4, 16, 20, 31])
def test_a_side_under_32_is_magnified_by_nearest_pixel(side):
    image = random(1, 3, side, side)
    expected = image[..., torch.arange(224) * side // 224, :][..., torch.arange(224) * side // 224]
    torch.testing.assert_close(clip_input(image), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("side", "size"), [(32, 224), (50, 224), (64, 64), (64, 32), (7, 64), (1000, 224)])
def test_rows_sum_to_one_and_every_pixel_counts_alike(side, size):
    matrix = averaging_matrix(side, size)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(size, dtype=torch.float64))
    if 7 * side >= size:
        torch.testing.assert_close(matrix.sum(dim=0), torch.full((side,), size / side, dtype=torch.float64))


def test_another_input_size_at_the_same_side_is_the_image_itself():
    image = random(1, 3, 64, 64)
    assert torch.equal(clip_input(image, 64), image)


def test_the_gradient_reaches_every_pixel():
    image = random(1, 3, 96, 96).requires_grad_()
    clip_input(image).sum().backward()
    torch.testing.assert_close(image.grad, torch.full_like(image, (224 / 96) ** 2))


def test_nothing_larger_than_the_image_is_made():
    image = torch.zeros(1, 3, 256, 256)
    with Largest() as ours:
        clip_input(image)
    with Largest() as theirs:
        published(image, 7, 8)
    assert (ours.elements, theirs.elements) == (3 * 256 * 256, 49 * 3 * 256 * 256)


def test_views_are_drawn_by_the_seed_image_by_image():
    images = random(2, 3, 16, 16).float().requires_grad_()
    assert random_views(images, 0, seed=1) is images
    seen = random_views(images, 3, seed=1)
    assert seen.shape == (6, 3, 16, 16) and torch.equal(seen, random_views(images, 3, seed=1))
    assert all(not torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])
    assert not torch.equal(seen, random_views(images, 3, seed=2))
    (gradient,) = torch.autograd.grad(seen[:3].sum(), images)
    assert gradient[0].abs().sum() > 0 and gradient[1].abs().sum() == 0


def test_a_view_shows_most_of_the_image_and_nothing_else():
    """A flat image stays flat but for noise; of a ramp every view shows three quarters."""
    flat = random_views(torch.full((1, 3, 32, 32), 0.5), 64, seed=0)
    assert 0.04 < flat.std(dim=(1, 2, 3)).mean() < 0.06
    assert 0.05 < flat.mean(dim=(1, 2, 3)).std() < 0.2
    ramp = torch.linspace(-1, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)
    rows = random_views(ramp, 64, seed=0).mean(dim=(1, 2))
    assert ((rows[:, -1] - rows[:, 0]) > 0.75 * 2 * 0.7).all()
