"""Any repository of the hub by its name: what it is and takes, told before a weight is fetched."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from tests.families import write_tiny_family
from textedit_core import method, request
from textedit_core.models import hub, zoo
from textedit_core.models.source import Source

REPO = "somebody/some-model"
GB = 10**9


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """Serve a list of files, and the JSON files of a folder, as the hub would; what was fetched is noted."""
    fetched: list[str] = []

    def serve(sizes, contents, license="openrail++"):
        card = SimpleNamespace(to_dict=lambda: {"license": license})
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
        info = SimpleNamespace(siblings=siblings, card_data=card, sha="0" * 40)

        def download(repo, path):
            fetched.append(path)
            (tmp_path / "served.json").write_text(json.dumps(contents[path]))
            return str(tmp_path / "served.json")

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, repo, **options: info)
        monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
        return fetched

    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr(hub, "require", lambda: None)
    monkeypatch.setattr(hub, "_known", {})
    return serve


SDXL_FP16 = {
    "model_index.json": 600,
    "unet/config.json": 1700,
    "unet/diffusion_pytorch_model.fp16.safetensors": 5 * GB,
    "unet/diffusion_pytorch_model.onnx_data": 9 * GB,
    "vae/diffusion_pytorch_model.fp16.safetensors": GB // 10,
    "text_encoder/model.fp16.safetensors": GB // 5,
    "text_encoder_2/model.fp16.safetensors": GB,
}
XL = {"addition_embed_type": "text_time", "cross_attention_dim": 2048, "in_channels": 4}


def test_family_size_and_licence_are_told_before_a_weight_is_fetched(listed):
    fetched = listed(SDXL_FP16, {"model_index.json": {}, "unet/config.json": XL})
    about = zoo.describe(REPO)
    assert about["title"] == f"{REPO} (Stable Diffusion XL)"
    assert (about["license"], about["local"]) == ("openrail++", False)
    assert about["fetch_gb"] == about["size_gb"] == 6.3
    assert set(fetched) == {"model_index.json", "unet/config.json"}


@pytest.mark.parametrize(
    ("names", "gigabytes", "options"),
    [
        (["a.safetensors", "a.fp16.safetensors", "a.bin"], 1, {"use_safetensors": True}),
        (["a.fp16.safetensors", "a.bin"], 1, {"use_safetensors": True, "variant": "fp16"}),
        (["a.bin", "a.fp16.bin"], 1, {"use_safetensors": False}),
        (["a.fp16.bin"], 1, {"use_safetensors": False, "variant": "fp16"}),
        (
            ["a.safetensors.index.json", "a-00001-of-00002.safetensors", "a-00002-of-00002.safetensors"],
            2,
            {"use_safetensors": True},
        ),
        (
            ["a.safetensors.index.fp16.json", "a-00001-of-00002.fp16.safetensors", "a-00002-of-00002.bin"],
            1,
            {"use_safetensors": True, "variant": "fp16"},
        ),
    ],
)
def test_the_best_files_of_a_listed_repository_are_the_ones_taken(names, gigabytes, options):
    source = Source(REPO, "", ("unet/a",), bin=True, listed={f"unet/{name}": GB for name in names})
    assert source.gigabytes() == gigabytes
    assert source._format("unet") == options


@pytest.mark.parametrize(
    ("sizes", "unet", "said"),
    [
        ({"unet/config.json": 1}, {"in_channels": 9}, "an inpainting model"),
        ({"unet/config.json": 1}, {"time_cond_proj_dim": 256}, "a latent consistency model"),
        ({"transformer/config.json": 1}, {}, "a transformer in place of a UNet"),
        ({"model.safetensors": 1}, {}, "no latent diffusion model"),
    ],
)
def test_what_is_no_text_to_image_model_is_refused_by_name(listed, sizes, unet, said):
    listed(sizes, {"unet/config.json": unet})
    with pytest.raises(ValueError, match=f"^{REPO} .*{said}"):
        zoo.load(REPO)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (GatedRepoError, "is gated: accept its terms"),
        (RepositoryNotFoundError, "no public model of this name"),
    ],
)
def test_a_gated_and_a_missing_repository_are_a_sentence(listed, monkeypatch, error, said):
    listed({}, {})

    def refuse(self, repo, **options):
        raise error("401", response=SimpleNamespace(headers={}, request=None, status_code=401))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(ValueError, match=said):
        zoo.load(REPO)


def test_a_repository_in_the_cache_asks_nobody(tmp_path):
    folder = write_tiny_family(tmp_path / "xl", "sdxl")
    root = Path(os.environ["HF_HUB_CACHE"]) / f"models--{REPO.replace('/', '--')}"
    shutil.copytree(folder, root / "snapshots" / ("0" * 40))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    try:
        about = zoo.describe(REPO)
        assert about["local"] and about["fetch_gb"] == 0
        found, wanted = zoo.load(REPO).diffusion, zoo.load(folder).diffusion
        assert torch.equal(found.encode_text(["red"]).pooled, wanted.encode_text(["red"]).pooled)
        assert torch.equal(found.unet.conv_in.weight, wanted.unet.conv_in.weight)
        weights = next(root.rglob("text_encoder_2/model.safetensors"))
        kept = weights.read_bytes()
        weights.write_bytes(kept[:100])
        with pytest.raises(ValueError, match=f"{REPO}/text_encoder_2 could not be read"):
            _ = zoo.load(REPO).diffusion
        weights.unlink()  # as after a fetch that was interrupted
        with pytest.raises(ValueError, match="cannot be asked about it"):
            zoo.load(REPO)
    finally:
        shutil.rmtree(root)


def test_without_a_connection_it_is_one_sentence_within_three_seconds(tmp_path):
    """At an address that takes the question and never answers, in a process that is not told offline."""
    script = (
        "import time\nfrom textedit_core.models import zoo\nfrom huggingface_hub import HfApi\n"
        "start = time.perf_counter()\n"
        "for ask in (lambda: zoo.load('somebody/some-model'), lambda: zoo.load('sd').diffusion):\n"
        "    start = time.perf_counter()\n"
        "    try:\n        ask()\n"
        "    except ValueError as error:\n        print(f'{time.perf_counter() - start:.1f} {error}')\n"
    )
    own = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    own = {key: value for key, value in own.items() if not key.lower().endswith("_proxy")}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        own |= {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", script], env=own, capture_output=True, text=True, check=True
        )
    first, second = run.stdout.strip().split("\n")
    assert "cannot be asked about it" in first and "is not here and could not be fetched" in second
    assert max(float(line.split()[0]) for line in (first, second)) < 3.5


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: False)
    monkeypatch.setattr(hub, "SECONDS", 0.1)
    start = time.perf_counter()
    with pytest.raises(ConnectionError, match="does not answer"):
        hub._within(lambda: time.sleep(2))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("name", "known"), [("a/b", True), ("toon", False), ("a/b/c", False), ("/a/b", False)]
)
def test_the_name_of_a_repository_is_owner_and_name(name, known):
    assert hub.is_id(name) == known


def test_what_will_be_fetched_is_a_line_with_family_size_and_licence(listed):
    listed(SDXL_FP16, {"model_index.json": {}, "unet/config.json": XL})
    wanted = f"fetching {REPO} (Stable Diffusion XL), 6.3 GB, licence openrail++"
    assert zoo.fetching(REPO, "diffusion") == [wanted]
    assert zoo.fetching("sd", "diffusion") == [
        "fetching stable-diffusion-v1-5/stable-diffusion-v1-5, 4.3 GB, licence CreativeML Open RAIL-M"
    ]
    assert zoo.folder_of(REPO) is None


def test_nothing_is_said_to_be_fetched_from_a_folder(tmp_path):
    folder = write_tiny_family(tmp_path / "sd", "sd1")
    assert zoo.fetching(folder, "diffusion") == []
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert not zoo.describe(folder, "diffusion")["local"]
    assert zoo.fetching(folder, "diffusion") == []
    with pytest.raises(ValueError, match="unet could not be read"):
        _ = zoo.load(folder).diffusion


def test_turbo_models_start_at_few_steps_without_guidance(tmp_path):
    folder = write_tiny_family(tmp_path / "sd-Turbo", "sd2")
    how, models = method.load("sdedit"), zoo.load(folder)
    assert request.preset(models, "sdedit", how.knobs) == {"steps": 4, "guidance_scale": 1.0, "strength": 0.5}
    for name in ("imagic", "prompt_to_prompt"):
        assert request.preset(models, name, method.load(name).knobs)["steps"] == 4
    assert zoo.load(write_tiny_family(tmp_path / "plain", "sd2")).presets == {}
