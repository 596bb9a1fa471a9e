"""Times two ways to one result beside each other, and counts their UNet rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion, RowCount, count_rows
from textedit_core.models.diffusion.paint_by_example import PaintByExample
from textedit_core.models.style.models import StyleGenerator


@dataclass(frozen=True)
class Stage:
    """Seconds and UNet rows of a stage as it is done here and done plainly, None where there is no plain way.

    apart: the largest difference of the two results; `plain_way` says what the plain one does.
    """

    name: str
    seconds: float
    rows: int
    plain_way: str = ""
    plain_seconds: float | None = None
    plain_rows: int | None = None
    apart: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.plain_seconds is None else self.seconds / self.plain_seconds


@dataclass
class Clock:
    """Times functions on one model, with and without a plain counterpart; counts rows where it has a UNet."""

    model: LatentDiffusion | PaintByExample | StyleGenerator
    repeats: int

    def stage(
        self, name: str, run: Callable[[], Tensor], plain_way: str = "", plain: Callable | None = None
    ) -> Stage:
        run()  # the first call prepares kernels and caches
        taken, rows, value = self._once(run)
        times, plain_times = [taken], []
        for number in range(self.repeats):
            if plain is not None:
                spent, plain_rows, plain_value = self._once(plain)
                plain_times.append(spent)
            if number + 1 < self.repeats:
                times.append(self._once(run)[0])
        if plain is None:
            return Stage(name, _median(times), rows)
        apart = float((value.float() - plain_value.float()).abs().max())
        return Stage(name, _median(times), rows, plain_way, _median(plain_times), plain_rows, apart)

    def _once(self, run: Callable[[], Tensor]) -> tuple[float, int, Tensor]:
        on_cuda = self.model.device.type == "cuda"
        counting = count_rows(self.model) if hasattr(self.model, "unet") else nullcontext(RowCount())
        with counting as counted, torch.no_grad():
            torch.cuda.synchronize() if on_cuda else None
            started = time.perf_counter()
            value = run()
            torch.cuda.synchronize() if on_cuda else None
            return time.perf_counter() - started, counted.rows, value


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
