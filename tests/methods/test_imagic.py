"""Imagic against the algorithm written out, its limits, its cost, and the model it must leave alone."""

import copy
import dataclasses
import sys

import pytest
import torch

from textedit_core import metrics
from textedit_core.cache import Cache, cached, key
from textedit_core.ddim import add_noise
from textedit_core.knobs import knobs, method_knobs
from textedit_core.methods import imagic
from textedit_core.models.latent_diffusion import count_rows
from textedit_core.steps import last

PROMPT = "a photo of the man in a red hat"
SHORT = {"embedding_steps": 3, "finetune_steps": 3, "finetune_lr": 1e-3}
ETAS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.diffusion


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def fitted(model, image):
    settings = {"embedding_steps": 15, "embedding_lr": 0.03, "finetune_steps": 15, "finetune_lr": 1e-3}
    return last(imagic.fit(model, image, PROMPT, **settings))


def state(model):
    """All that a method could leave behind on the shared networks."""
    networks = (model.unet, model.vae, model.text_encoder)
    return [
        (
            {name: tensor.clone() for name, tensor in network.state_dict().items()},
            [(parameter.requires_grad, parameter.grad) for parameter in network.parameters()],
            [(type(module), module.training) for module in network.modules()],
            [hook for module in network.modules() for hook in module._forward_hooks],
        )
        for network in networks
    ] + [{name: id(processor) for name, processor in model.unet.attn_processors.items()}]


def assert_same(before, after):
    for old, new in zip(before[:-1], after[:-1], strict=True):
        assert old[0].keys() == new[0].keys()
        assert all(torch.equal(old[0][name], new[0][name]) for name in old[0])
        assert old[1:] == new[1:]
    assert before[-1] == after[-1]


def held_out_loss(model, image, text, weights):
    """Eq. 2 over a fixed set of timesteps and noises."""
    z0, tuned = model.encode(image), model.with_weights(weights)
    draw = torch.Generator().manual_seed(99)
    t = torch.arange(20, 1000, 50)
    eps = torch.randn(len(t), *z0.shape[1:], generator=draw)
    with torch.no_grad():
        found = tuned.eps(add_noise(model.schedule, z0, eps, t), t, text)
    return (found - eps).square().mean().item()


# The algorithm


def test_both_stages_are_the_published_algorithm(model, image):
    """The two loops written out once more, plainly, with a copied UNet and torch's textbook Adam."""
    draw = torch.Generator().manual_seed(5)
    unet = copy.deepcopy(model.unet)
    z0 = model.vae.encode(image).latent_dist.mean * model.vae.config.scaling_factor
    tokens = model.tokenizer([PROMPT], padding="max_length", return_tensors="pt").input_ids
    e_tgt = model.text_encoder(tokens)[0]
    losses = []

    def descend(e, parameters, lr):
        adam = torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
        for _ in range(3):
            t = torch.randint(1000, (1,), generator=draw)
            eps = torch.randn(z0.shape, generator=draw)
            alpha = model.schedule.alphas_cumprod[t]
            z = alpha.sqrt() * z0 + (1 - alpha).sqrt() * eps
            loss = (unet(z, t, encoder_hidden_states=e).sample - eps).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())

    e = e_tgt.clone().requires_grad_()
    descend(e, [e], 2e-3)
    descend(e.detach(), list(unet.requires_grad_().parameters()), 1e-3)

    found = last(imagic.fit(model, image, PROMPT, seed=5, **SHORT))
    torch.testing.assert_close(found.e_tgt, e_tgt)
    torch.testing.assert_close(found.e_opt, e.detach(), rtol=1e-3, atol=1e-4)
    assert found.embedding_losses + found.finetune_losses == pytest.approx(losses, rel=1e-3)
    assert found.tuned.keys() == dict(unet.named_parameters()).keys()
    moved = [(found.tuned[n] - p.detach()).abs().mean() for n, p in unet.named_parameters()]
    assert max(moved).item() < 2e-4, "an Adam step is 1e-3"


