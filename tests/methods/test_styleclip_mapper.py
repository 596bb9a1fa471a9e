"""The latent mapper: the published losses, levels, resuming, and edits in W+ and StyleSpace."""

import pytest
import torch
import torch.nn.functional as F

from tests.methods.style import untouched
from textedit_core.methods import styleclip_mapper
from textedit_core.methods.styleclip_mapper import LevelsMapper, edit, edited_latent
from textedit_core.models.style import clip_input, latents, mapper
from textedit_core.models.style.clip_input import features
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleMapper
from textedit_core.noise import noise
from textedit_core.steps import last

PROMPT = "a man in a red hat"


@pytest.fixture(scope="module")
def latent(tiny):
    return latents.from_seed(tiny.generator, seed=3)


def fit(models, **knobs):
    knobs = {"steps": 3} | knobs
    return styleclip_mapper.fit(models.generator, models.clip, models.identity, PROMPT, **knobs)


@pytest.fixture(scope="module")
def trained(tiny):
    return last(fit(tiny))


def test_the_fixed_entry_point():
    assert LevelsMapper is mapper.LevelsMapper


@pytest.mark.parametrize("kind", ["levels", "s"])
def test_the_first_loss_is_the_published_one(tiny, kind):
    """Section 3: identity .1, CLIP 1, the mean square of w' - w .8, in StyleSpace summed over the layers."""
    found = last(fit(tiny, steps=1, kind=kind, seed=5))
    new = mapper.new_mapper(tiny.generator.network, kind, ("course", "medium", "fine"), seed=5)
    with torch.no_grad():
        z = noise((1, 16), [5, 6])
        w = tiny.generator.network.widen(tiny.generator.network.map(z))
        before = tiny.generator.styles(w)
        if kind == "s":
            after = [s + 0.1 * change for s, change in zip(before, new(before), strict=True)]
            l2 = sum(F.mse_loss(a, b) for a, b in zip(after, before, strict=True))
        else:
            after = tiny.generator.styles(w + 0.1 * new(w))
            l2 = F.mse_loss(w + 0.1 * new(w), w)
        image, source = tiny.generator.render(after), tiny.generator.render(before)
        towards = features(tiny.clip, image) @ tiny.clip.text_features([PROMPT]).T
        identity = 1 - tiny.identity.similarity(image, source)
        expected = (1 - towards).mean() + 0.1 * identity.mean() + 0.8 * l2
    assert found.losses == pytest.approx([expected.item()], abs=1e-5)


def test_training_brings_the_text_nearer_for_codes_it_never_saw(tiny):
    others, text = (
        latents.from_seed(tiny.generator, seed=list(range(1000, 1008))),
        tiny.clip.text_features([PROMPT]),
    )
    nearness = []
    for step in fit(tiny, steps=12, lr=10.0, images_a_step=4, id_lambda=0.0, l2_lambda=0.0):
        if step.done in (1, 12):
            images = last(edit(tiny.generator, step.value, others))
            nearness.append((features(tiny.clip, images) @ text.T).mean().item())
    assert nearness[1] > nearness[0]
    found = step.value
    assert (found.steps, len(found.losses), found.prompt) == (12, 12, PROMPT)


@pytest.mark.parametrize("kind", ["levels", "single", "s"])
def test_going_on_is_as_if_never_stopped(tiny, kind):
    knobs = {"kind": kind, "id_lambda": 0.0, "lr": 0.1, "views": 2 if kind == "single" else 0}
    whole = last(fit(tiny, steps=7, **knobs))
    steps = fit(tiny, steps=7, **knobs)
    half = next(step.value for step in steps if step.done == 4)
    steps.close()
    kept = {name: weight.clone() for name, weight in half.weights.items()}
    rest = list(fit(tiny, steps=7, start=half, **knobs))
    assert [step.done for step in rest] == [5, 6, 7]
    assert rest[-1].value.losses == whole.losses
    assert all(torch.equal(rest[-1].value.weights[name], weight) for name, weight in whole.weights.items())
    assert all(torch.equal(half.weights[name], weight) for name, weight in kept.items())
    assert last(fit(tiny, steps=4, start=half, **knobs)) is half


def test_seeds_make_mappers(tiny, trained):
    again, other = last(fit(tiny)), last(fit(tiny, seed=1))
    assert all(torch.equal(again.weights[name], weight) for name, weight in trained.weights.items())
    assert trained.losses != other.losses
    assert again.fingerprint == trained.fingerprint != other.fingerprint


def test_it_leaves_the_models_as_they_are(tiny, monkeypatch):
    state = torch.get_rng_state()
    with untouched(tiny):
        last(fit(tiny, steps=1))
        steps = fit(tiny, steps=5)
        next(steps)
        steps.close()
        monkeypatch.setattr(clip_input, "features", broken)
        with pytest.raises(RuntimeError, match="broken"):
            last(fit(tiny))
    assert torch.equal(torch.get_rng_state(), state) and torch.is_grad_enabled()


