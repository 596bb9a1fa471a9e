"""StyleCLIP's models from a bundle and from the published files; what is missing is one sentence."""

import json
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.style_bundle import MAPPER
from textedit_core.methods import styleclip_directions
from textedit_core.models import zoo
from textedit_core.models.numpy_pickle import read_arrays
from textedit_core.models.style import files as style_files
from textedit_core.models.style import latents
from textedit_core.models.style.encoders import E4e, load_e4e
from textedit_core.models.style.identity import IRSE50, load_identity
from textedit_core.models.style.models import digest
from textedit_core.models.style.relevance_files import published_relevance


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny bundle's StyleCLIP parts and CLIP, without a manifest, to damage."""
    for part in ("generator", "encoder", "identity", "mappers", "relevance", "clip"):
        shutil.copytree(tiny_folder / part, tmp_path / part)
    return tmp_path


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_the_parts_are_loaded_frozen_in_eval_mode_and_float32(tiny):
    for part in (tiny.generator, tiny.encoder, tiny.identity):
        assert not part.network.training
        assert not any(p.requires_grad for p in part.network.parameters())
        assert {p.dtype for p in part.network.parameters()} == {torch.float32}
        assert part.device.type == "cpu" and part.fingerprint
    assert len({tiny.generator.fingerprint, tiny.encoder.fingerprint, tiny.identity.fingerprint}) == 3


def test_a_bundle_is_read_exactly(tiny, tiny_folder):
    stored = load_file(tiny_folder / "generator" / "model.safetensors")
    own = tiny.generator.network.state_dict()
    assert torch.equal(tiny.generator.latent_avg[0], stored.pop("latent_avg").float())
    assert all(torch.equal(own[name], tensor.float()) for name, tensor in stored.items())
    stored = load_file(tiny_folder / "encoder" / "model.safetensors")
    assert torch.equal(tiny.encoder.latent_avg, stored["latent_avg"].float())
    assert (tiny.generator.size, tiny.generator.style_dim, tiny.generator.n_latent) == (32, 16, 8)
    assert [layer.channels for layer in tiny.generator.layers[::3]] == [8, 8, 6, 4]


def test_the_parts_fit_together(tiny):
    image = latents.from_seed(tiny.generator, seed=1).image(tiny.generator)
    assert tiny.encoder.encode(image).shape == (1, 8, 16)
    assert tiny.identity.similarity(image, image).item() == pytest.approx(1, abs=1e-5)


def test_mappers_have_their_prompts(tiny):
    assert list(tiny.mappers) == ["smiling"]
    mapper = tiny.mappers["smiling"]
    assert mapper.prompt == MAPPER
    assert mapper.network(torch.ones(1, 8, 16)).abs().sum() > 0
    assert tiny.pretrained("mapper", f" {MAPPER} ") is mapper
    assert tiny.pretrained("mapper", "a sad man") is None
    assert tiny.pretrained("relevance", "") is tiny.relevance


def test_relevance_is_of_this_generator_and_this_clip(folder):
    models = zoo.load(folder)
    assert models.relevance.measured == len(models.relevance.relevance) == 48
    assert len(models.relevance.mean) == sum(layer.channels for layer in models.generator.layers)
    assert models.relevance.generator == digest(models.generator.network)
    path = folder / "relevance" / "config.json"
    for part in ("generator", "clip"):
        kept = path.read_text()
        edit_json(path, **{part: "another"})
        with pytest.raises(ValueError, match=f"measured with another {part}: measure it again"):
            _ = zoo.load(folder).relevance
        path.write_text(kept)


def test_a_missing_part_is_one_sentence(folder):
    shutil.rmtree(folder / "encoder")
    shutil.rmtree(folder / "mappers")
    shutil.rmtree(folder / "relevance")
    models = zoo.load(folder)
    with pytest.raises(ValueError, match="no encoder part, only clip, generator, identity: choose another"):
        _ = models.encoder
    assert models.mappers == {} and models.pretrained("relevance", "") is None


