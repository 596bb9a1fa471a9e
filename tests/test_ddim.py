"""The schedule and the DDIM step against diffusers' DDIMScheduler and published constants."""

import dataclasses

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.ddim import (
    Inversion,
    Schedule,
    add_noise,
    clean,
    ddim_step,
    invert,
    velocity_to_eps,
)
from textedit_core.steps import last

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
FIXED = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
SCHEDULE = Schedule.from_config(CONFIG | FIXED)


def scheduler(prediction_type: str = "epsilon") -> DDIMScheduler:
    """diffusers' scheduler with the four settings that Stable Diffusion needs."""
    return DDIMScheduler(**CONFIG, **FIXED, prediction_type=prediction_type)


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (0, 0.99915),
        (1, 0.99829603),
        (21, 0.98038075),
        (501, 0.27499907),
        (981, 0.00577550),
        (999, 0.00466010),
    ],
)
def test_published_constants(t, expected):
    assert SCHEDULE.alpha(t) == pytest.approx(expected, rel=2e-6)


def test_before_the_first_timestep_alpha_is_that_of_zero():
    assert SCHEDULE.alpha(-19) == SCHEDULE.alpha(0)
    rows = SCHEDULE.alpha(torch.tensor([-19, 0, 981]))
    assert rows.shape == (3, 1, 1, 1)
    assert rows.flatten().tolist() == [SCHEDULE.alpha(0), SCHEDULE.alpha(0), SCHEDULE.alpha(981)]


def test_fifty_steps_are_981_to_1():
    assert SCHEDULE.timesteps(50) == tuple(range(981, 0, -20))


@pytest.mark.parametrize("steps", [1, 3, 7, 50, 200, 999])
def test_timesteps_and_alphas_are_those_of_diffusers(steps):
    theirs = scheduler()
    theirs.set_timesteps(steps)
    assert SCHEDULE.timesteps(steps) == tuple(theirs.timesteps.tolist())
    assert torch.equal(SCHEDULE.alphas_cumprod, theirs.alphas_cumprod)


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match=f"between 1 and 999, not {steps}"):
        SCHEDULE.timesteps(steps)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", [3, 10, 50])
def test_a_whole_run_equals_ddim_scheduler(prediction_type, steps):
    theirs = scheduler(prediction_type)
    theirs.set_timesteps(steps)
    schedule = Schedule.from_config(theirs.config)
    generator = torch.Generator().manual_seed(0)
    z = expected = torch.randn(2, 4, 8, 8, generator=generator)
    for t, t_to in schedule.transitions(steps):
        output = torch.randn(z.shape, generator=generator)
        expected = theirs.step(output, t, expected).prev_sample
        eps = output if prediction_type == "epsilon" else velocity_to_eps(schedule, output, z, t)
        z = ddim_step(schedule, z, eps, t, t_to)
        torch.testing.assert_close(z, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "zero_snr"])
