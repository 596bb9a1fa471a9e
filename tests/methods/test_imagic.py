"""Imagic against the algorithm written out, its steps, its cost, its limits and its mistakes."""

import copy
import dataclasses

import pytest
import torch

from tests.methods.fits import PROMPT, SHORT, held_out_loss
from textedit_core import metrics
from textedit_core.knobs import knobs, method_knobs
from textedit_core.methods import imagic
from textedit_core.models.diffusion import tuning
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.steps import last

ETAS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]


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
    descend(e, [e], 0.05)
    descend(e.detach(), list(unet.requires_grad_().parameters()), 1e-3)

    found = last(imagic.fit(model, image, PROMPT, seed=5, embedding_lr=0.05, **SHORT))
    torch.testing.assert_close(found.e_tgt.tokens, e_tgt)
    torch.testing.assert_close(found.e_opt.tokens, e.detach(), rtol=1e-3, atol=1e-4)
    assert found.embedding_losses + found.finetune_losses == pytest.approx(losses, rel=1e-3)
    weights = tuning.merged(model, found.tuned)
    assert weights.keys() == dict(unet.named_parameters()).keys()
    apart = [(weights[n] - p.detach()).abs().mean() for n, p in unet.named_parameters()]
    assert max(apart).item() < 2e-4, "an Adam step is 1e-3"
    expected = torch.cat([p.detach().flatten() for p in unet.parameters()])
    difference = torch.cat([weights[n].flatten() for n, _ in unet.named_parameters()]) - expected
    decay = (difference @ expected / (expected @ expected)).item()
    assert abs(decay) < 1e-5, "three steps of AdamW's default decay are 3e-5"


def test_the_defaults_are_the_papers_for_stable_diffusion():
    defaults = {name: knob.default for name, knob in knobs(imagic.fit).items()}
    paper = {"embedding_steps": 1000, "embedding_lr": 2e-3, "finetune_steps": 1500, "finetune_lr": 5e-7}
    assert paper.items() <= defaults.items()
    assert defaults["tune"] == "full"
    assert list(method_knobs(imagic.edit, imagic.fit))[-4:] == ["eta", "guidance_scale", "steps", "seed"]


def test_each_stage_lowers_the_loss_on_noise_it_never_saw(model, image, fitted):
    start = held_out_loss(model, image, fitted.e_tgt, {})
    embedded = held_out_loss(model, image, fitted.e_opt, {})
    tuned = held_out_loss(model, image, fitted.e_opt, tuning.merged(model, fitted.tuned))
    assert tuned < 0.95 * embedded < embedded < start


def test_the_embedding_stays_near_the_target(fitted):
    """Adam moves a number by about its learning rate a step."""
    moved = (fitted.e_opt.tokens - fitted.e_tgt.tokens).abs()
    assert 0.03 < moved.max() <= 15 * 0.03 * 1.5


def test_steps_tell_the_stage_and_the_loss(model, image):
    steps = list(imagic.fit(model, image, PROMPT, **SHORT))
    assert [(step.done, step.total) for step in steps] == [(done, 6) for done in range(1, 7)]
    assert all(step.value.tuned == {} for step in steps[:3])
    assert all(step.value.tuned for step in steps[3:])
    value = steps[-1].value
    assert tuple(step.loss for step in steps) == value.embedding_losses + value.finetune_losses
    assert value.size == (32, 32)
    assert not value.e_opt.tokens.requires_grad
    assert not any(weight.requires_grad for weight in value.tuned.values())


@pytest.mark.parametrize("tune", ["full", "attention", "lora"])
def test_stopping_early_is_a_shorter_fit(model, image, tune):
    run = imagic.fit(model, image, PROMPT, **SHORT, tune=tune)
    for step in run:
        if step.done == 5:
            run.close()
    assert (
        imagic.settled(model, step.value).fingerprint
        == last(imagic.fit(model, image, PROMPT, **SHORT | {"finetune_steps": 2}, tune=tune)).fingerprint
    )
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
    assert torch.equal(steps[0].value.e_opt.tokens, steps[0].value.e_tgt.tokens)
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
    expected = text_alone(Condition(1.5 * fitted.e_tgt.tokens - 0.5 * fitted.e_opt.tokens))
    torch.testing.assert_close(beyond, expected, rtol=0, atol=1e-3)
    assert (ends[0] - ends[1]).abs().max() > 0.02


def test_the_tuned_weights_are_used_for_both_rows(model, fitted):
    """Sampling a model that owns the tuned weights, without any, is the same."""
    owner = dataclasses.replace(model, unet=model.with_weights(tuning.merged(model, fitted.tuned)).unet)
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "  "}, "prompt is empty"),
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
