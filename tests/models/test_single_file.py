"""Stable Diffusion in a single file: the same model as its folder, its family told by its tensors, strict."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from tests.families import WIDTH, WIDTH_2, stir, write_tiny_family
from tests.ldm_layout import single_file as in_single_file
from textedit_core.models import zoo
from textedit_core.models.diffusion import families, published, single_file
from textedit_core.noise import noise

FAMILIES = ("sd1", "sd2", "sdxl")
PROMPT = "a portrait of the man in a red hat"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Repositories of each family, their autoencoder with attention as the published ones have."""
    root, made = tmp_path_factory.mktemp("folders"), {}
    for family in FAMILIES:
        made[family] = write_tiny_family(root / family, family)
        config = AutoencoderKL.load_config(made[family], subfolder="vae") | {"mid_block_add_attention": True}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            vae = AutoencoderKL.from_config(config)
            stir(vae)
        vae.save_pretrained(made[family] / "vae")
    return made


@pytest.fixture
def written(folders, tmp_path, monkeypatch):
    """Write the model of a family into a single file, whose published sizes are then the tiny ones."""

    def write(family: str, name: str = "model.safetensors", change=None, metadata=None) -> Path:
        model = zoo.load(folders[family]).diffusion
        parts = {
            part: dict(getattr(model, part).config)
            if part in ("unet", "vae")
            else getattr(model, part).config.to_dict()
            for part in published.CONFIGS[family]
        }
        monkeypatch.setitem(published.CONFIGS, family, parts)
        width = WIDTH + WIDTH_2 if family == "sdxl" else WIDTH
        monkeypatch.setattr(published, "WIDTHS", {width: family})
        state = in_single_file(model)
        if change:
            change(state)
        path = tmp_path / name
        if path.suffix == ".safetensors":
            save_file(state, path, metadata=metadata)
        else:
            torch.save({"state_dict": state, "global_step": 3}, path)
        shutil.copytree(folders[family] / "tokenizer", tmp_path / "tokenizer", dirs_exist_ok=True)
        if family == "sd2" and metadata is None:
            path.with_suffix(".yaml").write_text("model:\n  params:\n    parameterization: eps\n")
        return path

    return write


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt"])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_model_of_the_folder(folders, written, family, name):
    path = written(family, name)
    found, wanted = zoo.load(path).diffusion, zoo.load(folders[family]).diffusion
    for part in published.CONFIGS[family]:
        held = getattr(found, part).state_dict()
        kept = getattr(wanted, part).state_dict()
        assert set(held) == set(kept) and all(torch.equal(held[one], kept[one]) for one in kept), part
    text, asked = found.encode_text([PROMPT, ""]), wanted.encode_text([PROMPT, ""])
    torch.testing.assert_close(text.tokens, asked.tokens)
    if family == "sdxl":
        torch.testing.assert_close(text.pooled, asked.pooled)
    z = noise((2, 4, 8, 8), [0, 1])
    torch.testing.assert_close(found.eps(z, 500, text), wanted.eps(z, 500, asked), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.decode(z), wanted.decode(z), rtol=1e-4, atol=1e-4)
    assert found.schedule.transitions(50) == wanted.schedule.transitions(50)
    assert torch.equal(found.schedule.alphas_cumprod, wanted.schedule.alphas_cumprod)
    assert not any(one.requires_grad for one in found.unet.parameters()) and not found.unet.training


def test_it_is_described_without_reading_its_weights(written):
    path = written("sd1")
    about = zoo.describe(path)
    assert about["local"] and about["fetch_gb"] == 0
    assert about["size_gb"] == pytest.approx(path.stat().st_size / 1e9, abs=0.001)
    assert about["title"].startswith(str(path))


def test_another_file_has_another_fingerprint(written):
    before = zoo.load(written("sd1")).diffusion.fingerprint
    path = written("sd1", change=lambda state: state["model.diffusion_model.out.2.bias"].add_(1))
    assert zoo.load(path).diffusion.fingerprint != before


def test_precision_is_a_choice_and_the_autoencoder_of_sdxl_keeps_float32(written):
    model = zoo.load(written("sdxl"), dtype=torch.float16).diffusion
    assert (model.dtype, model.vae.dtype) == (torch.float16, torch.float32)
    assert model.text_encoder_2.dtype == torch.float16


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "model.diffusion_model.out.2.bias"),
        ("vae", "first_stage_model.decoder.conv_out.bias"),
        ("text_encoder", "cond_stage_model.transformer.text_model.final_layer_norm.bias"),
    ],
)
def test_a_missing_tensor_is_named(written, part, name):
    path = written("sd1", change=lambda state: state.pop(name))
    with pytest.raises(ValueError, match=f"{part} in .*missing tensors"):
        _ = zoo.load(path).diffusion


def test_a_truncated_file_is_a_sentence(written):
    path = written("sd1")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors could not be read"):
        zoo.load(path)


