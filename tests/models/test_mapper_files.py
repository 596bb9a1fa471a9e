"""Mappers in a folder: a bundle's files and published checkpoints, side by side."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from demos.context import Context
from demos.runs.styleclip_mapper import choices, why_none
from tests.style_bundle import MAPPER
from textedit_core import latents
from textedit_core.methods import styleclip_mapper
from textedit_core.models import zoo
from textedit_core.models.mapper import LevelsMapper, SingleMapper
from textedit_core.models.style_files import read_mapper
from textedit_core.steps import last


@pytest.fixture
def folder(tiny_folder, tmp_path):
    """A copy of the tiny bundle's generator and mapper, with a published checkpoint beside it."""
    for part in ("generator", "mappers"):
        shutil.copytree(tiny_folder / part, tmp_path / part)
    write_checkpoint(tmp_path / "mappers" / "afro.pt", LevelsMapper(style_dim=16), description="afro hair")
    return tmp_path


def write_checkpoint(path, network, **opts):
    """A mapper as it is published: with the generator it was trained with, and the command's options."""
    state = {f"mapper.{name}": tensor for name, tensor in network.state_dict().items()}
    state["decoder.conv1.conv.weight"] = torch.zeros(1)
    torch.save({"state_dict": state, "opts": opts}, path)


def test_a_published_checkpoint_in_a_folder_edits_as_its_network_does(folder):
    network = LevelsMapper(("course", "medium"), style_dim=16)
    write_checkpoint(folder / "mappers" / "afro.pt", network, description="afro hair", no_fine_mapper=True)
    models = zoo.load(folder)
    assert {name: one.prompt for name, one in models.mappers.items()} == {
        "afro": "afro hair",
        "smiling": MAPPER,
    }
    latent = latents.from_seed(models.generator, seed=1)
    image = last(styleclip_mapper.edit(models.generator, models.brought("mapper", "afro hair"), latent))
    with torch.no_grad():
        expected = models.generator.network(latent.w_plus + 0.1 * network(latent.w_plus))
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


def test_of_two_files_with_one_name_the_bundles_is_read(folder):
    own = zoo.load(folder)
    write_checkpoint(folder / "mappers" / "smiling.pt", LevelsMapper(style_dim=16), description="another")
    models = zoo.load(folder)
    assert list(models.mappers) == list(own.mappers) == ["afro", "smiling"]
    assert models.mappers["smiling"].fingerprint == own.mappers["smiling"].fingerprint
    assert models.sources["mappers"].fingerprint() == own.sources["mappers"].fingerprint()


def test_its_files_are_here_and_counted(folder):
    source = zoo.load(folder).sources["mappers"]
    assert source.weights == ("afro.pt", "smiling.safetensors") and source.is_local()
    assert source.gigabytes() == sum(path.stat().st_size for path in (folder / "mappers").iterdir()) / 1e9
    (folder / "mappers" / "afro.pt").unlink()
    assert not source.is_local()


def test_the_tab_lists_both_or_says_what_is_wrong(folder):
    listed = choices(Context(zoo, str(folder), "cpu"), str(folder))
    assert listed == [("afro hair", "afro"), (MAPPER, "smiling")]
    torch.save({"a": torch.zeros(1)}, folder / "mappers" / "broken.pt")
    ctx = Context(zoo, str(folder), "cpu")
    assert choices(ctx, str(folder)) == []
    assert "broken.pt are not those of a StyleCLIP mapper" in why_none(ctx, str(folder))
    shutil.rmtree(folder / "mappers")
    assert why_none(Context(zoo, str(folder), "cpu"), str(folder)).startswith("These models bring no mapper")


def test_a_checkpoint_is_read_as_tensors_and_named_by_its_file_without_a_text(tmp_path):
    network = SingleMapper(5)
    write_checkpoint(tmp_path / "purple_hair.pt", network, description=" ")
    mapper = read_mapper(tmp_path / "purple_hair.pt")
    assert mapper.prompt == "purple hair"
    codes = torch.randn(1, 8, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mapper.network(codes), network(codes))
    save_file({"a": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match="not those of a StyleCLIP mapper"):
        read_mapper(tmp_path / "b.safetensors")
