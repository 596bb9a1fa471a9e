"""Every family of Stable Diffusion against diffusers' own pipelines; what is none is refused by name."""

import json

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)

from tests.families import FAMILIES, write_tiny_family
from textedit_core.methods import imagic, prompt_to_prompt, sdedit
from textedit_core.models import zoo
from textedit_core.models.diffusion import families
from textedit_core.models.diffusion.ddim import ddim_step
from textedit_core.models.diffusion.prompt_control import map_side
from textedit_core.noise import noise
from textedit_core.steps import last

PROMPT, SOURCE = "a portrait of the man in a red hat", "a portrait of the man in a blue hat"


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pipeline(cls: type[DiffusionPipeline], model, folder) -> DiffusionPipeline:
    """diffusers' pipeline of the same parts, with its DDIM sampler read from the folder."""
    parts = {name: getattr(model, name) for name in ("vae", "text_encoder", "tokenizer", "unet")}
    if model.text_encoder_2 is not None:
        parts |= {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizer_2}
    else:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    made = cls(**parts, scheduler=DDIMScheduler.from_pretrained(folder, subfolder="scheduler"))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_are_encoded_as_by_the_pipeline(loaded, folders, family):
    model, xl = loaded[family], family == "sdxl"
    theirs = pipeline(StableDiffusionXLPipeline if xl else StableDiffusionPipeline, model, folders[family])
    found = model.encode_text([PROMPT, ""])
    if not xl:
        wanted, null = theirs.encode_prompt(PROMPT, "cpu", 1, True)
        assert found.pooled is None
    else:
        wanted, null, pooled, null_pooled = theirs.encode_prompt(PROMPT, device="cpu")
        assert not null.any() and not null_pooled.any()
        torch.testing.assert_close(found.pooled, torch.cat([pooled, null_pooled]))
    torch.testing.assert_close(found.tokens, torch.cat([wanted, null]))


def test_without_forced_zeros_an_empty_prompt_is_its_embedding(folders, tmp_path):
    folder = write_tiny_family(tmp_path, "sdxl")
    (folder / "model_index.json").write_text(json.dumps({"force_zeros_for_empty_prompt": False}))
    model = zoo.load(folder).diffusion
    theirs = pipeline(StableDiffusionXLPipeline, model, folder)
    theirs.register_to_config(force_zeros_for_empty_prompt=False)
    _, null, _, null_pooled = theirs.encode_prompt(PROMPT, device="cpu")
    found = model.encode_text([""])
    assert null.any()
    torch.testing.assert_close(found.tokens, null)
    torch.testing.assert_close(found.pooled, null_pooled)


