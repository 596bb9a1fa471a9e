"""Metrics of whole sets against closed forms, and what the extras say before they fetch anything."""

import math

import pytest
import torch

from textedit_core import metrics
from textedit_core.metrics import extras


def normal(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dim: int, seed: int = 5) -> torch.Tensor:
    return torch.linalg.qr(normal(dim, dim, seed))[0]


def test_the_distance_of_gaussians_that_share_their_axes_has_a_closed_form():
    q, (a, b) = rotation(6), normal(2, 6, 7).square() + 0.1
    mean_a, mean_b = normal(1, 6)[0], normal(1, 6, 1)[0]
    expected = ((mean_a - mean_b) ** 2).sum() + ((a.sqrt() - b.sqrt()) ** 2).sum()
    found = metrics.frechet_of_gaussians(mean_a, q @ a.diag() @ q.T, mean_b, q @ b.diag() @ q.T)
    assert found == pytest.approx(expected.item(), rel=1e-10)


def test_in_one_dimension_it_is_the_difference_of_means_and_spreads():
    one = torch.ones(1)
    assert metrics.frechet_of_gaussians(one, 4 * one[None], 3 * one, 9 * one[None]) == pytest.approx(4 + 1)


def test_covariances_with_other_axes_agree_with_the_root_of_their_product():
    a, b = (torch.cov(normal(40, 4, seed).T @ torch.diag(torch.ones(40).double())) for seed in (0, 1))
    values = torch.linalg.eigvals(a @ b)
    expected = (a.trace() + b.trace() - 2 * values.sqrt().sum().real).item()
    mean = torch.zeros(4)
    assert metrics.frechet_of_gaussians(mean, a, mean, b) == pytest.approx(expected, rel=1e-9)


def test_a_set_has_no_distance_to_itself_also_when_its_covariance_is_singular():
    for features in (normal(200, 8), normal(5, 64), torch.ones(3, 8)):
        scale = features.var().item() + 1
        assert metrics.frechet_distance(features, features) == pytest.approx(0, abs=1e-6 * scale * 64)


def test_singular_covariances_of_points_on_two_lines_are_exact():
    line = torch.tensor([-1.0, 0, 1])
    a, b = torch.zeros(3, 5), torch.zeros(3, 5)
    a[:, 0], b[:, 1] = line, line  # variance 1 along different axes: nothing is shared
    assert metrics.frechet_distance(a, b) == pytest.approx(2)
    assert metrics.frechet_distance(a, a + 2) == pytest.approx(5 * 4)


def test_the_distance_is_symmetric_and_does_not_see_rotations_or_order():
    a, b, q = normal(50, 6), 2 * normal(60, 6, 1) + 0.3, rotation(6)
    found = metrics.frechet_distance(a, b)
    assert metrics.frechet_distance(b, a) == pytest.approx(found, rel=1e-9)
    assert metrics.frechet_distance(a @ q, b.flip(0) @ q) == pytest.approx(found, rel=1e-9)


def test_the_distance_grows_with_noise():
    a, grain = normal(300, 8), normal(300, 8, 1)
    found = [metrics.frechet_distance(a, a + s * grain) for s in (0, 0.2, 0.5, 1)]
    assert found == sorted(found) and found[1] > found[0] + 1e-4


def test_one_item_is_no_set():
    with pytest.raises(ValueError, match="two items"):
        metrics.frechet_distance(normal(1, 4), normal(9, 4))


def test_a_mixture_of_one_component_is_the_gaussian_of_the_items():
    x = normal(100, 3) * torch.tensor([1.0, 2.0, 0.5])
    mixture = metrics.fit_mixture(x, 1, floor=0)
    torch.testing.assert_close(mixture.means[0], x.mean(dim=0))
    covariance = torch.cov(x.T, correction=0)
    torch.testing.assert_close(mixture.factors[0] @ mixture.factors[0].T, covariance)
    density = torch.distributions.MultivariateNormal(x.mean(dim=0), covariance).log_prob(x)
    torch.testing.assert_close(mixture.log_likelihood(x), density)


