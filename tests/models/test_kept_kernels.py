"""What a frozen generator keeps of its weights: the same pixels to the byte, never that of old weights."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from tests.models.golden import random, small_generator
from textedit_core.models.style import layers as style_layers
from textedit_core.models.style.layers import ModulatedConv, StyledConv, channels_last_on_cpu
from textedit_core.models.style.stylegan2 import Generator


@pytest.fixture
def generator() -> Generator:
    return small_generator().float().requires_grad_(False)


@pytest.fixture
def codes(generator):
    return random(3, generator.n_latent, generator.style_dim).float()


@pytest.fixture
def laid(monkeypatch) -> list:
    """The weights that were laid out, each time it was done."""
    seen = []
    monkeypatch.setattr(
        style_layers,
        "channels_last_on_cpu",
        lambda weight: seen.append(weight) or channels_last_on_cpu(weight),
    )
    return seen


def convolutions(network) -> list[ModulatedConv]:
    return [one for one in network.modules() if isinstance(one, ModulatedConv)]


def at_every_call(self, x, s):
    """The convolution with all that it needs made in the call."""
    weight = self.weight[0] / math.sqrt(self.weight[0, 0].numel())
    x = x * s[:, :, None, None]
    if self.blur is None:
        x = F.conv2d(x, channels_last_on_cpu(weight), padding=weight.shape[-1] // 2)
    else:
        x = self.blur.blur(F.conv_transpose2d(x, channels_last_on_cpu(weight.transpose(0, 1)), stride=2))
    if self.demodulate:
        power = s.square() @ weight.square().sum(dim=(2, 3)).T
        x = x * torch.rsqrt(power + 1e-8)[:, :, None, None]
    return x


def out_of_place(self, x, s, noise):
    """The layer with a tensor of its own for every sum and product."""
    x = self.conv(x, s) + self.noise.weight * noise
    return F.leaky_relu((x + self.activate.bias.view(1, -1, 1, 1)) * math.sqrt(2), 0.2)


def image_at_every_call(network, codes, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ModulatedConv, "forward", at_every_call)
        patch.setattr(StyledConv, "forward", out_of_place)
        return network(codes)


@pytest.mark.parametrize("rows", [1, 3])
def test_the_pixels_are_the_same_to_the_byte_and_the_weights_are_laid_out_once(
    generator, codes, laid, monkeypatch, rows
):
    expected = image_at_every_call(generator, codes[:rows], monkeypatch)
    assert expected.std() > 0.1
    for _ in range(3):
        assert torch.equal(generator(codes[:rows]), expected)
    assert len(laid) == len(convolutions(generator))


def test_the_toon_generator_draws_the_same_bytes(monkeypatch):
    from textedit_core.models import zoo
    from textedit_core.models.style import latents

    generator = zoo.load("toon", "cpu").generator
    codes = latents.from_seed(generator, seed=[0, 1, 2]).w_plus
    with torch.no_grad():
        expected = image_at_every_call(generator.network, codes, monkeypatch)
        assert all(torch.equal(generator.network(codes), expected) for _ in range(2))


def written(network):
    with torch.no_grad():
        network.convs[0].conv.weight[:, :, 0] = 0


def averaged(network):
    """As the moving average of a training writes."""
    weight = network.convs[0].conv.weight.detach()
    torch._foreach_lerp_([weight], [torch.ones_like(weight)], 0.5)


def loaded(network):
    network.load_state_dict({name: tensor.flip(-1) for name, tensor in network.state_dict().items()})


def assigned(network):
    state = {name: tensor.flip(-1) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state, assign=True)


def rounded(network):
    network.half().float()


@pytest.mark.parametrize("change", [written, averaged, loaded, assigned, rounded])
def test_what_is_kept_is_that_of_the_weights_as_they_are(generator, codes, monkeypatch, change):
    before = generator(codes)
    change(generator)
    assert torch.equal(generator(codes), image_at_every_call(generator, codes, monkeypatch))
    assert not torch.equal(generator(codes), before)


def test_a_copy_keeps_its_own(generator, codes, monkeypatch):
    before = generator(codes)
    other = copy.deepcopy(generator)
    assert torch.equal(other(codes), before)
    written(other)
    assert torch.equal(other(codes), image_at_every_call(other, codes, monkeypatch))
    assert torch.equal(generator(codes), before)


def test_state_and_place_are_those_of_the_weights_alone(generator, codes):
    names = list(generator.state_dict())
    generator(codes)
    assert list(generator.state_dict()) == names
    Generator.load_state_dict(generator, generator.state_dict(), strict=True)
    double = generator.double()
    assert double(codes.double()).dtype == torch.float64
    assert all(one._kept[1][0].dtype == torch.float64 for one in convolutions(double))


def test_weights_that_are_trained_get_their_gradients_every_time(generator, codes, laid, monkeypatch):
    generator(codes)  # what it keeps from when it was frozen is of no use now
    generator.requires_grad_(True)
    found = []
    for run in (generator, generator, lambda given: image_at_every_call(generator, given, monkeypatch)):
        generator.zero_grad()
        run(codes).square().sum().backward()
        found.append([one.weight.grad.clone() for one in convolutions(generator)])
    assert all(grad.abs().sum() > 0 for grad in found[0])
    for first, second, third in zip(*found, strict=True):
        assert torch.equal(first, second) and torch.equal(first, third)
    assert len(laid) == 3 * len(convolutions(generator))


def test_what_was_kept_in_inference_mode_serves_a_gradient_to_the_codes(generator, codes, monkeypatch):
    with torch.inference_mode():
        generator(codes)
    grads = []
    for run in (generator, lambda given: image_at_every_call(generator, given, monkeypatch)):
        given = codes.clone().requires_grad_()
        run(given).square().sum().backward()
        grads.append(given.grad)
    assert grads[0].abs().sum() > 0 and torch.equal(*grads)
