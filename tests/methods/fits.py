"""A prompt, the settings of a short fit, and a loss to judge fits by."""

import torch

from textedit_core.models.diffusion.ddim import add_noise

PROMPT = "a photo of the man in a red hat"
SHORT = {"embedding_steps": 3, "finetune_steps": 3, "finetune_lr": 1e-3}


def held_out_loss(model, image, text, weights):
    """Eq. 2 over a fixed set of timesteps and noises."""
    z0, tuned = model.encode(image), model.with_weights(weights)
    draw = torch.Generator().manual_seed(99)
    t = torch.arange(20, 1000, 50)
    eps = torch.randn(len(t), *z0.shape[1:], generator=draw)
    with torch.no_grad():
        found = tuned.eps(add_noise(model.schedule, z0, eps, t), t, text)
    return (found - eps).square().mean().item()
