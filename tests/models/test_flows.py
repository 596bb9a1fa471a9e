"""StyleFlow's network: the equations written out in plain loops, the log volume, inverses, files."""

import json
import math
import shutil

import pytest
import torch

from textedit_core.models import zoo
from textedit_core.models.style.flows import ConcatSquash, FlowNetwork, MovingNorm, read_attributes

DIM, ATTRIBUTES, WIDTH = 4, 3, 6
RK4 = ("rk4", 40, 1e-9)


@pytest.fixture(scope="module")
def network():
    """A flow in float64 with weights by chance, that has seen a few batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = FlowNetwork(DIM, ATTRIBUTES, WIDTH, 2).double()
        with torch.no_grad():
            made.root_time.fill_(1.2)
            for norm in (made.before, made.after):
                norm.log_scale.normal_(std=0.3)
                norm.offset.normal_()
        for _ in range(3):
            made.train().before(1 + 2 * torch.randn(50, DIM, dtype=torch.float64))
        return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def given():
    """Codes and attributes."""
    rng = torch.Generator().manual_seed(2)
    w = torch.randn(5, DIM, generator=rng, dtype=torch.float64)
    return w, torch.rand(5, ATTRIBUTES, generator=rng, dtype=torch.float64)


def squash(layer, x, c):
    """One row of a layer, number by number, from the equation."""

    def linear(one, v):
        bias = one.bias.tolist() if one.bias is not None else [0.0] * one.out_features
        rows = one.weight.tolist()
        return [
            sum(a * b for a, b in zip(row, v, strict=True)) + e for row, e in zip(rows, bias, strict=True)
        ]

    parts = linear(layer.linear, x), linear(layer.gate, c), linear(layer.shift, c)
    return [y / (1 + math.exp(-g)) + b for y, g, b in zip(*parts, strict=True)]


def plain_speed(network, x, t, a):
    """f, for one row."""
    for k, layer in enumerate(network.layers):
        x = squash(layer, [math.tanh(v) for v in x] if k else x, [t, *a])
    return x


def plain_flow(network, w, a, steps):
    """z of one code by the classical Runge-Kutta method over t from 0 to T, in plain numbers."""
    before, after = network.before, network.after

    def normed(norm, v):
        numbers = norm.mean.tolist(), norm.variance.tolist(), norm.log_scale.tolist(), norm.offset.tolist()
        rows = zip(v, *numbers, strict=True)
        return [(x - m) / math.sqrt(var + 1e-4) * math.exp(s) + b for x, m, var, s, b in rows]

    def moved(x, k, h):
        return [p + h * q for p, q in zip(x, k, strict=True)]

    x, h = normed(before, w), network.root_time.item() ** 2 / steps
    for i in range(steps):
        k1 = plain_speed(network, x, i * h, a)
        k2 = plain_speed(network, moved(x, k1, h / 2), (i + 0.5) * h, a)
        k3 = plain_speed(network, moved(x, k2, h / 2), (i + 0.5) * h, a)
        k4 = plain_speed(network, moved(x, k3, h), (i + 1) * h, a)
        x = [
            p + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
            for p, a1, a2, a3, a4 in zip(x, k1, k2, k3, k4, strict=True)
        ]
    return normed(after, x)


def test_a_layer_is_gated_and_shifted_by_its_condition():
    layer = ConcatSquash(3, 2, 4).double()
    x, c = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    wanted = torch.tensor([squash(layer, *pair) for pair in zip(x.tolist(), c.tolist(), strict=True)])
    torch.testing.assert_close(layer(x, c).detach(), wanted.double())
    assert (layer(x, c) != layer(x, 2 * c)).all()


@pytest.mark.parametrize("way", [RK4, ("dopri5", 1, 1e-9)])
def test_it_is_the_equation_written_out(network, given, way):
    w, a = given
    wanted = [plain_flow(network, *pair, 40) for pair in zip(w.tolist(), a.tolist(), strict=True)]
    found = network.to_gaussian(w, a, *way)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-6)
    assert (found - network.to_gaussian(w, 1 - a, *way)).abs().max() > 0.01


def test_the_log_volume_is_that_of_the_whole_jacobian(network, given):
    """Probes along the axes, one after the other, add up to the trace."""
    (w, a), way, parts = given, ("rk4", 12, 0.0), []
    for axis in torch.eye(DIM, dtype=torch.float64):
        z, volume = network.density(w, a, axis.expand(len(w), -1), "rk4", 12)
        parts.append(volume)
    slopes = network.before.log_slope.sum() + network.after.log_slope.sum()
    volume = torch.stack(parts).sum(dim=0) - (DIM - 1) * slopes
    torch.testing.assert_close(z, network.to_gaussian(w, a, *way))
    for row in (0, 1):
        own = a[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(
            lambda x, own=own: network.to_gaussian(x[None], own, *way)[0], w[row]
        )
        wanted = jacobian.det().abs().log()
        torch.testing.assert_close(volume[row], wanted, rtol=0, atol=1e-5)


def test_gradients_by_the_adjoint_are_those_through_the_steps(network, given):
    w, a = given
    probe = torch.randn(w.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    network.requires_grad_(True)
    found = []
    for way in (("rk4", 40, 0.0), ("dopri5", 1, 1e-8)):
        z, volume = network.density(w, a, probe, *way)
        loss = (z.square().sum(dim=1) / 2 - volume).mean()
        found.append(torch.autograd.grad(loss, [network.root_time, network.layers[1].linear.weight]))
    network.requires_grad_(False)
    assert found[0][0].abs() > 1e-3
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", [RK4, ("dopri5", 1, 1e-7)])
def test_forth_and_back_is_the_identity(network, given, way):
    w, a = given
    z = network.to_gaussian(w, a, *way)
    torch.testing.assert_close(network.to_code(z, a, *way), w, rtol=0, atol=1e-5)
    assert (network.to_code(z, 1 - a, *way) - w).abs().max() > 0.01


def test_the_moving_norm_follows_batches_in_training_alone_and_has_an_inverse():
    norm, rng = MovingNorm(2), torch.Generator().manual_seed(4)
    for _ in range(200):
        norm(3 + 2 * torch.randn(200, 2, generator=rng))
    torch.testing.assert_close(norm.mean, torch.full((2,), 3.0), rtol=0, atol=0.2)
    torch.testing.assert_close(norm.variance, torch.full((2,), 4.0), rtol=0, atol=0.4)
    kept = norm.eval().mean.clone()
    x = torch.randn(5, 2, generator=rng)
    torch.testing.assert_close(norm.inverse(norm(x)), x, rtol=0, atol=1e-5)
    assert torch.equal(norm.mean, kept)
    assert MovingNorm(2)(x).std(dim=0, correction=0).allclose(torch.ones(2), atol=1e-2)


def test_the_published_size_is_the_default():
    network = FlowNetwork()
    sizes = [(layer.linear.in_features, layer.linear.out_features) for layer in network.layers]
    assert sizes == [(512, 512)] * 6 and network.layers[0].gate.in_features == 18
    z = network.eval().to_gaussian(torch.randn(1, 512), torch.rand(1, 17), "rk4", 1, 0.0)
    assert z.shape == (1, 512) and z.isfinite().all()


def test_attributes_are_probabilities_of_two_texts(tiny):
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1
    read = read_attributes(tiny.clip, image, tiny.flow.attributes)
    features = tiny.clip.image_features(image)
    for k, one in enumerate(tiny.flow.attributes):
        logits = features @ tiny.clip.text_features([one.neutral, one.prompt]).T
        wanted = (logits * tiny.clip.model.logit_scale.exp()).softmax(dim=1)[:, 1]
        torch.testing.assert_close(read[:, k], wanted, rtol=0, atol=1e-5)


# --- files --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny models that a test may change; without digests of its files."""
    for name in ("generator", "clip", "flow"):
        shutil.copytree(tiny_folder / name, tmp_path / name)
    return tmp_path


