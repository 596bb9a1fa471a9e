"""Paint by Example from a folder like the published repository, from a bundle, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import PNDMScheduler
from safetensors.torch import load_file

from textedit_core.models import zoo
from textedit_core.models.diffusion.exemplar import ExemplarEncoder
from textedit_core.models.diffusion.paint_by_example import PaintByExample
from textedit_core.models.towers import long_names


@pytest.fixture
def published(tiny_folder, tmp_path) -> Path:
    """The tiny parts as the repository has them: .bin files, old names, PNDM, a surplus checkpoint."""
    folder = shutil.copytree(tiny_folder / "paint_by_example", tmp_path / "repo")
    shutil.copytree(tiny_folder / "diffusion" / "vae", folder / "vae")
    for part, name in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model")):
        as_bin(folder / part / f"{name}.safetensors", folder / part / f"{name}.bin", lambda key: key)
    as_bin(
        folder / "image_encoder" / "model.safetensors",
        folder / "image_encoder" / "pytorch_model.bin",
        lambda key: next(iter(long_names(ExemplarEncoder, {key: None}))),
    )
    shutil.rmtree(folder / "scheduler")
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        skip_prk_steps=True,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    (folder / "model.ckpt").write_bytes(b"never read")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "PaintByExamplePipeline"}))
    return folder


def as_bin(old: Path, new: Path, name) -> None:
    torch.save({name(key): value for key, value in load_file(old).items()}, new)
    old.unlink()


def test_a_folder_like_the_repository_is_a_model(tiny, published):
    models = zoo.load(published)
    found, mine = models.paint_by_example, tiny.paint_by_example
    assert list(models.sources) == ["paint_by_example"]
    for part in ("unet", "vae", "encoder"):
        weights = getattr(mine, part).state_dict()
        assert all(
            torch.equal(value, weights[key]) for key, value in getattr(found, part).state_dict().items()
        )
    exemplar = torch.rand(1, 3, 50, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(found.encode_exemplar(exemplar).tokens, mine.encode_exemplar(exemplar).tokens)
    assert found.schedule.timesteps(50) == mine.schedule.timesteps(50)
    assert (found.size, found.exemplar_size, found.latent_scale) == (32, 32, 4)
    with pytest.raises(ValueError, match="no diffusion part, only paint_by_example"):
        _ = models.diffusion


def test_everything_is_frozen_and_fingerprints_follow_the_autoencoder(tiny, tiny_folder, tmp_path):
    model = tiny.paint_by_example
    for network in (model.unet, model.vae, model.encoder):
        assert not network.training and not any(p.requires_grad for p in network.parameters())
    folder = shutil.copytree(tiny_folder, tmp_path / "bundle")
    assert zoo.load(folder).paint_by_example.fingerprint == model.fingerprint
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["diffusion/vae/config.json"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert zoo.load(folder).paint_by_example.fingerprint != model.fingerprint


def test_without_an_autoencoder_of_its_own_it_has_the_bundles(tiny):
    own, theirs = tiny.paint_by_example.vae.state_dict(), tiny.diffusion.vae.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in own.items())


def test_a_missing_part_is_a_sentence(published):
    (published / "image_encoder" / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="image_encoder could not be read"):
        _ = zoo.load(published).paint_by_example


def test_a_unet_of_other_channels_is_refused(tiny):
    mine = tiny.paint_by_example
    with pytest.raises(ValueError, match="9 input channels, not 4"):
        PaintByExample(
            tiny.diffusion.unet, mine.vae, mine.encoder, mine.exemplar_mean, mine.exemplar_std,
            mine.schedule, None,
        )  # fmt: skip


def test_the_exemplar_is_normalised_as_its_preprocessor_says(tiny, tiny_folder):
    from transformers import CLIPImageProcessor

    pixels = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    seen = []
    model = tiny.paint_by_example
    handle = model.encoder.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    try:
        model.encode_exemplar(pixels[None].float() / 127.5 - 1)
    finally:
        handle.remove()
    processor = CLIPImageProcessor.from_pretrained(tiny_folder / "paint_by_example" / "feature_extractor")
    wanted = processor(images=pixels.permute(1, 2, 0).numpy(), return_tensors="pt").pixel_values
    torch.testing.assert_close(seen[0], wanted, rtol=0, atol=1e-4)
