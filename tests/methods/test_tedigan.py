"""TediGAN: the published loss and steps, what each weight does, the path, and no trace left."""

import pytest
import torch

from tests.methods.style import untouched
from textedit_core.methods import tedigan
from textedit_core.models.clip_vision import tokens
from textedit_core.models.style import latents
from textedit_core.models.style.clip_input import clip_input
from textedit_core.steps import last

PROMPT = "a man in a red hat"


@pytest.fixture(scope="module")
def latent(tiny):
    return latents.from_seed(tiny.generator, seed=3)


def fit(models, latent, prompt=PROMPT, encoder=True, **knobs):
    knobs = {"steps": 6, "keep_every": 4} | knobs
    given = models.generator, models.clip, models.encoder if encoder else None, latent, prompt
    return tedigan.fit(*given, **knobs)


def by_the_specification(models, latent, steps: int, weights: tuple[float, float, float, float]):
    """Section 2 of the comparators, word for word: the code after all steps and the losses."""
    begin, text = latent.w_plus, models.clip.text_features([PROMPT])
    source = latent.image(models.generator)
    seen = tokens(models.clip, models.clip.pixels(source))
    w, losses = begin.clone().requires_grad_(), []
    adam = torch.optim.Adam([w], lr=0.01)
    for _ in range(steps):
        image = models.generator.network(w)
        terms = (
            (source - image).square().mean(),
            (seen - tokens(models.clip, models.clip.pixels(image))).square().mean(),
            (w - models.encoder.network.encode(image)).square().mean(),
            1 - (models.clip.prepared_features(clip_input(image, models.clip.size)) @ text.T).sum(),
        )
        loss = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    return w.detach(), losses


@pytest.mark.parametrize("weights", [(1, 5e-5, 2, 2), (0.5, 3.0, 0.1, 1)])
def test_it_is_the_published_optimisation(tiny, latent, weights):
    names = "pixel_lambda", "feature_lambda", "domain_lambda", "clip_lambda"
    found = last(fit(tiny, latent, **dict(zip(names, weights, strict=True))))
    code, losses = by_the_specification(tiny, latent, 6, weights)
    assert found.losses == pytest.approx(losses, abs=1e-5)
    torch.testing.assert_close(found.path[-1].view_as(code), code, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.image, tiny.generator.network(code).detach(), rtol=0, atol=1e-3)


def test_the_defaults_are_those_of_the_published_program():
    from textedit_core.knobs import knobs

    found = {name: bound.default for name, bound in knobs(tedigan.fit).items()}
    published = {"steps": 200, "lr": 0.01, "pixel_lambda": 1.0, "feature_lambda": 5e-5, "domain_lambda": 2.0}
    assert published.items() <= found.items() and found["clip_lambda"] == 2.0


def test_the_text_pulls_and_the_other_terms_hold(tiny, latent):
    free = {"pixel_lambda": 0, "feature_lambda": 0, "domain_lambda": 0, "lr": 0.05}
    pulled = last(fit(tiny, latent, **free))
    assert pulled.clip_losses[-1] < pulled.clip_losses[0] - 0.005
    held = last(fit(tiny, latent, **free | {"pixel_lambda": 50}))

    def change(fitted):
        return (fitted.image - fitted.source).square().mean()

    assert change(held) < 0.7 * change(pulled)
    still = last(fit(tiny, latent, **free | {"clip_lambda": 0, "pixel_lambda": 1}))
    torch.testing.assert_close(still.image, still.source, rtol=0, atol=1e-4)


def test_without_an_encoder_its_term_is_left_out(tiny, latent):
    without = last(fit(tiny, latent, encoder=False))
    torch.testing.assert_close(without.path, last(fit(tiny, latent, domain_lambda=0)).path)
    assert not torch.equal(without.path, last(fit(tiny, latent)).path)


def test_the_path_begins_at_the_source_and_every_step_is_a_result(tiny, latent):
    with untouched(tiny):
        values = [step.value for step in fit(tiny, latent)]
    fitted = values[-1]
    assert fitted.places == (0, 4, 6) and torch.equal(fitted.path[0], latent.w_plus.flatten())
    assert torch.equal(last(tedigan.edit(tiny.generator, fitted, position=0.0)), fitted.source)
    assert torch.equal(last(tedigan.edit(tiny.generator, fitted, position=[1.0])), fitted.image)
    for done, value in enumerate(values, start=1):
        image = value.latent(tiny.generator).image(tiny.generator)
        torch.testing.assert_close(image, value.image, rtol=0, atol=1e-5)
        assert value.places[-1] == done
    shorter = last(fit(tiny, latent, steps=3))
    torch.testing.assert_close(shorter.path[-1], values[2].path[-1])
    edited = tedigan.edited_latent(tiny.generator, fitted, 1.0)
    torch.testing.assert_close(edited.w_plus.flatten(), fitted.path[-1])
    unchanged = last(fit(tiny, latent, steps=0))
    assert torch.equal(unchanged.image, unchanged.source)


def test_what_cannot_be_optimised_is_a_sentence(tiny, latent):
    for prompt, wrong, words in (
        (" ", latent, "The prompt is empty"),
        (PROMPT, latents.from_seed(tiny.generator, seed=[1, 2]), "One latent is optimised at a time, not 2"),
    ):
        with pytest.raises(ValueError, match=words):
            next(fit(tiny, wrong, prompt))