def broken(*_):
    raise RuntimeError("broken")


def test_an_edit_is_the_code_and_a_tenth_of_the_mapper(tiny, trained, latent):
    with torch.no_grad():
        w_plus = latent.w_plus + 0.1 * trained.network(latent.w_plus)
        expected = tiny.generator.network(w_plus)
    assert torch.equal(last(edit(tiny.generator, trained, latent)), expected)
    assert torch.equal(
        last(edit(tiny.generator, trained, latent, strength=0.0)), latent.image(tiny.generator)
    )
    assert torch.equal(edited_latent(tiny.generator, trained, latent).w_plus, w_plus)


def test_a_level_left_out_is_not_changed(tiny, trained, latent):
    moved = edited_latent(tiny.generator, trained, latent, coarse=False).w_plus != latent.w_plus
    assert not moved[:, :4].any() and moved[:, 4:].any()
    moved = edited_latent(tiny.generator, trained, latent, medium=False).w_plus != latent.w_plus
    assert moved[:, :4].any() and not moved[:, 4:8].any()
    only = last(fit(tiny, medium=False, fine=False, steps=1))
    assert {name.split(".")[0] for name in only.weights} == {"course_mapping"}
    assert not (edited_latent(tiny.generator, only, latent).w_plus != latent.w_plus)[:, 4:].any()


def test_a_mapper_of_s_codes_edits_them_by_level(tiny, latent):
    found = last(fit(tiny, kind="s", steps=1))
    before = latent.to_s_codes(tiny.generator)
    after = edited_latent(tiny.generator, found, latent, medium=False).s_codes
    for layer, old, new in zip(tiny.generator.layers, before, after, strict=True):
        assert torch.equal(old, new) == (layer.is_rgb or layer.w >= 4)
    in_s = Latent(s_codes=tuple(before))
    first, second = (last(edit(tiny.generator, found, one)) for one in (latent, in_s))
    assert torch.equal(first, second)


def test_a_batch_equals_its_edits(tiny, trained, latent):
    rows = {"strength": [0.0, 0.1, 0.3], "coarse": [True, True, False]}
    batch = last(edit(tiny.generator, trained, latent, **rows))
    for k, row in enumerate(batch):
        alone = last(
            edit(tiny.generator, trained, latent, **{name: values[k] for name, values in rows.items()})
        )
        torch.testing.assert_close(row[None], alone, rtol=0, atol=1e-5)
    many = latents.from_seed(tiny.generator, seed=[1, 2, 3])
    assert last(edit(tiny.generator, trained, many)).shape[0] == 3


def test_layers_are_normalised_together_as_the_published_mappers_need(tiny, trained, latent):
    """Scaling a feature over all layers of a level changes nothing: PixelNorm runs over the layers."""
    scaled = latent.w_plus.clone()
    scaled[:, :4] *= torch.arange(1.0, 17.0)
    torch.testing.assert_close(trained.network(scaled)[:, :4], trained.network(latent.w_plus)[:, :4])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"identity": None}, "no identity network; set it to 0"),
        ({"kind": "deep"}, "Kind: 'deep' is none of levels, single, s"),
        ({"coarse": False, "medium": False, "fine": False}, "no level is chosen"),
        ({"clip_preprocess": "none"}, "preprocessing: 'none'"),
    ],
)
def test_a_mistake_is_one_sentence(tiny, changes, says):
    given = {"identity": tiny.identity, "prompt": PROMPT, "steps": 1} | changes
    with pytest.raises(ValueError, match=says):
        last(styleclip_mapper.fit(tiny.generator, tiny.clip, **given))


def test_a_mapper_of_another_generator_is_refused(tiny, trained, latent):
    other = StyleMapper(LevelsMapper(style_dim=5).state_dict(), "x")
    with pytest.raises(ValueError, match="another generator"):
        last(edit(tiny.generator, other, latent))
    with pytest.raises(ValueError, match="another kind, or for another generator"):
        last(fit(tiny, start=other))
    with pytest.raises(ValueError, match="no state of its optimiser"):
        last(fit(tiny, start=StyleMapper(trained.weights, PROMPT, steps=2)))
    only_s = Latent(s_codes=tuple(latent.to_s_codes(tiny.generator)))
    with pytest.raises(ValueError, match=r"no W\+ code"):
        last(edit(tiny.generator, trained, only_s))


def test_a_shipped_mapper_edits(tiny, latent):
    image = last(edit(tiny.generator, tiny.mappers["smiling"], latent))
    assert (image - latent.image(tiny.generator)).abs().mean() > 1e-3