def test_the_second_generation_pads_with_token_zero(loaded):
    for family, tokenizer in [
        ("sd2", loaded["sd2"].tokenizer),
        ("sdxl", loaded["sdxl"].tokenizer_2),
    ]:
        ids = tokenizer("red", padding="max_length").input_ids
        assert ids[3:] == [0] * 29, family
    assert loaded["sd1"].tokenizer("red", padding="max_length").input_ids[-1] != 0


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_is_the_text_to_image_pipeline(loaded, folders, family):
    model, xl = loaded[family], family == "sdxl"
    theirs = pipeline(StableDiffusionXLPipeline if xl else StableDiffusionPipeline, model, folders[family])
    z = noise((1, 4, 8, 8), [3])
    steps = 7  # which do not divide the 1000 of training
    size = {"height": 32, "width": 32, "guidance_scale": 5.0, "num_inference_steps": steps}
    wanted = theirs(PROMPT, latents=z, output_type="latent", **size).images
    text, null = model.encode_text([PROMPT, ""]).split()
    with torch.no_grad():
        for t, t_to in model.schedule.transitions(steps):
            z = ddim_step(model.schedule, z, model.guided_eps(z, t, text, null, 5.0), t, t_to)
    torch.testing.assert_close(z, wanted, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(("strength", "guidance_scale"), [(0.8, 5.0), (1.0, 3.0), (0.5, 1.0)])
@pytest.mark.parametrize("family", FAMILIES)
def test_sdedit_is_the_image_to_image_pipeline(loaded, folders, image, family, strength, guidance_scale):
    model, xl = loaded[family], family == "sdxl"
    cls = StableDiffusionXLImg2ImgPipeline if xl else StableDiffusionImg2ImgPipeline
    seed = torch.Generator().manual_seed(1)
    knobs = {"strength": strength, "guidance_scale": guidance_scale}
    theirs = pipeline(cls, model, folders[family])
    wanted = theirs(
        PROMPT,
        image=model.encode(image),
        num_inference_steps=10,
        generator=seed,
        output_type="pt",
        **knobs,
    ).images
    found = last(sdedit.edit(model, image, PROMPT, steps=10, seed=1, **knobs)).clamp(-1, 1)
    torch.testing.assert_close(found, wanted * 2 - 1, rtol=0, atol=3e-3)


@pytest.mark.parametrize("inversion", ["direct", "null_text", "npi", "ddim"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_inversion_and_prompt_to_prompt_run(loaded, image, family, inversion):
    model = loaded[family]
    fit = {"inversion": inversion, "steps": 3, "guidance_scale": 2.0, "inner_steps": 2}
    fitted = last(prompt_to_prompt.fit(model, image, SOURCE, **fit))
    assert fitted.latents.isfinite().all()
    rows = [prompt_to_prompt.settings_of(blend_words="hat", blend_start=0.0, guidance_scale=2.0)]
    found = last(prompt_to_prompt.edit_many(model, fitted, [PROMPT], rows, keep_maps=True))
    assert found.images.shape == image.shape and found.images.isfinite().all()
    assert (
        set(found.maps[1]) == set(PROMPT.split()) and found.maps[1]["hat"].shape == found.maps[0]["hat"].shape
    )
    kept = {"keep_to_source": 1.0, "guidance_scale": 2.0}
    same = last(prompt_to_prompt.edit(model, fitted, SOURCE, **kept))
    torch.testing.assert_close(same, prompt_to_prompt.reconstruct(model, fitted), rtol=0, atol=2e-3)


@pytest.mark.parametrize("tune", ["full", "attention", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_imagic_runs(loaded, image, family, tune):
    model = loaded[family]
    before = {name: value.clone() for name, value in model.unet.state_dict().items()}
    steps = {"embedding_steps": 2, "finetune_steps": 2, "finetune_lr": 1e-3}
    fitted = last(imagic.fit(model, image, PROMPT, tune=tune, **steps))
    found = last(imagic.edit(model, fitted, eta=[0.0, 1.0], steps=3))
    assert found.shape == (2, 3, 32, 32) and found.isfinite().all()
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert all(torch.equal(before[name], value) for name, value in model.unet.state_dict().items())


def test_the_pooled_text_and_the_size_reach_the_noise_of_sdxl(loaded):
    model, z = loaded["sdxl"], noise((1, 4, 8, 8), [0])
    text, null = model.encode_text([PROMPT, ""]).split()
    base = model.eps(z, 500, text)
    other = type(text)(text.tokens, null.pooled)
    assert (model.eps(z, 500, other) - base).abs().max() > 1e-3
    wanted = model.unet(
        z,
        500,
        encoder_hidden_states=text.tokens,
        added_cond_kwargs={
            "text_embeds": text.pooled,
            "time_ids": torch.tensor([[32.0, 32, 0, 0, 32, 32]]),
        },
    ).sample
    torch.testing.assert_close(base, wanted)
    with pytest.raises(ValueError, match="needs a pooled text"):
        model.eps(z, 500, type(text)(text.tokens))


@pytest.mark.parametrize(("size", "side"), [((64, 64), 16), ((96, 96), 24), ((128, 128), 32), ((16, 24), 16)])
def test_the_map_grid_is_a_quarter_of_the_latents_and_at_least_16(size, side):
    assert map_side(size) == side


def test_the_maps_of_sdxl_at_its_native_latents_are_of_side_32(tmp_path):
    blocks = {
        "block_out_channels": (8, 8, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 1, 1),
        "attention_head_dim": (1, 1, 2),
    }
    model = zoo.load(write_tiny_family(tmp_path, "sdxl", 512, **blocks)).diffusion
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fitted = last(prompt_to_prompt.fit(model, image, SOURCE, steps=2))
    rows = [prompt_to_prompt.settings_of(blend_words="hat", blend_start=0.0, blend_threshold=0.95)]
    found = last(prompt_to_prompt.edit_many(model, fitted, [PROMPT], rows, keep_maps=True))
    assert found.maps[0]["hat"].shape == (32, 32)
    assert found.masks.shape == (1, 1, 128, 128) and 0 < found.masks.mean() < 1


def test_the_autoencoder_of_sdxl_stays_in_float32_where_it_overflows(folders):
    for family, vae in [("sdxl", torch.float32), ("sd1", torch.float16)]:
        model = zoo.load(folders[family], dtype=torch.float16).diffusion
        assert (model.dtype, model.vae.dtype) == (torch.float16, vae)
    config = folders["sdxl"] / "vae" / "config.json"
    known = json.loads(config.read_text())
    config.write_text(json.dumps(known | {"force_upcast": False}))
    assert zoo.load(folders["sdxl"], dtype=torch.float16).diffusion.vae.dtype == torch.float16
    config.write_text(json.dumps(known))


NOT_TEXT_TO_IMAGE = [
    ({"in_channels": 9}, "an inpainting model"),
    ({"in_channels": 8}, "InstructPix2Pix"),
    ({"in_channels": 7}, "an upscaler"),
    ({"in_channels": 5}, "a depth-to-image model"),
    ({"in_channels": 12}, "a model of another kind"),
    ({"time_cond_proj_dim": 256}, "a latent consistency model"),
    ({"num_class_embeds": 1000}, "an upscaler"),
    ({"class_embed_type": "projection"}, "a model that varies pictures"),
    ({"encoder_hid_dim_type": "image_proj"}, "a model with another encoder"),
    ({"addition_embed_type": "image"}, "addition_embed_type is 'image'"),
    ({"addition_embed_type": "text_time", "cross_attention_dim": 1280}, "the refiner of SDXL"),
    ({"_class_name": "UNet3DConditionModel"}, "a model with a UNet3DConditionModel"),
]


@pytest.mark.parametrize(("config", "said"), NOT_TEXT_TO_IMAGE)
def test_what_is_no_text_to_image_model_is_refused_by_name(folders, tmp_path, config, said):
    known = json.loads((folders["sd1"] / "unet" / "config.json").read_text())
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(known | config))
    with pytest.raises(ValueError, match=said) as refusal:
        zoo.load(tmp_path)
    assert str(refusal.value).endswith("choose a text-to-image model of Stable Diffusion.")
    assert "\n" not in str(refusal.value) and str(tmp_path) in str(refusal.value)


def test_the_model_index_tells_a_refiner_and_a_model_of_pictures():
    refiner = {"requires_aesthetics_score": True}
    xl = {"addition_embed_type": "text_time", "cross_attention_dim": 32}
    families.check(xl, "it")
    with pytest.raises(ValueError, match="refiner"):
        families.check(xl, "it", refiner)
    varies = {"image_encoder": ["transformers", "CLIPVisionModel"], "text_encoder": [None, None]}
    with pytest.raises(ValueError, match="varies pictures"):
        families.check({}, "it", varies)


def test_a_model_without_a_unet_is_refused(tmp_path):
    (tmp_path / "transformer").mkdir()
    with pytest.raises(ValueError, match="transformer in place of a UNet"):
        zoo.load(tmp_path)


def test_a_consistency_scheduler_is_refused_before_weights_are_read(tmp_path):
    folder = write_tiny_family(tmp_path, "sd1")
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps(json.loads(scheduler.read_text()) | {"_class_name": "LCMScheduler"}))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not read")
    with pytest.raises(ValueError, match="latent consistency model"):
        _ = zoo.load(folder).diffusion


@pytest.mark.parametrize(
    ("width", "title"),
    [
        (768, "Stable Diffusion 1.x"),
        (1024, "Stable Diffusion 2.x"),
        (2048, "Stable Diffusion XL"),
        (32, "own kind"),
    ],
)
def test_a_family_is_told_by_the_width_of_its_text(width, title):
    assert title in families.title({"cross_attention_dim": width})