def test_a_pickle_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": Trap()}, tmp_path / "model.ckpt")
    with pytest.raises(ValueError, match="could not be read"):
        zoo.load(tmp_path / "model.ckpt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, "epsilon"),
    ],
)
def test_the_second_generation_says_what_it_predicts_in_its_header(written, told, kind):
    model = zoo.load(written("sd2", metadata=told)).diffusion
    assert model.schedule.prediction_type == kind
    assert model.size == (32 if kind == "epsilon" else 4 * 96), "those of velocity were trained on 768 pixels"


def test_the_second_generation_says_what_it_predicts_beside_it(written):
    path = written("sd2")
    path.with_suffix(".yaml").write_text('  params:\n    parameterization: "v"\n')
    assert zoo.load(path).diffusion.schedule.prediction_type == "v_prediction"


@pytest.mark.parametrize(
    ("answer", "kind"), [(lambda z: 0.9 * z, "epsilon"), (lambda z: z.roll(1, -1) - 0.2 * z, "v_prediction")]
)
def test_the_second_generation_is_asked_what_it_predicts(written, monkeypatch, answer, kind):
    path = written("sd2")
    path.with_suffix(".yaml").unlink()
    asked = []

    def forward(self, sample, timestep, encoder_hidden_states):
        asked.append(timestep)
        return UNet2DConditionOutput(sample=answer(sample))

    monkeypatch.setattr(UNet2DConditionModel, "forward", forward)
    model = zoo.load(path, dtype=torch.float16).diffusion
    assert (model.schedule.prediction_type, asked) == (kind, [999])
    assert model.size == (32 if kind == "epsilon" else 4 * 96)


def test_a_model_of_the_second_generation_that_answers_nothing_is_refused(written):
    def silence(state):
        for name in ("weight", "bias"):
            state[f"model.diffusion_model.out.2.{name}"].zero_()

    path = written("sd2", change=silence)
    path.with_suffix(".yaml").unlink()
    with pytest.raises(ValueError, match=r"does not say whether .*put model\.yaml beside it"):
        _ = zoo.load(path).diffusion


def test_a_model_of_noise_gives_noise_back(toon):
    assert single_file.prediction_of(toon.diffusion) == "epsilon"


def test_marks_of_velocity_and_zero_terminal_snr_are_read(written):
    marks = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    schedule = zoo.load(written("sdxl", change=lambda state: state.update(marks))).diffusion.schedule
    assert (schedule.prediction_type, schedule.spacing) == ("v_prediction", "trailing")
    assert schedule.alphas_cumprod[-1] == 0


CROSS = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
FIRST = "model.diffusion_model.input_blocks.0.0.weight"
LCM = "model.diffusion_model.time_embed.cond_proj.weight"


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({CROSS: (320, 768), FIRST: (320, 9, 3, 3)}, "an inpainting model"),
        ({CROSS: (320, 768), FIRST: (320, 8, 3, 3)}, "InstructPix2Pix"),
        ({CROSS: (320, 768), FIRST: (320, 4, 3, 3), LCM: (320, 256)}, "a latent consistency model"),
        ({CROSS: (320, 640), FIRST: (320, 4, 3, 3)}, "of no known family"),
        ({"lora_unet_down_blocks_0.lora_up.weight": (4, 4)}, "a LoRA, not a model"),
        ({"model.diffusion_model.joint_blocks.0.x": (4, 4)}, "a transformer in place of a UNet"),
        ({"double_blocks.0.img_attn.qkv.weight": (4, 4)}, "a transformer in place of a UNet"),
        ({"down_blocks.0.resnets.0.conv1.weight": (4, 4)}, "name its whole folder"),
        ({"whatever": (4,)}, "no Stable Diffusion in a single file"),
    ],
)
def test_what_is_no_text_to_image_model_is_refused_by_name(tmp_path, shapes, said):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "some.safetensors")
    with pytest.raises(ValueError, match=said) as refusal:
        zoo.load(tmp_path / "some.safetensors")
    assert "some.safetensors is" in str(refusal.value)


@pytest.mark.parametrize(("family", "millions"), [("sd1", 859.5), ("sd2", 865.9), ("sdxl", 2567.5)])
def test_the_published_configurations_have_the_published_sizes(family, millions):
    config = published.CONFIGS[family]
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config["unet"])
        vae = AutoencoderKL.from_config(config["vae"])
        text = CLIPTextModel(CLIPTextConfig(**config["text_encoder"]))
    count = sum(one.numel() for one in unet.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.1)
    assert sum(one.numel() for one in vae.parameters()) == 83_653_863
    millions_of_text = sum(one.numel() for one in text.parameters()) / 1e6
    assert millions_of_text == pytest.approx(340.4 if family == "sd2" else 123.1, abs=0.1)
    assert published.WIDTHS[config["unet"]["cross_attention_dim"]] == family
    assert families.is_xl(config["unet"]) == (family == "sdxl")


def test_only_files_of_the_two_kinds_are_taken_for_one(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes(b"")
    assert single_file.is_file(tmp_path / "a.ckpt")
    for other in (tmp_path / "a.txt", tmp_path / "b.ckpt", "x\x00.ckpt", "a" * 5000 + ".ckpt"):
        assert not single_file.is_file(other)
