"""Mappers in a folder: a bundle's files and published checkpoints, side by side."""

import argparse
import os
import shutil

import gradio as gr
import pytest
import torch
from safetensors.torch import save_file

from demos.context import Context
from demos.styleclip.mapper import choices, list_problem
from tests.style_bundle import MAPPER
from textedit_core.methods import styleclip_mapper
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.models.style.files import read_mapper
from textedit_core.models.style.mapper import LevelsMapper, SingleMapper
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
    image = last(styleclip_mapper.edit(models.generator, models.pretrained("mapper", "afro hair"), latent))
    with torch.no_grad():
        expected = models.generator.network(latent.w_plus + 0.1 * network(latent.w_plus))
    torch.testing.assert_close(image, expected, rtol=0, atol=1e-5)


def test_a_mapper_that_was_saved_with_the_options_of_its_training_as_they_were_is_read(folder):
    """StyleCLIP's own training saves a Namespace; one with another type in it does not block the others."""
    state = {f"mapper.{name}": one for name, one in SingleMapper(16).state_dict().items()}
    options = argparse.Namespace(description="blue hair", stylegan_weights="x.pt", id_lambda=0.1)
    torch.save({"state_dict": state, "opts": options}, folder / "mappers" / "blue.pt")
    torch.save({"state_dict": state, "opts": Unknown()}, folder / "mappers" / "unknown.pt")
    models = zoo.load(folder)
    assert {name: one.prompt for name, one in models.mappers.items()} == {
        "afro": "afro hair",
        "blue": "blue hair",
        "smiling": MAPPER,
    }
    assert list(models.unread_mappers) == ["unknown"]
    assert "unknown.pt could not be read" in models.unread_mappers["unknown"]
    latent = latents.from_seed(models.generator, seed=1)
    image = last(styleclip_mapper.edit(models.generator, models.pretrained("mapper", "blue hair"), latent))
    assert not torch.equal(image, latent.image(models.generator))


class Unknown:
    """What no file of weights may hold."""


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


def previewed(folder) -> tuple[list, str]:
    """What the tab lists of a folder, and says below."""
    ctx = Context(zoo, str(folder), "cpu")
    listed = choices(ctx, str(folder))
    return listed, list_problem(ctx, str(folder), listed)


BOTH = [("afro hair", "afro"), (MAPPER, "smiling")]


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"a": torch.zeros(1)}, "broken.pt are not those of a StyleCLIP mapper."),
        ({"state_dict": torch.zeros(1)}, "broken.pt are not those of a StyleCLIP mapper."),
        ({3: torch.zeros(1)}, "broken.pt are not those of a StyleCLIP mapper."),
        ({"mapping.mapping.1.weight": torch.tensor(1.0)}, "broken.pt are not those of a StyleCLIP mapper."),
        ({"mapping.mapping.1.weight": torch.zeros(4, 4)}, "broken.pt have missing tensors"),
        (None, "broken.pt could not be read"),
    ],
)
def test_a_file_that_cannot_be_read_hides_itself_alone_and_is_named(folder, held, says):
    assert previewed(folder) == (BOTH, "")
    path = folder / "mappers" / "broken.pt"
    path.write_bytes(b"no weights") if held is None else torch.save(held, path)
    listed, said = previewed(folder)
    assert listed == BOTH and says in said and said.endswith(". The mappers of the list can be used.")
    models = zoo.load(folder)
    assert list(models.mappers) == ["afro", "smiling"] and list(models.unread_mappers) == ["broken"]
    assert models.pretrained("mapper", "afro hair") is models.mappers["afro"]
    with pytest.raises(ValueError, match=r"broken\.pt"):  # it may be the one; nobody trains another unknowing
        models.pretrained("mapper", "a text that no mapper is for")


def test_an_empty_list_says_why(folder):
    for path in (folder / "mappers").iterdir():
        path.write_bytes(b"no weights")
    listed, said = previewed(folder)
    assert listed == [] and said.count("could not be read") == 2 and "of the list" not in said
    for number in range(4):
        (folder / "mappers" / f"{number}.pt").write_bytes(b"no weights")
    assert previewed(folder)[1].endswith("3 more of its files cannot be read.")
    shutil.rmtree(folder / "mappers")
    assert previewed(folder) == ([], "These models bring no mapper: train one below.")


def test_a_file_that_was_mended_meanwhile_is_read(folder):
    path = folder / "mappers" / "afro.pt"
    kept = path.read_bytes()
    path.write_bytes(b"no weights")
    models = zoo.load(folder)
    assert list(models.mappers) == ["smiling"] and "afro.pt" in models.unread_mappers["afro"]
    first = models.mappers["smiling"]
    path.write_bytes(kept)
    os.utime(path, ns=(1, 1))  # a second time within the clock's grain
    assert list(models.mappers) == ["afro", "smiling"] and models.unread_mappers == {}
    assert models.mappers["smiling"] is first, "what has been read stays"


def test_the_tab_says_which_file_is_left_out_and_edits_with_the_others(folder):
    from demos.styleclip.mapper_tab import MapperTab
    from demos.styleclip.picker import LatentPicker

    (folder / "mappers" / "broken.pt").write_bytes(b"no weights")
    ctx = Context(zoo, str(folder), "cpu")
    with gr.Blocks():
        models = gr.Dropdown([ctx.default], value=ctx.default)
        with gr.Tabs() as inner:
            tab = MapperTab(ctx, models, LatentPicker(ctx, models), inner)
    assert tab.mapper.choices == BOTH and "broken.pt could not be read" in tab.list_problem.value
    assert "broken.pt could not be read" in tab.list_mappers(ctx.default, "afro", [])[1]
    assert tab.own_problems({"models": ctx.default, "mapper": "afro"}) == {}
    assert "pick one of the list" in tab.own_problems({"models": ctx.default, "mapper": "broken"})["mapper"]


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
