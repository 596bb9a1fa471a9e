"""Latents in files: every known shape, exactly as it was; anything else is one sentence, and nothing runs."""

import pickle

import numpy as np
import pytest
import torch

from textedit_core.models.style import latents
from textedit_core.models.style.latent_files import read_latent, write_latent
from textedit_core.models.style.latents import Latent

N, D = 8, 16  # of the tiny generator


def codes(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def save(path, value) -> None:
    """As a person has it: a tensor in a .pt file, or an array in a .npy file."""
    np.save(path, value.numpy()) if path.suffix == ".npy" else torch.save(value, path)


@pytest.mark.parametrize("ending", [".pt", ".npy"])
@pytest.mark.parametrize("shape", [(N, D), (1, N, D), (1, D), (D,), (1, 1, D)])
def test_one_latent_of_any_known_shape(tiny, tmp_path, ending, shape):
    value, path = codes(*shape), tmp_path / f"mine{ending}"
    save(path, value)
    found = read_latent(path, tiny.generator)
    wanted = value.reshape(1, -1, D).expand(1, N, D)
    assert torch.equal(found.w_plus, wanted) and found.s_codes == ()
    save(path, value.double().half() if ending == ".pt" else value.double())
    torch.testing.assert_close(read_latent(path, tiny.generator).w_plus, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("shape", [(3, N, D), (3, D)])
def test_one_of_several_latents(tiny, tmp_path, shape):
    value, path = codes(*shape), tmp_path / "test_faces.pt"
    save(path, value)
    with pytest.raises(ValueError, match=r"holds 3 latents: say which, from 0 to 2"):
        read_latent(path, tiny.generator)
    for index in (3, -1):
        with pytest.raises(ValueError, match=rf"holds 3 latents: {index} is not one of 0 to 2"):
            read_latent(path, tiny.generator, index)
    found = read_latent(path, tiny.generator, 2)
    assert torch.equal(found.w_plus, value[2].reshape(1, -1, D).expand(1, N, D))
    assert found.w_plus.untyped_storage().nbytes() == N * D * 4, "the others are not kept"


@pytest.mark.parametrize("ending", [".pt", ".npy"])
def test_what_is_written_is_read_again(tiny, tmp_path, ending):
    latent, path = latents.from_seed(tiny.generator, seed=3), tmp_path / f"kept{ending}"
    write_latent(latent, path)
    assert read_latent(path, tiny.generator).fingerprint == latent.fingerprint
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_an_edit_in_stylespace_is_written_as_a_list(tiny, tmp_path):
    s_codes = latents.from_seed(tiny.generator, seed=3).to_s_codes(tiny.generator)
    latent = Latent(s_codes=tuple(s_codes))
    write_latent(latent, tmp_path / "kept.pt")
    found = read_latent(tmp_path / "kept.pt", tiny.generator)
    assert found.fingerprint == latent.fingerprint and found.w_plus is None
    torch.save([code[:, None, :, None, None] for code in s_codes], tmp_path / "published.pt")
    assert read_latent(tmp_path / "published.pt", tiny.generator).fingerprint == latent.fingerprint
    two = [torch.cat([code, code + 1]) if k else code for k, code in enumerate(s_codes)]
    write_latent(Latent(s_codes=tuple(two)), tmp_path / "two.pt")
    second = read_latent(tmp_path / "two.pt", tiny.generator, 1).s_codes
    assert torch.equal(second[0], s_codes[0]) and torch.equal(second[1], s_codes[1] + 1)
    with pytest.raises(ValueError, match=r"edit in StyleSpace, which is no single array: use \.pt"):
        write_latent(latent, tmp_path / "kept.npy")
    with pytest.raises(ValueError, match=r"end its name in \.pt or \.npy"):
        write_latent(latent, tmp_path / "kept.png")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (codes(18, 512), r"has the shape \(18, 512\), where this generator takes \(8, 16\), \(1, 8, 16\) or"),
        (codes(1, 9, D), "where this generator takes"),
        (torch.tensor(1.0), "where this generator takes"),
        (codes(0, D), "holds no latent"),
        (torch.ones(N, D, dtype=torch.long), "not of floating-point numbers"),
        (torch.ones(N, D, dtype=torch.cfloat), "not of floating-point numbers"),
        (torch.full((N, D), torch.nan), "values that are no numbers"),
        (torch.zeros(N, D).to_sparse(), "not of floating-point numbers"),
        ({"latent": codes(N, D)}, "is no tensor, but a dict"),
        ([codes(1, 8)], "a list of 1, where this generator has"),
        ([codes(1, 3)] * 11, "belongs to another generator"),
        (["a"] * 11, "not of floating-point numbers"),
    ],
)
def test_anything_else_is_one_sentence(tiny, tmp_path, value, says):
    assert len(tiny.generator.layers) == 11
    torch.save(value, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=says):
        read_latent(tmp_path / "mine.pt", tiny.generator)


def test_nothing_in_a_file_is_executed(tiny, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    torch.save(Trap(), tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Trap()))
    np.save(tmp_path / "c.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    (tmp_path / "d.npy").write_text("no array")
    np.save(tmp_path / "e.npy", np.array(["a"]))
    for name in ("a.pt", "b.pt", "c.npy", "d.npy", "e.npy", "none.pt", "none.npy"):
        with pytest.raises(ValueError, match=rf"{name} could not be read"):
            read_latent(tmp_path / name, tiny.generator)
    assert not (tmp_path / "sprung").exists()
