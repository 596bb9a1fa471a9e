"""Reading generators: every known form, nothing executed, and what is wrong said by name."""

import pickle
import re
import warnings

import pytest
import torch
from safetensors.torch import save_file

from tests.models.golden import random, small_generator
from textedit_core.models.style.stylegan2 import load_generator


@pytest.fixture(scope="module")
def generator():
    return small_generator().float()


@pytest.fixture
def state(generator):
    return {key: tensor.clone() for key, tensor in generator.state_dict().items()}


def same(a, b) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_published_form_gives_the_same_generator_and_its_center(generator, state, tmp_path):
    average = random(7).float()
    torch.save({"g_ema": state, "latent_avg": average, "g": {}}, tmp_path / "g.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_generator(tmp_path / "g.pt")
    assert (loaded.size, loaded.style_dim, loaded.n_latent) == (16, 7, 6)
    assert same(loaded, generator)
    assert torch.equal(loaded.latent_avg, average[None])
    assert "latent_avg" not in loaded.state_dict()
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    w = random(2, 7).float()
    torch.testing.assert_close(loaded.truncate(w, 0.5), (average + w) / 2)


def test_the_decoder_of_a_mapper_or_encoder_checkpoint(generator, state):
    inside = {f"decoder.{key}": tensor for key, tensor in state.items()} | {"mapper.a": torch.zeros(1)}
    average = random(7).float()
    checkpoint = {"state_dict": inside, "opts": {"size": 16}, "latent_avg": average.repeat(6, 1)}
    loaded = load_generator(checkpoint)
    assert same(loaded, generator)
    assert torch.equal(loaded.latent_avg, average[None])


def test_a_bare_safetensors_file(generator, state, tmp_path):
    save_file(state | {"latent_avg": torch.ones(1, 7)}, tmp_path / "g.safetensors")
    loaded = load_generator(tmp_path / "g.safetensors")
    assert same(loaded, generator)
    assert torch.equal(loaded.latent_avg, torch.ones(1, 7))
    assert load_generator(state).latent_avg is None


def test_missing_noise_and_filters_are_tolerated_with_a_warning(generator, state):
    for key in list(state):
        if key.startswith("noises.") or key.endswith(".kernel"):
            del state[key]
    with pytest.warns(UserWarning, match="lack convs.0.conv.blur.kernel, .* and 6 more"):
        loaded = load_generator(state)
    with pytest.warns(UserWarning):
        again = load_generator(state)
    assert torch.equal(loaded.convs[0].conv.blur.kernel, generator.convs[0].conv.blur.kernel)
    w_plus = random(1, 6, 7).float()
    assert torch.equal(loaded(w_plus), again(w_plus))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda state: state.pop("convs.1.activate.bias"), "missing tensors: convs.1.activate.bias"),
        (lambda state: state.update(surplus=torch.zeros(1)), "unexpected tensors: surplus"),
        (lambda state: state.update({"to_rgb1.bias": torch.zeros(3)}), "mismatched tensors: to_rgb1.bias"),
        (lambda state: state.pop("conv1.conv.weight"), "not those of a StyleGAN2 generator"),
        (lambda state: state.clear(), "not those of a StyleGAN2 generator"),
    ],
)
def test_what_is_wrong_is_said_by_name(state, damage, said):
    damage(state)
    with pytest.raises(ValueError, match=re.escape(said)):
        load_generator(state)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, 2))])
def test_no_code_in_a_file_is_executed(tmp_path, save):
    save({"g_ema": Trap(tmp_path / "sprung")}, tmp_path / "trap.pt")
    with pytest.raises(ValueError, match=r"trap\.pt could not be read"):
        load_generator(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_and_one_that_holds_no_dictionary_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"none\.pt could not be read: .*No such file"):
        load_generator(tmp_path / "none.pt")
    torch.save(torch.zeros(3), tmp_path / "zeros.pt")
    with pytest.raises(ValueError, match="no dictionary"):
        load_generator(tmp_path / "zeros.pt")
