"""Latents: named by seeds, truncated, the same image from W+ and from StyleSpace; and the schedule."""

import pytest
import torch

from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.models.style.latents import Latent


def test_a_seed_names_a_latent_alone_and_in_a_batch(tiny):
    one = latents.from_seed(tiny.generator, seed=5)
    again = latents.from_seed(zoo.load(tiny.name).generator, seed=5)
    assert one.w_plus.shape == (1, tiny.generator.n_latent, tiny.generator.style_dim)
    assert torch.equal(one.w_plus, again.w_plus) and one.fingerprint == again.fingerprint
    three = latents.from_seed(tiny.generator, seed=[4, 5, 6])
    assert len(three) == 3
    torch.testing.assert_close(three.w_plus[1:2], one.w_plus)
    assert one.fingerprint != latents.from_seed(tiny.generator, seed=6).fingerprint


def test_truncation_draws_to_the_mean_face(tiny):
    whole, half, none = (latents.from_seed(tiny.generator, seed=5, truncation=t).w_plus for t in (1, 0.5, 0))
    mean = latents.mean_face(tiny.generator).w_plus
    torch.testing.assert_close(none, mean)
    torch.testing.assert_close(half, (whole + mean) / 2)
    assert (whole - mean).abs().mean() > 0.05


def test_the_image_is_the_same_to_the_bit_from_w_plus_and_from_stylespace(tiny):
    latent = latents.from_seed(tiny.generator, seed=5)
    in_s = Latent(s_codes=tuple(latent.to_s_codes(tiny.generator)))
    assert torch.equal(latent.image(tiny.generator), in_s.image(tiny.generator))
    assert torch.equal(latent.image(tiny.generator), tiny.generator.network(latent.w_plus))
    assert latent.fingerprint != in_s.fingerprint


def test_codes_of_another_generator_and_codes_without_w_plus_are_refused(tiny):
    latent = latents.from_seed(tiny.generator, seed=5)
    in_s = Latent(s_codes=tuple(latent.to_s_codes(tiny.generator)))
    with pytest.raises(ValueError, match="no W\\+ code"):
        in_s.to_w_plus(tiny.generator)
    for other in (Latent(latent.w_plus[:, 1:]), Latent(s_codes=in_s.s_codes[1:])):
        with pytest.raises(ValueError, match="another generator"):
            other.image(tiny.generator)


def test_s_codes_are_joined_and_split(tiny):
    codes = latents.from_seed(tiny.generator, seed=[1, 2]).to_s_codes(tiny.generator)
    flat, free = latents.join_channels(codes), latents.editable_channels(tiny.generator)
    assert flat.shape == (2, len(free)) == (2, sum(layer.channels for layer in tiny.generator.layers))
    assert all(map(torch.equal, latents.split_channels(flat, tiny.generator), codes))
    kept = [layer.channels for layer in tiny.generator.layers if not layer.is_rgb]
    assert int(free.sum()) == sum(kept)


def test_the_learning_rate_is_the_published_schedule():
    """Section 2 of the specification, for 40 steps of rate 0.1."""
    expected = {0: 0, 1: 0.05, 2: 0.1, 20: 0.1, 30: 0.1, 35: 0.05, 39: 0.002447}
    found = {step: latents.learning_rate(step, 40, 0.1) for step in expected}
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_shift_of_channels_leaves_the_other_layers_as_they_are(tiny):
    codes = latents.from_seed(tiny.generator, seed=1).to_s_codes(tiny.generator)
    shift = torch.zeros(3, sum(tiny.generator.channel_counts))
    first = tiny.generator.channel_counts[0]
    shift[1, first] = 2.0  # the first channel of the second layer, in one row
    found = latents.shift_channels(tiny.generator, codes, shift)
    assert [len(code) for code in found] == [1, 3] + [1] * (len(codes) - 2)
    assert all(found[k] is codes[k] for k in range(len(codes)) if k != 1)
    wanted = codes[1].repeat(3, 1)
    wanted[1, 0] += 2.0
    assert torch.equal(found[1], wanted)
    with pytest.raises(ValueError, match="2 latents and 3 settings make no batch"):
        latents.shift_channels(tiny.generator, [code.repeat(2, 1) for code in codes], shift)


def test_moments_of_parts_are_those_of_all_rows():
    rows = torch.randn(37, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 100
    moments = latents.RunningMoments()
    for part in rows.split(10):
        moments.add(part)
    assert moments.count == 37
    torch.testing.assert_close(moments.mean, rows.mean(dim=0), rtol=0, atol=1e-12)
    torch.testing.assert_close(moments.deviation, rows.std(dim=0, correction=0), rtol=0, atol=1e-12)
