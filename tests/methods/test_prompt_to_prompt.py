"""Prompt-to-Prompt against the algorithm written out, its limits, its batches and its cost."""

import pytest
import torch
import torch.nn.functional as F

from tests.methods.inverted import ADD, MILD, SOURCE, SWAP, T, edited, edited_many
from textedit_core.methods import prompt_to_prompt
from textedit_core.models.diffusion import alignment, inversions
from textedit_core.models.diffusion.ddim import ddim_step
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.steps import last


class Published:
    """Processors as in the paper's notebook: every map of every row is made, and edited in place."""

    def __init__(self, k, matrix, kept, alphas, weights, self_until):
        self.k, self.matrix, self.kept, self.alphas, self.weights = k, matrix, kept, alphas, weights
        self.self_until, self.maps = self_until, {}

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        crossing = encoder_hidden_states is not None
        context = encoder_hidden_states if crossing else hidden_states
        q, k, v = (
            attn.head_to_batch_dim(x)
            for x in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        maps = (q @ k.transpose(1, 2) * attn.scale).softmax(-1).unflatten(0, (4, attn.heads))
        source, own = maps[2], maps[3]  # [uncond source, uncond target, source, target]
        if crossing:
            moved = (source @ self.matrix) * self.kept + own * (1 - self.kept)
            alpha = self.alphas[self.k]
            maps[3] = alpha * moved * self.weights + (1 - alpha) * own
            kept = self.maps.get(maps.shape[2], 0)
            self.maps[maps.shape[2]] = kept + maps[2:].sum(1).detach()
        elif self.k < self.self_until:
            maps[3] = source
        return attn.to_out[0](attn.batch_to_head_dim(maps.flatten(0, 1) @ v))


def published_edit(model, fitted, target, kind, weights, blend, scale):
    """Direct inversion and P2P in four rows, with a LocalBlend, as the papers' code has them."""
    old, new = (alignment.read(model.tokenizer, text) for text in (SOURCE, target))
    matrix = {"replace": alignment.replace_matrix, "refine": alignment.refine_matrix}[kind](old, new)
    kept = (matrix.sum(0) > 0).float()
    alphas = alignment.cross_alphas(new, T, (0.0, 0.8), {})
    processor = Published(0, matrix, kept, alphas, alignment.token_weights(new, weights), int(0.6 * T))
    text = model.encode_text([SOURCE, target])
    context = model.encode_text([""]).expand(2).cat(text)
    originals, z = dict(model.unet.attn_processors), fitted.latents[-1:].repeat(2, 1, 1, 1)
    try:
        model.unet.set_attn_processor(processor)
        for k, t in enumerate(model.schedule.timesteps(T)):
            processor.k = k
            eps_null, eps_text = model.eps(z.repeat(2, 1, 1, 1), t, context).chunk(2)
            z = ddim_step(model.schedule, z, eps_null + scale * (eps_text - eps_null), t, t - 1000 // T)
            z[0] = fitted.latents[T - k - 1]
            if blend and k + 1 > int(0.2 * T):
                maps, mask = processor.maps[24].unflatten(1, (4, 6)), False  # of 4 x 6 latents
                for row, tokens in zip(maps, (old, new), strict=True):
                    here = row[..., tokens.places(blend)].sum(-1)[None, None]
                    here = F.max_pool2d(here, 3, 1, padding=1)
                    mask = mask | (here / here.max() > 0.9)
                z = z[:1] + mask.float() * (z - z[:1])
    finally:
        model.unet.set_attn_processor(originals)
    return model.decode(z[1:])


@pytest.mark.parametrize(
    ("target", "kind", "weights", "blend"),
    [
        (SWAP, "replace", {}, ""),
        ("a man in a zebra hat", "replace", {}, ""),
        (ADD, "refine", {}, ""),
        (SOURCE, "replace", {"hat": 3.0, "red": -1.0}, ""),
        (ADD, "refine", {"smiling": 2.0, "hat": 0.5}, "man"),
        (SWAP, "replace", {"blue": 2.0}, "hat"),
    ],
)
@torch.no_grad()
def test_an_edit_is_the_published_algorithm(model, inverted, target, kind, weights, blend):
    expected = published_edit(model, inverted, target, kind, weights, blend, 2.0)
    words = " ".join(f"{word}={weight}" for word, weight in weights.items())
    settings = {"self_replace_steps": 0.6, "blend_threshold": 0.9, "blend_words": blend, **MILD}
    settings["word_weights"] = words
    found = edited_many(model, inverted, [target], **settings)
    assert found.edit_types == (kind,)
    torch.testing.assert_close(found.images, expected, rtol=0, atol=2e-3)
    plain = edited(model, inverted, target, cross_replace_steps=0, self_replace_steps=0, **MILD)
    assert (plain - expected).abs().max() > 0.02
    assert bool(blend) == (not found.masks.all())


def inverted_as(kind, model, wide):
    own = {} if kind == "npi" else dict(MILD)
    if kind == "null_text":
        own["inner_steps"] = 1
    return last(getattr(inversions, kind)(model, wide, SOURCE, steps=T, **own))


@pytest.mark.parametrize("kind", ["null_text", "npi", "ddim"])
@pytest.mark.parametrize("edit_type", ["replace", "refine"])
def test_the_same_prompt_is_the_reconstruction(model, wide, kind, edit_type):
    fitted = inverted_as(kind, model, wide)
    found = edited(model, fitted, SOURCE, edit_type=edit_type, **MILD)
    torch.testing.assert_close(found, prompt_to_prompt.reconstruct(model, fitted), rtol=0, atol=2e-3)


def test_with_direct_the_same_prompt_drifts_as_published(model, wide, inverted):
    """The source is put back on its path, the edit is not: without shared attention it is plain sampling."""
    found = edited(model, inverted, SOURCE, cross_replace_steps=0, self_replace_steps=0, **MILD)
    drifted = prompt_to_prompt.reconstruct(model, inverted_as("ddim", model, wide))
    torch.testing.assert_close(found, drifted, rtol=0, atol=2e-3)
    rebuilt = prompt_to_prompt.reconstruct(model, inverted)
    for guidance_scale in (1.0, 2.0):
        shared = edited(model, inverted, SOURCE, guidance_scale=guidance_scale)
        assert (shared - rebuilt).abs().max() > 0.02


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0, 7.5])
@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_keeping_to_the_source_makes_the_same_prompt_the_identity(model, inverted, guidance_scale, shared):
    settings = {"guidance_scale": guidance_scale, "keep_to_source": 1, "self_replace_steps": shared}
    rebuilt = prompt_to_prompt.reconstruct(model, inverted)
    torch.testing.assert_close(edited(model, inverted, SOURCE, **settings), rebuilt, rtol=0, atol=5e-3)
    assert (edited(model, inverted, SWAP, **settings) - rebuilt).abs().max() > 0.02


