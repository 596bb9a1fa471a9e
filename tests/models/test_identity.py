"""IR-SE50: the published layout, a block by its definition, the face crop, and the identity loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.models.golden import portraits, with_statistics
from textedit_core.models.style.identity import (
    IRSE50,
    ResidualBlock,
    face_crop,
    identity_loss,
    load_identity,
    similarity,
)

SMALL = {"size": 32, "depths": (1, 1, 2, 1), "widths": (4, 6, 6, 8), "dim": 5, "dropout": 0}


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = IRSE50(**SMALL).requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1
    network(portraits(16, 32, seed=7))  # its statistics from now on, so that pictures differ to it
    return network.eval()


def test_sizes_of_the_published_state_dict():
    with torch.device("meta"):
        state = IRSE50().state_dict()
    assert len(state) == 397
    assert sum(tensor.numel() * tensor.element_size() for tensor in state.values()) == 175_296_688


def test_names_and_shapes_of_the_published_state_dict():
    with torch.device("meta"):
        state = IRSE50().state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert shapes["input_layer.0.weight"] == (64, 3, 3, 3)
    assert shapes["input_layer.2.weight"] == (64,)
    assert shapes["body.3.res_layer.0.weight"] == (64,)
    assert shapes["body.3.res_layer.1.weight"] == (128, 64, 3, 3)
    assert shapes["body.3.res_layer.2.weight"] == (128,)
    assert shapes["body.3.res_layer.5.fc1.weight"] == (8, 128, 1, 1)
    assert shapes["body.3.res_layer.5.fc2.weight"] == (128, 8, 1, 1)
    assert shapes["body.23.res_layer.3.weight"] == (512, 512, 3, 3)
    assert shapes["output_layer.3.weight"] == (512, 25088)
    assert shapes["output_layer.4.running_var"] == (512,)
    shortcuts = {key.split(".")[1] for key in shapes if "shortcut_layer" in key}
    assert shortcuts == {"3", "7", "21"}
    assert shapes["body.7.shortcut_layer.0.weight"] == (256, 128, 1, 1)


@pytest.mark.parametrize(("n_in", "n_out", "stride"), [(6, 6, 1), (6, 6, 2), (6, 8, 2)])
def test_a_block_is_its_definition(n_in, n_out, stride):
    block = with_statistics(ResidualBlock(n_in, n_out, stride)).eval()
    state, x = block.state_dict(), torch.randn(2, n_in, 8, 8, generator=torch.Generator().manual_seed(3))

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys))

    y = F.conv2d(norm(x, "res_layer.0"), state["res_layer.1.weight"], padding=1)
    y = torch.where(y > 0, y, y * state["res_layer.2.weight"].view(1, -1, 1, 1))
    y = norm(F.conv2d(y, state["res_layer.3.weight"], padding=1, stride=stride), "res_layer.4")
    hidden = F.relu(F.conv2d(y.mean(dim=(2, 3), keepdim=True), state["res_layer.5.fc1.weight"]))
    y = y * torch.sigmoid(F.conv2d(hidden, state["res_layer.5.fc2.weight"]))
    shortcut = x[..., ::stride, ::stride]
    if n_in != n_out:
        shortcut = norm(F.conv2d(shortcut, state["shortcut_layer.0.weight"]), "shortcut_layer.1")
    torch.testing.assert_close(block(x), y + shortcut)


def test_identities_are_unit_vectors_that_tell_pictures_apart(network):
    embedded = network(portraits(3, 32))
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(3))
    assert (embedded[0] @ embedded[1]).item() < 0.99


def test_the_face_is_cut_where_the_published_loss_cuts_it():
    image = portraits(1, 256)
    expected = F.adaptive_avg_pool2d(image[:, :, 35:223, 32:220], 112)
    assert torch.equal(face_crop(image), expected)
    large = image.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(face_crop(large), expected)
    small = portraits(1, 64)
    assert torch.equal(face_crop(small), face_crop(small.repeat_interleave(4, 2).repeat_interleave(4, 3)))
    assert face_crop(small, 32).shape == (1, 3, 32, 32)


def test_the_loss_is_one_minus_the_mean_cosine(network):
    image, source = portraits(2, 64, seed=1), portraits(2, 64, seed=2)
    cosine = F.cosine_similarity(network.embed(image), network.embed(source))
    assert cosine.max() < 0.99
    torch.testing.assert_close(similarity(network, image, source), cosine)
    torch.testing.assert_close(identity_loss(network, image, source), 1 - cosine.mean())
    assert identity_loss(network, image, image).item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(similarity(network, image, source[:1])[0], cosine[0])


def test_the_gradient_reaches_the_edited_picture_alone(network):
    image, source = portraits(1, 64, seed=1).requires_grad_(), portraits(1, 64, seed=2).requires_grad_()
    identity_loss(network, image, source).backward()
    assert image.grad.abs().sum() > 0
    assert source.grad is None


def test_a_file_is_read_strictly(network, tmp_path):
    state = network.state_dict()
    torch.save(state, tmp_path / "id.pth")
    loaded = load_identity(tmp_path / "id.pth", **SMALL)
    assert torch.equal(loaded(portraits(2, 32)), network(portraits(2, 32)))
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    del state["body.1.res_layer.5.fc1.weight"]
    with pytest.raises(ValueError, match=r"missing tensors: body\.1\.res_layer\.5\.fc1\.weight"):
        load_identity(state, **SMALL)


def test_a_side_that_cannot_be_halved_often_enough_is_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        IRSE50(size=40)
