"""Training of the toon generator, its mapping, e4e and identity: what each must learn, on a tiny scale."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.scenes import values_of_scenes
from textedit_core.models.style import latents
from textedit_core.toon import latent_world
from textedit_core.toon.portraits import face_weights, held_out_portraits, training_portraits
from textedit_core.toon.world import Scene, scene_of_seed
from textedit_core.training import encoder, generator, identity, loop, mapping, style_scores
from textedit_core.training.loop import Budget

SIZE = 16


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    return held_out_portraits(8, SIZE, tmp_path_factory.mktemp("data"), workers=1)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(loop, "WARMUP_STEPS", 5)
    monkeypatch.setitem(generator.CHANNELS, SIZE, {4: 16, 8: 16, 16: 8})
    shape = {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 16), "input_size": SIZE}
    monkeypatch.setattr(encoder, "SHAPE", encoder.SHAPE | shape)
    monkeypatch.setattr(identity, "SHAPE", identity.SHAPE | {"size": 16, "widths": (8, 8, 16, 16)})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def contest(tmp_path_factory):
    """A mapping that has learned a little."""
    return mapping.fit(tmp_path_factory.mktemp("mapping"), Budget(150), seed=0, device="cpu")


@pytest.fixture
def network(contest):
    return generator.build(SIZE, contest.network())


def named(network: nn.Module) -> float:
    """Share of attributes that the mapping gets right on new latents."""
    z = torch.randn(2000, latent_world.STYLE_DIM, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return (latent_world.read_code(network(z)) == latent_world.values_of(z)).float().mean().item()


def test_the_mapping_learns_the_contest_and_is_a_stylegan_mapping(contest):
    assert named(contest) > max(0.95, named(mapping.Contest()))
    z = torch.randn(50, latent_world.STYLE_DIM, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        assert torch.allclose(contest.network()(z), contest(z), atol=1e-4)


def test_what_the_generator_learns_from_names_the_scene(network):
    values = values_of_scenes([scene_of_seed(seed) for seed in range(50)])
    w = generator.between(network, values, torch.Generator().manual_seed(0))
    code, mapped = (
        latent_world.code(values),
        network.map(latent_world.draw(values, torch.Generator().manual_seed(0))),
    )
    share = ((w - code) * (mapped - code)).sum(1) / (mapped - code).square().sum(1)
    assert torch.allclose(code.lerp(mapped, share[:, None]), w, atol=1e-4)
    assert share.min() >= 0 and share.max() <= 1 and share.std() > 0.2


def test_the_generator_learns_a_few_scenes_by_heart(portraits, network, tmp_path):
    """The means of eight portraits are at 12 dB; the noise and the mapping stay as they are."""
    ended = generator.fit(portraits, network.style, SIZE, tmp_path, Budget(150), seed=0, device="cpu")
    code = latent_world.code(torch.from_numpy(portraits.values).long())
    with torch.no_grad():
        drawn = ended(ended.widen(code)).clamp(-1, 1)
    image = portraits.batch(np.arange(8))
    flat = 10 * torch.log10(4 / (image.mean(0) - image).square().mean())
    assert 10 * torch.log10(4 / (drawn - image).square().mean()) > flat + 4
    assert all(not weight.any() for name, weight in ended.named_parameters() if "noise" in name)
    assert all(
        torch.equal(a, b) for a, b in zip(ended.style.parameters(), network.style.parameters(), strict=True)
    )


def test_the_images_grow_with_what_the_generator_has_seen(network, portraits, monkeypatch):
    growing = generator.Growing(network)
    monkeypatch.setattr(generator, "FIRST_SIDE", 4)
    sides = []
    for seen in (0, generator.GROWTH - 1, generator.GROWTH, 2 * generator.GROWTH, 10**9):
        growing.seen.fill_(seen)
        sides.append(growing.side())
    assert sides == [4, 4, 8, 16, 16]
    w_plus = network.widen(latent_world.code(torch.from_numpy(portraits.values).long()))
    small = generator.drawn_at(network, w_plus, 8)
    whole = generator.drawn_at(network, w_plus, SIZE)
    assert [one.shape[-1] for one in whole] == [4, 8, 16]
    assert all(torch.equal(a, b) for a, b in zip(small, whole, strict=False))
    assert torch.equal(whole[-1], network(w_plus))


def test_the_loss_sees_every_resolution(network, portraits):
    w_plus = network.widen(latent_world.code(torch.from_numpy(portraits.values).long()))
    image, face = portraits.batch(np.arange(8)), face_weights(SIZE, "cpu")
    found = generator.pyramid_loss(network, w_plus, image, face, SIZE)
    last = generator.picture_loss(network(w_plus), image, face)
    assert found["psnr"] == last["psnr"] and found["loss"] > last["loss"]
    assert generator.picture_loss(image, image, face)["loss"] == 0


def test_the_encoder_comes_to_name_what_it_sees(portraits, network, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "BATCH", 8)
    code = latent_world.code(torch.from_numpy(portraits.values).long())
    begun = encoder.build(SIZE)
    assert torch.allclose(begun.latent_avg[3], latent_world.mean_code()[0])
    ended = encoder.fit(portraits, network, tmp_path, Budget(60), seed=0, device="cpu")
    with torch.no_grad():
        found = ended.encode(portraits.batch(np.arange(8)))
    guess = (latent_world.mean_code()[:, None] - code[:, None]).square().mean()
    assert found.shape == (8, network.n_latent, latent_world.STYLE_DIM)
    assert (found - code[:, None]).square().mean() < 0.8 * guess


def test_the_encoder_learns_portraits_that_no_code_names(portraits, network, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder, "BATCH", 4)
    others = training_portraits(8, SIZE, tmp_path / "data", workers=1, world="open")
    for name, weight in network.named_parameters():
        if "rgb" in name and name.endswith("conv.weight"):
            nn.init.normal_(weight, std=0.3)  # untrained it draws gray, whatever the code

    def error(name: str, more) -> float:
        folder = tmp_path / name
        found = encoder.fit(portraits, network, folder, Budget(60), 0, "cpu", open_portraits=more)
        image = others.batch(np.arange(8))
        with torch.no_grad():
            return float((network(found.encode(image)) - image).square().mean())

    assert error("both", others) < 0.95 * error("closed", None)


def test_the_delta_loss_is_the_variance_of_the_layers():
    assert latents.spread(torch.ones(2, 3, 4)) == 0
    apart = torch.tensor([-1.0, 1.0])[None, :, None].expand(1, 2, 4)
    assert latents.spread(apart) == 1


def test_a_person_stays_the_same_on_another_occasion():
    scene, other = Scene(mood="sad", top="afro"), scene_of_seed(4)
    again = identity.same_person(scene, other)
    assert all(getattr(again, name) == getattr(scene, name) for name in identity.PERSON)
    assert all(getattr(again, name) == getattr(other, name) for name in identity.PASSING)
    rng = np.random.default_rng(0)
    for bald in (Scene(top="bald"), scene):
        changed = {identity.another_person(bald, rng) for _ in range(60)}
        for one in changed:
            differs = [name for name in identity.PERSON if getattr(one, name) != getattr(bald, name)]
            assert len(differs) == 1 and bald.visible(differs[0])
        assert len(changed) > 10


def test_identity_tells_persons_apart_after_a_little_training(portraits, tmp_path, monkeypatch):
    monkeypatch.setattr(identity, "BATCH", 8)
    network = identity.fit(portraits, tmp_path, Budget(40), seed=0, device="cpu")
    persons = identity.persons_of(portraits)
    assert len(persons.unique(dim=0)) == 8
    with torch.no_grad():
        found = network.embed(portraits.batch(np.arange(8)))
    likeness = found @ found.T - torch.eye(8)
    assert torch.allclose(found.norm(dim=1), torch.ones(8), atol=1e-5)
    assert likeness.max() < 0.9, "eight persons, each by himself"
    prototypes = identity.Recognition().prototypes(persons)
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(8), atol=1e-5)


def test_the_area_under_the_curve():
    low, high = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([3.0, 4.0])
    assert style_scores.above(high, low) == 1 and style_scores.above(low, high) == 0
    assert style_scores.above(low, low) == pytest.approx(0.5)
    assert style_scores.above(torch.tensor([1.0]), low) == pytest.approx(0.5)
