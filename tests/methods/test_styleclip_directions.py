"""Global directions: limits, the equation, what beta and layers do, chains as data, batches."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.methods.style import untouched
from textedit_core.methods import styleclip_directions as directions
from textedit_core.methods.styleclip_directions import DirectionEdit, edit
from textedit_core.models.style import latents
from textedit_core.steps import last

NEUTRAL, PROMPT = "a man", "a smiling man"


@pytest.fixture(scope="module")
def latent(tiny):
    return latents.from_seed(tiny.generator, seed=3)


@pytest.fixture(scope="module")
def towards(tiny):
    return directions.text_direction(tiny.clip, NEUTRAL, PROMPT)


@pytest.fixture(scope="module")
def source(tiny, latent):
    return latent.image(tiny.generator)


def run(models, latent, neutral=NEUTRAL, prompt=PROMPT, **knobs):
    return last(edit(models.generator, models.clip, models.relevance, latent, neutral, prompt, **knobs))


def test_the_limits_are_the_source(tiny, latent, source):
    assert torch.equal(run(tiny, latent, alpha=0.0), source)
    assert torch.equal(run(tiny, latent, beta=1.0), source)
    assert torch.equal(run(tiny, latent, prompt=NEUTRAL, beta=0.0), source)
    assert not torch.equal(run(tiny, latent), source)


def test_the_text_direction_is_that_of_the_means_over_templates(tiny, towards):
    templates = directions.read_templates()
    assert 15 <= len(templates) <= 25 and len(set(templates)) == len(templates)
    means = []
    for text in (NEUTRAL, PROMPT):
        found = tiny.clip.text_features([template.format(text) for template in templates])
        means.append(F.normalize(found.mean(dim=0), dim=0))
    torch.testing.assert_close(towards, F.normalize(means[1] - means[0], dim=0).detach(), atol=1e-5, rtol=0)
    assert towards.norm().item() == pytest.approx(1, abs=1e-5)
    own = directions.text_direction(tiny.clip, NEUTRAL, PROMPT, "{}\n\n the hat of {} ")
    assert not torch.equal(own, towards)


def test_the_edit_is_the_equation_of_the_specification(tiny, latent, towards):
    """Section 4d: r thresholded, over its maximum, times the deviation; nothing in ToRGB."""
    relevance, generator = tiny.relevance, tiny.generator
    r = relevance.relevance @ towards
    r[r.abs() < 0.15] = 0
    full = torch.zeros(len(relevance.std))
    full[latents.editable_channels(generator)] = r / r.abs().max()
    codes = latents.join_channels(latent.to_s_codes(generator)) + 2.5 * full * relevance.std
    expected = generator.render(latents.split_channels(codes, generator)).detach()
    torch.testing.assert_close(run(tiny, latent, alpha=2.5, beta=0.15), expected)
    found = directions.direction(generator, relevance, towards, 0.15)
    assert found.count == int((r != 0).sum()) == sum(found.counts)
    assert all(
        count == 0 for layer, count in zip(generator.layers, found.counts, strict=True) if layer.is_rgb
    )


def test_fewer_channels_as_beta_rises_and_more_change_as_alpha_does(tiny, latent, source, towards):
    counts = [
        directions.direction(tiny.generator, tiny.relevance, towards, b).count for b in (0, 0.1, 0.2, 0.3, 1)
    ]
    assert counts == sorted(counts, reverse=True) and counts[0] == 48 and counts[-1] == 0
    assert counts[1] > counts[2] > 0
    moved = [(run(tiny, latent, alpha=alpha) - source).abs().mean().item() for alpha in (0.0, 1.0, 2.0, 4.0)]
    assert moved == sorted(moved) and moved[1] > 0


@pytest.mark.parametrize("wanted", [1, 7, 48])
def test_beta_is_chosen_for_a_wanted_count(tiny, towards, wanted):
    beta = directions.beta_for(tiny.relevance, towards, wanted)
    assert directions.direction(tiny.generator, tiny.relevance, towards, beta).count == wanted
    with pytest.raises(ValueError, match="Channels: 49 is not a number from 1 to 48"):
        directions.beta_for(tiny.relevance, towards, 49)


def test_layers_that_are_left_out_are_not_changed(tiny, towards):
    whole = directions.direction(tiny.generator, tiny.relevance, towards, 0.0)
    some = directions.direction(tiny.generator, tiny.relevance, towards, 0.0, "2-3, 5")
    assert [k for k, count in enumerate(some.counts) if count] == [2, 3, 5]
    assert [some.counts[k] for k in (2, 3, 5)] == [whole.counts[k] for k in (2, 3, 5)]
    moved = some.offset != 0
    assert torch.equal(some.offset[moved], whole.offset[moved])
    assert directions.read_layers("", tiny.generator) == set(range(11))
    for text in ("eleven", "11", "0-11", "-1", "3-"):
        with pytest.raises(ValueError, match=f"Layers: '{text}' is no layer from 0 to 10"):
            directions.read_layers(text, tiny.generator)


def test_a_batch_of_alpha_and_beta_equals_its_edits(tiny, latent):
    alphas, betas = [0.0, 3.0, 3.0, -2.0], [0.1, 0.1, 0.2, 1.0]
    batch = last(
        edit(tiny.generator, tiny.clip, tiny.relevance, latent, NEUTRAL, PROMPT, alpha=alphas, beta=betas)
    )
    alone = [run(tiny, latent, alpha=a, beta=b) for a, b in zip(alphas, betas, strict=True)]
    torch.testing.assert_close(batch, torch.cat(alone), rtol=0, atol=1e-5)
    many = latents.from_seed(tiny.generator, seed=[3, 4])
    torch.testing.assert_close(run(tiny, many)[:1], run(tiny, latent), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="2 latents and 4 settings"):
        run(tiny, many, alpha=alphas)


def test_a_batch_computes_once_what_none_of_its_edits_changes(tiny, latent, source):
    """The layers before the first edited one see one image, and all of them where nothing is edited."""
    seen = []
    hooks = [
        tiny.generator.network.get_submodule(layer.name).register_forward_hook(
            lambda _, __, image: seen.append(len(image))
        )
        for layer in tiny.generator.layers
    ]
    alphas, late = [1.0, 2.0, 3.0], {"beta": 0.05, "layers": "5-10"}
    batch, rows = run(tiny, latent, alpha=alphas, **late), seen.copy()
    seen.clear()
    still, none = run(tiny, latent, alpha=alphas, beta=1.0), seen.copy()
    for hook in hooks:
        hook.remove()
    assert rows == [1] * 5 + [3] * 6 and none == [1] * 11
    alone = [run(tiny, latent, alpha=alpha, **late) for alpha in alphas]
    torch.testing.assert_close(batch, torch.cat(alone), rtol=0, atol=1e-5)
    assert torch.equal(still, source.expand(3, -1, -1, -1))


def test_a_chain_of_edits_is_data(tiny, latent):
    first = DirectionEdit(NEUTRAL, PROMPT, 2.0, 0.1)
    second = DirectionEdit("a person", "a person with glasses", -1.5, 0.2, "0-5")
    text = directions.write_chain([first, second])
    assert directions.read_chain(text) == (first, second)
    assert directions.read_chain("") == () and directions.write_chain([]) == ""
    third = {"neutral": "a woman", "prompt": "a woman with a hat", "alpha": 1.0, "beta": 0.1}
    found = run(tiny, latent, **third, accepted=text)
    given = tiny.generator, tiny.clip, tiny.relevance
    by_steps = latent
    for one in (first, second, DirectionEdit(**third)):
        by_steps = directions.chained_latent(*given, by_steps, [one])
    torch.testing.assert_close(found, by_steps.image(tiny.generator), rtol=0, atol=1e-5)
    undone = directions.chained_latent(*given, latent, [first])
    assert torch.equal(undone.image(tiny.generator), run(tiny, latent, alpha=2.0, beta=0.1))


def test_a_chain_from_before_the_prompt_had_its_name_is_read():
    former = '[{"neutral": "a man", "target": "a sad man", "alpha": 2.0, "beta": 0.1, "layers": "0-3"}]'
    assert directions.read_chain(former) == (DirectionEdit("a man", "a sad man", 2.0, 0.1, "0-3"),)


@pytest.mark.parametrize("text", ["[", "{}", "[1]", '[{"neutral": "a"}]', '[{"neutral": 1, "prompt": "a", '
                                  '"alpha": 1, "beta": 1}]', '[{"neutral": "a", "prompt": "b", "alpha": NaN, '
                                  '"beta": 1}]', "[" * 100_000])  # fmt: skip
def test_a_text_that_is_no_chain_is_refused(text):
    with pytest.raises(ValueError, match="not a chain of edits"):
        directions.read_chain(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"neutral": " "}, "neutral text is empty"),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "hat " * 40}, "at most 30"),
        ({"templates": "a photo"}, "every line needs {}"),
        ({"layers": "99"}, "Layers: '99'"),
        ({"accepted": "x"}, "Accepted edits"),
    ],
)
def test_a_mistake_is_one_sentence(tiny, latent, changes, says):
    given = {"neutral": NEUTRAL, "prompt": PROMPT} | changes
    with pytest.raises(ValueError, match=says):
        run(tiny, latent, **given)


def test_relevance_of_another_generator_or_clip_is_refused(tiny, latent, towards):
    known = tiny.relevance
    fewer = replace(known, relevance=known.relevance[1:])
    with pytest.raises(ValueError, match="another generator"):
        directions.direction(tiny.generator, fewer, towards, 0.1)
    with pytest.raises(ValueError, match="another CLIP"):
        directions.direction(tiny.generator, known, towards[1:], 0.1)


def test_zero_rows_are_never_edited(tiny, towards):
    rows = tiny.relevance.relevance.clone()
    rows[8:] = 0
    found = directions.direction(tiny.generator, replace(tiny.relevance, relevance=rows), towards, 0.01)
    assert 0 < found.count <= 8 and found.counts[0] == found.count
    none = directions.direction(tiny.generator, replace(tiny.relevance, relevance=rows * 0), towards, 0.0)
    assert none.count == 0 and not none.offset.isnan().any()


def test_fit_measures_and_leaves_the_models_as_they_are(tiny, latent):
    knobs = {"samples": 1, "count": 10, "pinning": "none"}
    with untouched(tiny):
        found = last(directions.fit(tiny.generator, tiny.clip, **knobs))
        steps = directions.fit(tiny.generator, tiny.clip, **knobs)
        next(steps)
        steps.close()
        given = tiny.generator, tiny.clip, found, latent, NEUTRAL, PROMPT
        image = last(edit(*given, alpha=3.0, beta=0.05))
    assert not torch.equal(image, latent.image(tiny.generator))


def test_texts_are_encoded_once(tiny, latent, monkeypatch):
    run(tiny, latent)

    def never(self, texts):
        raise AssertionError(texts)

    monkeypatch.setattr(type(tiny.clip), "text_features", never)
    run(tiny, latent, alpha=1.0)


@pytest.mark.parametrize("text", ["9" * 6000, "0-" + "9" * 6000, "x" * 9000, "11-0"])
def test_no_text_of_layers_is_more_than_one_short_sentence(tiny, text):
    with pytest.raises(ValueError, match=r"^Layers: .* is no layer from 0 to 10") as refusal:
        directions.read_layers(text, tiny.generator)
    assert len(str(refusal.value)) < 200


def test_more_templates_or_accepted_edits_than_anybody_waits_for_are_refused():
    with pytest.raises(ValueError, match="Templates: 201 lines are too many; use at most 200"):
        directions.read_templates("a {}\n" * 201)
    one = directions.DirectionEdit("a", "b", 1.0, 0.1)
    with pytest.raises(ValueError, match="Accepted edits: 101 are too many; use at most 100"):
        directions.read_chain(directions.write_chain([one] * 101))
