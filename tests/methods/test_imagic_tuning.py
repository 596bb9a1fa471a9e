"""What Imagic tunes, what it leaves behind (nothing), and how its fits are told apart."""

import dataclasses
import sys

import pytest
import torch

from tests.methods.fits import PROMPT, SHORT, held_out_loss
from textedit_core import metrics
from textedit_core.cache import Cache, cached, key
from textedit_core.methods import imagic
from textedit_core.models.diffusion import tuning
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.steps import last


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


def test_attention_tunes_the_attention_alone(model, image):
    tuned = tuning.merged(model, last(imagic.fit(model, image, PROMPT, **SHORT, tune="attention")).tuned)
    kinds = {name.split(".")[-4 if "to_out" in name else -3] for name in tuned}
    assert kinds == {"attn1", "attn2"}
    own = dict(model.unet.named_parameters())
    assert all(not torch.equal(own[name], weight) for name, weight in tuned.items() if "to_k" not in name)


def test_lora_changes_the_projections_by_its_rank(model, image):
    for rank in (1, 4):
        factors = last(imagic.fit(model, image, PROMPT, **SHORT, tune="lora", lora_rank=rank)).tuned
        tuned = tuning.merged(model, factors)
        assert sum(one.numel() for one in factors.values()) < sum(one.numel() for one in tuned.values()) / 2
        own = dict(model.unet.named_parameters())
        assert all(name.rsplit(".", 2)[-2] in ("to_q", "to_k", "to_v", "0") for name in tuned)
        ranks = [torch.linalg.matrix_rank(w - own[n], rtol=1e-2).item() for n, w in tuned.items()]
        assert max(ranks) == rank


def test_low_rank_changes_are_merged_as_they_were_trained(model, image):
    draw = torch.Generator().manual_seed(3)
    trained = tuning.trainable(model, "lora", 2, draw=draw)
    with torch.no_grad():
        for one in trained.parameters:
            one += 0.1
    alone = model.with_weights(tuning.merged(model, trained.weights()))
    z, text = torch.randn(1, 4, *model.encode(image).shape[2:]), model.encode_text([PROMPT])
    with torch.no_grad():
        expected, found, own = (
            one.eps(z, torch.tensor([500]), text) for one in (trained.model, alone, model)
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(own, expected, rtol=1e-2, atol=1e-3)
    whole = {"conv_out.bias": torch.zeros(4)}
    assert tuning.merged(model, whole) == whole, "a whole weight stays as it is"


def test_a_fit_keeps_changes_in_half_of_the_bytes_and_draws_the_same(model, image):
    *_, before, end = imagic.fit(model, image, PROMPT, **SHORT)
    whole, small = before.value.tuned, end.value.tuned  # the live view has gone on to the end
    bytes_of = [sum(one.nbytes for one in tuned.values()) for tuned in (whole, small)]
    assert bytes_of[0] == 2 * bytes_of[1]
    found, expected, untuned = (
        last(imagic.edit(model, dataclasses.replace(end.value, tuned=one), steps=4))
        for one in (small, whole, {})
    )
    assert (found - expected).abs().max() < 1 / 255, "half a level of eight bits"
    assert (found - untuned).abs().max() > 0.1


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
    assert held_out_loss(model, image, found.e_opt, tuning.merged(model, found.tuned)) < 0.98 * untuned


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
    assert {tensor.dtype for tensor in (found.e_opt.tokens, found.e_tgt.tokens)} == {torch.float32}
    steps = torch.cat([change.flatten() for change in found.tuned.values()]).float()
    assert steps[steps != 0].abs().median() == pytest.approx(1e-3, rel=0.01), "Adam's step"
    edited = last(imagic.edit(half, found, steps=2))
    assert edited.dtype == torch.float32
    full = last(imagic.edit(model, found, steps=2))
    assert metrics.psnr(edited, full).item() > 20


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
    name = "conv_out.weight" + tuning.CHANGE
    other = fitted.tuned[name].clone()
    other.view(-1)[-1] += 1e-4
    changes = [
        {"e_opt": Condition(fitted.e_opt.tokens + 1e-6)},
        {"e_tgt": Condition(fitted.e_tgt.tokens + 1e-6)},
        {"prompt": "sad"},
        {"size": (32, 64)},
        {"tuned": fitted.tuned | {name: other}},
    ]
    prints = {dataclasses.replace(fitted, **change).fingerprint for change in changes}
    assert len(prints | {fitted.fingerprint}) == 6
    assert dataclasses.replace(fitted).fingerprint == fitted.fingerprint


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_the_same_in_float32_weights(model, image, monkeypatch, precision):
    """The CPU stands in for the CUDA device that a fit asks for: autocast and scaling are the same code."""
    monkeypatch.setattr(imagic, "_check", lambda *_: None)
    settings = {"embedding_steps": 6, "embedding_lr": 0.03, "finetune_steps": 6, "finetune_lr": 1e-3}
    exact = last(imagic.fit(model, image, PROMPT, **settings))
    mixed = last(imagic.fit(model, image, PROMPT, mixed_precision=precision, **settings))
    assert mixed.embedding_losses == pytest.approx(exact.embedding_losses, rel=0.02)
    assert mixed.finetune_losses == pytest.approx(exact.finetune_losses, rel=0.02)
    assert mixed.embedding_losses != exact.embedding_losses, "nothing ran in half precision"
    mixed_weights, weights = tuning.merged(model, mixed.tuned), tuning.merged(model, exact.tuned)
    assert held_out_loss(model, image, mixed.e_opt, mixed_weights) == pytest.approx(
        held_out_loss(model, image, exact.e_opt, weights), rel=0.02
    )