def test_the_defaults_are_the_papers_for_stable_diffusion():
    defaults = {name: knob.default for name, knob in knobs(imagic.fit).items()}
    paper = {"embedding_steps": 1000, "embedding_lr": 2e-3, "finetune_steps": 1500, "finetune_lr": 5e-7}
    assert paper.items() <= defaults.items()
    assert defaults["tune"] == "full"
    assert list(method_knobs(imagic.edit, imagic.fit))[-4:] == ["eta", "guidance_scale", "steps", "seed"]


def test_each_stage_lowers_the_loss_on_noise_it_never_saw(model, image, fitted):
    start = held_out_loss(model, image, fitted.e_tgt, {})
    embedded = held_out_loss(model, image, fitted.e_opt, {})
    tuned = held_out_loss(model, image, fitted.e_opt, fitted.tuned)
    assert tuned < 0.95 * embedded < embedded < start


def test_the_embedding_stays_near_the_target(fitted):
    """Adam moves a number by about its learning rate a step."""
    moved = (fitted.e_opt - fitted.e_tgt).abs()
    assert 0.03 < moved.max() <= 15 * 0.03 * 1.5


# Steps, stopping, cost


def test_steps_tell_the_stage_and_the_loss(model, image):
    steps = list(imagic.fit(model, image, PROMPT, **SHORT))
    assert [(step.done, step.total) for step in steps] == [(done, 6) for done in range(1, 7)]
    assert all(step.value.tuned == {} for step in steps[:3])
    assert all(step.value.tuned for step in steps[3:])
    value = steps[-1].value
    assert tuple(step.loss for step in steps) == value.embedding_losses + value.finetune_losses
    assert value.size == (32, 32)
    assert not value.e_opt.requires_grad
    assert not any(weight.requires_grad for weight in value.tuned.values())


@pytest.mark.parametrize("tune", ["full", "attention", "lora"])
def test_stopping_early_is_a_shorter_fit(model, image, tune):
    run = imagic.fit(model, image, PROMPT, **SHORT, tune=tune)
    for step in run:
        if step.done == 5:
            run.close()
    assert step.value.fingerprint == last(
        imagic.fit(model, image, PROMPT, **SHORT | {"finetune_steps": 2}, tune=tune)
    ).fingerprint
    out = last(imagic.edit(model, step.value, steps=2))
    assert out.isfinite().all()


def test_stopping_in_stage_one_is_a_fit_without_stage_two(model, image):
    run = imagic.fit(model, image, PROMPT, **SHORT)
    next(run)
    stopped = next(run).value
    run.close()
    shorter = last(imagic.fit(model, image, PROMPT, embedding_steps=2, finetune_steps=0))
    assert stopped.fingerprint == shorter.fingerprint
    assert shorter.tuned == {}


def test_no_steps_at_all_give_the_model_as_it_is(model, image):
    steps = list(imagic.fit(model, image, PROMPT, embedding_steps=0, finetune_steps=0))
    assert [(step.done, step.total) for step in steps] == [(1, 1)]
    assert torch.equal(steps[0].value.e_opt, steps[0].value.e_tgt)
    strip = last(imagic.edit(model, steps[0].value, eta=ETAS, steps=2))
    torch.testing.assert_close(strip, strip[:1].expand_as(strip), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tune", ["full", "attention", "lora"])
def test_a_step_of_either_stage_is_one_row(model, image, tune):
    with count_rows(model) as count:
        last(imagic.fit(model, image, PROMPT, **SHORT, tune=tune))
    assert (count.rows, count.calls) == (6, 6)


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        ({}, 10),
        ({"guidance_scale": 1}, 5),
        ({"eta": ETAS}, 70),
        ({"eta": ETAS, "guidance_scale": 1}, 35),
        ({"seed": [1, 2, 3]}, 30),
    ],
)
def test_an_edit_is_two_rows_a_step_and_a_strip_one_call(model, fitted, settings, rows):
    with count_rows(model) as count:
        steps = list(imagic.edit(model, fitted, steps=5, **settings))
    assert (count.rows, count.calls) == (rows, 5)
    assert [(step.done, step.total) for step in steps] == [(done, 5) for done in range(1, 6)]
    assert [step.value is not None for step in steps] == [False] * 4 + [True]


