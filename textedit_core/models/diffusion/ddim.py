"""The noise schedule of a latent diffusion model, the DDIM step and its inversion (arXiv 2010.02502)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from textedit_core.models.diffusion.condition import Condition, add_tensor
from textedit_core.steps import Step


@dataclass(frozen=True, eq=False)
class Schedule:
    """The cumulative products of a diffusion model and what its UNet predicts.

    Sampling always uses leading spacing with an offset of one, and `alphas_cumprod[0]` before the first
    training step, as Stable Diffusion does: 50 steps are 981, 961, ..., 1.

    alphas_cumprod: (T,) float32 on the CPU, falling.  prediction_type: "epsilon" or "v_prediction".
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Build from the `scheduler_config.json` of any diffusers scheduler.

        Raises ValueError for a beta schedule or a prediction type that is not known.
        """
        count = config.get("num_train_timesteps", 1000)
        start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
        kind = config.get("beta_schedule", "linear")
        if config.get("trained_betas") is not None:
            betas = torch.tensor(config["trained_betas"], dtype=torch.float32)
        elif kind == "linear":
            betas = torch.linspace(start, end, count, dtype=torch.float32)
        elif kind == "scaled_linear":
            betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2
        else:
            raise ValueError(f"The beta schedule {kind!r} is not supported; linear and scaled_linear are.")
        if config.get("rescale_betas_zero_snr"):
            raise ValueError("A scheduler with rescale_betas_zero_snr is not supported.")
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"The prediction type {prediction!r} is not supported; epsilon and v_prediction are."
            )
        return cls(torch.cumprod(1 - betas, dim=0), prediction)

    @property
    def train_steps(self) -> int:
        """T, the number of training timesteps (1000)."""
        return len(self.alphas_cumprod)

    def timesteps(self, steps: int) -> tuple[int, ...]:
        """The `steps` timesteps of a sampling run, falling. Raises ValueError outside 1..T-1."""
        if not 1 <= steps < self.train_steps:
            raise ValueError(f"Steps must lie between 1 and {self.train_steps - 1}, not {steps}.")
        stride = self.stride(steps)
        return tuple(k * stride + 1 for k in reversed(range(steps)))

    def stride(self, steps: int) -> int:
        """How far apart the timesteps of a run of `steps` lie: one DDIM step goes from t to t - stride."""
        return self.train_steps // steps

    def alpha(self, t: int | Tensor) -> float | Tensor:
        """A(t), the cumulative product at t; at t < 0 that of t = 0.

        A (B,) tensor of timesteps gives (B,1,1,1) on its device, to multiply images with.
        """
        if isinstance(t, Tensor):
            return self.alphas_cumprod.to(t.device)[t.long().clamp(min=0)].reshape(-1, 1, 1, 1)
        return self.alphas_cumprod[max(int(t), 0)].item()


def ddim_step(schedule: Schedule, z: Tensor, eps: Tensor, t: int, t_to: int) -> Tensor:
    """One deterministic DDIM step of z (B,4,h,w) from timestep t to t_to, eq. 12 of the paper with sigma 0.

    `t_to` may lie below t (denoising) or above it (inversion), and below zero at the end of a run.
    """
    alpha_t, alpha_to = schedule.alpha(t), schedule.alpha(t_to)
    z0 = (z - (1 - alpha_t) ** 0.5 * eps) / alpha_t**0.5
    return alpha_to**0.5 * z0 + (1 - alpha_to) ** 0.5 * eps


def add_noise(schedule: Schedule, z0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
    """z_t = sqrt(A_t) z0 + sqrt(1 - A_t) noise, (B,4,h,w); t an int, or (B,) one timestep per row."""
    alpha_t = schedule.alpha(t)
    return alpha_t**0.5 * z0 + (1 - alpha_t) ** 0.5 * noise


def velocity_to_eps(schedule: Schedule, v: Tensor, z: Tensor, t: int | Tensor) -> Tensor:
    """The noise that a v-prediction (arXiv 2202.00512) of the same shape as z (B,4,h,w) stands for."""
    alpha_t = schedule.alpha(t)
    return alpha_t**0.5 * v + (1 - alpha_t) ** 0.5 * z


def invert(
    schedule: Schedule, eps: Callable[[Tensor, int], Tensor], z0: Tensor, steps: int
) -> Iterator[Step[Tensor]]:
    """DDIM inversion of z0 (1,4,h,w) -> (steps + 1,4,h,w), from z0 to z_T; guidance is whatever `eps` has.

    Going up from s to t the noise is taken at the destination, eps(z_s, t), as the editing papers do
    (arXiv 2208.01626, 2211.09794); the first s lies below zero.
    """
    latents, stride = [z0], schedule.stride(steps)
    for done, t in enumerate(reversed(schedule.timesteps(steps)), start=1):
        latents.append(ddim_step(schedule, latents[-1], eps(latents[-1], t), t - stride, t))
        yield Step(done, steps, torch.cat(latents) if done == steps else None)


@dataclass(frozen=True, eq=False)
class Inversion:
    """A real image as a run of the sampler, to edit it from.

    kind: the algorithm that made it.  source_prompt: what the image shows.  size: its (H, W) in pixels.
    latents: (T+1,4,h,w) float32, the path of the source in an edit, from its reconstruction to z_T. It does
    not depend on the edit, so that an edit need not compute it again.
    null_embeddings: the unconditional embeddings, a row for each of T steps, that of z_T first; one row if
    all steps have the same.
    guidance_scale: at which the path was made.  losses: of null-text, one per step, from z_T down.
    """

    kind: str
    source_prompt: str
    size: tuple[int, int]
    latents: Tensor
    null_embeddings: Condition
    guidance_scale: float = 1.0
    losses: tuple[float, ...] = ()

    @property
    def steps(self) -> int:
        """T, how many steps the sampler takes."""
        return len(self.latents) - 1

    def null(self, k: int) -> Condition:
        """The unconditional embedding of step k, counted from z_T: one row."""
        row = min(k, len(self.null_embeddings) - 1)
        return self.null_embeddings.rows(slice(row, row + 1))

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that an edit depends on, computed when first asked for."""
        about = self.source_prompt, self.size, self.null_embeddings.fingerprint
        digest = hashlib.sha256(repr(about).encode())
        add_tensor(digest, self.latents)
        return digest.hexdigest()
