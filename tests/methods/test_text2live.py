"""Text2LIVE: its limits, its parts against plain loops, its mistakes, and that a run is repeatable."""

import math

import pytest
import torch
import torch.nn.functional as F

from textedit_core.methods import text2live
from textedit_core.models import clip_views, clip_vision
from textedit_core.models.layer_network import LayerNetwork
from textedit_core.steps import last

QUICK = {"steps": 3, "scales": 2, "channels": 8, "views": 2}
TEXTS = "a man", "a man in a red hat"


@pytest.fixture
def picture() -> torch.Tensor:
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return F.interpolate(small, (40, 48), mode="bicubic").clamp(0, 1) * 2 - 1


@pytest.fixture
def fitted(tiny, picture) -> text2live.Layer:
    return last(text2live.fit(tiny.clip, picture, *TEXTS, **QUICK))


def test_strength_0_is_the_source_to_the_byte_and_1_is_the_layer(fitted, picture):
    found = last(text2live.edit(fitted, strength=[0.0, 0.5, 1.0]))
    assert found.shape == (3, 3, 40, 48) and torch.equal(found[:1], picture)
    expected = (1 - fitted.opacity) * picture + fitted.opacity * fitted.colour
    assert torch.allclose(found[2:], expected, atol=1e-6)
    assert torch.allclose(found[1:2], (picture + expected) / 2, atol=1e-6)


def test_a_run_is_repeatable_and_any_step_may_be_kept(tiny, picture):
    steps = list(text2live.fit(tiny.clip, picture, *TEXTS, **QUICK))
    again = list(text2live.fit(tiny.clip, picture, *TEXTS, **QUICK))
    assert [step.value.fingerprint for step in steps] == [step.value.fingerprint for step in again]
    assert len({step.value.fingerprint for step in steps}) == 3
    assert [len(step.value.losses) for step in steps] == [1, 2, 3] and steps[-1].done == steps[-1].total
    for done, step in enumerate(steps, 1):
        early = last(text2live.fit(tiny.clip, picture, *TEXTS, **QUICK, stop_after=done))
        assert early.fingerprint == step.value.fingerprint, "the steps that are planned count, not those made"
    other = last(text2live.fit(tiny.clip, picture, *TEXTS, **QUICK, seed=1))
    assert other.fingerprint != steps[-1].value.fingerprint
    assert all(parameter.grad is None for parameter in tiny.clip.model.parameters())


def test_the_losses_do_what_they_are_for(tiny, picture):
    settings = {**QUICK, "steps": 16, "lr": 0.05, "views": 1}
    nothing = dict.fromkeys(
        ("composition_weight", "screen_weight", "structure_weight", "bootstrap_weight"), 0.0
    )
    bare = last(text2live.fit(tiny.clip, picture, *TEXTS, **settings, **nothing, sparsity_weight=100))
    assert bare.opacity.mean() < 0.15
    held = nothing | {"bootstrap_weight": 100.0}
    region = clip_vision.relevance_map(tiny.clip, picture, TEXTS[0])
    near = last(text2live.fit(tiny.clip, picture, *TEXTS, **settings, **held, sparsity_weight=0))
    far = last(
        text2live.fit(tiny.clip, picture, *TEXTS, **{**settings, "steps": 1}, **held, sparsity_weight=0)
    )
    assert F.mse_loss(near.opacity, region) < 0.5 * F.mse_loss(far.opacity, region)


def test_the_distance_is_half_the_square_of_the_angle():
    x, y = F.normalize(torch.randn(2, 8), dim=1), F.normalize(torch.randn(3, 8), dim=1)
    plain = [math.acos(float(a @ b)) ** 2 / 2 for a in x for b in y]
    assert float(text2live._distance(x, y)) == pytest.approx(sum(plain) / 6, rel=1e-4)
    assert float(text2live._distance(x[:1], x[:1])) < 1e-6


def test_the_last_block_by_hand_is_the_towers_own(tiny, picture):
    pixels = clip_vision.pixels_of_whole(tiny.clip, picture)
    tower = tiny.clip.model.vision_model
    with torch.no_grad():
        wanted = tower(pixel_values=pixels).last_hidden_state
        found, attention = clip_vision._last_block(
            tower.encoder.layers[-1], clip_vision.tokens(tiny.clip, pixels)
        )
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(attention.sum(dim=-1), torch.ones_like(attention.sum(dim=-1)), atol=1e-5)


