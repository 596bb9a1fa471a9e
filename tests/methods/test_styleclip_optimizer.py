"""The latent optimizer: the published loss and schedule, the path, both spaces, and no trace left."""

import pytest
import torch
from torch import Tensor

from tests.methods.style import untouched
from textedit_core.methods import styleclip_optimizer
from textedit_core.models.style import latents
from textedit_core.models.style.clip_input import clip_input, features, random_views
from textedit_core.models.style.latents import Latent, learning_rate
from textedit_core.steps import last

PROMPT = "a man in a red hat"


@pytest.fixture(scope="module")
def latent(tiny):
    return latents.from_seed(tiny.generator, seed=3)


def fit(models, latent, **knobs):
    knobs = {"steps": 8, "keep_every": 3} | knobs
    return styleclip_optimizer.fit(models.generator, models.clip, models.identity, latent, PROMPT, **knobs)


@pytest.fixture(scope="module")
def fitted(tiny, latent):
    return last(fit(tiny, latent))


def by_the_specification(
    models, latent, steps, lr=0.1, l2_lambda=0.008, id_lambda=0.0
) -> tuple[Tensor, list]:
    """Section 2, word for word, in W+: the code after each step and the losses."""
    begin, text = latent.w_plus, models.clip.text_features([PROMPT])
    w, source, losses = begin.clone().requires_grad_(), latent.image(models.generator), []
    adam = torch.optim.Adam([w], lr=lr, betas=(0.9, 0.999), eps=1e-8)
    for step in range(steps):
        adam.param_groups[0]["lr"] = learning_rate(step, steps, lr)
        image = models.generator.network(w)
        c = 1 - models.clip.prepared_features(clip_input(image, models.clip.size)) @ text.T
        loss = c.sum() + l2_lambda * ((w - begin) ** 2).sum()
        loss = loss + id_lambda * (1 - models.identity.similarity(image, source)).sum()
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    return w.detach(), losses


def test_it_is_the_published_optimisation(tiny, latent):
    found = last(fit(tiny, latent, steps=6, id_lambda=0.3, l2_lambda=0.02))
    code, losses = by_the_specification(tiny, latent, 6, id_lambda=0.3, l2_lambda=0.02)
    assert found.losses == pytest.approx(losses, abs=1e-5)
    torch.testing.assert_close(found.path[-1].view_as(code), code, rtol=0, atol=1e-4)
    with torch.no_grad():  # the final image is the final code's, not the one before it
        torch.testing.assert_close(found.image, tiny.generator.network(code), rtol=0, atol=1e-3)
    assert not torch.equal(found.image, found.source)


def test_the_text_comes_nearer_in_both_spaces(tiny, latent):
    for space in ("w_plus", "s"):
        found = last(fit(tiny, latent, space=space, steps=8))
        assert found.clip_losses[-1] < found.clip_losses[0] - 0.01
        assert found.clip_losses[0] == found.losses[0]


def test_torgb_codes_stay_as_they_are(tiny, latent):
    found = last(fit(tiny, latent, space="s"))
    moved = found.path[-1] != found.path[0]
    free = latents.editable_channels(tiny.generator)
    assert not moved[~free].any() and moved[free].float().mean() > 0.9
    result = found.latent(tiny.generator)
    assert result.w_plus is None and len(result.s_codes) == len(tiny.generator.layers)


def test_the_path_begins_at_the_source_and_ends_at_the_result(tiny, latent, fitted):
    assert fitted.places == (0, 3, 6, 8) and len(fitted.path) == 4
    assert torch.equal(fitted.path[0], latent.w_plus.flatten())
    assert torch.equal(fitted.source, latent.image(tiny.generator))
    edit = styleclip_optimizer.edit
    assert torch.equal(last(edit(tiny.generator, fitted, position=0.0)), fitted.source)
    assert torch.equal(last(edit(tiny.generator, fitted, position=1.0)), fitted.image)
    kept = fitted.latent(tiny.generator, 3 / 8)
    assert torch.equal(kept.w_plus.flatten(), fitted.path[1])
    between = fitted.latent(tiny.generator, 1 / 8).w_plus.flatten()
    torch.testing.assert_close(between, fitted.path[0] + (fitted.path[1] - fitted.path[0]) / 3)


def test_a_strip_is_one_batch_that_equals_its_pictures(tiny, fitted):
    places = [0.0, 0.4, 1.0]
    strip = last(styleclip_optimizer.edit(tiny.generator, fitted, position=places))
    alone = [last(styleclip_optimizer.edit(tiny.generator, fitted, position=place)) for place in places]
    torch.testing.assert_close(strip, torch.cat(alone), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"Position must lie between 0 and 1, not 1\.5"):
        last(styleclip_optimizer.edit(tiny.generator, fitted, position=1.5))


def test_any_step_can_be_the_last(tiny, latent):
    """A value in between is the code before that step, with its image; the first Adam step has rate 0."""
    for step in fit(tiny, latent, steps=5, keep_every=2):
        value = step.value
        assert value.places[-1] == step.done
        image = value.latent(tiny.generator).image(tiny.generator)
        torch.testing.assert_close(image, value.image, rtol=0, atol=1e-5)
        assert len(value.losses) == min(step.done + 1, 5)
        if step.done == 1:
            assert torch.equal(value.image, value.source)