# The edit


def test_a_strip_is_its_etas_one_by_one(model, fitted):
    eta, scale, seed = [0.0, 0.7, 1.2], [1.0, 3.0, 5.0], [4, 4, 8]
    rows = last(imagic.edit(model, fitted, eta=eta, guidance_scale=scale, seed=seed, steps=5))
    for row in range(3):
        alone = last(
            imagic.edit(model, fitted, eta=eta[row], guidance_scale=scale[row], seed=seed[row], steps=5)
        )
        torch.testing.assert_close(rows[row : row + 1], alone, rtol=0, atol=1e-3)


def test_eta_mixes_from_the_optimised_to_the_target_embedding(model, fitted):
    def text_alone(e):
        same = dataclasses.replace(fitted, e_opt=e, e_tgt=e)
        return last(imagic.edit(model, same, eta=0.3, steps=4))

    ends = last(imagic.edit(model, fitted, eta=[0, 1], steps=4))
    torch.testing.assert_close(ends[:1], text_alone(fitted.e_opt), rtol=0, atol=1e-3)
    torch.testing.assert_close(ends[1:], text_alone(fitted.e_tgt), rtol=0, atol=1e-3)
    beyond = last(imagic.edit(model, fitted, eta=1.5, steps=4))
    expected = text_alone(1.5 * fitted.e_tgt - 0.5 * fitted.e_opt)
    torch.testing.assert_close(beyond, expected, rtol=0, atol=1e-3)
    assert (ends[0] - ends[1]).abs().max() > 0.02


def test_the_tuned_weights_are_used_for_both_rows(model, fitted):
    """Sampling a model that owns the tuned weights, without any, is the same."""
    owner = dataclasses.replace(model, unet=model.with_weights(fitted.tuned).unet)
    expected = last(imagic.edit(owner, dataclasses.replace(fitted, tuned={}), steps=4))
    found = last(imagic.edit(model, fitted, steps=4))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    untuned = last(imagic.edit(model, dataclasses.replace(fitted, tuned={}), steps=4))
    assert metrics.psnr(found, untuned).item() < 40


@pytest.mark.parametrize("change", [{"eta": 0.0}, {"guidance_scale": 1.0}, {"steps": 6}, {"seed": 1}])
def test_every_knob_of_the_edit_is_alive(model, fitted, change):
    base = last(imagic.edit(model, fitted, steps=5))
    other = last(imagic.edit(model, fitted, **{"steps": 5, **change}))
    assert metrics.psnr(base, other).item() < 60


@pytest.mark.parametrize(
    "change",
    [
        {"embedding_steps": 4},
        {"embedding_lr": 1e-3},
        {"finetune_steps": 4},
        {"finetune_lr": 1e-4},
        {"tune": "attention"},
        {"tune": "lora"},
        {"seed": 1},
    ],
)
def test_every_knob_of_the_fit_is_alive(model, image, change):
    base = last(imagic.fit(model, image, PROMPT, **SHORT))
    other = last(imagic.fit(model, image, PROMPT, **SHORT | change))
    assert base.fingerprint != other.fingerprint


def test_same_seed_same_bytes_whatever_the_global_seed(model, image):
    prints = []
    for global_seed in (1, 2):
        torch.manual_seed(global_seed)
        for tune in ("full", "lora"):
            found = last(imagic.fit(model, image, PROMPT, **SHORT, tune=tune, seed=3))
            prints.append((found.fingerprint, last(imagic.edit(model, found, steps=2, seed=5)).sum().item()))
    assert prints[:2] == prints[2:]


def test_a_fit_draws_from_its_own_generator_only(model, image):
    before = torch.get_rng_state()
    last(imagic.fit(model, image, PROMPT, **SHORT, tune="lora"))
    assert torch.equal(torch.get_rng_state(), before)


# What is tuned


