"""The exemplar encoder beside diffusers', the names of its weights, and attention over a single key."""

import copy

import pytest
import torch
from diffusers.pipelines.deprecated.paint_by_example.image_encoder import PaintByExampleImageEncoder
from transformers import CLIPVisionConfig

from tests.bundles import tiny_exemplar_encoder, tiny_unet
from textedit_core.models.diffusion.exemplar import ExemplarEncoder
from textedit_core.models.diffusion.single_token import SingleTokenAttention, skip_queries_and_keys
from textedit_core.models.source import Source
from textedit_core.models.towers import long_names


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def public():
    """diffusers' encoder with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PaintByExampleImageEncoder(tiny_exemplar_encoder(32).config).eval()


@pytest.fixture(scope="module")
def own(public):
    encoder = ExemplarEncoder(public.config).eval()
    encoder.load_state_dict(public.state_dict(), strict=True)
    return encoder


def older(state: dict) -> dict:
    """The names and the surplus ids of a file of before 2024."""
    ids = {"model.vision_model.embeddings.position_ids": torch.arange(17)[None]}
    return ids | long_names(ExemplarEncoder, state)


@torch.no_grad()
def test_it_is_the_encoder_of_diffusers(public, own):
    pixels = draw(2, 3, 32, 32)
    assert own(pixels).shape == (2, 1, 32)
    assert torch.equal(own(pixels), public(pixels))
    assert list(own.state_dict()) == [name for name in own.state_dict() if name in public.state_dict()]
    assert len(own.state_dict()) == len(public.state_dict())


def test_the_public_size_has_the_published_count_of_parameters():
    """ViT-L/14 with five blocks and a projection to 768: 366,950,912."""
    config = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
        image_size=224, patch_size=14, projection_dim=768,
    )  # fmt: skip
    with torch.device("meta"):
        encoder = ExemplarEncoder(config)
    assert len(encoder.mapper.blocks) == 5
    assert sum(p.numel() for p in encoder.parameters()) == 366_950_912


@torch.no_grad()
def test_queries_and_keys_of_one_token_are_never_computed(own):
    pixels, before = draw(1, 3, 32, 32), own(draw(1, 3, 32, 32))
    changed, asked = copy.deepcopy(own), []
    for block in changed.mapper.blocks:
        for layer in (block.attn1.to_q, block.attn1.to_k):
            layer.weight.mul_(-7)
            layer.register_forward_hook(lambda *_: asked.append(1))
    assert torch.equal(changed(pixels), before)
    assert asked == []
    changed.config.all_tokens = True
    assert changed(pixels).shape == (1, 17, 32)
    assert len(asked) == 4


@torch.no_grad()
def test_all_tokens_go_through_attention_as_in_diffusers(public, own):
    states = draw(2, 5, 32)
    torch.testing.assert_close(own.mapper(states), public.mapper(states), rtol=0, atol=1e-5)


@torch.no_grad()
def test_names_of_older_files_are_understood(public, own, tmp_path):
    pixels = draw(1, 3, 32, 32)
    fresh = ExemplarEncoder(public.config).eval()
    fresh.load_state_dict(older(public.state_dict()), strict=True)
    assert torch.equal(fresh(pixels), own(pixels))
    public.config.save_pretrained(tmp_path)
    torch.save(older(public.state_dict()), tmp_path / "pytorch_model.bin")
    loaded = Source(str(tmp_path), weights=("model",), bin=True).network(ExemplarEncoder)
    assert torch.equal(loaded(pixels), own(pixels))


def test_a_missing_weight_is_named(own, tmp_path):
    state = own.state_dict()
    del state["uncond_vector"]
    own.config.save_pretrained(tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="missing tensors: uncond_vector"):
        Source(str(tmp_path), weights=("model",), bin=True).network(ExemplarEncoder)


@pytest.fixture(scope="module")
def unet():
    return tiny_unet(8, in_channels=9).eval().requires_grad_(False)


@pytest.mark.parametrize("tokens", [1, 3])
def test_the_short_way_gives_the_same_noise(unet, tokens):
    z, condition = draw(2, 9, 8, 8), draw(2, tokens, 32)
    expected = unet(z, 500, encoder_hidden_states=condition).sample
    found = skip_queries_and_keys(unet)(z, 500, encoder_hidden_states=condition).sample
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_short_way_asks_no_query_and_leaves_the_given_unet_alone(unet):
    processors, quick, asked = dict(unet.attn_processors), skip_queries_and_keys(unet), []
    for name, layer in quick.named_modules():
        if name.endswith(("attn2.to_q", "attn2.to_k")):
            layer.register_forward_hook(lambda *_: asked.append(1))
    quick(draw(1, 9, 8, 8), 3, encoder_hidden_states=draw(1, 1, 32))
    assert asked == []
    quick(draw(1, 9, 8, 8), 3, encoder_hidden_states=draw(1, 2, 32))
    assert asked
    assert unet.attn_processors == processors
    assert not any(isinstance(one, SingleTokenAttention) for one in unet.attn_processors.values())
    for mine, theirs in zip(quick.parameters(), unet.parameters(), strict=True):
        assert mine.data_ptr() == theirs.data_ptr()
