"""Words of textual inversion: every layout of files, as diffusers reads them, in prompts and in alignment."""

import copy

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from tests.families import WIDTH, WIDTH_2
from textedit_core.models import zoo
from textedit_core.models.additions import parse
from textedit_core.models.clip import token_count
from textedit_core.models.diffusion import alignment
from textedit_core.models.diffusion.textual_inversion import Word, read, with_words

VECTORS = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
SECOND = torch.randn(3, WIDTH_2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("state", "word", "count"),
    [
        ({"<hat>": VECTORS}, "<hat>", 3),
        ({"<hat>": VECTORS[0]}, "<hat>", 1),
        ({"emb_params": VECTORS}, "my-hat", 3),
        (
            {"string_to_param": {"*": VECTORS}, "string_to_token": {"*": 265}, "name": "x", "step": 9},
            "my-hat",
            3,
        ),
        ({"clip_l": VECTORS, "clip_g": SECOND}, "my-hat", 3),
    ],
)
def test_every_layout_is_read(tmp_path, state, word, count):
    path = tmp_path / "my hat.pt"
    torch.save(state, path)
    found = read(torch.load(path, weights_only=True), "my hat.pt", path.stem)
    assert found.word == word and len(found.first) == count
    assert (found.second is not None) == ("clip_g" in state)
    assert read(state, "my hat.pt", path.stem, "<other>").word == "<other>"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": VECTORS, "b": VECTORS}, "neither a LoRA nor a textual inversion of one word"),
        ({}, "neither a LoRA nor"),
        ({"a": torch.zeros(2, 2, 2)}, "no rows of vectors"),
        ({"clip_l": VECTORS, "clip_g": SECOND[:2]}, "no rows of vectors"),
    ],
)
def test_other_files_are_one_sentence(state, said):
    with pytest.raises(ValueError, match=rf"^a\.pt is .*{said}"):
        read(state, "a.pt", "a")


@pytest.mark.parametrize("count", [1, 3])
def test_a_prompt_with_the_word_is_what_diffusers_encodes(folders, loaded, count):
    model = loaded["sd1"]
    changed = with_words(model, [Word("a.pt", "<hat>", VECTORS[:count])])
    theirs = StableDiffusionPipeline(
        vae=model.vae,
        unet=model.unet,
        text_encoder=copy.deepcopy(model.text_encoder),
        tokenizer=copy.deepcopy(model.tokenizer),
        scheduler=DDIMScheduler.from_pretrained(folders["sd1"], subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    theirs.load_textual_inversion({"<hat>": VECTORS[:count]}, token="<hat>")
    for prompt in ("a man in a <hat>", "<hat>, red", "a red <hat>"):
        wanted, _ = theirs.encode_prompt(prompt, "cpu", 1, False)
        torch.testing.assert_close(changed.encode_text([prompt]).tokens, wanted, rtol=1e-4, atol=2e-5)
    plain = "a portrait of the man in a red hat"
    assert torch.equal(changed.encode_text([plain]).tokens, model.encode_text([plain]).tokens)
    assert model.text_encoder.get_input_embeddings().num_embeddings == len(model.tokenizer)


def test_both_text_encoders_get_it_and_the_end_is_still_found(loaded):
    model = copy.copy(loaded["sdxl"])
    encoder = copy.deepcopy(model.text_encoder_2)
    changed = with_words(model, [Word("a", "hatty", VECTORS, SECOND)])
    text = changed.encode_text(["a man in a hatty"])
    table = changed.text_encoder_2.get_input_embeddings().weight
    assert torch.equal(table[-3:], SECOND)
    tower = getattr(encoder, "text_model", encoder)
    tower.eos_token_id = 2  # what older configurations say, for "the largest id"
    object.__setattr__(model, "text_encoder_2", encoder)
    older = with_words(model, [Word("a", "hatty", VECTORS, SECOND)])
    torch.testing.assert_close(older.encode_text(["a man in a hatty"]).pooled, text.pooled)
    assert getattr(encoder, "text_model", encoder).eos_token_id == 2


def test_words_are_whole_and_case_does_not_matter(loaded):
    changed = with_words(loaded["sd1"], [Word("a", "hat", VECTORS)])
    tokens = alignment.read(changed.tokenizer, "a red HAT, in chats")
    assert tokens.words == ("a", "red", "HAT,", "in", "chats")
    assert [len(tokens.spans[2])] == [4] and token_count(changed.tokenizer, "hat") == 3
    old = alignment.read(loaded["sd1"].tokenizer, "chats")
    assert alignment.read(changed.tokenizer, "chats").ids == old.ids
    assert copy.deepcopy(changed.tokenizer).spelled("hat") == changed.tokenizer.spelled("hat")


def test_a_word_of_another_family_or_twice_is_one_sentence(loaded, monkeypatch):
    with pytest.raises(ValueError, match=r"^a is a textual inversion of other models .*48 numbers"):
        with_words(loaded["sd1"], [Word("a", "x", SECOND)])
    with pytest.raises(ValueError, match=r"^a is a textual inversion of Stable Diffusion 1\.x"):
        with_words(loaded["sd1"], [Word("a", "x", torch.zeros(1, 768))])
    with pytest.raises(ValueError, match=r"^a is a textual inversion of Stable Diffusion XL"):
        with_words(loaded["sd1"], [Word("a", "x", torch.zeros(1, 768), torch.zeros(1, 1280))])
    with pytest.raises(ValueError, match="textual inversion"):
        with_words(loaded["sdxl"], [Word("a", "x", VECTORS)])
    with pytest.raises(ValueError, match="two files add the word x"):
        with_words(loaded["sd1"], [Word("a", "x", VECTORS), Word("b", "X", VECTORS)])


def test_the_models_of_a_name_have_the_word(folders, tmp_path):
    save_file({"emb_params": VECTORS}, tmp_path / "hatty.safetensors")
    models = zoo.load(
        f"{folders['sd1']} + {tmp_path / 'hatty.safetensors'} + {tmp_path / 'hatty.safetensors'}:<b>"
    )
    assert models.additions.words == ("hatty", "<b>")
    assert token_count(models.diffusion.tokenizer, "hatty <b>") == 6
    assert models.diffusion.fingerprint != models.base.diffusion.fingerprint
    object.__setattr__(models, "vocabulary", ("red",))
    assert list(models.unknown_words("red hatty, blue <b>")) == ["blue"]
    with pytest.raises(ValueError, match="is a LoRA: its weight is a number, not"):
        save_file({"lora_unet_conv_in.lora_down.weight": VECTORS}, tmp_path / "lora.safetensors")
        _ = models.adding([parse(f"{tmp_path / 'lora.safetensors'}:<b>")]).diffusion
