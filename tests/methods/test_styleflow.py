"""StyleFlow: what an edit asks the flow for, bands, chains, batches, mistakes, and what it does on toon."""

from dataclasses import replace

import pytest
import torch

from tests.methods.style import untouched
from textedit_core.methods import styleflow as method
from textedit_core.models.style import latents
from textedit_core.models.style.flows import read_attributes
from textedit_core.models.style.latents import Latent
from textedit_core.steps import last

RK4 = {"solver": "rk4", "steps": 6}
WAY = ("rk4", 6, 1e-5)
KNOBS = dict(zip(("solver", "steps", "tolerance"), WAY, strict=True))


@pytest.fixture(scope="module")
def latent(tiny):
    return latents.from_seed(tiny.generator, seed=3)


@pytest.fixture(scope="module")
def own(tiny):
    """A code with another row in each layer, as a projection gives."""
    rows = latents.from_seed(tiny.generator, seed=list(range(tiny.generator.n_latent)), truncation=1.0)
    return Latent(rows.w_plus[:, 0][None])


def run(models, latent, prompt="", **knobs):
    given = models.generator, models.clip, models.flow, latent, prompt
    return last(method.edit(*given, **RK4 | knobs))


def code(models, latent, attributes="", strength=1.0, first=0, last_one=17, accepted="", prompt=""):
    given = models.generator, models.clip, models.flow, latent, prompt
    return method.edited_latent(*given, attributes, strength, first, last_one, accepted, **KNOBS).w_plus


def by_the_equations(models, latent, wanted_of):
    """Each layer's code through the flow and back, on its own; `wanted_of` changes what CLIP has read."""
    image = latent.image(models.generator)
    have = read_attributes(models.clip, image, models.flow.attributes)
    wanted = wanted_of(have.clone())
    network, rows = models.flow.network, []
    for row in latent.w_plus[0].split(1):
        rows.append(network.to_code(network.to_gaussian(row, have, *WAY), wanted, *WAY))
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("strength", [1.0, 0.4, -0.7, 2.0])
def test_every_layer_goes_to_z_with_what_it_has_and_back_with_what_is_asked(tiny, own, strength):
    def wanted_of(have):
        have[0, 0] += strength * ((1 - have[0, 0]) if strength > 0 else have[0, 0])
        return have

    with untouched(tiny):
        found = code(tiny, own, "smiling", strength)
    wanted = by_the_equations(tiny, own, wanted_of)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert (found - own.w_plus).abs().max() > 1e-3
    assert torch.equal(
        run(tiny, own, attributes="smiling", strength=strength), Latent(found).image(tiny.generator)
    )


def test_asking_for_what_there_is_is_the_identity(tiny, own):
    same = by_the_equations(tiny, own, lambda have: have)
    torch.testing.assert_close(same, own.w_plus, rtol=0, atol=1e-4)
    for nothing in ({"strength": 0.0}, {"attributes": "smiling 0"}):
        assert torch.equal(run(tiny, own, **{"attributes": "smiling"} | nothing), own.image(tiny.generator))


def test_layers_outside_of_the_band_are_the_sources(tiny, own):
    def moved(*given):
        return (code(tiny, own, *given) != own.w_plus).any(dim=2)[0].nonzero()[:, 0].tolist()

    assert tiny.generator.n_latent == 8
    assert moved("smiling") == list(range(8))
    assert moved("red hat") == [2, 3, 4], "its own band"
    assert moved("red hat", 1.0, 3, 17) == [3, 4] and moved("smiling", 1.0, 6, 7) == [6, 7]
    assert moved("red hat, smiling") == list(range(8))
    assert moved("red hat, smiling 0") == [2, 3, 4], "a band of what does not change is none"


def test_an_accepted_edit_can_be_taken_back(tiny, own):
    """What was asked for counts as what is there: asked for the source's own value, the source comes back."""
    read = read_attributes(tiny.clip, own.image(tiny.generator), tiny.flow.attributes)[0, 0].item()
    asked = read + 0.8 * (1 - read)
    back = read / asked - 1
    found = code(tiny, own, f"smiling {back}", accepted="smiling 0.8")
    torch.testing.assert_close(found, own.w_plus, rtol=0, atol=1e-4)
    assert (code(tiny, own, "smiling 0.8") - own.w_plus).abs().max() > 1e-3


def test_accepted_edits_go_on_from_the_result(tiny, latent):
    first = Latent(code(tiny, latent, "smiling 0.8"))
    second = code(tiny, latent, "red hat", accepted="smiling 0.8")
    assert torch.equal(second[:, :2], first.w_plus[:, :2]), "outside of the band of the second"
    assert (second[:, 2:5] != first.w_plus[:, 2:5]).any()
    torch.testing.assert_close(code(tiny, latent, "", accepted="smiling 0.8"), first.w_plus)
    torch.testing.assert_close(code(tiny, latent, "", accepted="smiling 0.8; red hat"), second)
    before = (code(tiny, latent, "smiling 0.5", accepted=accepted) for accepted in ("red hat", "red hat -1"))
    assert not torch.equal(*before)


