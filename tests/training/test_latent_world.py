"""Latents that name scenes: the way there and back, what is normal about them, and the codes of w."""

import pytest
import torch

from tests.training.scenes import values_of_scenes
from textedit_core.toon import latent_world
from textedit_core.toon.latent_world import SLOTS, STYLE_DIM
from textedit_core.toon.world import ATTRIBUTES, scene_of_seed

MANY = 20_000


@pytest.fixture(scope="module")
def normal():
    """Plain noise, what it names, and latents drawn for just these values."""
    chance = torch.Generator().manual_seed(3)
    values = latent_world.values_of(torch.randn(MANY, STYLE_DIM, generator=chance))
    return values, latent_world.draw(values, chance)


def test_a_latent_drawn_for_a_scene_names_it(normal):
    values, z = normal
    assert torch.equal(latent_world.values_of(z), values)
    scenes = [scene_of_seed(seed) for seed in range(100)]
    given = values_of_scenes(scenes)
    drawn = latent_world.draw(given, torch.Generator().manual_seed(0))
    assert torch.equal(latent_world.values_of(drawn), given)
    again = latent_world.draw(given, torch.Generator().manual_seed(0))
    other = latent_world.draw(given, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again) and not torch.equal(drawn, other)


def test_drawn_latents_are_standard_normal(normal):
    _, z = normal
    assert z.mean(dim=0).abs().max() < 5 / MANY**0.5
    assert (z.T.cov() - torch.eye(STYLE_DIM)).abs().max() < 8 / MANY**0.5
    assert abs((z**4).mean() - 3) < 0.05, "a normal variable's fourth moment is 3"
    turned = z @ latent_world.rotation()  # where a faulty swap would show
    assert (turned.T.cov() - torch.eye(STYLE_DIM)).abs().max() < 8 / MANY**0.5
    assert turned.mean(dim=0).abs().max() < 5 / MANY**0.5


def test_every_value_is_named_as_often_as_in_the_world(normal):
    values, _ = normal
    for column, (name, slots) in zip(values.T, SLOTS.items(), strict=True):
        count = len(ATTRIBUTES[name])
        share = torch.tensor(slots).bincount(minlength=count) / len(slots)
        found = column.bincount(minlength=count) / MANY
        assert found.min() > 0 and (found - share).abs().max() < 0.02
    shares = {name: SLOTS[name].count(0) / len(SLOTS[name]) for name in ("glasses", "beard", "pose")}
    assert shares == {"glasses": pytest.approx(3 / 7), "beard": 0.5, "pose": pytest.approx(4 / 7)}


def test_the_rotation_is_orthogonal_and_needs_room():
    turn = latent_world.rotation()
    assert torch.allclose(turn @ turn.T, torch.eye(STYLE_DIM), atol=1e-5)
    with pytest.raises(ValueError, match="at least 106 coordinates, not 64"):
        latent_world.values_of(torch.zeros(1, 64))


def test_codes_hold_the_scene_and_their_mean_is_the_centre(normal):
    values, _ = normal
    codes = latent_world.code(values)
    assert torch.equal(latent_world.read_code(codes), values)
    assert (codes == latent_world.ON).sum(dim=1).eq(len(ATTRIBUTES)).all()
    assert (codes.mean(dim=0) - latent_world.mean_code()[0]).abs().max() < 0.05
    assert torch.equal(latent_world.read_code(latent_world.mean_code()), torch.zeros(1, 11, dtype=torch.long))