def test_attention_tunes_the_attention_alone(model, image):
    tuned = last(imagic.fit(model, image, PROMPT, **SHORT, tune="attention")).tuned
    assert tuned
    assert all(".attn1." in name or ".attn2." in name for name in tuned)
    own = dict(model.unet.named_parameters())
    assert all(not torch.equal(own[name], weight) for name, weight in tuned.items() if "to_k" not in name)


def test_lora_changes_the_projections_by_its_rank(model, image):
    for rank in (1, 4):
        tuned = last(imagic.fit(model, image, PROMPT, **SHORT, tune="lora", lora_rank=rank)).tuned
        own = dict(model.unet.named_parameters())
        assert all(name.rsplit(".", 2)[-2] in ("to_q", "to_k", "to_v", "0") for name in tuned)
        ranks = [torch.linalg.matrix_rank(w - own[n], rtol=1e-2).item() for n, w in tuned.items()]
        assert max(ranks) == rank


def test_lora_without_peft_is_a_sentence_and_its_result_needs_none(model, image, monkeypatch):
    fitted = last(imagic.fit(model, image, PROMPT, **SHORT, tune="lora"))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="needs the package peft"):
        next(imagic.fit(model, image, PROMPT, **SHORT, tune="lora"))
    assert last(imagic.edit(model, fitted, steps=2)).isfinite().all()


def test_lora_lowers_the_loss(model, image):
    settings = {"embedding_steps": 0, "finetune_steps": 25, "finetune_lr": 3e-3}
    found = last(imagic.fit(model, image, PROMPT, tune="lora", **settings))
    untuned = held_out_loss(model, image, found.e_opt, {})
    assert held_out_loss(model, image, found.e_opt, found.tuned) < 0.98 * untuned


def test_checkpointing_recomputes_blocks_and_changes_nothing_else(model, image):
    calls = []
    handle = model.unet.mid_block.resnets[1].register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        plain = last(imagic.fit(model, image, PROMPT, **SHORT))
        assert len(calls) == 6
        saving = last(imagic.fit(model, image, PROMPT, **SHORT, gradient_checkpointing=True))
        assert len(calls) == 6 + 12
    finally:
        handle.remove()
    for name, weight in plain.tuned.items():
        torch.testing.assert_close(saving.tuned[name], weight, rtol=1e-3, atol=1e-4)


def test_a_model_in_half_precision_is_fitted_in_float32(tiny_folder, model, image):
    from textedit_core.models import zoo

    half = zoo.load(tiny_folder, dtype=torch.bfloat16).diffusion
    found = last(imagic.fit(half, image, PROMPT, embedding_steps=1, finetune_steps=1, finetune_lr=1e-3))
    weights = [found.e_opt, found.e_tgt, *found.tuned.values()]
    assert {tensor.dtype for tensor in weights} == {torch.float32}
    edited = last(imagic.edit(half, found, steps=2))
    assert edited.dtype == torch.float32
    full = last(imagic.edit(model, found, steps=2))
    assert metrics.psnr(edited, full).item() > 20


# Nothing left behind


@pytest.mark.parametrize("tune", ["full", "attention", "lora"])
def test_a_finished_fit_and_edit_leave_no_trace(model, image, tune):
    before = state(model)
    fitted = last(imagic.fit(model, image, PROMPT, **SHORT, tune=tune, gradient_checkpointing=True))
    last(imagic.edit(model, fitted, eta=[0, 1], steps=2))
    assert_same(before, state(model))


@pytest.mark.parametrize("tune", ["full", "attention", "lora"])
@pytest.mark.parametrize("stop", [2, 5])
def test_a_closed_fit_leaves_no_trace(model, image, tune, stop):
    before = state(model)
    run = imagic.fit(model, image, PROMPT, **SHORT, tune=tune)
    for _ in range(stop):
        next(run)
    assert_same(before, state(model))
    run.close()
    assert_same(before, state(model))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("stop", [2, 5])
def test_a_failing_fit_leaves_no_trace(model, image, stop):
    before, calls = state(model), []

    def fail(*_):
        calls.append(1)
        if len(calls) == stop:
            raise RuntimeError("out of memory")

    handle = model.unet.up_blocks[0].register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            last(imagic.fit(model, image, PROMPT, **SHORT))
    finally:
        handle.remove()
    assert_same(before, state(model))