def test_a_prompt_is_an_attribute_too(tiny, latent):
    wanted = code(tiny, latent, "smiling")
    assert torch.equal(code(tiny, latent, prompt="a smiling  man"), wanted)
    assert torch.equal(code(tiny, latent, prompt="smiling"), wanted)
    assert torch.equal(code(tiny, latent, "smiling 0.5", prompt="smiling"), code(tiny, latent, "smiling 0.5"))


def test_a_batch_is_its_rows(tiny, own):
    knobs = {
        "attributes": ["smiling", "red hat", "smiling, red hat -1"],
        "strength": [0.5, -1.0, 2.0],
        "first_layer": [0, 2, 1],
        "last_layer": [17, 3, 6],
    }
    together = run(tiny, own, **knobs)
    for row in range(3):
        alone = run(tiny, own, **{name: values[row] for name, values in knobs.items()})
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)
    both = latents.from_seed(tiny.generator, seed=[3, 4])
    pair = run(tiny, both, attributes="smiling", strength=[1.0, 1.0])
    assert torch.equal(run(tiny, both, attributes="smiling"), pair)
    assert len(run(tiny, both, attributes="smiling", accepted="red hat")) == 2
    for row, seed in enumerate((3, 4)):
        alone = run(tiny, latents.from_seed(tiny.generator, seed=seed), attributes="smiling")
        torch.testing.assert_close(pair[row : row + 1], alone, rtol=0, atol=1e-4)


def test_solver_steps_and_tolerance_are_alive(tiny, own):
    fine = run(tiny, own, attributes="smiling", solver="dopri5", tolerance=1e-7)
    rough = run(tiny, own, attributes="smiling", solver="dopri5", tolerance=1e-1)
    one, many = (run(tiny, own, attributes="smiling", steps=steps) for steps in (1, 20))
    assert not torch.equal(fine, rough) and not torch.equal(one, many)
    assert (many - fine).abs().max() < (one - fine).abs().max()
    torch.testing.assert_close(many, fine, rtol=0, atol=1e-3)


def test_amounts_are_read_and_written(tiny):
    read = method.read_amounts(tiny.flow, " smiling,red hat -0.5 ,")
    assert read == {"smiling": 1.0, "red hat": -0.5}
    assert method.read_amounts(tiny.flow, method.write_amounts(read | {"smiling": 0.25})) == {
        "smiling": 0.25,
        "red hat": -0.5,
    }
    assert method.write_amounts({"smiling": 0.0}) == ""
    assert method.read_accepted(tiny.flow, "smiling; ;red hat 2") == [{"smiling": 1.0}, {"red hat": 2.0}]


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({}, "Attributes: name one or more of smiling, red hat."),
        (
            {"attributes": "laughing 1"},
            "Attributes: this flow has no attribute 'laughing'; it has smiling, red",
        ),
        ({"attributes": "smiling 9"}, "Attributes: smiling 9 is too far; use amounts from -3 to 3."),
        ({"attributes": "smiling, smiling 2"}, "Attributes: 'smiling' is there twice"),
        (
            {"prompt": "a sad man"},
            "Prompt: this flow has no attribute 'a sad man'; it has a smiling man, a man",
        ),
        ({"accepted": "sad"}, "Accepted edits: this flow has no attribute 'sad'"),
        (
            {"attributes": "smiling", "first_layer": 8},
            "First layer: 8 is not there; W\\+ has the layers 0 to 7",
        ),
        (
            {"attributes": "smiling", "first_layer": 3, "last_layer": 2},
            "First layer: 3 is after the last layer",
        ),
    ],
)
def test_mistakes_are_a_sentence(tiny, latent, knobs, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        run(tiny, latent, **knobs)


def test_a_flow_of_another_generator_is_a_sentence(tiny, toon, latent):
    given = tiny.generator, tiny.clip, toon.flow, latent
    with pytest.raises(ValueError, match=r"^The flow belongs to another generator: choose models"):
        last(method.edit(*given, attributes="sunglasses"))
    foreign = replace(latent, w_plus=latent.w_plus[:, :5])
    with pytest.raises(ValueError, match="belongs to another generator"):
        run(tiny, foreign, attributes="smiling")


# --- on the shipped models ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples(toon):
    return latents.from_seed(toon.generator, seed=list(range(8)), truncation=1.0)


def test_on_toon_more_strength_reads_as_more_of_the_attribute(toon, samples):
    for place, name in enumerate(toon.flow.names):

        def read(strength, name=name, place=place, **knobs):
            image = run(toon, samples, attributes=name, strength=strength, steps=8, **knobs)
            return read_attributes(toon.clip, image, toon.flow.attributes)[:, place].mean().item()

        before, asked, more = (read(strength) for strength in (0.0, 1.0, 1.5))
        assert before + 0.1 < asked < more, name
        assert read(-1.0, accepted=f"{name} 1.5") < more - 0.1, name


def test_on_toon_forth_and_back_is_the_identity(toon, samples):
    network, rows = toon.flow.network, samples.w_plus[:, 0]
    have = read_attributes(toon.clip, samples.image(toon.generator), toon.flow.attributes)
    with torch.no_grad():
        for way, most in ((("rk4", 8, 0.0), 1e-3), (("dopri5", 1, 1e-5), 1e-3)):
            back = network.to_code(network.to_gaussian(rows, have, *way), have, *way)
            torch.testing.assert_close(back, rows, rtol=0, atol=most)