@pytest.mark.parametrize("part", ["generator", "encoder", "identity"])
def test_a_damaged_part_is_named(folder, part):
    path = folder / part / "model.safetensors"
    kept, name = path.read_bytes(), next(name for name in load_file(path) if name.endswith("weight"))
    for change, says in [
        (lambda tensors: tensors.pop(name), "missing"),
        (lambda tensors: tensors.update(surplus=torch.zeros(1)), "unexpected"),
        (lambda tensors: tensors.update({name: torch.zeros(3, 1)}), "mismatched"),
    ]:
        edit_tensors(path, change)
        with pytest.raises(ValueError, match=f"{part}.* have {says} tensors"):
            getattr(zoo.load(folder), part)
        path.write_bytes(kept)
    edit_json(folder / part / "config.json", surplus=1)
    with pytest.raises(ValueError, match=f"config.json of the {part}.*surplus"):
        getattr(zoo.load(folder), part)
    path.unlink()
    with pytest.raises(ValueError, match="could not be read"):
        getattr(zoo.load(folder), part)


def test_the_published_files_in_a_folder_are_read(tiny, tmp_path, monkeypatch):
    """Torch files of plain tensors, under their own names; small networks of the published layouts."""
    shape = {"depths": (1, 1, 1, 1), "widths": (4, 4, 8, 8)}
    monkeypatch.setattr(style_files, "load_e4e", partial(load_e4e, style_dim=4, **shape))
    monkeypatch.setattr(style_files, "load_identity", partial(load_identity, size=16, dim=12, **shape))
    generator = tiny.generator.network
    torch.save(
        {"g_ema": generator.state_dict(), "latent_avg": torch.ones(16)},
        tmp_path / "stylegan2-ffhq-config-f.pt",
    )
    encoder = E4e(32, 4, **shape).state_dict()
    torch.save(
        {
            "state_dict": {f"encoder.{name}": tensor for name, tensor in encoder.items()},
            "latent_avg": torch.ones(8, 4),
            "opts": {"start_from_latent_avg": True},
        },
        tmp_path / "e4e_ffhq_encode.pt",
    )
    identity = IRSE50(size=16, dim=12, **shape).state_dict()
    torch.save(identity, tmp_path / "model_ir_se50.pth")
    models = zoo.load(tmp_path)
    assert torch.equal(models.generator.latent_avg, torch.ones(1, 16))
    w_plus = latents.from_seed(tiny.generator, seed=2).w_plus
    assert torch.equal(models.generator.network(w_plus), generator(w_plus))
    assert models.sources["clip"].repo == "openai/clip-vit-base-patch32"
    assert models.generator.fingerprint != models.sources["identity"].fingerprint()
    assert torch.equal(models.encoder.latent_avg, torch.ones(8, 4))
    image = torch.zeros(1, 3, 32, 32)
    assert models.identity.similarity(image, image).item() == pytest.approx(1, abs=1e-5)


def test_without_the_hub_the_published_files_say_what_they_would_take():
    models = zoo.load("sd")
    for part, says in [
        ("generator", r"StyleGene/stylegan2-ffhq-config-f.pt is not here.*0\.13 GB"),
        ("encoder", r"e4e_ffhq_encode.pt is not here.*1\.2 GB"),
        ("identity", r"model_ir_se50.pth is not here.*0\.1[78] GB"),
    ]:
        with pytest.raises(ValueError, match=says):
            getattr(models, part)
    (told,) = zoo.describe("sd", "generator")["parts"]
    assert (told["size_gb"], told["license"]) == (0.133, "NVIDIA Source Code License-NC")


def write_published(folder, tiny, rows):
    """fs3.npy with so many rows in half precision, and S_mean_std as the published program pickles it."""
    draw = np.random.default_rng(0)
    np.save(folder / "fs3.npy", draw.normal(size=(rows, 24)).astype(np.float16))
    widths = [layer.channels for layer in tiny.generator.layers]
    pair = [[draw.normal(size=width).astype(np.float32) for width in widths] for _ in range(2)]
    (folder / "S_mean_std").write_bytes(pickle.dumps(pair, protocol=3))
    return pair