def test_the_mixture_finds_the_groups_it_was_drawn_from():
    centres = torch.tensor([[0.0, 0], [12, 0], [0, 12]]).double()
    sizes = (100, 200, 300)
    x = torch.cat([normal(n, 2, n) + centre for n, centre in zip(sizes, centres, strict=True)])
    mixture = metrics.fit_mixture(x, 3)
    order = [int((mixture.means - centre).norm(dim=1).argmin()) for centre in centres]
    assert sorted(order) == [0, 1, 2]
    assert mixture.weights[order].tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=0.01)
    assert (mixture.means[order] - centres).norm(dim=1).max() < 0.3


def test_the_density_is_a_density():
    mixture = metrics.fit_mixture(normal(60, 1), 4, floor=1e-3)
    grid = torch.linspace(-12, 12, 4801, dtype=torch.float64)[:, None]
    assert mixture.log_likelihood(grid).exp().sum().item() * 0.005 == pytest.approx(1, abs=1e-3)


def test_a_seed_names_a_mixture_and_more_rounds_fit_better():
    x = torch.cat([normal(80, 3), 3 + 0.3 * normal(80, 3, 1), normal(80, 3, 2) - 4])
    one, same = (metrics.fit_mixture(x, 20, floor=1e-2, seed=1) for _ in range(2))
    assert torch.equal(one.means, same.means) and torch.equal(one.factors, same.factors)
    rough = metrics.fit_mixture(x, 20, floor=1e-2, iterations=1, seed=1)
    assert one.log_likelihood(x).mean() > rough.log_likelihood(x).mean()


@pytest.mark.parametrize(
    ("count", "width", "components"), [(1000, 128, 3), (255, 128, 0), (256, 128, 1), (90_000, 512, 20)]
)
def test_a_component_needs_twice_as_many_items_as_dimensions(count, width, components):
    assert metrics.components_for(torch.empty(count, width)) == components


def test_quality_counts_likelihoods_in_units_of_300_between_0_and_100():
    mixture = metrics.fit_mixture(1e-3 * normal(400, 60), 20, floor=1e-6)
    near, far = 1e-3 * normal(50, 60, 9), torch.ones(50, 60)
    expected = (mixture.log_likelihood(near) / 300).clamp(0, 1).mean().item() * 100
    assert metrics.quality_score(mixture, near) == pytest.approx(expected)
    assert 0 < expected <= 100 and metrics.quality_score(mixture, far) == 0
    noisy = [metrics.quality_score(mixture, near + s * normal(50, 60, 8)) for s in (0, 2e-3, 5e-3)]
    assert noisy[0] > noisy[1] > noisy[2]


def test_identical_items_and_too_few_are_handled():
    assert math.isfinite(metrics.fit_mixture(torch.ones(30, 4), 20).log_likelihood(torch.ones(1, 4)))
    with pytest.raises(ValueError, match="20 components cannot be fitted to 19 items"):
        metrics.fit_mixture(normal(19, 4))


def test_the_extras_say_what_they_would_fetch(monkeypatch, tmp_path):
    monkeypatch.setattr(extras.torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(ValueError, match=r"facebook/dino-vitb8 \(340 MB, Apache 2.0"):
        extras.load_dino()
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install lpips"):
        extras.load_lpips()
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match=r"squeezenet1_1 \(5 MB, BSD"):
        extras.load_lpips()


def test_dino_structure_is_of_the_last_layers_keys():
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8), add_pooling_layer=False).eval()
    a = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert extras.dino_structure_distance(vit, a, a).tolist() == [0, 0]
    found = [extras.dino_structure_distance(vit, a, b).mean().item() for b in (a * 0.9, -a)]
    assert 0 < found[0] < found[1]
    published = extras.dino_structure_distance(vit, a, -a, as_published=True).mean().item()
    assert published != pytest.approx(found[1])
    assert not any(module._forward_hooks for module in vit.modules())
    states = []
    layers = [one for name, one in vit.named_modules() if name.endswith(("k_proj", ".key"))]
    with torch.no_grad():
        handle = layers[-1].register_forward_pre_hook(lambda module, given: states.append(given[0]))
        unit = (a + 1) / 2
        mean, std = (torch.tensor(one).view(3, 1, 1) for one in (extras.DINO_MEAN, extras.DINO_STD))
        vit((unit - mean) / std)
        handle.remove()
        keys = torch.nn.functional.normalize(layers[-1](states[0]), dim=-1)
    first, second = keys @ keys.transpose(1, 2)
    expected = (first - second).square().mean().item()
    other = extras.dino_structure_distance(vit, a[:1], a[1:]).item()
    assert other == pytest.approx(expected, rel=1e-4)
