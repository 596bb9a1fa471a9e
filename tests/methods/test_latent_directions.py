"""GANSpace, InterFaceGAN, StyleSpace: the algebra of each, what an edit moves, limits, batches, mistakes."""

from dataclasses import replace

import pytest
import torch

from tests.methods.style import untouched
from textedit_core import cache
from textedit_core.methods import latent_directions as method
from textedit_core.models.style import ganspace, latents
from textedit_core.models.style.directions import Channels, distinct_text_direction, sample_w
from textedit_core.models.style.latents import Latent
from textedit_core.steps import last

TEXTS = "a man", "a smiling man"
SAMPLES = 200  # of the 16 dimensions of the tiny generator's W
KNOBS = {"samples": SAMPLES, "share": 0.1}


def found(models, technique="ganspace", texts=TEXTS, **knobs):
    given = models.generator, models.clip, models.relevance, *texts
    return last(method.fit(*given, technique=technique, **KNOBS | knobs))


@pytest.fixture(scope="module")
def fitted(tiny):
    return {name: found(tiny, name) for name in ("ganspace", "interfacegan", "stylespace")}


@pytest.fixture(scope="module")
def latent(tiny):
    return latents.from_seed(tiny.generator, seed=3)


@pytest.fixture(scope="module")
def codes(tiny):
    """The samples of seed 0."""
    return torch.cat(list(sample_w(tiny.generator, SAMPLES, 0))).detach()


def run(models, directions, latent, **knobs):
    return last(method.edit(models.generator, directions, latent, **knobs))


# --- GANSpace -----------------------------------------------------------------------------------------------


def test_components_are_the_singular_vectors_of_the_centred_samples(fitted, codes):
    directions = fitted["ganspace"]
    v = directions.vectors
    torch.testing.assert_close(v @ v.T, torch.eye(16), rtol=0, atol=1e-5)
    assert (directions.deviations.diff() <= 0).all() and directions.deviations[-1] > 0
    _, values, rows = torch.linalg.svd(codes.double() - codes.double().mean(dim=0), full_matrices=False)
    torch.testing.assert_close(directions.deviations, (values / SAMPLES**0.5).float())
    torch.testing.assert_close((v * rows.float()).sum(dim=1).abs(), torch.ones(16), rtol=0, atol=1e-4)


def test_the_sign_of_a_component_is_that_of_its_largest_entry(codes):
    v = ganspace.principal_components(codes).vectors
    assert (v.gather(1, v.abs().argmax(dim=1, keepdim=True)) > 0).all()
    torch.testing.assert_close(ganspace.principal_components(-codes).vectors, v)


def test_a_step_along_a_component_moves_its_layers_of_w_plus_by_so_many_deviations(tiny, fitted, latent):
    directions, generator = fitted["ganspace"], tiny.generator
    moved = latent.w_plus.clone()
    moved[:, 2:5] += -1.5 * directions.deviations[2] * directions.vectors[2]
    wanted = Latent(moved).image(generator)
    made = run(tiny, directions, latent, component=3, strength=-1.5, first_layer=2, last_layer=4)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)
    whole = run(tiny, directions, latent)
    assert torch.equal(whole, run(tiny, directions, latent, last_layer=generator.n_latent - 1))


# --- InterFaceGAN -------------------------------------------------------------------------------------------


def test_the_boundary_lies_between_the_images_clip_is_surest_of(tiny, fitted, codes):
    directions, generator = fitted["interfacegan"], tiny.generator
    images = generator.render(generator.styles(generator.network.widen(codes))).clamp(-1, 1)
    scores = tiny.clip.image_features(images).detach() @ distinct_text_direction(tiny.clip, *TEXTS)
    order, along = scores.argsort(), codes @ directions.vectors[0]
    assert along[order[-20:]].min() > along[order[:20]].max(), "40 codes of 16 numbers could not be parted"
    assert directions.vectors.norm().item() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(directions.deviations[0], along.std(correction=0), rtol=1e-4, atol=0)


def test_the_boundary_of_swapped_texts_is_the_negative(tiny, fitted):
    swapped = found(tiny, "interfacegan", TEXTS[::-1])
    assert torch.equal(swapped.vectors, -fitted["interfacegan"].vectors)
    assert torch.equal(swapped.deviations, fitted["interfacegan"].deviations)


# --- StyleSpace ---------------------------------------------------------------------------------------------


def test_deviations_are_those_of_the_s_codes_of_the_samples(tiny, fitted, codes):
    joined = latents.join_channels(tiny.generator.styles(tiny.generator.network.widen(codes)))
    wanted = joined.detach().std(dim=0, correction=0)
    torch.testing.assert_close(fitted["stylespace"].deviations, wanted, rtol=1e-4, atol=1e-6)


