"""LoRA on each family: every layout that people have, as merged weights and diffusers have it."""

import copy
import json

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file

from tests.added import ALPHA, RANK, layers_of, merged, written
from textedit_core.models import zoo
from textedit_core.models.additions import joined, parse, split
from textedit_core.models.diffusion import lora
from textedit_core.noise import noise
from textedit_core.request import request, run
from textedit_core.steps import last
from textedit_core.sweep import sweep

FAMILIES = ("sd1", "sd2", "sdxl")
PROMPT, SOURCE = "a portrait of the man in a red hat", "a portrait of the man in a blue hat"


def pipeline_of(model, folder):
    """diffusers' pipeline of copies of the networks."""
    parts = {name: getattr(model, name) for name in ("vae", "tokenizer")}
    parts |= {name: copy.deepcopy(getattr(model, name)) for name in ("unet", "text_encoder")}
    parts["scheduler"] = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    if model.text_encoder_2 is None:
        more = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return StableDiffusionPipeline(**parts, **more)
    more = {"text_encoder_2": copy.deepcopy(model.text_encoder_2), "tokenizer_2": model.tokenizer_2}
    return StableDiffusionXLPipeline(**parts, **more)


def weights_of(model) -> dict:
    networks = {name: getattr(model, name) for name in lora.NETWORKS if getattr(model, name)}
    return {
        f"{name}.{key}": one.clone()
        for name, net in networks.items()
        for key, one in net.state_dict().items()
    }


@torch.no_grad()
def seen(model) -> dict:
    """What the model says of a prompt and of noise."""
    text = model.encode_text([PROMPT])
    found = {"tokens": text.tokens, "eps": model.eps(noise((1, 4, 8, 8), [0]), 500, text)}
    return found | ({} if text.pooled is None else {"pooled": text.pooled})


def same(found: dict, wanted: dict, tolerance: float = 2e-5) -> None:
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["peft", "diffusers", "processors", "kohya", "first"])
def test_every_layout_is_the_merged_weights(loaded, family, layout):
    model = loaded[family]
    layers = layers_of(model)
    if layout == "processors":
        layers = {key: one for key, one in layers.items() if ".attn" in key[1] and key[0] == "unet"}
    before, plain = weights_of(model), seen(model)
    scale = ALPHA / RANK if layout in ("kohya", "first") else 1
    changed = lora.with_loras(model, [(lora.read(written(layers, layout, model), "a.safetensors"), 0.7)])
    wanted = copy.copy(model)
    for network, state in merged(model, layers, 0.7 * scale).items():
        net = copy.deepcopy(getattr(model, network))
        net.load_state_dict(state)
        object.__setattr__(wanted, network, net)
    found = seen(changed)
    same(found, seen(wanted))
    assert all((found[name] - plain[name]).abs().max() > 1e-3 for name in ("eps",) if name in plain)
    assert all(torch.equal(value, before[name]) for name, value in weights_of(model).items())
    same(seen(model), plain, tolerance=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_it_is_what_diffusers_makes_of_the_file(folders, loaded, family, layout):
    """On the attention of the UNet and on the text encoders, which its loader takes in every version."""
    model = loaded[family]
    layers = layers_of(model, convolutions=False)
    layers = {key: one for key, one in layers.items() if not key[1].endswith("proj_in")}
    state = written(layers, layout, model)
    changed = lora.with_loras(model, [(lora.read(state, "a.safetensors"), 1.0)])
    theirs = pipeline_of(model, folders[family])
    theirs.load_lora_weights(dict(state))
    z, text = noise((1, 4, 8, 8), [0]), changed.encode_text([PROMPT])
    with torch.no_grad():
        if family == "sdxl":
            tokens, _, pooled, _ = theirs.encode_prompt(PROMPT, device="cpu")
            torch.testing.assert_close(text.pooled, pooled, rtol=1e-4, atol=2e-5)
        else:
            tokens, _ = theirs.encode_prompt(PROMPT, "cpu", 1, True)
        torch.testing.assert_close(text.tokens, tokens, rtol=1e-4, atol=2e-5)
        given = changed._added(text, z)
        wanted = theirs.unet(z, 500, encoder_hidden_states=text.tokens, **given).sample
        found = changed.unet(z, 500, encoder_hidden_states=text.tokens, **given).sample
        assert (
            found - model.unet(z, 500, encoder_hidden_states=text.tokens, **given).sample
        ).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-5)


def test_several_add_up_and_a_weight_of_zero_is_none(loaded):
    model = loaded["sd1"]
    one, two = (lora.read(written(layers_of(model, seed), "kohya", model), "a") for seed in (1, 2))
    both = lora.with_loras(model, [(one, 0.5), (two, -0.3)])
    twice = lora.with_loras(lora.with_loras(model, [(one, 0.5)]), [])
    assert lora.with_loras(model, [(one, 0.0)]) is model
    swapped = lora.with_loras(model, [(two, -0.3), (one, 0.5)])
    same(seen(both), seen(swapped))
    assert (seen(both)["eps"] - seen(twice)["eps"]).abs().max() > 1e-3


