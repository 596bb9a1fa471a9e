"""Noise by seed: equal alone and in a batch, normal, and without a trace on the global generator."""

import pytest
import torch

from textedit_core.noise import noise


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3), (1, 4, 5, 7)])
def test_a_seed_gives_one_noise_alone_and_in_a_batch(shape):
    seeds = [3, 0, 2**31 - 1]
    batch = noise(shape, seeds)
    assert batch.shape == (3, *shape[1:])
    for row, seed in zip(batch, seeds, strict=True):
        assert torch.equal(row[None], noise(shape, seed))


def test_the_batch_size_may_stand_in_the_shape():
    assert torch.equal(noise((2, 4, 4), [1, 2]), noise((1, 4, 4), [1, 2]))


def test_a_shape_that_is_not_the_seeds_is_refused():
    with pytest.raises(ValueError, match="2 seeds"):
        noise((3, 4, 4), [1, 2])
    with pytest.raises(ValueError, match="0 seeds"):
        noise((1, 4, 4), [])


def test_seeds_differ_and_repeat():
    assert torch.equal(noise((1, 64), 7), noise((1, 64), 7))
    assert not torch.equal(noise((1, 64), 7), noise((1, 64), 8))
    assert abs(torch.dot(noise((4096,), 7), noise((4096,), 8)).item() / 4096) < 0.06


def test_it_is_standard_normal():
    values = noise((1, 3, 200, 200), 1)
    assert abs(values.mean().item()) < 0.01
    assert abs(values.std().item() - 1) < 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_the_same_noise(dtype):
    assert torch.equal(noise((1, 64), 5, dtype=dtype), noise((1, 64), 5).to(dtype))


def test_the_default_type_changes_nothing():
    torch.set_default_dtype(torch.float64)
    try:
        double = noise((1, 64), 5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(double, noise((1, 64), 5))


def test_the_global_generator_is_neither_read_nor_moved():
    before = torch.get_rng_state()
    first = noise((1, 64), 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(noise((1, 64), 5), first)
