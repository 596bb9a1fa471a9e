"""Files that cannot be used: a sentence each, nothing half-loaded stays, the last good models stay in use."""

import errno
import shutil

import pytest
import torch
from safetensors.torch import save_file

from demos.context import Context
from demos.shared.models import card
from tests.families import write_tiny_family
from textedit_core.models import zoo
from textedit_core.models.hub import Repository
from textedit_core.models.source import Source


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_tiny_family(tmp_path_factory.mktemp("good") / "sd", "sd1")


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def whole_of(folder) -> None:
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()


def inpainting(folder) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(path.read_text().replace('"in_channels": 4', '"in_channels": 9'))


BREAKS = {
    "missing": (whole_of, "vae could not be read"),
    "truncated": (
        lambda one: cut(one / "unet" / "diffusion_pytorch_model.safetensors"),
        "unet could not be read",
    ),
    "cut config": (lambda one: cut(one / "unet" / "config.json"), "config.json could not be read"),
    "wrong family": (inpainting, "an inpainting model"),
    "truncated text encoder": (
        lambda one: cut(one / "text_encoder" / "model.safetensors"),
        "text_encoder could not be read: it is damaged, or was not fetched in full",
    ),
    "no object": (lambda one: (one / "unet" / "config.json").write_text("[]"), "it is no JSON object"),
    "no tokenizer": (
        lambda one: shutil.rmtree(one / "tokenizer"),
        "tokenizer could not be read: there is no voc",
    ),
    "no length": (
        lambda one: (one / "tokenizer" / "tokenizer_config.json").unlink(),
        "tokenizer_config.json tells no model_max_length",
    ),
    "no numbers": (
        lambda one: (one / "scheduler" / "scheduler_config.json").write_text('{"beta_start": "low"}'),
        "scheduler's configuration has no numbers",
    ),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_bad_folder_is_a_sentence_and_the_good_models_stay(good, tmp_path, kind):
    ctx, spoil, said = Context(zoo, str(good), "cpu"), *BREAKS[kind]
    kept = ctx.load(ctx.default).diffusion
    bad = shutil.copytree(good, tmp_path / "bad")
    spoil(bad)
    with pytest.raises(ValueError, match=said) as told:
        ctx.load(str(bad))
    assert "\n" not in str(told.value) and (str(bad) in str(told.value) or kind == "no numbers")
    assert not ctx.loaded(str(bad))
    assert ctx.load(ctx.default).diffusion is kept
    shutil.rmtree(bad)
    shutil.copytree(good, bad)
    assert torch.equal(ctx.load(str(bad)).diffusion.unet.conv_in.weight, kept.unet.conv_in.weight)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "there is no name; choose toon, sd"),
        ("models/no.safetensors", "There is no file 'models/no.safetensors' on this machine"),
        ("~/no.CKPT", "There is no file"),
        ("https://huggingface.co/a/b-2/tree/main", r"is an address; type a/b-2\."),
        ("https://civitai.com/models/1", "is an address; fetch the file"),
        (__file__, r"is no file of models: \.pt, .*\.safetensors"),
    ],
)
def test_a_name_of_nothing_says_what_to_type_and_asks_no_network(monkeypatch, name, said):
    monkeypatch.setattr("textedit_core.models.hub.look", lambda repo: pytest.fail("the hub was asked"))
    with pytest.raises(ValueError, match=said):
        zoo.load(name)


def test_a_folder_that_lacks_files_is_not_offered_to_be_fetched(good, tmp_path):
    bad = shutil.copytree(good, tmp_path / "bad")
    whole_of(bad)
    ctx = Context(zoo, str(bad), "cpu")
    assert ctx.ready(str(bad)) and "will fetch" not in card(ctx, str(bad))


def test_a_name_of_spaces_is_the_default(good):
    ctx = Context(zoo, str(good), "cpu")
    assert ctx.models("  ") is ctx.models(ctx.default)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "There is no file .* to add"),
        (cut, "could not be read"),
        (lambda path: path.write_text("no weights"), "could not be read"),
        (lambda path: save_file({"model.diffusion_model.x": torch.zeros(1)}, path), "is a whole model"),
        (lambda path: save_file({"x": torch.zeros(2, 2), "y": torch.zeros(1)}, path), "neither a LoRA nor"),
        (lambda path: save_file({"a": torch.zeros(2, 5)}, path), "textual inversion of other models"),
    ],
)
def test_a_bad_addition_is_a_sentence_and_the_models_stay_without_it(good, tmp_path, spoil, said):
    ctx, path = Context(zoo, str(good), "cpu"), tmp_path / "style.safetensors"
    save_file({"lora_unet_conv_in.lora_down.weight": torch.zeros(2, 5)}, path)
    spoil(path)
    kept, name = ctx.load(ctx.default).diffusion, f"{good} + {path}:0.5"
    with pytest.raises(ValueError, match=said) as told:
        ctx.load(name)
    assert "\n" not in str(told.value) and "style" in str(told.value)
    assert ctx.load(ctx.default).diffusion is kept
    if path.exists():
        assert not ctx.loaded(name)


def test_a_full_disk_is_a_sentence(monkeypatch):
    def full(repo, file, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("textedit_core.models.hub.require", lambda: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", full)
    source = Source("a/b", weights=("model",), size_gb=2)
    with pytest.raises(ValueError, match=r"^The disk has no room for a/b/config\.json \(about 2 GB in all\)"):
        source.json("config.json")
    with pytest.raises(ValueError, match=r"^The disk has no room for a/b/unet"):
        source.read(lambda repo, **options: full(repo, ""), "unet")


def test_an_addition_of_the_hub_is_found_by_its_usual_name(monkeypatch):
    from textedit_core.models.additions import parse

    listed = {"README.md": 9, "pytorch_lora_weights.safetensors": 10**9, "other.safetensors": 10**9}
    held = {"a/b": Repository("a/b", listed, "mit", "0" * 40)}
    held["a/c"] = Repository("a/c", {"one.safetensors": 1, "two.safetensors": 1}, "", "0" * 40)
    monkeypatch.setattr("textedit_core.models.hub._known", held)
    found = parse("a/b:0.5").source()
    assert found.weights == ("pytorch_lora_weights.safetensors",) and found.gigabytes() == 1
    assert found.license == "mit" and not found.is_local()
    assert parse("a/b/other.safetensors").source().weights == ("other.safetensors",)
    with pytest.raises(
        ValueError, match=r"a/c has several files, one\.safetensors, two.*a/c/FILE\.safetensors"
    ):
        parse("a/c").source()
    with pytest.raises(ValueError, match=r"a/b has no file none\.pt"):
        parse("a/b/none.pt").source()
    with pytest.raises(ValueError, match="cannot be asked about it"):
        parse("somebody/else").source()