def test_a_second_fit_starts_from_the_same_model(model, image):
    first = last(imagic.fit(model, image, PROMPT, **SHORT))
    assert last(imagic.fit(model, image, PROMPT, **SHORT)).fingerprint == first.fingerprint


def test_it_runs_where_the_caller_turned_gradients_off(model, image):
    expected = last(imagic.fit(model, image, PROMPT, **SHORT)).fingerprint
    with torch.no_grad():
        assert last(imagic.fit(model, image, PROMPT, **SHORT)).fingerprint == expected


def test_weights_that_want_gradients_get_none(tiny_folder, image):
    from textedit_core.models import zoo

    own = zoo.load(tiny_folder).diffusion
    own.unet.requires_grad_(True)
    last(imagic.fit(own, image, PROMPT, **SHORT))
    assert all(p.requires_grad and p.grad is None for p in own.unet.parameters())


# Cache and identity


def test_the_cache_takes_the_fit_and_keys_the_edit_by_it(model, image, tmp_path):
    store = Cache(folder=tmp_path)
    first = last(cached(imagic.fit, model, image, PROMPT, cache=store, **SHORT))
    with count_rows(model) as count:
        again = last(cached(imagic.fit, model, image, PROMPT, cache=store, **SHORT))
        reread = last(cached(imagic.fit, model, image, PROMPT, cache=Cache(folder=tmp_path), **SHORT))
    assert count.rows == 0
    assert first.fingerprint == again.fingerprint == reread.fingerprint
    assert key(imagic.edit, (model, reread), {"eta": 0.5}) == key(imagic.edit, (model, first), {"eta": 0.5})


def test_the_fingerprint_follows_all_that_an_edit_depends_on(fitted):
    name = next(iter(fitted.tuned))
    changes = [
        {"e_opt": fitted.e_opt + 1e-6},
        {"e_tgt": fitted.e_tgt + 1e-6},
        {"prompt": "sad"},
        {"size": (32, 64)},
        {"tuned": fitted.tuned | {name: fitted.tuned[name] + 1e-6}},
    ]
    prints = {dataclasses.replace(fitted, **change).fingerprint for change in changes}
    assert len(prints | {fitted.fingerprint}) == 6
    assert dataclasses.replace(fitted).fingerprint == fitted.fingerprint


# Mistakes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "  "}, "target text is empty"),
        ({"prompt": "red " * 31}, "31 tokens and this model reads at most 30"),
        ({"tune": "all"}, "'all' is none of full, attention, lora"),
        ({"mixed_precision": "fp16"}, "works on a CUDA device, not on cpu"),
        ({"mixed_precision": "fp8"}, "'fp8' is none of no, fp16, bf16"),
        ({"image": torch.zeros(2, 3, 32, 32)}, "one image at a time, not 2"),
        ({"image": torch.zeros(1, 3, 30, 32)}, "multiples of 4"),
    ],
)
def test_mistakes_are_sentences(model, image, change, said):
    call = {"image": image, "prompt": PROMPT, **SHORT, **change}
    with count_rows(model) as count, pytest.raises(ValueError, match=said):
        next(imagic.fit(model, call.pop("image"), call.pop("prompt"), **call))
    assert count.rows == 0


