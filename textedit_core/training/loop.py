"""The one training loop: any time budget, resumable from its folder (weights, EMA, optimizer, randomness)."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from textedit_core.training import ranks

log = logging.getLogger(__name__)

SAVE_EVERY_SECONDS = 300
LOG_EVERY_SECONDS = 20
WARMUP_STEPS = 100
EMA_DECAY = 0.999


@dataclass(frozen=True)
class Budget:
    """How long to train: `minutes` of this run if given, else up to `steps` in all.

    rate: what every learning rate of the recipe is multiplied with; under 1 to go on from trained weights.
    clock: the seconds that minutes are made of: `time.process_time` on a machine that others use too.
    """

    steps: int
    minutes: float | None = None
    rate: float = 1.0
    clock: Callable[[], float] = time.monotonic

    def progress(self, step: int, seconds: float) -> float:
        return seconds / (60 * self.minutes) if self.minutes else step / self.steps


class Randomness:
    """The random state of a training: one numpy and one torch generator, saved with the weights."""

    def __init__(self, seed: int, device: torch.device | str):
        self.torch = torch.Generator(device)
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        self.numpy = np.random.default_rng(seed)
        self.torch.manual_seed(seed)

    def state(self) -> dict:
        return {"numpy": _plain(self.numpy.bit_generator.state), "torch": self.torch.get_state()}

    def restore(self, state: dict) -> None:
        self.numpy.bit_generator.state = state["numpy"]
        self.torch.set_state(state["torch"])


def train(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of_batch: Callable[[nn.Module, Randomness], dict[str, torch.Tensor]],
    budget: Budget,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    clip_norm: float = 1.0,
    on_save: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Minimise `loss_of_batch(...)["loss"]` and return the EMA of the module's weights, in eval mode.

    The learning rates of the optimizer's groups are warmed up, then follow half a cosine down to zero over
    the budget. Run again with the same folder, it goes on where it stopped (with a fresh cosine when given
    minutes).
    bfloat16 autocast on CUDA, float32 elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    randomness = Randomness(seed + 7919 * ranks.rank(), device)
    average = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=_ema)
    rates = [group["lr"] * budget.rate for group in optimizer.param_groups]
    step, earlier = _resume(folder, module, average, optimizer, randomness)
    clock = budget.clock
    first, start, logged, saved = step, clock(), 0.0, 0.0
    module.train()
    while (progress := ranks.agreed(budget.progress(step, seconds := clock() - start))) < 1:
        warmth = min(1.0, (step - first + 1) / WARMUP_STEPS)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * warmth * 0.5 * (1 + math.cos(math.pi * progress))
        with torch.autocast(
            torch.device(device).type, torch.bfloat16, enabled=str(device).startswith("cuda")
        ):
            losses = loss_of_batch(module, randomness)
        optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        ranks.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        average.update_parameters(module)
        step += 1
        if ranks.rank():  # the first process reports and saves for all
            continue
        if seconds - logged > LOG_EVERY_SECONDS:
            logged = seconds
            _report(folder.name, step, step - first, seconds, progress, losses)
        if seconds - saved > SAVE_EVERY_SECONDS:
            saved = seconds
            _save(folder, module, average, optimizer, randomness, step, earlier + seconds)
            if on_save:
                on_save(average.module.eval(), step)
    ended = average.module.eval()
    if ranks.rank():
        return ended
    _save(folder, module, average, optimizer, randomness, step, earlier + clock() - start)
    if on_save:
        on_save(ended, step)
    return ended


@torch.no_grad()
def _ema(averaged: list, current: list, updates) -> None:
    """Exponential moving average whose memory grows with the run: a short one is not stuck at its start."""
    decay = min(EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    torch._foreach_lerp_(averaged, current, 1 - decay)


def begin_from(folder: Path, module: nn.Module, steps: int, seconds: float) -> None:
    """Let the training of `folder` go on from weights alone, without the optimizer that led to them."""
    average = torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=_ema)
    average.n_averaged.fill_(steps)
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, module, average, None, None, steps, seconds)


def load_ema(folder: Path, module: nn.Module) -> nn.Module:
    """The EMA weights of a training folder, read into `module`. FileNotFoundError if never trained."""
    state = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
    module.load_state_dict(
        {k.removeprefix("module."): v for k, v in state["ema"].items() if k != "n_averaged"}
    )
    return module.eval()


def trained(folder: Path) -> dict | None:
    """{"steps", "seconds"} of the training in `folder`, None when there is none."""
    path = folder / "state.pt"
    if not path.exists():
        return None
    state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    return {"steps": state["step"], "seconds": round(state["seconds"])}


def _resume(folder, module, average, optimizer, randomness) -> tuple[int, float]:
    path = folder / "state.pt"
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True, map_location="cpu")
    module.load_state_dict(state["module"])
    average.load_state_dict(state["ema"])
    if state["optimizer"] is None:  # begun from published weights
        randomness.reseed(state["step"] + 7919 * ranks.rank())
        return state["step"], state["seconds"]
    optimizer.load_state_dict(state["optimizer"])
    if ranks.rank() == 0:
        randomness.restore(state["randomness"])
    else:  # a stream of its own, not the one it began with
        randomness.reseed(state["step"] + 7919 * ranks.rank())
    log.info("%s: resumed at step %d", folder.name, state["step"])
    return state["step"], state["seconds"]


def _save(folder, module, average, optimizer, randomness, step: int, seconds: float) -> None:
    state = {
        "module": module.state_dict(), "ema": average.state_dict(),
        "optimizer": optimizer and optimizer.state_dict(), "randomness": randomness and randomness.state(),
        "step": step, "seconds": seconds,
    }  # fmt: skip
    torch.save(state, folder / "state.part")
    os.replace(folder / "state.part", folder / "state.pt")


def _report(name: str, step: int, done: int, seconds: float, progress: float, losses: dict) -> None:
    left = seconds / max(progress, 1e-6) - seconds
    values = "  ".join(f"{key} {value.item():.4f}" for key, value in losses.items())
    log.info("%s: step %d  %.2f steps/s  %d min left  %s", name, step, done / seconds, left / 60, values)


def _plain(value):
    """numpy's generator state with plain ints, so that weights_only loading accepts it."""
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
