"""The noise schedule of a latent diffusion model, the DDIM step and its inversion (arXiv 2010.02502)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textedit_core.models.diffusion.condition import Condition, add_tensor
from textedit_core.steps import Step

SPACINGS = ("leading", "linspace", "trailing")


@dataclass(frozen=True, eq=False)
class Schedule:
    """The cumulative products of a diffusion model, its timesteps, and what its UNet predicts.

    alphas_cumprod: (T,) float32 on the CPU, falling; the last is 0 where the terminal signal-to-noise ratio
    is zero.  prediction_type: "epsilon" or "v_prediction".
    spacing: how a run of fewer steps than T is spread, one of SPACINGS.  offset: what "leading" adds.
    set_alpha_to_one: whether the cumulative product before the first training step is 1, else that of t = 0.
    The defaults are Stable Diffusion's: 50 steps are 981, 961, ..., 1.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"
    spacing: str = "leading"
    offset: int = 1
    set_alpha_to_one: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schedule:
        """Build from the `scheduler_config.json` of a diffusers scheduler; what it lacks is DDIMScheduler's.

        Raises ValueError for what is not known: a scheduler of other models (consistency, flow matching), a
        beta schedule, a prediction type, a spacing; and for zero terminal SNR without v-prediction.
        """
        _check_scheduler(config)
        try:
            alphas_cumprod = torch.cumprod(1 - _betas(config), dim=0)
        except (TypeError, RuntimeError) as error:  # a text in place of a number
            raise ValueError("The scheduler's configuration has no numbers where betas are told.") from error
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"The prediction type {prediction!r} is not supported; epsilon and v_prediction are."
            )
        spacing = config.get("timestep_spacing", "leading")
        if spacing not in SPACINGS:
            raise ValueError(f"The timestep spacing {spacing!r} is not supported; {', '.join(SPACINGS)} are.")
        if config.get("rescale_betas_zero_snr"):
            if prediction != "v_prediction":
                raise ValueError(
                    "A scheduler with rescale_betas_zero_snr needs a model of v_prediction: where all is "
                    "noise, the noise says nothing of the picture."
                )
            alphas_cumprod = zero_terminal_snr(alphas_cumprod)
        return cls(
            alphas_cumprod,
            prediction,
            spacing,
            int(config.get("steps_offset", 0)),
            bool(config.get("set_alpha_to_one", True)),
        )

    @property
    def train_steps(self) -> int:
        """T, the number of training timesteps (1000)."""
        return len(self.alphas_cumprod)

    @property
    def learnable_steps(self) -> int:
        """How many timesteps have some of the picture left, so that a noise can be learned at them."""
        return int((self.alphas_cumprod > 0).sum())

    def timesteps(self, steps: int) -> tuple[int, ...]:
        """The `steps` timesteps of a sampling run, falling; diffusers' of the same spacing.

        Raises ValueError outside 1..T-1, or where the offset leads beyond T-1.
        """
        total = self.train_steps
        if not 1 <= steps < total:
            raise ValueError(f"Steps must lie between 1 and {total - 1}, not {steps}.")
        if self.spacing == "trailing":
            down = np.arange(total, 0, -total / steps)  # numpy's own sums, for a half is rounded as they fall
            return tuple(int(t) - 1 for t in np.round(down[:steps]))
        if self.spacing == "linspace":
            apart = (total - 1) / max(1, steps - 1)
            return tuple(round(k * apart) for k in reversed(range(steps)))
        run = tuple(k * (total // steps) + self.offset for k in reversed(range(steps)))
        if run[0] >= total:
            raise ValueError(
                f"{steps} steps with an offset of {self.offset} lead beyond {total - 1}: use less."
            )
        return run

    def transitions(self, steps: int, invertible: bool = False) -> tuple[tuple[int, int], ...]:
        """The pairs (t, t_to) of a run of `steps` DDIM steps, falling; a t_to of -1 is no noise.

        They are diffusers', whose t_to is t - T // steps. For "trailing" that is not quite the next timestep
        where `steps` does not divide T. For "linspace" it may be far from it, and its sampler wrong for that
        (at 4 steps a latent of t = 749 is taken for one of 666): there t_to is the next timestep of the run.
        invertible: every t_to is the next timestep, so that the run can be gone up again, and a timestep at
        which nothing of the picture is left (zero terminal SNR) is left out: the run is then that of one
        step more, without its first. Raises ValueError as `timesteps`.
        """
        run = self.timesteps(steps)
        if not invertible and self.spacing != "linspace":
            return tuple((t, max(t - self.train_steps // steps, -1)) for t in run)
        if invertible and self.alpha(run[0]) == 0:
            run = self.timesteps(steps + 1)[1:]
        return tuple(zip(run, (*run[1:], -1), strict=True))

    def alpha(self, t: int | Tensor) -> Any:
        """A(t), the cumulative product at t; at t < 0 that of t = 0, or 1 with `set_alpha_to_one`.

        A (B,) tensor of timesteps gives (B,1,1,1) on its device, to multiply images with; an int a float.
        """
        if isinstance(t, Tensor):
            found = self.alphas_cumprod.to(t.device)[t.long().clamp(min=0)]
            if self.set_alpha_to_one:
                found = torch.where(t < 0, 1.0, found)
            return found.reshape(-1, 1, 1, 1)
        if t < 0 and self.set_alpha_to_one:
            return 1.0
        return self.alphas_cumprod[max(int(t), 0)].item()


# Schedulers of diffusers whose models are trained on noise of betas, so that DDIM can sample them.
SCHEDULERS = (
    *("DDIM", "DDPM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"),
    *("KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverMultistep", "DPMSolverSinglestep"),
    *("DPMSolverSDE", "DEISMultistep", "UniPCMultistep", "SASolver", "DDIMInverse", "DDIMParallel"),
)
OTHER_SCHEDULERS = {
    "LCMScheduler": "a latent consistency model",
    "TCDScheduler": "a trajectory consistency model",
    "FlowMatchEulerDiscreteScheduler": "a flow matching model",
    "FlowMatchHeunDiscreteScheduler": "a flow matching model",
    "EDMEulerScheduler": "a model with EDM's preconditioning",
    "EDMDPMSolverMultistepScheduler": "a model with EDM's preconditioning",
}


def _check_scheduler(config: Mapping[str, Any]) -> None:
    """ValueError for the scheduler of a model that DDIM would sample wrongly."""
    name = config.get("_class_name", "DDIMScheduler")
    if name.removesuffix("Scheduler") not in SCHEDULERS:
        kind = OTHER_SCHEDULERS.get(name, "a model of another kind")
        raise ValueError(f"{name} is the scheduler of {kind}; those of Stable Diffusion are supported.")
    if config.get("use_flow_sigmas"):
        raise ValueError(f"{name} with use_flow_sigmas is the scheduler of a flow matching model.")


def _betas(config: Mapping[str, Any]) -> Tensor:
    """(T,) float32, the noise added by each training step. Raises ValueError for an unknown schedule."""
    count = config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    kind = config.get("beta_schedule", "linear")
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float32)
    if kind == "linear":
        return torch.linspace(start, end, count, dtype=torch.float32)
    if kind == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float32) ** 2
    if kind == "squaredcos_cap_v2":  # the cosine of arXiv 2102.09672, eq. 17
        place = torch.arange(count + 1, dtype=torch.float64) / count
        kept = torch.cos((place + 0.008) / 1.008 * torch.pi / 2) ** 2
        return (1 - kept[1:] / kept[:-1]).clamp(max=0.999).float()
    known = "linear, scaled_linear and squaredcos_cap_v2"
    raise ValueError(f"The beta schedule {kind!r} is not supported; {known} are.")


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Algorithm 1 of arXiv 2305.08891: shift and scale (T,) so that the last is 0 and the first stays."""
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def ddim_step(schedule: Schedule, z: Tensor, eps: Tensor, t: int, t_to: int) -> Tensor:
    """One deterministic DDIM step of z (B,4,h,w) from timestep t to t_to, eq. 12 of the paper with sigma 0.

    `t_to` may lie below t (denoising) or above it (inversion), and below zero at the end of a run. Where
    A(t) is 0, `eps` is z - z0, as `velocity_to_eps` gives it, and the noise is z.
    """
    alpha_t, alpha_to = schedule.alpha(t), schedule.alpha(t_to)
    towards = z if alpha_t == 0 else eps
    return alpha_to**0.5 * _under(z, eps, alpha_t) + (1 - alpha_to) ** 0.5 * towards


def clean(schedule: Schedule, z: Tensor, eps: Tensor, t: int) -> Tensor:
    """The clean latents z0 (B,4,h,w) that `eps` says lie under z at timestep t: what a preview decodes.

    It is the z0 of `ddim_step`, float32 whatever the precision of the two.
    """
    return _under(z.detach().float(), eps.detach().float(), schedule.alpha(t))


def _under(z: Tensor, eps: Tensor, alpha_t: Any) -> Tensor:
    """z0 of z = sqrt(alpha_t) z0 + sqrt(1 - alpha_t) eps; where alpha_t is 0, `eps` is z - z0."""
    if alpha_t == 0:
        return z - eps
    return (z - (1 - alpha_t) ** 0.5 * eps) / alpha_t**0.5


def add_noise(schedule: Schedule, z0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
    """z_t = sqrt(A_t) z0 + sqrt(1 - A_t) noise, (B,4,h,w); t an int, or (B,) one timestep per row."""
    alpha_t = schedule.alpha(t)
    return alpha_t**0.5 * z0 + (1 - alpha_t) ** 0.5 * noise


def velocity_to_eps(schedule: Schedule, v: Tensor, z: Tensor, t: int | Tensor) -> Tensor:
    """The noise that a v-prediction (arXiv 2202.00512) of the same shape as z (B,4,h,w) stands for.

    Where A(t) is 0 the noise is z, whatever is predicted, and the clean latent is -v: there z - z0 = z + v is
    given in its place, which guidance mixes as it mixes noises, and from which `ddim_step` takes z0.
    """
    alpha_t = schedule.alpha(t)
    share = alpha_t**0.5
    if isinstance(t, Tensor):
        share = torch.where(alpha_t == 0, 1.0, share)
    elif alpha_t == 0:
        share = 1.0
    return share * v + (1 - alpha_t) ** 0.5 * z


def invert(
    schedule: Schedule, eps: Callable[[Tensor, int], Tensor], z0: Tensor, steps: int
) -> Iterator[Step[Tensor]]:
    """DDIM inversion of z0 (1,4,h,w) -> (steps + 1,4,h,w), from z0 to z_T; guidance is whatever `eps` has.

    Going up from s to t the noise is taken at the destination, eps(z_s, t), as the editing papers do
    (arXiv 2208.01626, 2211.09794); the first s lies below zero. The run is the invertible one of
    `Schedule.transitions`.
    """
    latents, run = [z0], schedule.transitions(steps, invertible=True)
    for done, (t, below) in enumerate(reversed(run), start=1):
        latents.append(ddim_step(schedule, latents[-1], eps(latents[-1], t), below, t))
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
