"""The generator: published numbers and layout, the definition written out, and what can be asked of it."""

import copy
import re

import pytest
import torch

from tests.models.golden import TABLE, Largest, fill_by_rule, random, small_generator
from tests.models.stylegan2_definition import image_of_the_definition
from textedit_core.models.style.stylegan2 import Generator


@pytest.fixture(scope="module")
def generator():
    return small_generator()


@pytest.fixture(scope="module")
def w_plus(generator):
    return random(3, generator.n_latent, generator.style_dim)


def published_rule(key, wave):
    if re.match(r"style\..*weight", key):
        return 100 * wave
    return 1 + 0.1 * wave if key.endswith("modulation.bias") else wave


def test_the_numbers_of_the_reference_implementation():
    network = fill_by_rule(Generator(16, 512, 8), published_rule)
    z = torch.cos(0.1 * torch.arange(512, dtype=torch.float64))[None]
    w = network.map(z)
    image = network(network.widen(w))
    expected = torch.tensor([-0.013144687, -0.021654009, -0.027100534, -0.025976623], dtype=torch.float64)
    torch.testing.assert_close(w[0, :4], expected, rtol=0, atol=1e-9)
    assert image.mean().item() == pytest.approx(0.181866628, abs=1e-9)
    expected = torch.tensor([-1.734706483, 0.221521192, 1.988778256], dtype=torch.float64)
    torch.testing.assert_close(image[0, :, 7, 9], expected, rtol=0, atol=1e-9)


def test_one_shared_convolution_equals_the_definition(generator, w_plus):
    expected = image_of_the_definition(generator.state_dict(), w_plus, blocks=2)
    assert expected.std() > 0.1
    torch.testing.assert_close(generator(w_plus), expected, rtol=1e-9, atol=1e-9)


def test_single_precision_equals_the_definition_and_so_do_its_gradients(generator, w_plus):
    """The float32 convolutions of a processor run in another memory layout."""
    single, codes = copy.deepcopy(generator).float(), w_plus.float().requires_grad_()
    image, exact = single(codes), w_plus.clone().requires_grad_()
    expected = image_of_the_definition(generator.state_dict(), exact, blocks=2)
    torch.testing.assert_close(image, expected.float(), rtol=1e-5, atol=1e-5)
    assert image.is_contiguous()
    image.square().mean().backward()
    expected.square().mean().backward()
    torch.testing.assert_close(codes.grad, exact.grad.float(), rtol=1e-5, atol=1e-5)


