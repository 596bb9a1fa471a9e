"""PLMS, the sampler of the published Paint by Example (PNDM, arXiv 2202.09778, without Runge-Kutta steps)."""

from __future__ import annotations

from torch import Tensor

from textedit_core.models.diffusion.ddim import Schedule, ddim_step

# Adams-Bashforth weights of the latest predictions, newest first, by how many there are.
WEIGHTS = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}


class Plms:
    """One run of `steps` steps, with one UNet call more than that: the first step is taken twice.

    Each step is a DDIM step with a mix of the last four predictions in place of the newest one. `timesteps`
    are those of the UNet calls; `step` takes the predictions, in the same order.
    """

    def __init__(self, schedule: Schedule, steps: int):
        run = schedule.transitions(steps)
        self.schedule = schedule
        # The first step is taken to the second timestep, and again from there.
        self._run = run if steps == 1 else (run[0], run[0], *run[1:])
        plain = tuple(t for t, _ in run)
        self.timesteps = plain if steps == 1 else (plain[0], plain[1], *plain[1:])
        self._calls = 0
        self._seen: list[Tensor] = []
        self._start: Tensor | None = None

    def step(self, z: Tensor, eps: Tensor) -> Tensor:
        """z (B,4,h,w) after the next step, where the UNet predicts `eps`."""
        t, t_to = self._run[self._calls]
        self._calls += 1
        if self._calls == 2 and self._start is not None:
            # The first step again, with the mean of the predictions at its two ends.
            return ddim_step(self.schedule, self._start, (eps + self._seen[0]) / 2, t, t_to)
        self._seen = [eps, *self._seen[:3]]
        if self._calls == 1:
            self._start = z
        else:
            weights = WEIGHTS[len(self._seen)]
            mixed = [weight * one for weight, one in zip(weights, self._seen, strict=True)]
            eps = sum(mixed[1:], start=mixed[0])
        return ddim_step(self.schedule, z, eps, t, t_to)
