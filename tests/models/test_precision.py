"""Every method gives finite results in half precision, near those of float32."""

from __future__ import annotations

import pytest
import torch

from tests.families import write_tiny_family
from textedit_core.methods import (
    imagic,
    latent_directions,
    paint_by_example,
    projection,
    prompt_to_prompt,
    sdedit,
    styleclip_directions,
    styleclip_optimizer,
)
from textedit_core.metrics import psnr
from textedit_core.models import zoo
from textedit_core.models.diffusion import precision, tuning
from textedit_core.models.style import latents
from textedit_core.steps import last

SOURCE, PROMPT = "a man with glasses", "an angry man with glasses"
HALVES = [torch.bfloat16, torch.float16]
TUNED = {"embedding_steps": 2, "finetune_steps": 2, "embedding_lr": 1e-3, "finetune_lr": 1e-4}


@pytest.fixture(scope="module", params=HALVES, ids=["bfloat16", "float16"])
def half(request):
    return zoo.load("toon", dtype=request.param)


def near(found, exact, decibels=20):
    assert found.isfinite().all()
    assert psnr(found.clamp(-1, 1), exact.clamp(-1, 1)).min().item() > decibels


def test_auto_is_half_on_an_accelerator_alone():
    assert precision.automatic(torch.device("cpu")) is torch.float32
    assert precision.automatic(torch.device("cuda")) is precision.automatic(torch.device("mps"))
    assert precision.automatic(torch.device("cuda")) is torch.float16


def test_sdedit(half, toon, portrait):
    found, exact = (
        last(sdedit.edit(models.diffusion, portrait, PROMPT, steps=4, strength=0.5))
        for models in (half, toon)
    )
    near(found, exact)


@pytest.mark.parametrize("inversion", ["direct", "null_text", "npi", "ddim"])
def test_prompt_to_prompt(half, toon, portrait, inversion):
    found, exact = (
        last(
            prompt_to_prompt.edit(
                models.diffusion,
                last(
                    prompt_to_prompt.fit(
                        models.diffusion, portrait, SOURCE, inversion=inversion, steps=2, inner_steps=2
                    )
                ),
                PROMPT,
                guidance_scale=2,
                blend_words="angry",
            )
        )
        for models in (half, toon)
    )
    near(found, exact)


@pytest.mark.parametrize("tune", ["lora", "attention", "full"])
def test_imagic(half, toon, portrait, tune):
    fits = [
        last(imagic.fit(models.diffusion, portrait, PROMPT, tune=tune, lora_rank=2, **TUNED))
        for models in (half, toon)
    ]
    kept = torch.float32 if tune == "lora" else torch.float16  # factors; changes of weights
    assert all(value.dtype is kept for value in fits[0].tuned.values())
    assert fits[0].finetune_losses == pytest.approx(fits[1].finetune_losses, rel=0.1)
    assert any(
        not torch.equal(value, toon.diffusion.unet.get_parameter(name).to(half.dtype).float())
        for name, value in tuning.merged(half.diffusion, fits[0].tuned).items()
    )
    found, exact = (
        last(imagic.edit(models.diffusion, fitted, steps=4, guidance_scale=1))
        for models, fitted in zip((half, toon), fits, strict=True)
    )
    near(found, exact)


def test_paint_by_example(half, toon, portrait):
    mask = torch.zeros(1, 1, *portrait.shape[2:])
    mask[..., 16:48, 16:48] = 1
    found, exact = (
        last(paint_by_example.edit(models.paint_by_example, portrait, mask, portrait, steps=4))
        for models in (half, toon)
    )
    near(found, exact)


def test_style_networks_and_clip_are_float32_whatever_is_asked(half):
    assert half.diffusion.dtype is half.dtype
    assert half.generator.dtype is half.clip.model.dtype is torch.float32
    assert half.encoder.latent_avg.dtype is torch.float32


def test_styleclip(half, toon, portrait):
    latent = latents.from_seed(toon.generator, seed=1)
    for models in (half, toon):
        found = last(
            projection.fit(models.generator, models.encoder, models.clip, models.identity, portrait, steps=2)
        )
        assert found.image.isfinite().all() and all(loss == loss for loss in found.losses)
        optimised = last(
            styleclip_optimizer.fit(
                models.generator, models.clip, models.identity, latent, "an angry person", steps=2
            )
        )
        assert optimised.image.isfinite().all()
        directed = last(
            styleclip_directions.edit(
                models.generator, models.clip, models.relevance, latent, "person", "angry person"
            )
        )
        assert directed.isfinite().all()
        components = last(
            latent_directions.fit(models.generator, None, None, technique="ganspace", samples=200)
        )
        assert last(latent_directions.edit(models.generator, components, latent)).isfinite().all()


def test_a_half_precision_model_is_not_copied_to_be_optimised_with(tmp_path):
    model = zoo.load(write_tiny_family(tmp_path / "sd1", "sd1"), dtype=torch.bfloat16).diffusion
    pointers = {one.data_ptr() for one in model.unet.parameters()}
    frozen = tuning.trainable(model, "none").model
    assert {one.data_ptr() for one in frozen.unet.parameters()} == pointers
    assert frozen.dtype is torch.bfloat16
    attention = tuning.trainable(model, "attention")
    assert all(one.dtype is torch.float32 for one in attention.parameters)
    kept = [one for name, one in attention.model.unet.named_parameters() if ".attn" not in name]
    assert {one.data_ptr() for one in kept} < pointers
    lora = tuning.trainable(model, "lora", 2, draw=torch.Generator().manual_seed(0))
    assert all(one.dtype is torch.float32 for one in lora.parameters)
    assert lora.model.unet.conv_in.weight.data_ptr() in pointers
