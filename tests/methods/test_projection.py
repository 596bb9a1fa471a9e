"""Projection: it comes nearer to the image, starts from the encoder, weighs its parts, leaves no trace."""

import pytest
import torch

from tests.methods.style import untouched
from textedit_core.methods import projection
from textedit_core.metrics import psnr
from textedit_core.models.style import latents
from textedit_core.models.style.models import StyleEncoder
from textedit_core.steps import last


@pytest.fixture(scope="module")
def target(tiny):
    return latents.from_seed(tiny.generator, seed=9).image(tiny.generator)


@pytest.fixture(scope="module")
def fitted(tiny, target):
    return last(projection.fit(tiny.generator, tiny.encoder, tiny.clip, tiny.identity, target, steps=12))


def test_it_comes_nearer_and_tells_how_near(tiny, target, fitted):
    begun = last(projection.fit(tiny.generator, tiny.encoder, None, tiny.identity, target, steps=0))
    assert fitted.psnr > begun.psnr + 1
    assert fitted.psnr == pytest.approx(psnr(fitted.image, target).item(), abs=1e-4)
    assert fitted.identity == pytest.approx(tiny.identity.similarity(fitted.image, target).item(), abs=1e-5)
    assert len(fitted.losses) == 12 and fitted.losses[-1] < fitted.losses[0]
    assert torch.equal(fitted.image, fitted.latent.image(tiny.generator))


def test_it_starts_from_the_encoder_or_from_the_mean_face(tiny, target):
    by_encoder = last(projection.fit(tiny.generator, tiny.encoder, None, None, target, steps=0))
    assert torch.equal(by_encoder.w_plus, tiny.encoder.encode(target))
    alone = last(projection.fit(tiny.generator, None, None, None, target, steps=0))
    assert torch.equal(alone.w_plus, latents.mean_face(tiny.generator).w_plus)
    assert (alone.identity, alone.losses) == (None, ())


def test_the_first_step_has_rate_zero_and_unfinished_values_fit_their_images(tiny, target):
    steps = list(projection.fit(tiny.generator, tiny.encoder, None, None, target, steps=3))
    assert [(step.done, step.total) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    assert torch.equal(steps[0].value.w_plus, steps[1].value.w_plus)
    assert not torch.equal(steps[1].value.w_plus, steps[2].value.w_plus)
    for step in steps:
        assert torch.equal(step.value.latent.image(tiny.generator), step.value.image)


@pytest.mark.parametrize("knob", ["l2_lambda", "clip_lambda", "id_lambda", "spread_lambda"])
def test_every_weight_counts(tiny, target, knob):
    given = tiny.generator, tiny.encoder, tiny.clip, tiny.identity, target
    few = [last(projection.fit(*given, steps=2, **{knob: weight})).losses[0] for weight in (0.0, 5.0)]
    assert few[0] < few[1]


def test_the_pyramid_is_the_mean_over_sizes():
    a, b = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    b[..., ::2] = 1  # stripes that vanish at half size
    assert projection.pyramid_difference(a, b).item() == pytest.approx((0.5 + 0.25 + 0.25) / 3)
    assert projection.pyramid_difference(b, b).item() == 0


def test_a_larger_image_is_brought_to_size(tiny, target):
    large = torch.nn.functional.interpolate(target, (96, 96), mode="nearest")
    assert (
        last(projection.fit(tiny.generator, tiny.encoder, None, None, large, steps=0)).source.shape[-1] == 32
    )


def test_it_leaves_the_models_as_they_are_and_repeats_to_the_byte(tiny, target):
    given = tiny.generator, tiny.encoder, tiny.clip, tiny.identity, target
    with untouched(tiny):
        first = last(projection.fit(*given, steps=2))
        steps = projection.fit(*given, steps=5)
        next(steps)
        steps.close()
    assert torch.equal(first.w_plus, last(projection.fit(*given, steps=2)).w_plus)


def test_what_cannot_be_projected_is_told(tiny, target):
    for image in (target[..., :-1], torch.cat([target, target]), target[0]):
        with pytest.raises(ValueError, match="One square image"):
            last(projection.fit(tiny.generator, None, None, None, image, steps=0))

    class Other(torch.nn.Module):
        latent_avg = torch.zeros(3)

        def encode(self, image):
            return torch.zeros(1, 5, 16)

    with pytest.raises(ValueError, match="encoder belongs to another generator"):
        last(projection.fit(tiny.generator, StyleEncoder(Other(), ""), None, None, target, steps=0))