def test_the_relevance_is_gradient_times_attention_in_plain_loops(tiny, picture):
    clip, text = tiny.clip, "a red hat"
    inside = clip_vision.tokens(clip, clip_vision.pixels_of_whole(clip, picture)).detach()
    tower = clip.model.vision_model
    output, attention = clip_vision._last_block(tower.encoder.layers[-1], inside)
    seen = clip.model.visual_projection(tower.post_layernorm(output[:, 0]))[0]
    cosine = F.cosine_similarity(seen, clip.text_features([text])[0], dim=0)
    (gradient,) = torch.autograd.grad(cosine, [attention])
    heads, tokens = attention.shape[1:3]
    row = [0.0] * tokens
    for head in range(heads):
        for token in range(tokens):
            product = float(gradient[0, head, 0, token] * attention[0, head, 0, token].detach())
            row[token] += max(product, 0) / heads
    patches = torch.tensor(row[1:])
    side = int(len(patches) ** 0.5)
    scaled = ((patches - patches.min()) / (patches.max() - patches.min())).view(1, 1, side, side)
    wanted = F.interpolate(scaled, picture.shape[-2:], mode="bilinear", align_corners=False)
    found = clip_vision.relevance_map(clip, picture, text)
    assert torch.allclose(found, wanted, atol=1e-4) and found.min() >= 0 and found.max() <= 1


def test_views_are_the_same_of_all_pictures_and_none_is_the_whole(picture):
    seen = clip_views.views(torch.cat([picture, picture]) / 2 + 0.5, 5, 16, torch.Generator().manual_seed(3))
    assert seen.shape == (2, 5, 3, 16, 16) and torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0, 0], seen[0, 1]) and seen.min() >= 0 and seen.max() <= 1
    whole = clip_views.views(picture / 2 + 0.5, 0, 16, torch.Generator())
    assert whole.shape == (1, 1, 3, 16, 16)


def test_a_leaning_view_takes_the_corners_where_they_are_asked_to_go():
    draw, count = torch.Generator().manual_seed(0), 6
    found = clip_views._leaning(count, torch.tensor([0.0, 1, 1, 1, 1, 1]), draw)
    inwards = clip_views.PERSPECTIVE * torch.rand(count, 4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(found[0], torch.eye(3), atol=1e-6)
    for view in range(1, count):
        for k, (x, y) in enumerate([(-1, -1), (1, -1), (1, 1), (-1, 1)]):
            u, v, w = (found[view] @ torch.tensor([x, y, 1.0])).tolist()
            assert u / w == pytest.approx(x * (1 - float(inwards[view, k, 0])), abs=1e-4)
            assert v / w == pytest.approx(y * (1 - float(inwards[view, k, 1])), abs=1e-4)


def test_the_network_takes_any_size_and_gives_colours_and_opacities():
    network = LayerNetwork(3, 8)
    for size in ((33, 47), (64, 64), (17, 90)):
        colour, opacity = network(torch.rand(1, 3, *size))
        assert colour.shape == (1, 3, *size) and opacity.shape == (1, 1, *size)
        assert colour.min() >= 0 and colour.max() <= 1 and opacity.min() >= 0 and opacity.max() <= 1


def test_a_large_picture_keeps_its_size_and_its_own_pixels_where_nothing_lies(tiny):
    large = torch.rand(1, 3, 90, 150, generator=torch.Generator().manual_seed(1)) * 2 - 1
    fitted = last(text2live.fit(tiny.clip, large, *TEXTS, **QUICK, layer_side=64))
    assert fitted.colour.shape[-2:] == (38, 64) and fitted.composed().shape == large.shape
    clear = text2live.Layer(fitted.colour, torch.zeros_like(fitted.opacity), large)
    assert torch.equal(clear.composed(), large)
    green = clear.over_green()[0, :, 0, 0].add(1).div(2)
    assert torch.allclose(green, torch.tensor(text2live.GREEN), atol=1e-6)


@pytest.mark.parametrize(
    ("size", "texts", "settings", "words"),
    [
        (8, TEXTS, {"scales": 4}, "shorter side is 8 px"),
        (40, ("", "a hat"), {}, "source prompt is empty"),
        (40, ("a man", " "), {}, "prompt is empty"),
        (40, ("a man", "hat " * 200), {}, "tokens and this model reads at most"),
    ],
)
def test_mistakes_are_a_sentence(tiny, size, texts, settings, words):
    with pytest.raises(ValueError, match=words):
        next(text2live.fit(tiny.clip, torch.zeros(1, 3, size, size), *texts, **{**QUICK, **settings}))


def test_a_text_that_fits_no_template_is_taken_bare(tiny):
    clip = tiny.clip
    longest = clip.tokenizer.model_max_length - 2
    text = "hat"
    while text2live.token_count(clip.tokenizer, f"{text} hat") <= longest:
        text += " hat"
    (found,) = text2live._filled(clip, ("photo of {}.",), text)
    assert torch.equal(found, clip.text_features([text]))
    found = text2live._filled(clip, ("photo of {}.", "{}"), text, "a man")
    assert [len(one) for one in found] == [1, 1]
