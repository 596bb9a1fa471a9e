"""The knobs of Prompt-to-Prompt, its maps, its precision, that it leaves nothing behind, its mistakes."""

import dataclasses

import pytest
import torch
from PIL import Image

from tests.bundles import tiny_unet
from tests.methods.inverted import ADD, MILD, SOURCE, SWAP, edited, edited_many
from textedit_core import __main__ as cli
from textedit_core.cache import Cache
from textedit_core.images import square_tensor, to_pil
from textedit_core.knobs import knobs, method_knobs
from textedit_core.methods import prompt_to_prompt
from textedit_core.models import zoo
from textedit_core.models.diffusion.attention import Control, attention_control
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import Inversion
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.models.diffusion.prompt_control import MapSum
from textedit_core.record import image_sha, read_png
from textedit_core.request import request
from textedit_core.steps import last
from textedit_core.sweep import sweep

CHANGES = {
    "edit_type": "refine",
    "cross_replace_steps": 0.2,
    "self_replace_steps": 0.0,
    "word_weights": "blue=3",
    "word_steps": "blue=0.2",
    "blend_words": "hat",
    "subtract_words": "man",
    "blend_threshold": 0.99,
    "blend_start": 0.9,
    "self_replace_side": 2,
    "keep_to_source": 1.0,
    "guidance_scale": 4.0,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_knob_of_the_edit_is_alive(model, inverted, name):
    needs_blend = name in ("subtract_words", "blend_threshold", "blend_start")
    blend = {"blend_words": "hat" if needs_blend else "", "blend_threshold": 0.8}
    base = edited(model, inverted, SWAP, **MILD, **blend)
    other = edited(model, inverted, SWAP, **{**MILD, **blend, name: CHANGES[name]})
    assert (base - other).abs().max() > 0.01


def test_there_is_no_other_knob_and_the_defaults_are_the_papers():
    assert set(CHANGES) == set(knobs(prompt_to_prompt.edit)) == set(prompt_to_prompt.edit.batched)
    assert list(prompt_to_prompt.settings_of()) == list(knobs(prompt_to_prompt.edit))
    with pytest.raises(TypeError, match="no knob called blend_word"):
        prompt_to_prompt.settings_of(blend_word="hat")
    defaults = {name: knob.default for name, knob in knobs(prompt_to_prompt.edit).items()}
    paper = {"cross_replace_steps": 0.8, "self_replace_steps": 0.5, "guidance_scale": 7.5}
    paper |= {"blend_threshold": 0.3, "blend_start": 0.2, "self_replace_side": 32, "keep_to_source": 0.0}
    assert paper.items() <= defaults.items()
    assert "fit_guidance_scale" in method_knobs(prompt_to_prompt.edit, prompt_to_prompt.fit)


def test_the_window_of_all_words_may_be_a_pair(model, inverted):
    settings = {"self_replace_steps": 0, **MILD}
    same = edited(model, inverted, SWAP, word_steps="default_=0:0.8", **settings)
    assert torch.equal(same, edited(model, inverted, SWAP, **settings))
    late = edited(model, inverted, SWAP, word_steps={"default_": (0.4, 0.8)}, **settings)
    assert not torch.allclose(same, late, atol=1e-3)
    for window in ((0.4, 0.8), [(0.4, 0.8)]):
        assert torch.equal(late, edited(model, inverted, SWAP, cross_replace_steps=window, **settings))


def test_windows_of_words_may_be_given_as_the_papers_code_takes_them(model, inverted):
    words = {"default_": 0.8, "blue": (0.2, 0.4)}
    found = edited(model, inverted, SWAP, cross_replace_steps=words, **MILD)
    expected = edited(model, inverted, SWAP, word_steps="blue=0.2:0.4", **MILD)
    assert torch.equal(found, expected)


def test_self_attention_may_be_shared_from_a_later_step_on(model, inverted):
    """A pair from 0 is the number; from later on the first steps need no row of the source."""
    settings = {"cross_replace_steps": 0, **MILD}
    early = edited(model, inverted, SWAP, self_replace_steps=[0.6, (0, 0.6)], **settings)
    torch.testing.assert_close(early[:1], early[1:], rtol=0, atol=1e-4)
    with count_rows(model) as count:
        late = edited(model, inverted, SWAP, self_replace_steps=[(0.4, 0.8)], **settings)
    assert count.rows == 3 * 2 + 2 * 3
    assert (late - early[:1]).abs().max() > 0.01


def test_the_attention_of_every_word_is_kept_when_asked_for(model, inverted):
    found = edited_many(model, inverted, [SWAP, ADD], keep_maps=True, **MILD)
    assert [list(maps) for maps in found.maps] == [
        list(dict.fromkeys(p.split())) for p in (SOURCE, SWAP, ADD)
    ]
    for maps in found.maps:
        assert all(one.shape == (4, 6) and one.max() == 1 and one.min() >= 0 for one in maps.values())
    assert found.masks.all() and found.images.shape == (2, 3, 16, 24)
    without = edited_many(model, inverted, [SWAP, ADD], **MILD)
    assert without.maps == ()
    torch.testing.assert_close(found.images, without.images, rtol=0, atol=2e-3)


@pytest.mark.parametrize(("size", "grid"), [((64, 64), (16, 16)), ((16, 16), (16, 16)), ((64, 96), (16, 24))])
def test_maps_are_kept_at_a_quarter_of_the_latent(size, grid):
    class Keep(Control):
        def __init__(self):
            self.sums = MapSum()

        def map_rows(self, place):
            return slice(None) if self.sums.keeps(place) else None

        def edit_maps(self, maps, place):
            self.sums.add(maps, place)
            return maps

    unet, keep = tiny_unet(8), Keep()
    layer = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    with torch.no_grad(), attention_control(unet, keep, size):
        for halvings in range(4):
            queries = (size[0] >> halvings) * (size[1] >> halvings)
            layer(torch.zeros(2, queries, 32), encoder_hidden_states=torch.zeros(2, 7, 32))
    found = keep.sums.largest()
    assert found.shape == (2, 7, *grid)
    torch.testing.assert_close(found, torch.full_like(found, layer.heads / 7))


def test_the_latents_of_256_x_384_pixels_are_edited_with_their_own_grids(model):
    """32 x 48 latents, as Stable Diffusion's: maps on 16 x 24, masks on the latents, nothing turned over."""
    latents = torch.randn(3, 4, 32, 48, generator=torch.Generator().manual_seed(0))
    fitted = Inversion("direct", SOURCE, (256, 384), latents, model.encode_text([""]))
    settings = {"keep_to_source": 1, "blend_words": "hat", "blend_threshold": 0.9, "blend_start": 0, **MILD}
    found = edited_many(model, fitted, [SOURCE, SWAP], keep_maps=True, **settings)
    assert found.masks.shape == (2, 1, 32, 48) and found.images.shape == (2, 3, 128, 192)
    assert {one.shape for maps in found.maps for one in maps.values()} == {(16, 24)}
    rebuilt = prompt_to_prompt.reconstruct(model, fitted)
    torch.testing.assert_close(found.images[:1], rebuilt, rtol=0, atol=5e-3)
    edge = found.maps[0]["hat"] > 0.9
    covered = torch.nn.functional.max_pool2d(edge[None].float(), 3, 1, 1).repeat_interleave(2, 1)
    assert (found.masks[0] >= covered.repeat_interleave(2, 2)).all(), (
        "where the word is seen, it is let through"
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast_flow_through(model, inverted, dtype):
    settings = {"word_weights": "blue=2", "blend_words": "hat", "blend_threshold": 0, **MILD}
    exact = edited(model, inverted, SWAP, **settings)
    half = edited(model.with_weights(dict(model.unet.named_parameters()), dtype), inverted, SWAP, **settings)
    with torch.autocast("cpu", dtype=dtype):
        mixed = edited(model, inverted, SWAP, **settings)
    for found in (half, mixed):
        assert found.isfinite().all()
        assert (found.float() - exact).abs().mean() < 0.2 * (exact - exact.mean()).abs().mean()


def test_an_edit_leaves_the_processors_also_after_an_exception(model, inverted, monkeypatch):
    before = {name: id(processor) for name, processor in model.unet.attn_processors.items()}
    run = prompt_to_prompt.edit(model, inverted, SWAP)
    next(run)
    assert {name: id(processor) for name, processor in model.unet.attn_processors.items()} == before
    block = type(model.unet.mid_block)
    monkeypatch.setattr(block, "forward", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(run)
    assert {name: id(processor) for name, processor in model.unet.attn_processors.items()} == before


@pytest.mark.parametrize(
    ("target", "settings", "said"),
    [
        ("a man in a hat", {"edit_type": "replace"}, "not 5 and 6: choose refine"),
        (SWAP, {"edit_type": "swap"}, "'swap' is none of auto, replace, refine"),
        (SWAP, {"word_weights": "red=2"}, "no word 'red'; its words are a, man, in, blue, hat"),
        (SWAP, {"word_steps": "blue=2"}, "between 0 and 1"),
        (SWAP, {"self_replace_steps": 2}, "between 0 and 1"),
        (SWAP, {"blend_words": "dog"}, "Blend words: 'dog' is in neither prompt"),
        (SWAP, {"blend_words": ","}, "Blend words: ',' has no word in it"),
        (SWAP, {"subtract_words": "man"}, "the blend words: give those too"),
        ("red " * 31, {}, "31 tokens and this model reads at most 30"),
    ],
)
def test_mistakes_are_sentences(model, inverted, target, settings, said):
    with count_rows(model) as count, pytest.raises(ValueError, match=said):
        next(prompt_to_prompt.edit(model, inverted, target, **settings))
    assert count.rows == 0


def test_an_inversion_of_another_model_is_refused(model, inverted):
    other = dataclasses.replace(inverted, null_embeddings=Condition(torch.zeros(1, 77, 768)))
    with pytest.raises(ValueError, match="made with another model"):
        next(prompt_to_prompt.edit(model, other, SWAP))


def test_the_command_line_inverts_and_edits(tiny_folder, tmp_path):
    picture, out = tmp_path / "in.png", tmp_path / "out.png"
    Image.effect_mandelbrot((40, 40), (-2, -1.5, 1, 1.5), 30).convert("RGB").save(picture)
    words = ["--models", tiny_folder, "--device", "cpu", "--image", picture, "--source-prompt", SOURCE]
    words += ["--prompt", SWAP, "--inversion", "npi", "--steps", 3, "--word-weights", "blue=2", "--out", out]
    assert cli.main(["edit", "prompt_to_prompt", *map(str, words)]) == 0
    record = read_png(out)
    assert record.prompts == {"source_prompt": SOURCE, "prompt": SWAP}
    assert record.knobs["inversion"] == "npi" and record.knobs["word_weights"] == "blue=2"
    image = square_tensor(Image.open(picture), 32)
    model = zoo.load(tiny_folder).diffusion
    fitted = last(prompt_to_prompt.fit(model, image, SOURCE, inversion="npi", steps=3))
    wanted = to_pil(edited(model, fitted, SWAP, word_weights="blue=2"))[0]
    assert image_sha(Image.open(out)) == image_sha(wanted)


def test_a_sweep_over_cross_and_weight_is_one_batch(tiny, model, inverted, wide):
    given = {"image": wide, "source_prompt": SOURCE, "prompt": SWAP, "fitted": inverted}
    axes = {"word_weights": ["blue=1", "blue=2"], "cross_replace_steps": [0.0, 0.8]}
    with count_rows(model) as count:
        cells = last(sweep(request("prompt_to_prompt", tiny, given), axes, Cache()))
    assert (len(cells), count.calls) == (4, inverted.steps)
    for cell in cells:
        torch.testing.assert_close(
            cell.image, edited(model, inverted, SWAP, **cell.coords), rtol=0, atol=2e-3
        )