def test_channels_are_ranked_by_the_relevance_and_never_torgbs(tiny, fitted):
    directions, editable = fitted["stylespace"], latents.editable_channels(tiny.generator)
    scores = torch.zeros(len(editable))
    scores[editable] = tiny.relevance.relevance @ distinct_text_direction(tiny.clip, *TEXTS)
    assert len(directions.ranked) == 48 == len(set(directions.ranked.tolist()))
    assert editable[directions.ranked].all()
    ranked = scores[directions.ranked]
    assert (ranked.abs().diff() <= 0).all()
    assert (ranked * directions.signs >= 0).all()


def test_one_channel_moves_the_code_of_its_layer_alone(tiny, fitted, latent, monkeypatch):
    directions, generator, seen = fitted["stylespace"], tiny.generator, []
    real = type(generator).render
    monkeypatch.setattr(
        type(generator), "render", lambda self, codes: seen.append(codes) or real(self, codes)
    )
    run(tiny, directions, latent, channel="5:3", strength=2.0)
    before, after = latent.to_s_codes(generator), seen[0]
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [k != 5 for k in range(11)]
    change = (after[5] - before[5])[0]
    start = sum(layer.channels for layer in generator.layers[:5])
    assert change.nonzero().tolist() == [[3]]
    assert change[3].item() == pytest.approx(2 * directions.deviations[start + 3].item(), rel=1e-4)


def test_a_rank_and_its_place_are_one_channel_up_to_the_way_the_text_is(tiny, fitted, latent):
    directions, generator = fitted["stylespace"], tiny.generator
    for rank in ("1", "2", "7"):
        layer, number, sign = method.find_channel(generator, directions, rank)
        for name in (f"{layer}:{number}", f"{generator.layers[layer].name}:{number}"):
            by_place = run(tiny, directions, latent, channel=name, strength=sign * 2.0)
            assert torch.equal(run(tiny, directions, latent, channel=rank, strength=2.0), by_place)


def test_a_named_channel_needs_neither_texts_nor_relevance_and_may_be_torgbs(tiny, latent):
    directions = last(method.fit(tiny.generator, None, None, technique="stylespace", samples=SAMPLES))
    rgb = next(k for k, layer in enumerate(tiny.generator.layers) if layer.is_rgb)
    assert not torch.equal(run(tiny, directions, latent, channel=f"{rgb}:0"), latent.image(tiny.generator))
    with pytest.raises(ValueError, match="Channel: without both texts and a relevance no channel has a rank"):
        run(tiny, directions, latent)


# --- all three ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("technique", ["ganspace", "interfacegan", "stylespace"])
def test_strength_zero_is_the_source_and_more_moves_more(tiny, fitted, latent, technique):
    directions, source = fitted[technique], latent.image(tiny.generator)
    assert torch.equal(run(tiny, directions, latent, strength=0.0), source)
    moved = [(run(tiny, directions, latent, strength=s) - source).abs().mean() for s in (0.5, 1.0, 2.0)]
    assert 0 < moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize("technique", ["ganspace", "interfacegan", "stylespace"])
def test_same_seed_same_directions_another_seed_others(tiny, fitted, technique):
    again, other = found(tiny, technique), found(tiny, technique, sample_seed=1)
    assert again.fingerprint == fitted[technique].fingerprint != other.fingerprint


BATCHES = [
    ("ganspace", {"strength": [0.0, 2.0, -1.0], "component": [1, 1, 5], "first_layer": [0, 3, 1]}),
    ("interfacegan", {"strength": [0.0, 2.0, -1.0], "last_layer": [17, 2, 5]}),
    ("stylespace", {"strength": [0.0, 2.0, -1.0], "channel": ["1", "3", "6:0"]}),
]


@pytest.mark.parametrize(("technique", "lists"), BATCHES)
def test_a_batch_equals_its_edits(tiny, fitted, latent, technique, lists):
    batch = run(tiny, fitted[technique], latent, **lists)
    rows = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    alone = torch.cat([run(tiny, fitted[technique], latent, **row) for row in rows])
    torch.testing.assert_close(batch, alone, rtol=0, atol=1e-5)
    many = latents.from_seed(tiny.generator, seed=[3, 4])
    both = run(tiny, fitted[technique], many, strength=2.0)
    torch.testing.assert_close(
        both[:1], run(tiny, fitted[technique], latent, strength=2.0), rtol=0, atol=1e-5
    )
    with pytest.raises(ValueError, match="2 latents and 3 settings"):
        run(tiny, fitted[technique], many, **lists)


@pytest.mark.parametrize("technique", ["ganspace", "interfacegan", "stylespace"])
def test_a_batch_of_nothing_is_the_source_every_time(tiny, fitted, latent, technique):
    still = run(tiny, fitted[technique], latent, strength=[0.0, 0.0])
    assert torch.equal(still, latent.image(tiny.generator).expand(2, -1, -1, -1))


