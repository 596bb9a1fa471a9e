"""The one loader: bundles and Stable Diffusion folders; strict, and cheap to ask."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from textedit_core.models import zoo

UNET = "diffusion/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tiny_folder, tmp_path) -> Path:
    """A copy of the tiny bundle to damage."""
    return shutil.copytree(tiny_folder, tmp_path / "bundle")


def edit_weights(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_everything_is_loaded_frozen_in_eval_mode_and_float32(tiny):
    networks = [tiny.diffusion.unet, tiny.diffusion.vae, tiny.diffusion.text_encoder, tiny.clip.model]
    for network in networks:
        assert not network.training
        assert not any(p.requires_grad for p in network.parameters())
        assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_float16_on_disk_is_read_exactly(tiny, tiny_folder):
    stored = load_file(tiny_folder / UNET)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    loaded = tiny.diffusion.unet.state_dict()
    assert all(torch.equal(loaded[name], tensor.float()) for name, tensor in stored.items())


def test_a_bundle_tells_its_presets_words_and_licence(tiny):
    assert tiny.presets["imagic"]["steps"] == 3
    assert "glasses" in tiny.vocabulary
    assert tiny.license == "none: random numbers"
    assert tiny.manifest["name"] == "tiny"
    assert tiny.clip.size == 32


def test_unknown_words_are_named_with_close_ones(tiny):
    assert tiny.unknown_words("A red horse, smilin man!") == {"horse": [], "smilin": ["smiling"]}
    assert tiny.unknown_words("a smiling man") == {}
    assert zoo.load("sd").unknown_words("a zebra") == {}


def test_nothing_is_read_before_it_is_used(folder):
    shutil.rmtree(folder / "clip")
    (folder / UNET).unlink()
    models = zoo.load(folder)
    with pytest.raises(ValueError, match="no clip part, only diffusion, paint_by_example"):
        _ = models.clip
    with pytest.raises(ValueError, match=r"diffusion/unet could not be read.*diffusion_pytorch_model"):
        _ = models.diffusion


@pytest.mark.parametrize("part", ["diffusion", "clip", "paint_by_example", "generator", "encoder",
                                  "identity", "mappers", "relevance"])  # fmt: skip
def test_loading_draws_from_no_global_generator(tiny_folder, part):
    models, before = zoo.load(tiny_folder), torch.get_rng_state()
    assert getattr(models, part) is not None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_tensor_is_named(folder):
    edit_weights(folder / UNET, lambda tensors: tensors.pop("conv_out.bias"))
    with pytest.raises(ValueError, match=r"diffusion/unet.*conv_out\.bias"):
        _ = zoo.load(folder).diffusion


def test_an_unexpected_tensor_is_named(folder):
    edit_weights(folder / UNET, lambda tensors: tensors.update(surplus=torch.zeros(1)))
    with pytest.raises(ValueError, match="unexpected tensors: surplus"):
        _ = zoo.load(folder).diffusion


def test_a_tensor_of_the_wrong_shape_is_named(folder):
    edit_weights(folder / UNET, lambda tensors: tensors.update({"conv_out.bias": torch.zeros(5)}))
    with pytest.raises(ValueError, match=r"conv_out\.bias"):
        _ = zoo.load(folder).diffusion


@pytest.mark.parametrize(("part", "place"), [("diffusion", "diffusion/text_encoder"), ("clip", "clip")])
@pytest.mark.parametrize("kind", ["missing", "unexpected", "mismatched"])
def test_the_transformers_models_are_as_strict(folder, part, place, kind):
    def damage(tensors):
        name = next(name for name in sorted(tensors) if name.endswith("final_layer_norm.bias"))
        tensors["surplus" if kind == "unexpected" else name] = torch.zeros(5)
        if kind == "missing":
            del tensors[name]

    edit_weights(folder / place / "model.safetensors", damage)
    said = "surplus" if kind == "unexpected" else "final_layer_norm.bias"
    with pytest.raises(ValueError, match=f"{place} have {kind} tensors: .*{said}"):
        getattr(zoo.load(folder), part)


def test_names_of_older_checkpoints_are_understood(tiny, folder):
    """The published files say text_model.*, hold position ids, and name the VAE's attention otherwise."""

    def as_published(tensors):
        renamed = {f"text_model.{name.removeprefix('text_model.')}": tensors[name] for name in tensors}
        renamed["text_model.embeddings.position_ids"] = torch.arange(32)[None]
        tensors.clear()
        tensors.update(renamed)

    edit_weights(folder / "diffusion/text_encoder/model.safetensors", as_published)
    vae = AutoencoderKL(
        block_out_channels=(8,), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=32
    )
    vae.save_pretrained(folder / "diffusion/vae")

    def older(tensors):
        for new, old in [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]:
            for name in [name for name in tensors if f".{new}." in name]:
                tensors[name.replace(new, old)] = tensors.pop(name)

    edit_weights(folder / "diffusion/vae/diffusion_pytorch_model.safetensors", older)
    loaded = zoo.load(folder).diffusion
    assert torch.equal(
        loaded.encode_text(["a red hat"]).tokens, tiny.diffusion.encode_text(["a red hat"]).tokens
    )
    attention = vae.encoder.mid_block.attentions[0]
    assert torch.equal(loaded.vae.encoder.mid_block.attentions[0].to_q.weight, attention.to_q.weight)