def test_an_alpha_that_the_header_tells_counts(loaded, tmp_path):
    model = loaded["sd1"]
    layers = layers_of(model, texts=False)
    told = {
        "unet.lora_alpha": ALPHA,
        "unet.r": RANK,
        "unet.alpha_pattern": {"mid_block.attentions.0.proj_in": 6.0},
    }
    path = tmp_path / "a.safetensors"
    save_file(written(layers, "peft", model), path, {"lora_adapter_metadata": json.dumps(told)})
    read = lora.read(written(layers, "peft", model), "a", path)
    assert read.layers["unet", "mid_block_attentions_0_proj_in"].scale == 2
    assert read.layers["unet", "conv_in"].scale == ALPHA / RANK
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 9, "use_rslora": True}))
    inside = {
        f"base_model.model.{name.removeprefix('unet.')}": one
        for name, one in written(layers, "peft", model).items()
    }
    read = lora.read(inside, "a", tmp_path / "adapter_model.safetensors")
    assert read.layers["unet", "conv_in"].scale == pytest.approx(9 / RANK**0.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_unet_conv_in.hada_w1_a", "LoHa"),
        ("lora_unet_conv_in.lokr_w1", "LoKr"),
        ("lora_unet_conv_in.dora_scale", "DoRA"),
        ("lora_unet_conv_in.lora_mid.weight", "three factors"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", "transformer in place of a UNet"),
        ("transformer.transformer_blocks.0.attn.to_q.lora_A.weight", "transformer in place of a UNet"),
        ("lora_unet_conv_in.lora_down.weight", "incomplete LoRA: a factor of conv_in"),
    ],
)
def test_other_kinds_are_one_sentence(name, said):
    assert lora.is_lora([name])
    with pytest.raises(ValueError, match=rf"^a\.safetensors is .*{said}.*\.$"):
        lora.read({name: torch.zeros(2, 2)}, "a.safetensors")


def test_one_of_another_family_is_one_sentence(loaded, folders, tmp_path, monkeypatch):
    path = tmp_path / "xl.safetensors"
    save_file(written(layers_of(loaded["sdxl"]), "kohya", loaded["sdxl"]), path)
    models = zoo.load(folders["sd1"])
    with pytest.raises(ValueError, match=r"xl\.safetensors is a LoRA of other models: \d+ of its \d+ layers"):
        _ = models.adding([parse(str(path))]).diffusion
    own, other = (loaded[family].unet.config.cross_attention_dim for family in ("sd1", "sdxl"))
    monkeypatch.setattr(lora.families, "TITLES", {own: "Stable Diffusion 1.x", other: "Stable Diffusion XL"})
    with pytest.raises(
        ValueError, match=r"is a LoRA of Stable Diffusion XL, and the models .* are Stable Diffusion 1\.x"
    ):
        _ = models.adding([parse(str(path))]).diffusion
    assert "diffusion" in vars(models) and seen(models.diffusion)["eps"].isfinite().all()


@pytest.fixture
def named(folders, loaded, tmp_path):
    """The name of the tiny SD 1.x with a LoRA at 0.8."""
    path = tmp_path / "style.safetensors"
    save_file(written(layers_of(loaded["sd1"]), "kohya", loaded["sd1"]), path)
    return f"{folders['sd1']} + {path}:0.8"


def test_a_name_says_what_is_added(named):
    models, added = split(named)
    assert [one.weight for one in added] == [0.8]
    assert joined(models, added) == named
    assert zoo.load(named).name == named
    assert str(parse("a.safetensors:1.0")) == "a.safetensors"
    assert parse("C:/a.pt").place == "C:/a.pt" and parse("a.pt:<cat>").word == "<cat>"
    for wrong, said in [
        ("sd + ", "no file behind"),
        ("sd + a.pt:9", "from -5 to 5"),
        ("sd + a.pt:nan", "LoRA weight"),
    ]:
        with pytest.raises(ValueError, match=said):
            split(wrong)


@pytest.mark.parametrize("method", ["sdedit", "imagic", "prompt_to_prompt"])
def test_each_method_edits_with_it_and_leaves_no_trace(named, folders, method):
    plain = zoo.load(folders["sd1"])
    models = plain.adding(split(named)[1])
    before = weights_of(plain.diffusion)
    image = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    inputs = {"image": image, "prompt": PROMPT, "source_prompt": SOURCE}
    few = {"steps": 2}
    if method == "imagic":
        few |= {"embedding_steps": 1, "finetune_steps": 1}
    with_it, without = (last(run(request(method, one, inputs, few))).image for one in (models, plain))
    none = last(run(request(method, models, inputs, few | {"lora_weight": 0.0}))).image
    assert (with_it - without).abs().max() > 1e-3 and torch.equal(none, without)
    stopped = run(request(method, models, inputs, few | {"steps": 3}))
    next(stopped)
    stopped.close()
    assert all(torch.equal(value, before[name]) for name, value in weights_of(plain.diffusion).items())
    assert not any(one._forward_hooks for one in plain.diffusion.unet.modules())


def test_the_weight_is_an_axis_of_a_sweep(named, folders):
    image = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    models = zoo.load(named)
    asked = request("sdedit", models, {"image": image, "prompt": PROMPT}, {"steps": 2})
    cells = last(sweep(asked, {"lora_weight": [0.0, 0.4, 0.8], "seed": [0, 1]}))
    assert len(cells) == 6
    for cell in cells:
        name = f"{folders['sd1']}{named.removeprefix(str(folders['sd1'])).removesuffix(':0.8')}"
        own = zoo.load(f"{name}:{cell.coords['lora_weight']:g}")
        wanted = request(
            "sdedit", own, {"image": image, "prompt": PROMPT}, {"steps": 2, "seed": cell.coords["seed"]}
        )
        torch.testing.assert_close(cell.image, last(run(wanted)).image)
        again = asked.at(**cell.coords)
        assert again.record.models == own.name and again.edit_call().key() == wanted.edit_call().key()
    with pytest.raises(ValueError, match="LoRA weight 2: 1 LoRA is added"):
        asked.at(lora_weight_2=1.0)
    with pytest.raises(ValueError, match="no LoRA is added"):
        sweep(
            request("sdedit", zoo.load(folders["sd1"]), {"image": image, "prompt": PROMPT}),
            {"lora_weight": [1.0]},
        )