def test_a_fit_of_another_model_is_refused(model, fitted):
    other = dataclasses.replace(fitted, tuned={"no.such.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="does not belong"):
        next(imagic.edit(model, other))


# Best of several seeds, and the knee


def test_seeds_are_ranked_by_both_scores_in_one_batch(tiny, model, image, fitted):
    with count_rows(model) as count:
        steps = list(imagic.rank_seeds(model, tiny.clip, fitted, image, seeds=4, seed=10, steps=3))
    assert (count.rows, count.calls) == (4 * 2 * 3, 3)
    assert [(step.done, step.total) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    ranked = steps[-1].value
    assert sorted(one.seed for one in ranked) == [10, 11, 12, 13]
    scores, likeness = [one.clip_score for one in ranked], [one.similarity for one in ranked]
    sums = [
        sum((x - min(c)) / ((max(c) - min(c)) or 1) for x, c in ((a, scores), (b, likeness)))
        for a, b in zip(scores, likeness, strict=True)
    ]
    assert sums == sorted(sums, reverse=True)
    assert sums[0] > sums[-1]
    best = ranked[0]
    alone = last(imagic.edit(model, fitted, seed=best.seed, steps=3))
    torch.testing.assert_close(best.image, alone, rtol=0, atol=1e-3)
    assert best.clip_score == pytest.approx(metrics.clip_score(tiny.clip, alone, PROMPT).item(), abs=0.05)
    assert best.similarity == pytest.approx(metrics.clip_similarity(tiny.clip, alone, image).item(), abs=1e-3)


def test_many_seeds_come_in_batches_of_eight(tiny, model, image, fitted):
    with count_rows(model) as count:
        steps = list(imagic.rank_seeds(model, tiny.clip, fitted, image, seeds=9, steps=1, seed=2**31 - 1))
    assert (count.rows, count.calls) == (18, 2)
    assert [(step.done, len(step.value)) for step in steps] == [(1, 8), (2, 9)]
    assert {one.seed for one in steps[-1].value} == {2**31 - 1, *range(8)}


@pytest.mark.parametrize(
    ("clip_scores", "similarities", "knee"),
    [
        ([20, 21, 29, 30, 30], [1, 0.99, 0.95, 0.6, 0.5], 2),
        ([20, 29, 30, 30, 30], [1, 0.9, 0.5, 0.3, 0.0], 1),
        ([20, 20.5, 21, 22, 30], [1, 0.9, 0.8, 0.7, 0], 0),  # worse than a straight trade: the source
        ([20, 22.5, 25, 27.5, 30], [1, 0.75, 0.5, 0.25, 0], 2),  # a straight trade: the middle
        ([20, 20, 20, 20, 20], [1, 0.9, 0.8, 0.7, 0.6], 0),  # the text gains nothing: stay with the source
        ([20, 21, 22, 23, 24], [1, 1, 1, 1, 1], 4),  # nothing is lost: take all
    ],
)
def test_the_knee(clip_scores, similarities, knee):
    etas = [0, 0.25, 0.5, 0.75, 1]
    assert imagic.suggest_eta(etas, clip_scores, similarities) == knee
    backwards = imagic.suggest_eta(etas[::-1], clip_scores[::-1], similarities[::-1])
    assert etas[::-1][backwards] == etas[knee]


@pytest.mark.parametrize("lists", [([], [], []), ([0, 1], [1], [1, 0])])
def test_the_knee_of_nothing_is_refused(lists):
    with pytest.raises(ValueError, match="every eta"):
        imagic.suggest_eta(*lists)


# On trained models


@pytest.fixture(scope="module")
def toon_fit(toon, portrait):
    preset = {k: v for k, v in toon.presets["imagic"].items() if k in knobs(imagic.fit)}
    return last(imagic.fit(toon.diffusion, portrait, "a sad woman with long pink hair", **preset))


def test_toon_eta_zero_rebuilds_the_source(toon, portrait, toon_fit):
    bound = metrics.psnr(toon.diffusion.decode(toon.diffusion.encode(portrait)), portrait).item()
    rebuilt = last(imagic.edit(toon.diffusion, toon_fit, eta=0, guidance_scale=1, steps=30))
    assert metrics.clip_similarity(toon.clip, rebuilt, portrait).item() > 0.9
    assert metrics.psnr(rebuilt, portrait).item() > min(18, bound - 6)


def test_toon_eta_trades_the_source_for_the_text(toon, portrait, toon_fit):
    strip = last(imagic.edit(toon.diffusion, toon_fit, eta=[0, 0.5, 1], steps=20))
    kept = metrics.clip_similarity(toon.clip, strip, portrait).tolist()
    met = metrics.clip_score(toon.clip, strip, toon_fit.prompt).tolist()
    assert kept[0] > kept[2]
    assert met[2] > met[0]
