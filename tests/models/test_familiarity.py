"""Whether a picture is like those that models were trained on: the distance, and the shipped threshold."""

import numpy as np
import pytest
import torch

from textedit_core.models import familiarity, zoo
from textedit_core.toon.render import render
from textedit_core.toon.world import sample
from textedit_core.training import bundle


def pictures(clip, count: int, seed: int, spread: float = 0.1) -> torch.Tensor:
    """Pictures (count,3,S,S) around one of this clip's size."""
    draw = torch.Generator().manual_seed(seed)
    base = torch.rand(1, 3, clip.size, clip.size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return (base + spread * torch.randn(count, *base.shape[1:], generator=draw)).clamp(-1, 1)


def test_the_distance_is_mahalanobis_of_the_tokens_at_each_place(tiny):
    images, others = pictures(tiny.clip, 40, 1), pictures(tiny.clip, 20, 2)
    found = familiarity.fit(tiny.clip, images, others, layer=1)
    tokens = familiarity.tokens(tiny.clip, images, 1).numpy().astype(np.float64)
    mean, expected = tokens.mean(0), []
    ridge = np.mean([np.diag(np.cov(tokens[:, p].T, bias=True)) for p in range(tokens.shape[1])])
    for image in familiarity.tokens(tiny.clip, others[:3], 1).numpy():
        squares = []
        for place in range(tokens.shape[1]):
            covariance = np.cov(tokens[:, place].T, bias=True)
            covariance += familiarity.SHRINKAGE * ridge * np.eye(len(covariance))
            apart = image[place] - mean[place]
            squares.append(apart @ np.linalg.solve(covariance, apart))
        expected.append(np.sqrt(np.mean(squares)))
    assert found.distance(tiny.clip, others[:3]).tolist() == pytest.approx(expected, rel=0.02)


def test_what_is_like_the_others_is_known_and_what_is_not_is_strange(tiny):
    found = familiarity.fit(tiny.clip, pictures(tiny.clip, 60, 1), pictures(tiny.clip, 50, 2), layer=1)
    known = found.knows(tiny.clip, pictures(tiny.clip, 50, 3))
    assert sum(known) >= 40 and not any(found.knows(tiny.clip, -pictures(tiny.clip, 5, 4)))


def test_a_bundle_keeps_it_and_may_do_without(tiny, tiny_folder, tmp_path):
    assert "familiarity" not in tiny.sources
    with pytest.raises(ValueError, match="has no familiarity part"):
        _ = tiny.familiarity
    place = tmp_path / "bundle"
    place.mkdir()
    for one in tiny_folder.iterdir():
        (place / one.name).symlink_to(one)
    found = familiarity.fit(tiny.clip, pictures(tiny.clip, 40, 1), pictures(tiny.clip, 20, 2), layer=1)
    config = {"layer": found.layer, "threshold": found.threshold}
    bundle.write_network(place / "familiarity", config, {"means": found.means, "whitening": found.whitening})
    read, image = zoo.load(place).familiarity, pictures(tiny.clip, 2, 5)
    assert torch.equal(read.distance(tiny.clip, image), found.distance(tiny.clip, image))
    (place / "familiarity" / "config.json").write_text('{"layer": 1}')
    with pytest.raises(ValueError, match="lacks 'threshold'"):
        _ = zoo.load(place).familiarity


def test_the_shipped_models_know_portraits_and_no_noise(toon):
    size, rng = toon.clip.size, np.random.default_rng(7)
    drawn = np.stack([np.asarray(render(sample(rng), size)) for _ in range(12)])
    portraits = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert sum(toon.familiarity.knows(toon.clip, portraits)) >= 11
    grain = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert not any(toon.familiarity.knows(toon.clip, grain))
