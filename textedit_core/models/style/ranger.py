"""Ranger 20.4.11: rectified Adam (1908.03265), lookahead (1907.08610), centred gradients (2004.01461)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Ranger(torch.optim.Optimizer):
    """The optimiser of the published mappers.

    lr: step size.  k, alpha: lookahead; every k steps the weights become w + alpha (weights - w), w what they
    became k steps before.  threshold: rectified Adam divides by the second moment once the length of its
    approximated simple moving average exceeds this.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        alpha: float = 0.5,
        k: int = 6,
        threshold: float = 5,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
    ):
        defaults = {"lr": lr, "alpha": alpha, "k": k, "threshold": threshold, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, group)
        return loss

    def _update(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p), slow=p.clone())
        if g.ndim > 1:
            g = g - g.mean(dim=tuple(range(1, g.ndim)), keepdim=True)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["v"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        state["m"].mul_(beta1).add_(g, alpha=1 - beta1)
        scale, rectified = step_size(state["step"], beta1, beta2, group["threshold"])
        if rectified:
            p.addcdiv_(state["m"], state["v"].sqrt().add_(group["eps"]), value=-group["lr"] * scale)
        else:
            p.add_(state["m"], alpha=-group["lr"] * scale)
        if state["step"] % group["k"] == 0:
            state["slow"].add_(p - state["slow"], alpha=group["alpha"])
            p.copy_(state["slow"])


def step_size(t: int, beta1: float, beta2: float, threshold: float) -> tuple[float, bool]:
    """The factor of the learning rate at step t >= 1, and whether the second moment is used at all."""
    unbias = 1 / (1 - beta1**t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    if length <= threshold:
        return unbias, False
    grown = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
    return math.sqrt((1 - beta2**t) * grown) * unbias, True


def saved_state(network: nn.Module, ranger: Ranger) -> dict[str, Tensor]:
    """The optimiser's state of each weight of a network, by "WEIGHT/step", "/m", "/v" and "/slow"."""
    return {
        f"{name}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
        for name, parameter in network.named_parameters()
        for key, value in ranger.state[parameter].items()
    }


def restore_state(network: nn.Module, ranger: Ranger, saved: Mapping[str, Tensor]) -> None:
    """Give the optimiser copies of what `saved_state` returned; a weight without a state keeps none."""
    for name, parameter in network.named_parameters():
        if f"{name}/step" in saved:
            moments = {key: saved[f"{name}/{key}"].clone().to(parameter) for key in ("m", "v", "slow")}
            ranger.state[parameter] = {"step": int(saved[f"{name}/step"])} | moments
