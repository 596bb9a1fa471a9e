"""Networks of the published depths against numbers of another implementation, float64.

That one was written from the definitions alone: functions of a state dict, blocks unrolled, upsampling and
pooling as matrices, transposed convolution tap by tap. It shares no line with the code under test, and was
compared with it at the published widths too: IR-SE50, e4e for 16, 64 and 1024 pixels, StyleGAN2 for 16.
Weights here are the waves of `golden`, in alphabetical order of the keys; widths are small, to be quick.
"""

import pytest
import torch

from tests.models.golden import fill_by_rule, wave
from tests.models.test_stylegan2 import published_rule
from textedit_core.models.style.encoders import E4e
from textedit_core.models.style.identity import IRSE50
from textedit_core.models.style.stylegan2 import Generator

WIDTHS = (16, 32, 48, 64)


def ramp(*shape, rate, curve=0.0):
    n = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (rate * n + curve * n * n).view(shape)


def fill_residual(network):
    """Convolutions and linear layers: waves of variance 1 / fan-in, those of equal learning rate of amplitude
    sqrt(2). Scales and variances: 1 + a tenth of a wave. All else: a tenth of a wave."""
    state = network.double().eval().requires_grad_(False).state_dict()
    keys = sorted(key for key in state if not key.endswith("num_batches_tracked"))
    for index, key in enumerate(keys):
        tensor, values = state[key], wave(index, state[key].shape)
        if tensor.ndim > 1:
            equal = key.endswith("linear.weight")
            tensor.copy_(values * (2 / (1 if equal else tensor[0].numel())) ** 0.5)
        else:
            tensor.copy_(0.1 * values + key.endswith(("weight", "running_var")))
    return network


def assert_near(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_identity_of_faces_and_of_a_portrait_of_another_size():
    network = fill_residual(IRSE50(widths=WIDTHS, dim=32))
    found = network(torch.cos(ramp(2, 3, 112, 112, rate=0.37, curve=1e-6)))
    assert_near(found[0, :4], [-0.233656169790, -0.212906699575, 0.033701403733, 0.208719511928])
    assert_near(found[1, :4], [-0.200990008884, -0.182467005310, 0.060512201849, 0.233972649665])
    found = network.embed(torch.cos(ramp(1, 3, 64, 64, rate=0.37, curve=1e-6)))
    assert_near(found[0, :4], [-0.220033028553, -0.200614612150, 0.046814592393, 0.222794164173])


def test_codes_of_e4e():
    network = fill_residual(E4e(size=64, style_dim=24, widths=WIDTHS))
    found = network(torch.cos(ramp(2, 3, 256, 256, rate=0.37, curve=1e-6)))
    assert found.mean().item() == pytest.approx(-0.020215280747, abs=1e-9)
    first = [0.190793707507, 0.306994912654, 0.240041700889, 0.331411250501, 0.448979427154]
    first += [0.236399351234, 0.342069043558, 0.193373399464, 0.336535260925, 0.149512725411]
    assert_near(found[0, :, 5], first)
    assert_near(found[1, [0, 3, 7], 5], [0.192076394084, 0.333979392196, 0.194621667241])


def test_truncation_and_s_codes_of_the_generator():
    """The weights of the published golden numbers; the centre is sin(0.3 n)."""
    network = fill_by_rule(Generator(16, 512, 8), published_rule)
    w = network.map(torch.cos(ramp(1, 512, rate=0.1)))
    s_codes = network.styles(network.widen(w))
    assert_near(s_codes[0][0, :2], [1.118624623671, 1.031930159269])
    first = [1.118624623671, 0.938889774397, 0.914048228559, 1.042355598629, 1.015911890310]
    first += [1.006623404280, 0.945239338909, 1.031125148538]
    assert_near(torch.stack([s[0, 0] for s in s_codes]), first)
    w = network.truncate(w, 0.7, torch.sin(ramp(1, 512, rate=0.3)))
    assert_near(w[0, :3], [-0.009201281153, 0.073498255575, 0.150422368112])
    image = network(w)
    assert image.mean().item() == pytest.approx(0.178811904586, abs=1e-9)
    assert_near(image[0, :, 7, 9], [-1.739059626902, 0.217392401705, 1.985912388276])