def test_it_stops_early_where_nothing_is_gained(tiny, latent):
    steps = list(fit(tiny, latent, steps=50, lr=1.0, patience=2))
    assert len(steps) < 50 and steps[-1].done == steps[-1].total == len(steps[-1].value.losses)
    losses = steps[-1].value.losses
    assert min(losses[-2:]) >= min(losses[:-2])


def test_free_generation_starts_from_the_mean_face_and_weighs_the_text_alone(tiny, latent):
    found = last(fit(tiny, None, mode="free_generation", steps=4))
    assert torch.equal(found.path[0], latents.mean_face(tiny.generator).w_plus.flatten())
    assert found.losses == found.clip_losses
    held = last(fit(tiny, latent, steps=4, l2_lambda=1.0))
    free = last(fit(tiny, latent, steps=4, l2_lambda=1.0, mode="free_generation"))
    assert (held.path[-1] - held.path[0]).norm() < (free.path[-1] - free.path[0]).norm()


def test_what_clip_sees_is_a_choice(tiny, latent):
    image = latent.image(tiny.generator)
    upstream, proper = features(tiny.clip, image), features(tiny.clip, image, "proper")
    assert torch.equal(proper, tiny.clip.image_features(image))
    assert torch.equal(upstream, tiny.clip.prepared_features(clip_input(image, tiny.clip.size)))
    losses = [
        last(fit(tiny, latent, steps=1, clip_preprocess=kind)).losses[0] for kind in ("upstream", "proper")
    ]
    assert losses[0] != losses[1]


def test_views_are_the_mean_of_what_clip_sees_of_them(tiny, latent):
    image, text = latent.image(tiny.generator), tiny.clip.text_features([PROMPT])
    seen = torch.cat([features(tiny.clip, view[None]) for view in random_views(image, 4, seed=0)])
    found = last(fit(tiny, latent, steps=3, views=4))
    assert found.clip_losses[0] == pytest.approx(1 - (seen @ text.T).mean().item(), abs=1e-5)
    again = last(fit(tiny, latent, steps=3, views=4))
    assert torch.equal(found.path, again.path) and found.losses == again.losses
    assert not torch.equal(found.path, last(fit(tiny, latent, steps=3)).path)
    stopped = last(fit(tiny, latent, steps=3, views=4, stop_after=2))
    assert stopped.losses == found.losses[:2]


def test_in_s_the_rate_and_the_distance_have_a_unit(tiny, latent):
    inside = last(fit(tiny, latent, steps=3, space="s", s_unit=4.0, lr=0.1, l2_lambda=0.16))
    plain = last(fit(tiny, latent, steps=3, space="s", lr=0.4, l2_lambda=0.01))
    torch.testing.assert_close(inside.path, plain.path, rtol=0, atol=1e-4)
    assert inside.losses == pytest.approx(plain.losses, abs=1e-5)
    assert torch.equal(last(fit(tiny, latent, s_unit=4.0)).path, last(fit(tiny, latent)).path)


def test_no_steps_are_the_source(tiny, latent):
    found = last(fit(tiny, latent, steps=0))
    assert torch.equal(found.image, found.source) and found.losses == ()
    assert found.identity == pytest.approx(1, abs=1e-5)


def test_it_leaves_the_models_as_they_are_also_when_stopped_or_broken(tiny, latent, monkeypatch):
    with untouched(tiny):
        first = last(fit(tiny, latent, steps=2))
        steps = fit(tiny, latent, steps=5)
        next(steps)
        steps.close()
        monkeypatch.setattr(styleclip_optimizer, "text_loss", broken)
        with pytest.raises(RuntimeError, match="broken"):
            last(fit(tiny, latent, steps=2))
        monkeypatch.undo()
    assert torch.equal(first.path, last(fit(tiny, latent, steps=2)).path)
    assert torch.is_grad_enabled()


def broken(*_, **__):
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": "hat " * 40}, "40 tokens"),
        ({"latent": None}, "latent is missing"),
        ({"identity": None, "id_lambda": 0.1}, "no identity network; set it to 0"),
        ({"space": "z"}, "Space: 'z' is none of w_plus, s"),
        ({"mode": "paint"}, "Mode: 'paint'"),
        ({"clip_preprocess": "none"}, "preprocessing: 'none'"),
    ],
)
def test_a_mistake_is_one_sentence(tiny, latent, changes, says):
    given = {"identity": tiny.identity, "latent": latent, "prompt": PROMPT, "steps": 1} | changes
    with pytest.raises(ValueError, match=says):
        last(styleclip_optimizer.fit(tiny.generator, tiny.clip, **given))


def test_one_latent_at_a_time(tiny, latent):
    with pytest.raises(ValueError, match="One latent is optimised at a time, not 2"):
        last(fit(tiny, Latent(torch.cat([latent.w_plus] * 2))))