def test_keeping_to_the_source_does_nothing_where_there_is_no_drift(model, wide):
    fitted = inverted_as("null_text", model, wide)
    found = edited(model, fitted, SWAP, keep_to_source=[0, 1], **MILD)
    torch.testing.assert_close(found[:1], found[1:], rtol=0, atol=2e-3)


def test_the_reconstruction_of_direct_is_the_autoencoders_bit_by_bit(model, wide, inverted):
    with torch.no_grad():
        expected = model.decode(model.encode(wide))
    assert torch.equal(prompt_to_prompt.reconstruct(model, inverted), expected)


def test_without_any_replacement_it_is_sampling_under_the_prompt(model, inverted):
    found = edited(model, inverted, SWAP, cross_replace_steps=0, self_replace_steps=0, **MILD)
    z, (text, null) = inverted.latents[-1:], model.encode_text([SWAP, ""]).split()
    with torch.no_grad():
        for t in model.schedule.timesteps(T):
            z = ddim_step(model.schedule, z, model.guided_eps(z, t, text, null, 2.0), t, t - 1000 // T)
        torch.testing.assert_close(found, model.decode(z), rtol=0, atol=1e-3)


def test_weights_of_one_change_nothing(model, inverted):
    base = edited(model, inverted, ADD, **MILD)
    ones = edited(model, inverted, ADD, word_weights="smiling=1 a=1 hat=1.0", **MILD)
    assert torch.equal(base, ones)
    assert not torch.allclose(base, edited(model, inverted, ADD, word_weights="hat=1.5", **MILD), atol=1e-3)


def test_a_threshold_of_one_lets_nothing_through(model, inverted):
    found = edited_many(model, inverted, [SWAP], blend_words="hat", blend_threshold=1, blend_start=0, **MILD)
    assert not found.masks.any()
    torch.testing.assert_close(found.images, prompt_to_prompt.reconstruct(model, inverted))


def test_protected_words_take_from_the_place_of_the_blend_words(model, inverted):
    def mask(**settings):
        return edited_many(model, inverted, [SWAP], **settings, **MILD).masks

    through, less = mask(blend_words="hat man"), mask(blend_words="hat man", subtract_words="man")
    assert less.sum() < through.sum() and (less <= through).all()
    assert mask(blend_words="hat").shape == (1, 1, 4, 6)


def test_several_prompts_and_settings_in_one_batch_are_those_one_by_one(model, inverted):
    targets = [SWAP, ADD, "a woman in a zebra hat"]
    columns = {
        "cross_replace_steps": [0.8, 0.4, 0.0],
        "self_replace_steps": [0.0, 0.6, 1.0],
        "word_weights": ["blue=2", "", "zebra=-1"],
        "blend_words": ["hat", "", "hat"],
        "guidance_scale": [2.0, 1.0, 1.5],
        "self_replace_side": [32, 32, 2],
        "keep_to_source": [0, 0.5, 1],
    }
    with count_rows(model) as count:
        found = edited_many(model, inverted, targets, **columns)
    assert (count.rows, count.calls) == (8 * T, T)
    for row, target in enumerate(targets):
        alone = {name: values[row] for name, values in columns.items()}
        expected = edited(model, inverted, target, **alone)
        torch.testing.assert_close(found.images[row : row + 1], expected, rtol=0, atol=2e-3)
    assert found.edit_types == ("replace", "refine", "replace")
    swept = edited(model, inverted, SWAP, cross_replace_steps=[0.8, 0.0], word_weights=["blue=2", "blue=1"])
    assert swept.shape == (2, 3, 16, 24)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({"cross_replace_steps": 1, "self_replace_steps": 0}, 3 * T),
        ({"cross_replace_steps": 0, "self_replace_steps": 0.6}, 3 * 3 + 2 * 2),
        ({"cross_replace_steps": 0.5, "self_replace_steps": 0.2}, 3 * 3 + 2 * 2),
        ({"cross_replace_steps": 0, "self_replace_steps": 0}, 2 * T),
        ({"cross_replace_steps": 1, "guidance_scale": 1}, 2 * T),
        ({"cross_replace_steps": 0, "self_replace_steps": 0.6, "guidance_scale": 1}, 2 * 3 + 2),
        ({"cross_replace_steps": 0, "self_replace_steps": 0, "blend_words": "hat"}, 3 * T),
        ({"cross_replace_steps": 0, "self_replace_steps": 0, "keep_to_source": 0.5}, 4 * T),
        ({"cross_replace_steps": 1, "guidance_scale": 1, "keep_to_source": 1}, 2 * T),
    ],
)
def test_rows_are_evaluated_only_where_they_are_used(model, inverted, settings, rows):
    with count_rows(model) as count:
        steps = list(prompt_to_prompt.edit(model, inverted, SWAP, **settings))
    assert (count.rows, count.calls) == (rows, T)
    assert [(step.done, step.total) for step in steps] == [(k, T) for k in range(1, T + 1)]
    assert [step.value is not None for step in steps] == [False] * (T - 1) + [True]
