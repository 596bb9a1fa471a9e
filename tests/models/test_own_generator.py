"""A person's own StyleGAN2 checkpoint, under any name: found, read strictly, measured, and edited."""

import argparse
import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from textedit_core import __main__ as cli
from textedit_core import relevance
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.models.style.naming import is_generator
from textedit_core.models.style.stylegan2 import Generator
from textedit_core.record import read_png
from textedit_core.steps import last

TABLE = {4: 8, 8: 6, 16: 4}
ROWS = (
    8 + 8 + 6 + 6 + 4
)  # channels but ToRGB's: of conv1 and of the two convolutions of each block, their inputs
QUICK = {"samples": 2, "count": 10}


def new_network(seed: int = 0) -> Generator:
    """A generator of 16 pixels whose layers matter."""
    network = Generator(16, style_dim=12, n_mlp=3, channels=TABLE).requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=draw) / 3)
    return network


@pytest.fixture(scope="module")
def network():
    return new_network()


def training_checkpoint(network: Generator, path, **how) -> None:
    """What a training saves: both generators, a discriminator, the optimizers, the command's options."""
    other, own = new_network(1), torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(own.parameters())
    own(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    held = {
        "g": other.state_dict(),
        "d": own.state_dict(),
        "g_ema": network.state_dict(),
        "g_optim": optimizer.state_dict(),
        "d_optim": optimizer.state_dict(),
        "args": argparse.Namespace(size=16, path="data", r1=10.0, arch=argparse.Namespace(name="stylegan2")),
        "ada_aug_p": 0.25,
    }
    torch.save(held, path, **how)


@pytest.fixture
def folder(tiny_folder, network, tmp_path):
    """A folder with a CLIP and a checkpoint as training leaves it."""
    shutil.copytree(tiny_folder / "clip", tmp_path / "clip")
    training_checkpoint(network, tmp_path / "550000.pt")
    return tmp_path


@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_training_checkpoint_under_any_name_is_a_generator(folder, network, how, as_file):
    training_checkpoint(network, folder / "550000.pt", **how)
    models = zoo.load(folder / "550000.pt" if as_file else folder)
    generator = models.generator
    assert (generator.size, generator.style_dim, len(generator.network.style)) == (16, 12, 4)
    w_plus = torch.randn(1, 6, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(generator.network(w_plus), network(w_plus)), "of g_ema, and not of g"
    assert models.sources["clip"].is_local() and models.clip.size == 32
    assert set(models.sources) == {"generator", "clip"}


def test_a_file_takes_of_its_folder_what_fits_any_generator(tiny_folder, network, tmp_path):
    for part in ("identity", "encoder", "relevance", "mappers", "generator"):
        shutil.copytree(tiny_folder / part, tmp_path / part)
    torch.save({"g_ema": network.state_dict()}, tmp_path / "car.pt")
    models = zoo.load(tmp_path / "car.pt")
    assert set(models.sources) == {"generator", "identity", "clip"}
    assert models.generator.style_dim == 12 and zoo.load(tmp_path).generator.style_dim == 16
    assert models.sources["clip"].repo == "openai/clip-vit-base-patch32"
    (told,) = zoo.describe(tmp_path / "car.pt", "generator")["parts"]
    assert told["local"] and models.name == str(tmp_path / "car.pt")


def test_what_holds_no_generator_alone_is_none(folder, network, tmp_path):
    state = network.state_dict()
    save_file(state, tmp_path / "own.safetensors")
    assert is_generator(tmp_path / "own.safetensors") and is_generator(folder / "550000.pt")
    within = {f"decoder.{name}": tensor for name, tensor in state.items()} | {"mapper.a": torch.zeros(1)}
    torch.save({"state_dict": within, "opts": {}}, tmp_path / "mapper.pt")
    torch.save({"d": {"a": torch.zeros(1)}}, tmp_path / "d.pt")
    (tmp_path / "text.pt").write_text("conv1.conv.modulation.weight")
    (tmp_path / "cut.pt").write_bytes((folder / "550000.pt").read_bytes()[:999])
    (tmp_path / "huge.safetensors").write_bytes(b"\xff" * 99)
    (tmp_path / "dir.pt").mkdir()
    for name in ("mapper.pt", "d.pt", "text.pt", "cut.pt", "huge.safetensors", "dir.pt", "none.pt"):
        assert not is_generator(tmp_path / name), name
    for name in ("mapper.pt", "text.pt", "cut.pt"):
        with pytest.raises(ValueError, match=rf"{name} is no StyleGAN2 generator that can be read"):
            zoo.load(tmp_path / name)


def test_of_several_generators_one_is_to_be_named(folder, network):
    training_checkpoint(network, folder / "560000.pt")
    with pytest.raises(ValueError, match=r"holds 2 generators, 550000\.pt, 560000\.pt: give the path of one"):
        zoo.load(folder)
    assert zoo.load(folder / "560000.pt").generator.size == 16


def test_a_damaged_checkpoint_is_told_by_name(folder, network):
    state = dict(network.state_dict())
    del state["convs.1.activate.bias"]
    torch.save({"g_ema": state}, folder / "550000.pt")
    with pytest.raises(ValueError, match=r"550000\.pt have missing tensors: convs\.1\.activate\.bias"):
        _ = zoo.load(folder).generator


def test_relevance_is_measured_beside_the_file_and_found_again(folder):
    name = folder / "550000.pt"
    progress = last(relevance.measure(zoo.load(name), QUICK))
    assert progress.path == folder / "550000.relevance.safetensors" and progress.path.is_file()
    for place in (name, folder):
        found = zoo.load(place).relevance
        assert found.measured == len(found.relevance) == ROWS
        assert torch.equal(found.relevance, progress.relevance.relevance)
        assert found.relevance.norm(dim=1) == pytest.approx(torch.ones(ROWS), abs=1e-5)
        assert zoo.load(place).pretrained("relevance", "") is not None


def test_a_stopped_measurement_goes_on_and_ends_the_same(folder):
    models = zoo.load(folder)
    whole = last(relevance.measure(models, QUICK)).relevance
    path = folder / "550000.relevance.safetensors"
    path.unlink()
    steps = relevance.measure(models, QUICK)
    lefts = []
    for step in steps:
        lefts.append(step.value.left)
        if step.value.relevance is not None and step.value.relevance.measured >= 16:
            break
    steps.close()
    assert lefts[:2] == [None, None] and all(left > 0 for left in lefts[2:])
    assert zoo.load(folder).relevance.measured == 16, "what was measured can be used"
    resumed = list(relevance.measure(models, QUICK))
    assert len(resumed) < len(lefts) + 16
    assert torch.equal(resumed[-1].value.relevance.relevance, whole.relevance)
    assert torch.equal(zoo.load(folder).relevance.relevance, whole.relevance)
    with pytest.raises(ValueError, match=r"measured with another amplitude, seed: give the same"):
        last(relevance.measure(models, QUICK | {"amplitude": 2.0, "seed": 1}))


def test_a_covariance_is_measured_and_an_older_file_lacks_its_settings(folder):
    models, path = zoo.load(folder), folder / "550000.relevance.safetensors"
    last(relevance.measure(models, QUICK))
    state, about = load_file(path), json.loads(safe_open(path, "pt").metadata()["settings"])
    assert about.pop("measured_by") == "perturbation" and about.pop("images") == 2000
    digests = {name: safe_open(path, "pt").metadata()[name] for name in ("generator", "clip")}
    save_file(state, path, digests | {"settings": json.dumps(about)})
    last(relevance.measure(models, QUICK))  # taken for what it is: measured by perturbation
    path.unlink()
    steps = list(relevance.measure(models, QUICK | {"measured_by": "covariance", "images": 9}))
    assert all(step.value.left is None or step.value.left >= 0 for step in steps)
    found = zoo.load(folder).relevance
    assert len(found.relevance) == found.measured == sum(models.generator.channel_counts)


def test_relevance_of_another_generator_is_refused(folder):
    last(relevance.measure(zoo.load(folder), QUICK))
    training_checkpoint(new_network(2), folder / "550000.pt")
    with pytest.raises(ValueError, match="was measured with another generator: measure it again"):
        _ = zoo.load(folder).relevance


def test_where_no_relevance_can_be_measured_is_a_sentence(tiny_folder):
    with pytest.raises(ValueError, match="bring their relevance already"):
        last(relevance.measure(zoo.load(tiny_folder)))
    with pytest.raises(ValueError, match="hub's cache"):
        last(relevance.measure(zoo.load("sd")))


def test_on_the_command_line(folder, tmp_path, capsys):
    name = str(folder / "550000.pt")
    assert (
        cli.main(["relevance", "--models", name, "--device", "cpu", "--samples", "1", "--count", "10"]) == 0
    )
    told = capsys.readouterr()
    assert told.out.strip() == str(folder / "550000.relevance.safetensors")
    assert f"{ROWS} channels are finished; about 0 seconds left" in told.err and "relevance 1/" in told.err
    words = ["--neutral", "a man", "--prompt", "a smiling man", "--latent-seed", "3", "--alpha", "4"]
    out = tmp_path / "out.png"
    given = ["edit", "styleclip_directions", "--models", name, "--device", "cpu", *words, "--out", str(out)]
    assert cli.main(given) == 0
    assert "fit" not in capsys.readouterr().err, "what was measured is used"
    assert read_png(out).models == name
    assert cli.main(["relevance", "--models", str(folder / "none.pt")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_a_sample_of_a_generator_without_a_mean_has_one(folder):
    generator = zoo.load(folder).generator
    assert generator.latent_avg.shape == (1, 12)
    assert latents.from_seed(generator, seed=1).image(generator).shape == (1, 3, 16, 16)


def test_a_generator_without_relevance_says_by_which_command_it_is_measured(folder):
    models = zoo.load(folder / "550000.pt")
    with pytest.raises(ValueError, match=r"textedit relevance --models \S*550000.pt does so once"):
        models.relevance  # noqa: B018