def test_a_folder_may_hold_a_flow_and_need_not(folder):
    models = zoo.load(folder)
    assert models.flow.names == ("smiling", "red hat") == tuple(one.name for one in models.flow_attributes)
    assert models.flow.attributes[1].first == 2 and models.flow.network.style_dim == 16
    assert not any(one.requires_grad for one in models.flow.network.parameters())
    shutil.rmtree(folder / "flow")
    without = zoo.load(folder)
    assert without.flow_attributes == ()
    with pytest.raises(ValueError, match=r"has no flow part, only clip, generator: choose another model\."):
        _ = without.flow


@pytest.mark.parametrize("part", ["generator", "clip"])
def test_a_flow_of_other_networks_is_one_sentence(folder, part):
    path = folder / "flow" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: "of another"}))
    with pytest.raises(ValueError, match=f"was trained with another {part}: train it again"):
        _ = zoo.load(folder).flow


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attributes": None}, "The config.json of the flow does not fit"),
        ({"attributes": [{"name": "hat"}]}, "The config.json of the flow does not fit"),
        ({"width": "wide"}, "The config.json of the flow does not fit"),
        ({"layers": 3}, "The weights of the flow have missing tensors"),
    ],
)
def test_a_config_that_does_not_fit_is_one_sentence(folder, change, words):
    path = folder / "flow" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        _ = zoo.load(folder).flow
