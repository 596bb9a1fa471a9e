"""The shipped folders have published names and are whole pipelines to diffusers; both namings are read."""

import hashlib
import shutil

import diffusers.pipelines
import diffusers.pipelines.deprecated.paint_by_example as deprecated
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from tests.bundles import tiny_exemplar_encoder, tiny_unet, tiny_vae
from textedit_core import noise
from textedit_core.methods import paint_by_example
from textedit_core.models import towers, zoo
from textedit_core.models.diffusion import autoencoder
from textedit_core.models.diffusion.exemplar import ExemplarEncoder
from textedit_core.models.source import Source
from textedit_core.steps import last
from textedit_core.training import bundle
from textedit_core.training.evaluate import generate

TOON = zoo.BUNDLES / "toon"
# Class, folder, the inner module of the long names, and the sha256 of all values in the order of the short
# names: that of the files as they were first shipped, under short names; None for one trained on since.
SHIPPED = [
    (CLIPTextModel, "diffusion/text_encoder", "text_model.", None),
    (
        ExemplarEncoder,
        "paint_by_example/image_encoder",
        "vision_model.",
        "e960e379f7c10235ef21eeff60ba5da89473e13e480ecc41ad854298f580162e",
    ),
]


def short_names(state: dict, inner: str) -> dict:
    return {name.replace(inner, ""): state[name] for name in state}


@pytest.mark.parametrize(("cls", "place", "inner", "digest"), SHIPPED)
def test_the_shipped_names_are_the_published_ones_and_no_value_changed(cls, place, inner, digest):
    state = load_file(TOON / place / "model.safetensors")
    assert list(towers.long_names(cls, state)) == list(state)
    assert sum(inner in name for name in state) > 60
    found, short = hashlib.sha256(), short_names(state, inner)
    for name in sorted(short):
        found.update(short[name].numpy().tobytes())
    assert digest in (None, found.hexdigest())


@pytest.mark.parametrize(("cls", "place", "inner", "_"), SHIPPED)
def test_both_namings_are_read(cls, place, inner, _, tmp_path):
    shutil.copytree(TOON / place, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    long = Source(str(tmp_path), weights=("model",)).network(cls).state_dict()
    save_file(short_names(state, inner), file, {"format": "pt"})
    short = Source(str(tmp_path), weights=("model",)).network(cls).state_dict()
    assert list(short) == list(long)
    assert all(torch.equal(short[name], long[name]) for name in long)
    assert all(
        torch.equal(long[name], value.float()) for name, value in towers.installed_names(cls, state).items()
    )


def test_what_is_not_a_tower_keeps_its_name():
    state = {
        "mapper.blocks.0.norm1.bias": 1,
        "final_layer_norm.bias": 2,
        "model.embeddings.class_embedding": 3,
    }
    assert list(towers.long_names(ExemplarEncoder, state)) == [
        "mapper.blocks.0.norm1.bias",
        "final_layer_norm.bias",
        "model.vision_model.embeddings.class_embedding",
    ]
    assert towers.long_names(torch.nn.Linear, {"encoder.weight": 1}) == {"encoder.weight": 1}


def test_the_writer_writes_the_published_names_and_whole_pipelines(toon, tmp_path):
    text = toon.diffusion
    bundle.write_diffusion(tmp_path / "a", text.tokenizer, text.text_encoder, text.vae, tiny_unet(8))
    bundle.write_paint_by_example(
        tmp_path / "b", tiny_unet(8, in_channels=9), tiny_exemplar_encoder(32), tiny_vae(32)
    )
    for folder, part in (("a", "diffusion"), ("b", "paint_by_example")):
        written, shipped = tmp_path / folder, TOON / part
        assert {path.name for path in written.iterdir()} == {path.name for path in shipped.iterdir()}
        assert DiffusionPipeline.load_config(written).keys() == DiffusionPipeline.load_config(shipped).keys()
    shipped = load_file(TOON / "diffusion/text_encoder/model.safetensors")
    written = load_file(tmp_path / "a/text_encoder/model.safetensors")
    assert written.keys() == shipped.keys()
    assert all(torch.equal(written[name], shipped[name]) for name in shipped)
    names = load_file(tmp_path / "b/image_encoder/model.safetensors")
    assert "model.vision_model.embeddings.class_embedding" in names
    assert not any(name.startswith("model.embeddings.") for name in names)


def test_diffusers_draws_the_same_picture_from_the_shipped_folder(toon):
    pipeline = DiffusionPipeline.from_pretrained(TOON / "diffusion")
    pipeline.set_progress_bar_config(disable=True)
    text, start = "a person with glasses", noise.noise((1, 4, 16, 16), [3])
    found = pipeline(text, latents=start, num_inference_steps=6, guidance_scale=3.0, output_type="pt").images
    expected = generate(toon.diffusion, [text], seed=3, steps=6, scale=3.0)
    torch.testing.assert_close(found * 2 - 1, expected, rtol=0, atol=1e-4)


def test_diffusers_paints_the_same_from_the_shipped_folder(toon, portrait, monkeypatch):
    """The published model_index.json names a module that diffusers has moved: until diffusers finds it again,
    the module is put where the file says."""
    monkeypatch.setattr(diffusers.pipelines, "paint_by_example", deprecated, raising=False)
    pipeline = DiffusionPipeline.from_pretrained(TOON / "paint_by_example")
    pipeline.set_progress_bar_config(disable=True)
    model = toon.paint_by_example
    mean, std = (value.view(1, 3, 1, 1) for value in (model.exemplar_mean, model.exemplar_std))
    pipeline._encode_vae_image = lambda image, generator: autoencoder.encode(model.vae, image)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:44, 16:48] = 1
    found = pipeline(
        example_image=((portrait + 1) / 2 - mean) / std, image=portrait, mask_image=mask.clone(),
        latents=noise.noise((1, 4, 16, 16), [3]), num_inference_steps=4, guidance_scale=5.0, output_type="pt",
    ).images  # fmt: skip
    expected = last(
        paint_by_example.edit(
            model, portrait, mask, portrait, steps=4, guidance_scale=5.0, seed=3, feather=0, sampler="ddim"
        )
    )
    torch.testing.assert_close((found * 2 - 1) * mask, expected * mask, rtol=0, atol=1e-4)
