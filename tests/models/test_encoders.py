"""e4e: the published layout, which head reads what, and reading its checkpoints."""

import pytest
import torch
import torch.nn.functional as F

from tests.models.golden import portraits, with_statistics
from textedit_core.models.style.encoders import E4e, load_e4e

SHAPE = {"style_dim": 5, "depths": (1, 1, 2, 1), "widths": (4, 6, 7, 8), "input_size": 32}


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return with_statistics(E4e(64, **SHAPE)).eval().requires_grad_(False)


@pytest.fixture
def state(encoder):
    return {key: tensor.clone() for key, tensor in encoder.state_dict().items()}


def variant(state, **changed):
    encoder = E4e(64, **SHAPE)
    encoder.load_state_dict(state | changed)
    return encoder.eval()


def test_sizes_of_the_published_state_dict():
    with torch.device("meta"):
        state = E4e(1024).state_dict()
    assert len(state) == 621
    assert sum(tensor.numel() * tensor.element_size() for tensor in state.values()) == 1_068_644_512


def test_names_and_shapes_of_the_published_state_dict():
    with torch.device("meta"):
        shapes = {key: tuple(tensor.shape) for key, tensor in E4e(1024).state_dict().items()}
    convs = [len([key for key in shapes if key.startswith(f"styles.{i}.convs.")]) // 2 for i in range(18)]
    assert convs == [4] * 3 + [5] * 4 + [6] * 11
    assert shapes["styles.17.convs.10.weight"] == (512, 512, 3, 3)
    assert shapes["styles.0.linear.weight"] == (512, 512)
    assert shapes["latlayer1.weight"] == (512, 256, 1, 1)
    assert shapes["latlayer2.weight"] == (512, 128, 1, 1)
    assert "styles.18.linear.weight" not in shapes


def test_every_layer_has_the_first_code_and_a_difference_from_it(encoder, state):
    image = portraits(2, 32)
    silent = {
        key: torch.zeros_like(state[key]) for key in state if ".linear." in key and "styles.0." not in key
    }
    first = variant(state, **silent)(image)
    assert first.shape == (2, 10, 5)
    assert torch.equal(first, first[:, :1].expand(-1, 10, -1))
    full = encoder(image)
    assert torch.equal(full[:, 0], first[:, 0])
    assert (full - first)[:, 1:].abs().amax(dim=(0, 2)).min() > 0


@pytest.mark.parametrize(("layer", "first"), [("latlayer1", 3), ("latlayer2", 7)])
def test_the_pyramid_reaches_the_layers_it_is_for(encoder, state, layer, first):
    image, key = portraits(1, 32), f"{layer}.weight"
    moved = (variant(state, **{key: state[key] + 1})(image) - encoder(image)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [False] * first + [True] * (10 - first)


def test_a_head_reads_the_sum_of_the_levels_above_it(encoder, state):
    image = portraits(1, 32)
    stages = encoder.input_layer(image)
    features = [stages := block(stages) for block in encoder.body]
    fine, middle, coarse = features[1], features[3], features[4]
    assert [f.shape[-1] for f in (fine, middle, coarse)] == [8, 4, 2]

    def up(x):
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)

    def lateral(x, name):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    middle = up(coarse) + lateral(middle, "latlayer1")
    fine = up(middle) + lateral(fine, "latlayer2")

    def head(x, index):
        for name in ("convs.0", "convs.2", "convs.4")[: x.shape[-1].bit_length() - 1]:
            weight, bias = (state[f"styles.{index}.{name}.{kind}"] for kind in ("weight", "bias"))
            x = F.leaky_relu(F.conv2d(x, weight, bias, stride=2, padding=1), 0.01)
        weight, bias = (state[f"styles.{index}.linear.{kind}"] for kind in ("weight", "bias"))
        return x[..., 0, 0] @ weight.T / 5**0.5 + bias

    codes = encoder(image)
    for index, features in [(2, coarse), (3, middle), (6, middle), (7, fine), (9, fine)]:
        torch.testing.assert_close(codes[:, index], head(coarse, 0) + head(features, index))


def test_images_of_other_sizes_are_resized_or_refused(encoder):
    large = portraits(1, 64)
    expected = F.interpolate(large, (32, 32), mode="bilinear", antialias=True)
    assert torch.equal(encoder.encode(large), encoder(expected))
    assert torch.equal(encoder.encode(expected), encoder(expected))
    assert encoder(portraits(1, 32)[..., :24, :]).shape == (1, 10, 5)
    with pytest.raises(ValueError, match="larger than the encoder reads"):
        encoder(large)


def test_the_published_form_is_read_with_its_mean_code(encoder, state, tmp_path):
    average = torch.randn(10, 5, generator=torch.Generator().manual_seed(1))
    inside = {f"encoder.{key}": tensor for key, tensor in state.items()} | {"decoder.a": torch.zeros(1)}
    checkpoint = {"state_dict": inside, "latent_avg": average, "opts": {"start_from_latent_avg": True}}
    torch.save(checkpoint, tmp_path / "e4e.pt")
    loaded = load_e4e(tmp_path / "e4e.pt", **SHAPE)
    image = portraits(2, 32)
    torch.testing.assert_close(loaded(image), encoder(image) + average)
    assert loaded.state_dict().keys() == state.keys()
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_a_bare_state_dict_is_read_and_a_published_one_without_its_mean_code_refused(encoder, state):
    image, average = portraits(1, 32), torch.ones(1, 5)
    assert torch.equal(load_e4e(state, **SHAPE)(image), encoder(image))
    loaded = load_e4e(state | {"latent_avg": average}, **SHAPE)
    torch.testing.assert_close(loaded(image), encoder(image) + 1)
    with pytest.raises(ValueError, match="no latent_avg"):
        load_e4e({"state_dict": state}, **SHAPE)
    opts = {"start_from_latent_avg": False}
    assert torch.equal(load_e4e({"state_dict": state, "opts": opts}, **SHAPE)(image), encoder(image))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda state: state.pop("styles.4.linear.bias"), r"missing tensors: styles\.4\.linear\.bias"),
        (lambda state: state.update(surplus=torch.zeros(1)), "unexpected tensors: surplus"),
        (lambda state: state.update({"latlayer1.bias": torch.zeros(3)}), r"mismatched .*latlayer1\.bias"),
    ],
)
def test_what_is_wrong_is_said_by_name(state, damage, said):
    damage(state)
    with pytest.raises(ValueError, match=said):
        load_e4e(state, **SHAPE)
