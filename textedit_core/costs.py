"""What a computation costs: seconds and UNet rows, counted for each of its stages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from textedit_core.device import RemoteStep
from textedit_core.models.diffusion.latent_diffusion import RowCount, count_rows
from textedit_core.steps import Step, closing_steps


@dataclass(frozen=True)
class Cost:
    """seconds: of the computation, without what its caller does between steps.  rows: UNet evaluations, None
    where no UNet is at work.  cached: whether all of it came from the cache."""

    seconds: float = 0.0
    rows: int | None = None
    cached: bool = False


@dataclass(eq=False)
class Costs:
    """The costs of a computation on a device, stage by stage, of the networks among its inputs."""

    device: torch.device
    inputs: Mapping[str, Any]
    _seconds: dict[str, float] = field(default_factory=dict)
    _counts: dict[str, list[RowCount]] = field(default_factory=dict)
    _computed: set[str] = field(default_factory=set)

    @property
    def stages(self) -> dict[str, Cost]:
        """The cost so far of every stage that was begun."""
        rows = {
            stage: sum(count.rows for count in counts) if counts else None
            for stage, counts in self._counts.items()
        }
        return {
            stage: Cost(seconds, rows[stage], stage not in self._computed)
            for stage, seconds in self._seconds.items()
        }

    def seconds(self, stage: str) -> float:
        """The seconds of a stage so far."""
        return self._seconds.get(stage, 0.0)

    def watch(self, stage: str, steps: Iterator[Step[Any]], cached: bool = False) -> Iterator[Step[Any]]:
        """The same steps, with their seconds and UNet rows counted for a stage.

        cached: whether they come from the cache.

        A hook that counts lives for one step only, so that nothing stays attached while a caller is at work.
        A count is read at the end: a tuned copy of the UNet goes on counting where it was made.
        """
        networks = [part for part in self.inputs.values() if hasattr(part, "unet")]
        counts, elsewhere = self._counts.setdefault(stage, []), RowCount()
        counts += [elsewhere] if networks else []
        before = self._seconds.setdefault(stage, 0.0)
        if not cached:
            self._computed.add(stage)
        last = None
        with closing_steps(steps):
            while True:
                with ExitStack() as stack:
                    counts += [stack.enter_context(count_rows(one)) for one in networks]
                    began = self._now()
                    step = next(steps, None)
                    spent = self._now() - began
                if isinstance(step, RemoteStep):  # waiting for another process is no cost of the work
                    self._seconds[stage], elsewhere.rows = before + step.seconds, step.rows
                elif not isinstance(last, RemoteStep):
                    self._seconds[stage] += spent
                if step is None:
                    return
                last = step
                yield step

    def _now(self) -> float:
        """Seconds on a clock, read once the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
