"""The loader and the hub's cache: loaded as a folder is, and told before anything is fetched."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from textedit_core.models import zoo

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_folder) -> Path:
    """The hub's cache as if all repositories of "sd" had been fetched, holding the tiny models."""
    cache = Path(os.environ["HF_HUB_CACHE"])
    for repo, part in [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "diffusion"),
        ("openai/clip-vit-base-patch32", "clip"),
        ("Fantasy-Studio/Paint-by-Example", "paint_by_example"),
    ]:
        root = cache / f"models--{repo.replace('/', '--')}"
        shutil.copytree(tiny_folder / part, root / "snapshots" / COMMIT)
        if part == "paint_by_example":
            shutil.copytree(tiny_folder / "diffusion" / "vae", root / "snapshots" / COMMIT / "vae")
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(COMMIT)
    yield cache
    for root in cache.glob("models--*"):
        shutil.rmtree(root)


def test_only_a_repository_without_safetensors_may_have_a_bin(tiny, hub):
    for root in hub.glob("models--openai*/snapshots/*"):
        torch.save(load_file(root / "model.safetensors"), root / "pytorch_model.bin")
        (root / "model.safetensors").unlink()
    assert zoo.describe("sd")["local"]
    features = zoo.load("sd").clip.text_features(["a hat"])
    assert torch.equal(features, tiny.clip.text_features(["a hat"]))


def test_sd_is_loaded_from_the_hub_cache_as_a_folder_is(tiny, hub):
    models = zoo.load("sd")
    assert torch.equal(models.diffusion.unet.conv_in.weight, tiny.diffusion.unet.conv_in.weight)
    assert torch.equal(
        models.diffusion.encode_text(["a red hat"]).tokens, tiny.diffusion.encode_text(["a red hat"]).tokens
    )
    assert torch.equal(models.clip.text_features(["a hat"]), tiny.clip.text_features(["a hat"]))
    exemplar = torch.zeros(1, 3, 32, 32)
    example = models.paint_by_example
    assert torch.equal(
        example.encode_exemplar(exemplar).tokens, tiny.paint_by_example.encode_exemplar(exemplar).tokens
    )
    assert models.diffusion.schedule.timesteps(50) == tiny.diffusion.schedule.timesteps(50)
    assert "Open RAIL" in models.license
    described = zoo.describe("sd")
    assert described["local"]
    assert described["fetch_gb"] == 0


def test_the_hub_commit_is_part_of_the_fingerprint(hub):
    before = zoo.load("sd").diffusion.fingerprint
    for root in hub.glob("models--stable*"):
        assert before == zoo.load("sd").diffusion.fingerprint
        (root / "snapshots" / COMMIT).rename(root / "snapshots" / COMMIT[::-1])
        (root / "refs" / "main").write_text(COMMIT[::-1])
    assert zoo.load("sd").diffusion.fingerprint != before


def test_without_the_hub_sd_says_what_it_would_fetch():
    with pytest.raises(ValueError, match=r"stable-diffusion-v1-5/unet/config.json is not here.*4\.3 GB"):
        _ = zoo.load("sd").diffusion
    with pytest.raises(ValueError, match=r"clip-vit-base-patch32 is not here.*0\.6 GB"):
        _ = zoo.load("sd").clip
    with pytest.raises(ValueError, match=r"Paint-by-Example.* is not here.*5\.2 GB"):
        _ = zoo.load("sd").paint_by_example


def test_describe_tells_repositories_sizes_and_licences_without_fetching():
    described = zoo.describe("sd")
    assert not described["local"]
    assert described["fetch_gb"] == described["size_gb"] == 4.9
    repos = {part["repo"]: part["license"] for part in described["parts"]}
    assert repos == {
        "stable-diffusion-v1-5/stable-diffusion-v1-5": "CreativeML Open RAIL-M",
        "openai/clip-vit-base-patch32": "MIT",
    }
    (example,) = zoo.describe("sd", "paint_by_example")["parts"]
    assert (example["size_gb"], example["license"]) == (5.2, "CreativeML Open RAIL-M")