@pytest.mark.parametrize("rows", [48, 24, 8])
def test_published_relevance_may_end_early(tiny, tmp_path, rows):
    pair = write_published(tmp_path, tiny, rows)
    found = published_relevance(tmp_path / "fs3.npy", tmp_path / "S_mean_std", tiny.generator)
    assert torch.equal(found.relevance[:rows], torch.from_numpy(np.load(tmp_path / "fs3.npy")).float())
    assert found.relevance.shape == (48, 24) and found.measured == rows
    assert found.relevance[rows:].abs().sum() == 0
    assert torch.equal(found.mean, torch.from_numpy(np.concatenate(pair[0])))
    assert torch.equal(found.std, torch.from_numpy(np.concatenate(pair[1])))


def test_relevance_of_another_generator_is_refused(tiny, tmp_path):
    write_published(tmp_path, tiny, 23)
    with pytest.raises(ValueError, match=r"\(23, 24\) rows, where this generator has 48 channels"):
        published_relevance(tmp_path / "fs3.npy", tmp_path / "S_mean_std", tiny.generator)
    (tmp_path / "fs3.npy").write_text("no array")
    with pytest.raises(ValueError, match="no plain array"):
        published_relevance(tmp_path / "fs3.npy", tmp_path / "S_mean_std", tiny.generator)


def test_a_published_channel_that_changed_nothing_has_a_zero_row(tiny, tmp_path):
    """The published program divides 0 by 0 there, and what is no number would come first in every count."""
    write_published(tmp_path, tiny, 48)
    rows = np.load(tmp_path / "fs3.npy")
    rows[[3, 40]] = np.nan
    np.save(tmp_path / "fs3.npy", rows.astype(">f2"))
    found = published_relevance(tmp_path / "fs3.npy", tmp_path / "S_mean_std", tiny.generator)
    expected = torch.from_numpy(np.nan_to_num(rows).astype(np.float32))
    assert torch.equal(found.relevance, expected) and not expected[[3, 40]].any()
    towards = torch.eye(24)[0]
    beta = styleclip_directions.beta_for(found, towards, 2)
    assert styleclip_directions.direction(tiny.generator, found, towards, beta).count == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("fs3.npy", np.full((48, 24), "a"), "array of <U1"),
        ("fs3.npy", np.ones((48, 24), complex), "array of complex128"),
        ("fs3.npy", {"a": np.ones((48, 24))}, "no plain array"),
        ("S_mean_std", [["a"], ["b"]], "not a list of means"),
        ("S_mean_std", [[None], [None]], "not a list of means"),
        ("S_mean_std", [[], []], "0 and 0 channels"),
        ("S_mean_std", [[np.ones(74)], [np.full(74, np.nan)]], "no numbers"),
    ],
)
def test_what_published_files_should_not_hold_is_a_sentence(tiny, tmp_path, name, content, says):
    write_published(tmp_path, tiny, 48)
    if name == "S_mean_std":
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        with open(tmp_path / name, "wb") as file:
            np.savez(file, **content) if isinstance(content, dict) else np.save(file, content)
    with pytest.raises(ValueError, match=says):
        published_relevance(tmp_path / "fs3.npy", tmp_path / "S_mean_std", tiny.generator)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_are_read_from_pickles_of_any_age(tmp_path, protocol):
    arrays = [[np.arange(6, dtype="<f4").reshape(2, 3), np.ones(2, ">f8")], [np.arange(3, dtype=np.float16)]]
    (tmp_path / "file").write_bytes(pickle.dumps(arrays, protocol=protocol))
    found = read_arrays(tmp_path / "file")
    assert [[one.tolist() for one in row] for row in found] == [
        [one.tolist() for one in row] for row in arrays
    ]
    assert found[0][0].dtype == np.float32


def test_a_pickle_with_anything_else_is_refused_and_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    for content in ([Evil()], [np.array([{}], dtype=object)], {"a": 1}, "text"):
        (tmp_path / "file").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=r"could not be read safely|holds no list"):
            read_arrays(tmp_path / "file")
    assert not (tmp_path / "written").exists()
    (tmp_path / "file").write_bytes(b"\x80\x03garbage")
    with pytest.raises(ValueError, match="pickle plain lists of numpy arrays"):
        read_arrays(tmp_path / "file")