def test_the_filters_are_read_not_assumed(generator, w_plus):
    other = small_generator()
    for key, tensor in other.state_dict().items():
        if key.endswith("kernel"):
            tensor.copy_(torch.arange(16.0).view(4, 4) / 20)
    expected = image_of_the_definition(other.state_dict(), w_plus, blocks=2)
    torch.testing.assert_close(other(w_plus), expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(expected, generator(w_plus))


def test_the_weights_are_not_copied_for_every_row():
    network = Generator(8, 4, 1, channels={4: 64, 8: 64})
    w_plus = torch.zeros(20, 4, 4)
    with Largest() as ours:
        network(w_plus)
    with Largest() as theirs:
        image_of_the_definition(network.state_dict(), w_plus, blocks=1)
    assert ours.elements <= 20 * 64 * 9 * 9 < 20 * 64 * 64 * 9 == theirs.elements


@pytest.mark.parametrize(
    ("size", "tensors", "numbers", "parameters"),
    [(1024, 171, 33_166_492, 30_370_060), (512, 153, None, None), (256, 135, None, None)],
)
def test_sizes_of_the_published_state_dicts(size, tensors, numbers, parameters):
    with torch.device("meta"):
        network = Generator(size)
    state = network.state_dict()
    assert len(state) == tensors
    if numbers:
        assert sum(tensor.numel() for tensor in state.values()) == numbers
        assert sum(tensor.numel() for tensor in network.parameters()) == parameters


def test_names_and_shapes_of_the_published_state_dict():
    with torch.device("meta"):
        state = Generator(1024).state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert shapes["style.1.weight"] == shapes["style.8.weight"] == (512, 512)
    assert "style.0.weight" not in shapes and "style.9.weight" not in shapes
    assert shapes["input.input"] == (1, 512, 4, 4)
    assert shapes["conv1.noise.weight"] == (1,)
    assert shapes["convs.8.conv.weight"] == (1, 256, 512, 3, 3)
    assert shapes["convs.15.conv.weight"] == (1, 32, 32, 3, 3)
    assert shapes["convs.8.conv.modulation.bias"] == (512,)
    assert shapes["convs.8.activate.bias"] == (256,)
    assert shapes["to_rgbs.7.conv.weight"] == (1, 3, 32, 1, 1)
    assert shapes["to_rgb1.bias"] == (1, 3, 1, 1)
    blurred = [f"convs.{even}.conv.blur.kernel" for even in range(0, 16, 2)]
    upsampled = [f"to_rgbs.{block}.upsample.kernel" for block in range(8)]
    assert sorted(key for key in shapes if key.endswith("kernel")) == sorted(blurred + upsampled)
    noises = [shapes[f"noises.noise_{k}"][-1] for k in range(17)]
    assert noises == [2 ** ((k + 5) // 2) for k in range(17)]


def test_the_stored_filter_is_four_times_the_normalised_one(generator):
    kernel = generator.state_dict()["convs.0.conv.blur.kernel"]
    assert (kernel[0, 0], kernel[0, 1], kernel[1, 1], kernel.sum()) == (0.0625, 0.1875, 0.5625, 4)


def test_the_s_codes_of_the_published_generator():
    with torch.device("meta"):
        layers = Generator(1024).layers
    assert len(layers) == 26
    assert [i for i, layer in enumerate(layers) if layer.is_rgb] == list(range(1, 26, 3))
    assert sum(layer.channels for layer in layers) == 9088
    assert sum(layer.channels for layer in layers if not layer.is_rgb) == 6048
    assert [layer.w for layer in layers[:6]] == [0, 1, 1, 2, 3, 3]
    assert [layer.name for layer in layers[-3:]] == ["convs.14", "convs.15", "to_rgbs.7"]
    assert (layers[-1].w, layers[-1].size) == (17, 1024)


@pytest.mark.parametrize(("size", "latents", "codes"), [(4, 2, 2), (16, 6, 8), (64, 10, 14), (256, 14, 20)])
def test_any_size_with_any_channels(size, latents, codes):
    table = {2**power: 2 + power for power in range(2, size.bit_length())}
    network = Generator(size, style_dim=5, n_mlp=1, channels=table)
    assert (network.n_latent, len(network.layers)) == (latents, codes)
    image = network(network.widen(network.map(torch.ones(2, 5))))
    assert image.shape == (2, 3, size, size)


def test_channels_follow_the_multiplier_above_32_pixels():
    with torch.device("meta"):
        layers = Generator(128, channel_multiplier=1).layers
    assert [layer.channels for layer in layers if layer.is_rgb] == [512, 512, 512, 512, 256, 128]


@pytest.mark.parametrize("size", [0, 3, 48])
def test_a_size_that_is_no_power_of_two_is_refused(size):
    with pytest.raises(ValueError, match="power of two"):
        Generator(size)


def test_a_channel_table_with_a_gap_is_refused():
    with pytest.raises(ValueError, match=r"lacks the sizes \[32\]"):
        Generator(32, channels=TABLE)


def test_w_plus_to_s_to_image_is_w_plus_to_image_bit_for_bit(generator, w_plus):
    image = generator(w_plus)
    s_codes = generator.styles(w_plus)
    assert torch.equal(generator.synthesize(s_codes), image)
    assert torch.equal(generator.synthesize([s[:, None, :, None, None] for s in s_codes]), image)


def test_a_kept_prefix_gives_the_same_image_bit_for_bit(generator, w_plus):
    s_codes = generator.styles(w_plus)
    states = [generator.start(3)]
    for index, s in enumerate(s_codes):
        states.append(generator.advance(states[-1], index, s))
    for index, s in enumerate(s_codes):
        changed = [*s_codes[:index], s + 1, *s_codes[index + 1 :]]
        state = states[index]
        for later in range(index, len(s_codes)):
            state = generator.advance(state, later, changed[later])
        assert torch.equal(state[1], generator.synthesize(changed))
        assert not torch.equal(state[1], states[-1][1])


def test_rows_do_not_touch_each_other(generator, w_plus):
    together = generator(w_plus)
    for row in range(3):
        torch.testing.assert_close(generator(w_plus[row : row + 1]), together[row : row + 1])


@pytest.mark.parametrize("first", [0, 3, 5])
def test_what_is_alike_in_all_rows_is_computed_once(generator, w_plus, first):
    """Layers before the first code with three rows see one image; later codes may have one row again."""
    codes = generator.styles(w_plus)
    mixed = [code if k == first else code[:1] for k, code in enumerate(codes)]
    seen = []
    hooks = [
        generator.get_submodule(layer.name).register_forward_hook(lambda _, __, out: seen.append(len(out)))
        for layer in generator.layers
    ]
    image = generator.synthesize(mixed)
    for hook in hooks:
        hook.remove()
    assert seen == [1] * first + [3] * (len(codes) - first)
    whole = generator.synthesize([code.expand(3, -1) for code in mixed])
    torch.testing.assert_close(image, whole, rtol=0, atol=1e-12)
    assert not torch.equal(image[0], image[1])


def test_two_dimensions_are_one_image(generator, w_plus):
    assert torch.equal(generator(w_plus[0]), generator(w_plus[:1]))
    w = w_plus[:1, 0]
    assert torch.equal(generator(w), generator(generator.widen(w)))


@pytest.mark.parametrize("shape", [(2, 7), (1, 5, 7), (1, 6, 8), (7,)])
def test_codes_of_another_shape_are_refused(generator, shape):
    with pytest.raises(ValueError, match=r"has the shape \(B, 6, 7\)"):
        generator.styles(torch.zeros(shape, dtype=torch.float64))


def test_s_codes_of_another_generator_are_refused(generator, w_plus):
    with pytest.raises(ValueError, match="8 of the lengths"):
        generator.synthesize(generator.styles(w_plus)[:-1])


def test_truncation_pulls_every_layer_to_the_center(generator, w_plus):
    center = random(1, 7, seed=1)
    pulled = generator.truncate(w_plus, 0.7, center)
    torch.testing.assert_close(pulled, 0.3 * center + 0.7 * w_plus)
    torch.testing.assert_close(generator.truncate(w_plus, 0, center), center.expand_as(w_plus))
    for psi in (1, 1.5):
        assert torch.equal(generator.truncate(w_plus, psi, center), w_plus)
    with pytest.raises(ValueError, match="latent_avg"):
        generator.truncate(w_plus, 0.7)


def test_the_mean_latent_is_the_mean_of_mapped_samples(generator):
    mean = generator.mean_latent(500, seed=3)
    assert torch.equal(mean, generator.mean_latent(500, seed=3))
    w = generator.map(random(4000, 7, seed=9))
    assert (mean - w.mean(dim=0)).abs().max() < 5 * w.std(dim=0).max() / 500**0.5


def test_noise_is_stored_unless_it_is_given(generator, w_plus):
    stored = [generator.noises.get_buffer(f"noise_{k}") for k in range(5)]
    assert torch.equal(generator(w_plus, stored), generator(w_plus))
    other = [random(*one.shape, seed=seed) for seed, one in enumerate(stored)]
    assert not torch.allclose(generator(w_plus, other), generator(w_plus))


def test_two_new_generators_have_the_same_noise():
    first, second = (Generator(8, 4, 1, channels=TABLE).noises.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["noise_1"], first["noise_2"])