@pytest.mark.parametrize("set_alpha_to_one", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize(
    ("spacing", "steps"),
    [("leading", 7), ("leading", 50), ("trailing", 4), ("trailing", 30)],
)
def test_every_schedule_equals_ddim_scheduler(spacing, steps, offset, set_alpha_to_one, prediction_type):
    zero = prediction_type == "zero_snr"
    theirs = DDIMScheduler(
        **CONFIG,
        clip_sample=False,
        set_alpha_to_one=set_alpha_to_one,
        steps_offset=offset,
        timestep_spacing=spacing,
        prediction_type="v_prediction" if zero else prediction_type,
        rescale_betas_zero_snr=zero,
    )
    theirs.set_timesteps(steps)
    schedule = Schedule.from_config(theirs.config)
    assert schedule.timesteps(steps) == tuple(theirs.timesteps.tolist())
    torch.testing.assert_close(schedule.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    z = expected = torch.randn(2, 4, 8, 8, generator=generator)
    for t, t_to in schedule.transitions(steps):
        null, text = torch.randn(2, *z.shape, generator=generator)
        expected = theirs.step(null + 3 * (text - null), t, expected).prev_sample
        if prediction_type != "epsilon":
            null, text = (velocity_to_eps(schedule, output, z, t) for output in (null, text))
        z = ddim_step(schedule, z, null + 3 * (text - null), t, t_to)
        torch.testing.assert_close(z, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_timesteps_of_every_spacing_are_those_of_diffusers(spacing):
    theirs = DDIMScheduler(**CONFIG, timestep_spacing=spacing)
    schedule = Schedule.from_config(theirs.config)
    for steps in [*range(1, 120), 333, 500, 999]:
        theirs.set_timesteps(steps)
        run = schedule.timesteps(steps)
        # By rounding, diffusers has at 61 steps of trailing a 62nd timestep, -1.
        assert run == tuple(theirs.timesteps.tolist())[:steps], steps
        meeting = tuple(zip(run, (*run[1:], -1), strict=True))
        assert schedule.transitions(steps, invertible=True) == meeting
        if spacing == "linspace":  # the steps of diffusers do not meet there
            assert schedule.transitions(steps) == meeting
        else:
            assert schedule.transitions(steps) == tuple((t, max(t - 1000 // steps, -1)) for t in run)


def test_an_offset_that_leads_beyond_the_schedule_is_refused():
    schedule = dataclasses.replace(SCHEDULE, offset=5)
    assert schedule.timesteps(100)[0] == 99 * 10 + 5
    with pytest.raises(ValueError, match="999 steps with an offset of 5 lead beyond 999"):
        schedule.timesteps(999)


ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}


def test_zero_terminal_snr_is_that_of_diffusers_and_ends_at_zero():
    schedule = Schedule.from_config(CONFIG | ZERO)
    theirs = DDIMScheduler(**CONFIG, **ZERO)
    torch.testing.assert_close(schedule.alphas_cumprod, theirs.alphas_cumprod, rtol=1e-4, atol=1e-6)
    assert schedule.alphas_cumprod[-1] == 0 and (schedule.alphas_cumprod[:-1] > 0).all()
    assert schedule.alphas_cumprod[0] == pytest.approx(SCHEDULE.alphas_cumprod[0].item(), rel=1e-5)
    assert (schedule.train_steps, schedule.learnable_steps) == (1000, 999)
    assert SCHEDULE.learnable_steps == 1000


def test_where_all_is_noise_the_clean_latent_is_the_velocity_negated():
    schedule = Schedule.from_config(CONFIG | ZERO)
    z, v = torch.randn(2, 2, 4, 8, 8).unbind()
    torch.testing.assert_close(ddim_step(schedule, z, velocity_to_eps(schedule, v, z, 999), 999, -1), -v)
    rows = velocity_to_eps(schedule, v, z, torch.tensor([999, 500]))
    torch.testing.assert_close(rows[:1], velocity_to_eps(schedule, v[:1], z[:1], 999))
    torch.testing.assert_close(rows[1:], velocity_to_eps(schedule, v[1:], z[1:], 500))


@pytest.mark.parametrize("steps", [4, 7, 50])
def test_an_inversion_keeps_away_from_where_all_is_noise(steps):
    schedule = Schedule.from_config(CONFIG | ZERO)
    assert schedule.transitions(steps)[0][0] == 999
    run = schedule.transitions(steps, invertible=True)
    assert len(run) == steps and all(schedule.alpha(t) > 0 for t, _ in run)
    assert SCHEDULE.transitions(steps, invertible=True) == SCHEDULE.transitions(steps)
    noise, z0 = torch.randn(2, 1, 4, 8, 8).unbind()
    z = last(invert(schedule, lambda z, t: noise, z0, steps))[-1:]
    for t, t_to in run:
        z = ddim_step(schedule, z, noise, t, t_to)
    torch.testing.assert_close(z, z0, rtol=1e-3, atol=1e-3)


def test_a_step_up_undoes_a_step_down():
    z, eps = torch.randn(2, 1, 4, 8, 8).unbind()
    back = ddim_step(SCHEDULE, ddim_step(SCHEDULE, z, eps, 501, 481), eps, 481, 501)
    torch.testing.assert_close(back, z)


def test_the_step_keeps_the_clean_image_of_the_prediction():
    z0, eps = torch.randn(2, 1, 4, 8, 8).unbind()
    z = ddim_step(SCHEDULE, add_noise(SCHEDULE, z0, eps, 901), eps, 901, 301)
    torch.testing.assert_close(z, add_noise(SCHEDULE, z0, eps, 301), rtol=1e-4, atol=1e-4)


def test_add_noise_takes_one_timestep_or_one_per_row():
    z0, noise = torch.randn(2, 3, 4, 8, 8).unbind()
    t = torch.tensor([0, 500, 999])
    rows = add_noise(SCHEDULE, z0, noise, t)
    torch.testing.assert_close(rows, scheduler().add_noise(z0, noise, t))
    for row, one in enumerate(t.tolist()):
        torch.testing.assert_close(rows[row : row + 1], add_noise(SCHEDULE, z0[row], noise[row], one)[None])


def test_any_diffusers_scheduler_config_will_do():
    pndm = Schedule.from_config(PNDMScheduler(**CONFIG).config)
    assert torch.equal(pndm.alphas_cumprod, SCHEDULE.alphas_cumprod)
    linear = Schedule.from_config({"beta_start": 0.1, "beta_end": 0.3, "num_train_timesteps": 3})
    torch.testing.assert_close(linear.alphas_cumprod, torch.tensor([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7]))
    trained = Schedule.from_config({"trained_betas": [0.5, 0.5]})
    assert trained.alphas_cumprod.tolist() == [0.5, 0.25]
    assert trained.train_steps == 2


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"beta_schedule": "sigmoid"}, "sigmoid"),
        ({"prediction_type": "sample"}, "'sample'"),
        ({"rescale_betas_zero_snr": True}, "needs a model of v_prediction"),
        ({"timestep_spacing": "random"}, "spacing 'random'"),
        ({"_class_name": "LCMScheduler"}, "LCMScheduler is the scheduler of a latent consistency model"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "a flow matching model"),
        ({"_class_name": "EDMEulerScheduler"}, "EDM's preconditioning"),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": True}, "a flow matching model"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "a model of another kind"),
    ],
)
def test_schedules_that_would_be_wrong_are_refused(config, said):
    with pytest.raises(ValueError, match=said):
        Schedule.from_config(config)


@pytest.mark.parametrize("steps", [3, 50])
def test_inversion_goes_up_with_the_noise_of_the_destination(steps):
    """Each step, undone by hand with the same noise, is the latent before; the first is below zero."""
    asked, stride = [], 1000 // steps

    def eps(z, t):
        asked.append((z, t))
        return torch.sin(z + t)

    z0 = torch.randn(1, 4, 8, 8)
    found = list(invert(SCHEDULE, eps, z0, steps))
    latents = found[-1].value
    assert [(step.done, step.total) for step in found] == [(k, steps) for k in range(1, steps + 1)]
    assert all(step.value is None for step in found[:-1])
    assert latents.shape == (steps + 1, 4, 8, 8) and torch.equal(latents[:1], z0)
    assert [t for _, t in asked] == sorted(SCHEDULE.timesteps(steps))
    for k, (z, t) in enumerate(asked):
        assert torch.equal(z, latents[k : k + 1])
        a_t, a_s = SCHEDULE.alphas_cumprod[t], SCHEDULE.alphas_cumprod[max(t - stride, 0)]
        noise = torch.sin(z + t)
        z_t = a_t.sqrt() * (z - (1 - a_s).sqrt() * noise) / a_s.sqrt() + (1 - a_t).sqrt() * noise
        torch.testing.assert_close(latents[k + 1 : k + 2], z_t, rtol=1e-4, atol=1e-4)


def test_inverting_constant_noise_and_sampling_down_is_the_way_back():
    noise, z = torch.randn(2, 1, 4, 8, 8).unbind()
    latents = last(invert(SCHEDULE, lambda z, t: noise, z, 10))
    z = latents[-1:]
    for k, t in enumerate(SCHEDULE.timesteps(10), start=1):
        z = ddim_step(SCHEDULE, z, noise, t, t - 100)
        torch.testing.assert_close(z, latents[10 - k : 11 - k], rtol=1e-4, atol=1e-4)


def test_an_inversion_counts_its_steps_and_tells_its_content():
    latents, nulls = torch.randn(4, 4, 2, 2), Condition(torch.randn(3, 5, 6))
    made = Inversion("direct", "a cat", (16, 16), latents, nulls.rows(slice(0, 1)))
    assert made.steps == 3 and made.null(0).tokens.shape == (1, 5, 6)
    assert torch.equal(made.null(2).tokens, nulls.tokens[:1])
    other = dataclasses.replace(made, null_embeddings=nulls)
    assert torch.equal(other.null(2).tokens, nulls.tokens[2:])
    changed = [
        other,
        dataclasses.replace(made, source_prompt="a dog"),
        dataclasses.replace(made, latents=latents + 1),
        dataclasses.replace(made, size=(16, 24)),
    ]
    assert len({one.fingerprint for one in [made, *changed]}) == 5
    same = Inversion("direct", "a cat", (16, 16), latents.clone(), nulls.rows(slice(0, 1)).clone())
    assert same.fingerprint == made.fingerprint


@pytest.mark.parametrize("t", [1, 501, 981])
def test_the_clean_latents_are_those_of_a_step_to_no_noise(t):
    """With a last cumulative product of 1 the step that ends a run is z0 itself."""
    schedule = dataclasses.replace(SCHEDULE, set_alpha_to_one=True)
    z, eps = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(clean(schedule, z, eps, t), ddim_step(schedule, z, eps, t, -1), atol=1e-6)