class Trap:
    """A pickle that would write a file if it were executed."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("place", ["unet/diffusion_pytorch_model", "text_encoder/pytorch_model"])
def test_a_pickle_is_not_executed(folder, tmp_path, place):
    path = folder / "diffusion" / f"{place}.bin"
    for weights in path.parent.glob("*.safetensors"):
        weights.unlink()
    torch.save({"conv_out.bias": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(ValueError, match="could not be read"):
        _ = zoo.load(folder).diffusion
    assert not (tmp_path / "sprung").exists()


FILES = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}


@pytest.mark.parametrize("kind", ["fp16.safetensors", "bin", "fp16.bin"])
def test_weights_of_half_precision_and_of_torch_are_read_alike(tiny, folder, kind):
    for part, stem in FILES.items():
        place = folder / "diffusion" / part
        weights = place / f"{stem}.safetensors"
        if kind.endswith("bin"):
            older = "pytorch_model" if stem == "model" else stem
            torch.save(load_file(weights), place / f"{older}.{kind}")
            weights.unlink()
        else:
            weights.rename(place / f"{stem}.{kind}")
    assert zoo.describe(folder)["local"]
    found = zoo.load(folder).diffusion
    for part in FILES:
        wanted = getattr(tiny.diffusion, part).state_dict()
        held = getattr(found, part).state_dict()
        assert all(torch.equal(held[name], value) for name, value in wanted.items())


def test_half_precision_split_into_several_files_is_read_alike(tiny, folder):
    unet = folder / "diffusion" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    tiny.diffusion.unet.save_pretrained(unet, max_shard_size="200KB", variant="fp16")
    assert (unet / "diffusion_pytorch_model.safetensors.index.fp16.json").is_file()
    found = zoo.load(folder).diffusion.unet.state_dict()
    assert all(torch.equal(found[name], value) for name, value in tiny.diffusion.unet.state_dict().items())


def test_a_damaged_torch_file_is_named(folder):
    path = folder / UNET.replace(".safetensors", ".bin")
    tensors = load_file(folder / UNET)
    (folder / UNET).unlink()
    torch.save(tensors | {"surplus": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="diffusion/unet have unexpected tensors: surplus"):
        _ = zoo.load(folder).diffusion


def test_a_stable_diffusion_folder_is_a_model_without_clip(tiny, tiny_folder):
    models = zoo.load(tiny_folder / "diffusion")
    assert torch.equal(models.diffusion.unet.conv_in.weight, tiny.diffusion.unet.conv_in.weight)
    with pytest.raises(ValueError, match="no clip part"):
        _ = models.clip


def test_describe_measures_a_folder(tiny_folder, folder):
    described = zoo.describe(tiny_folder)
    assert described["local"]
    assert described["title"] == "tiny"
    files = [path for part in ("diffusion", "clip") for path in (tiny_folder / part).rglob("*")]
    total = sum(path.stat().st_size for path in files if path.is_file())
    assert described["size_gb"] == pytest.approx(total / 1e9, abs=0.002)
    (folder / UNET).unlink()
    assert not zoo.describe(folder)["local"]


def test_fingerprints_follow_weights_precision_and_part(tiny, folder):
    same = zoo.load(folder)
    assert same.diffusion.fingerprint == tiny.diffusion.fingerprint
    assert same.clip.fingerprint != same.diffusion.fingerprint
    assert zoo.load(folder, dtype=torch.float64).diffusion.fingerprint != same.diffusion.fingerprint
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][UNET] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    changed = zoo.load(folder)
    assert changed.diffusion.fingerprint != same.diffusion.fingerprint
    assert changed.clip.fingerprint == same.clip.fingerprint


def test_a_folder_without_manifest_is_told_apart_by_its_files(folder):
    (folder / "manifest.json").unlink()
    before = zoo.load(folder).diffusion.fingerprint
    assert zoo.load(folder).diffusion.fingerprint == before
    edit_weights(folder / UNET, lambda tensors: tensors["conv_out.bias"].add_(1))
    assert zoo.load(folder).diffusion.fingerprint != before


def test_precision_is_a_choice(tiny_folder):
    models = zoo.load(tiny_folder, dtype=torch.float64)
    assert models.diffusion.dtype == torch.float64
    assert models.diffusion.vae.dtype == torch.float64
    assert models.clip.model.dtype == torch.float32  # it is always


@pytest.mark.parametrize("name", ["nope", "/no/such/folder"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ValueError, match="choose toon, sd, or the path of a folder or of a"):
        zoo.load(name)


def test_a_folder_is_told_from_a_name(tiny_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_folder.parent))
    assert zoo.folder_of("toon") == zoo.BUNDLES / "toon"
    assert zoo.folder_of(tiny_folder) == zoo.folder_of(f"~/{tiny_folder.name}") == tiny_folder
    assert zoo.folder_of("sd") is None, "its models are the hub's"


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no model folder"):
        zoo.load(tmp_path)


def test_devices(tiny_folder):
    assert zoo.load(tiny_folder, "auto").device.type in ("cpu", "cuda", "mps")
    for device in ("tpu0", "cuda:99"):
        with pytest.raises(ValueError, match=f"no device '{device}'"):
            zoo.load(tiny_folder, device)


def test_toon_is_whole_and_small(toon):
    """The shipped bundle: every file as the manifest says, within its budget."""
    import hashlib

    root = zoo.BUNDLES / "toon"
    for name, digest in toon.manifest["files"].items():
        assert hashlib.sha256((root / name).read_bytes()).hexdigest() == digest, name
    # Two UNets of 8.8 M, one for texts and one for examples, are 35 MB alone.
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    assert sum(sizes) < 80e6 and max(sizes) < 10e6
    assert toon.diffusion.size == toon.clip.size == toon.manifest["size"]
    assert toon.vocabulary


def test_weights_split_into_several_files_are_read_alike(tiny, tiny_folder, tmp_path):
    """As a host with a limit on file sizes wants them."""
    shutil.copytree(tiny_folder, tmp_path / "split")
    unet = tmp_path / "split" / "diffusion" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    tiny.diffusion.unet.save_pretrained(unet, max_shard_size="200KB")
    assert len(list(unet.glob("*-of-*.safetensors"))) > 1
    assert zoo.describe(tmp_path / "split")["local"]
    found = zoo.load(tmp_path / "split").diffusion.unet.state_dict()
    assert all(torch.equal(found[name], value) for name, value in tiny.diffusion.unet.state_dict().items())


@pytest.mark.parametrize("name", ["a" * 5000, "~nobody-of-this-name/models", "x\x00y", "/dev/null"])
def test_no_name_however_odd_is_more_than_a_sentence(name):
    with pytest.raises(ValueError, match=r"^There is no model .*or the path of a folder") as refusal:
        zoo.load(name)
    assert len(str(refusal.value)) < 400
