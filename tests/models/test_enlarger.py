"""The enlarger: bicubic until it has learned, any size, and strict loading from a bundle's folder."""

import json

import pytest
import torch

from tests.bundles import write_tiny_bundle
from textedit_core.models import zoo
from textedit_core.models.enlarger import ROWS, Enlarger, EnlargerNetwork, bicubic
from textedit_core.noise import noise
from textedit_core.training import bundle


def stirred(**shape) -> EnlargerNetwork:
    """A network that has moved away from bicubic enlargement."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = EnlargerNetwork(**shape)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize("scale", [2, 4])
def test_an_untrained_enlarger_is_bicubic_at_any_size(scale):
    network = EnlargerNetwork(8, 2, scale)
    for height, width in ((16, 16), (9, 21)):
        picture = noise((2, 3, height, width), [0, 1]).clamp(-1, 1)
        drawn = network(picture)
        assert drawn.shape == (2, 3, scale * height, scale * width)
        assert torch.equal(drawn, bicubic(picture, scale))


def test_each_pixel_of_the_last_layer_has_its_place():
    """PixelShuffle: channel scale^2 c + scale y + x of a place is its pixel (y, x) in colour c."""
    network = EnlargerNetwork(4, 1, 2)
    with torch.no_grad():
        network.tail.bias[4 * 1 + 2 * 1 + 0] = 1  # green, second row, first column
    drawn = network(torch.zeros(1, 3, 5, 5))[0]
    wanted = torch.zeros(3, 10, 10)
    wanted[1, 1::2, 0::2] = 1
    assert torch.allclose(drawn, wanted, atol=1e-6)


def test_pictures_are_enlarged_alike_together_and_alone_and_stay_in_range():
    enlarger = Enlarger(stirred(width=8, blocks=2, scale=4), None)
    pictures = 3 * noise((ROWS + 2, 3, 12, 12), list(range(ROWS + 2)))
    together = enlarger.enlarge(pictures)
    assert together.shape[-1] == 48 and together.abs().max() <= 1
    alone = torch.cat([enlarger.enlarge(one) for one in pictures.split(1)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_bundle_may_hold_an_enlarger_and_need_not(tmp_path):
    folder = write_tiny_bundle(tmp_path / "tiny")
    without = zoo.load(folder)
    assert "enlarger" not in without.sources
    with pytest.raises(ValueError, match="has no enlarger part"):
        _ = without.enlarger
    network, shape = stirred(width=8, blocks=2, scale=4), {"width": 8, "blocks": 2, "scale": 4}
    bundle.write_network(folder / "enlarger", shape, network.state_dict())
    models = zoo.load(folder)
    picture = noise((1, 3, 16, 16), 0).clamp(-1, 1)
    wanted = network(picture).clamp(-1, 1)
    assert models.enlarger.scale == 4
    assert (models.enlarger.enlarge(picture) - wanted).abs().max() < 5e-3, "kept in half precision"
    assert not any(p.requires_grad for p in models.enlarger.network.parameters())
    assert models.enlarger.fingerprint != zoo.load(folder, dtype=torch.float64).enlarger.fingerprint
    state = torch.get_rng_state()
    _ = zoo.load(folder).enlarger
    assert torch.equal(torch.get_rng_state(), state), "loading draws no random numbers"


def test_an_enlarger_that_does_not_fit_is_one_sentence(tmp_path):
    folder = write_tiny_bundle(tmp_path / "tiny")
    shape = {"width": 8, "blocks": 2, "scale": 4}
    bundle.write_network(folder / "enlarger", shape, stirred(**shape).state_dict())
    place = folder / "enlarger" / "config.json"
    place.write_text(json.dumps(shape | {"blocks": 3}))
    with pytest.raises(ValueError, match=r"The weights of the enlarger have missing tensors: blocks\.2"):
        _ = zoo.load(folder).enlarger
    place.write_text(json.dumps(shape | {"depth": 3}))
    with pytest.raises(ValueError, match=r"The config\.json of the enlarger does not fit"):
        _ = zoo.load(folder).enlarger