def test_the_steps_of_a_fit_can_be_counted_and_stopped(tiny):
    given = tiny.generator, tiny.clip, tiny.relevance, *TEXTS
    for technique, samples, total in (
        ("ganspace", 2100, 3),
        ("stylespace", 2100, 3),
        ("interfacegan", 202, 26),
    ):
        steps = list(method.fit(*given, technique=technique, samples=samples))
        assert [step.done for step in steps] == list(range(1, total + 1))
        assert {step.total for step in steps} == {total}
        assert [step.value is None for step in steps] == [True] * (total - 1) + [False]


def test_the_models_stay_as_they_are_also_after_a_stop_and_a_mistake(tiny, latent):
    given = tiny.generator, tiny.clip, tiny.relevance, *TEXTS
    with untouched(tiny):
        for technique in ("ganspace", "interfacegan", "stylespace"):
            run(tiny, found(tiny, technique), latent)
            steps = method.fit(*given, technique=technique, samples=2100)
            next(steps)
            steps.close()
        with pytest.raises(ValueError, match="prompt is empty"):
            found(tiny, "interfacegan", ("a man", " "))
    assert torch.is_grad_enabled()


def test_what_was_found_is_kept_on_disk_and_edits_the_same(tiny, fitted, latent, tmp_path):
    given = tiny.generator, tiny.clip, tiny.relevance, *TEXTS
    for technique, directions in fitted.items():
        for store in (cache.Cache(folder=tmp_path), cache.Cache(folder=tmp_path)):
            asked = cache.cached(method.fit, *given, cache=store, technique=technique, **KNOBS)
            steps = list(asked)
            assert steps[-1].value.fingerprint == directions.fingerprint
        assert torch.equal(run(tiny, steps[-1].value, latent), run(tiny, directions, latent))


@pytest.mark.parametrize(
    ("technique", "texts", "says"),
    [
        ("interfacegan", (" ", "a man"), "neutral text is empty"),
        ("interfacegan", ("a man", ""), "prompt is empty"),
        ("interfacegan", ("a man", "a  man"), "prompt is the neutral text"),
        ("interfacegan", ("a man", "hat " * 40), "at most 30"),
        ("stylespace", ("", "a man"), "neutral text is empty"),
    ],
)
def test_texts_that_tell_nothing_are_one_sentence(tiny, technique, texts, says):
    with pytest.raises(ValueError, match=says):
        found(tiny, technique, texts)


@pytest.mark.parametrize(
    ("technique", "knobs", "says"),
    [
        ("ganspace", {"component": 17}, "Component: 17 is not there; this technique has 16"),
        ("interfacegan", {"component": 2}, "Component: 2 is not there; this technique has 1"),
        ("ganspace", {"first_layer": 8}, "First layer: 8 is not there; W\\+ has the layers 0 to 7"),
        ("ganspace", {"first_layer": 5, "last_layer": 4}, "First layer: 5 is after the last layer, 4"),
        ("stylespace", {"channel": "0"}, "Channel: '0' is no rank from 1 to 48"),
        ("stylespace", {"channel": ""}, "Channel: '' is no rank from 1 to 48"),
        ("stylespace", {"channel": "9" * 5000}, "is no rank from 1 to 48"),
        ("stylespace", {"channel": "11:0"}, "Channel: '11' is no layer from 0 to 10"),
        ("stylespace", {"channel": "0:8"}, "Channel: '8' is no channel of layer 0; it has 0 to 7"),
        ("stylespace", {"channel": "convs.0:-1"}, "Channel: '-1' is no channel of layer 2"),
    ],
)
def test_what_is_not_there_is_one_sentence(tiny, fitted, latent, technique, knobs, says):
    with pytest.raises(ValueError, match=says) as refusal:
        run(tiny, fitted[technique], latent, **knobs)
    assert len(str(refusal.value)) < 200


def test_directions_and_relevance_of_other_models_are_refused(tiny, fitted, latent):
    narrow = replace(fitted["ganspace"], vectors=torch.eye(8), deviations=torch.ones(8))
    fewer = Channels(torch.ones(3), torch.zeros(1, dtype=torch.int64), torch.ones(1))
    for directions in (narrow, fewer):
        with pytest.raises(ValueError, match="directions belong to another generator"):
            run(tiny, directions, latent)
    rows = tiny.relevance.relevance
    for wrong, says in ((rows[1:], "another generator"), (rows[:, 1:], "another CLIP")):
        given = tiny.generator, tiny.clip, replace(tiny.relevance, relevance=wrong), *TEXTS
        with pytest.raises(ValueError, match=says):
            last(method.fit(*given, technique="stylespace", samples=SAMPLES))
    with pytest.raises(ValueError, match="interfacegan needs a CLIP"):
        last(method.fit(tiny.generator, None, None, *TEXTS, technique="interfacegan"))
    only_s = Latent(s_codes=tuple(latent.to_s_codes(tiny.generator)))
    with pytest.raises(ValueError, match="pick its source instead"):
        run(tiny, fitted["ganspace"], only_s)
    assert not torch.equal(run(tiny, fitted["stylespace"], only_s), latent.image(tiny.generator))
