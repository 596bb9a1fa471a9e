"""A fit and an edit under way: steps, seconds, losses, and what is kept when the fit is stopped."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from torch import Tensor

from demos.context import Context
from demos.shared.common import Ask, Method, Stage
from textedit_core import cache
from textedit_core.steps import Step


@dataclass
class Fitting:
    """A preparation under way: its latest step, the losses so far, and where it ended."""

    stages: tuple[Stage, ...]
    step: Step | None = None
    seconds: float = 0.0
    cached: bool = False
    stopped: bool = False
    kept: dict = field(default_factory=dict)
    seen: dict[str, list[float]] = field(default_factory=dict)

    @property
    def done(self) -> list[int]:
        """Steps done in each stage."""
        found, left = [], self.step.done if self.step else 0
        for stage in self.stages:
            found.append(min(left, stage.steps))
            left -= found[-1]
        return found

    @property
    def stage(self) -> Stage:
        """The stage under way, at the end the last one."""
        pairs = zip(self.stages, self.done, strict=True)
        return next((stage for stage, done in pairs if done < stage.steps), self.stages[-1])

    @property
    def curves(self) -> list[tuple[str, tuple[float, ...], int]]:
        """Name, losses so far and planned steps of each stage that has losses, for the chart."""
        drawn, fitted = [stage for stage in self.stages if stage.losses], self.step and self.step.value
        names = [f"{i} {stage.name}" if len(drawn) > 1 else stage.name for i, stage in enumerate(drawn, 1)]
        losses = [s.losses(fitted) if fitted is not None else self.seen.get(s.name, ()) for s in drawn]
        return list(zip(names, losses, (stage.steps for stage in drawn), strict=True))


def pace_of(ask: Ask, stage: Stage) -> str:
    """The name under which the pace of a stage is remembered."""
    return f"{ask.method.name} {stage.name}"


def reset_unused(method: Method, settings: dict, idle: Iterable[str], presets: dict) -> dict:
    """Checked settings with the knobs that have no use at their presets or defaults.

    So they cost no new preparation, and a sweep takes the values that suit each of its cells.
    """
    knobs = {name: method.knobs[name] for name in idle}
    return settings | {name: knob.check(presets.get(name, knob.default)) for name, knob in knobs.items()}


def key(ask: Ask) -> str:
    """The key under which the cache has the preparation of this Ask."""
    return cache.key(ask.method.fit, ask.args, ask.fit)


def known(ask: Ask) -> Fitting | None:
    """A finished preparation out of the cache; None where it has none."""
    entry = cache.default.get(key(ask))
    if entry is None:
        return None
    step = Step(entry.total, entry.total, entry.value, entry.loss)
    return Fitting(ask.method.stages(ask.settings), step, cached=True)


def prepare(ctx: Context, ask: Ask, stop: Event) -> Iterator[Fitting]:
    """Fit, or take it from the cache. On `stop` what the method can keep of it is kept."""
    run, spent = Fitting(ask.method.stages(ask.settings)), {}
    start = clock = time.monotonic()
    for step in cache.cached(ask.method.fit, *ask.args, **ask.fit):
        stage, now = run.stage, time.monotonic()
        spent[stage] = spent.get(stage, 0.0) + now - clock
        run.cached = run.step is None and step.done == step.total
        run.step, run.seconds, clock = step, now - start, now
        if step.loss is not None:
            run.seen.setdefault(stage.name, []).append(step.loss)
        if stop.is_set() and step.done < step.total:
            run.stopped = True
            run.kept = ask.method.keep(ask, step) if ask.method.keep else {}
            yield run
            return
        yield run
    if not run.cached:
        for stage, seconds in spent.items():
            ctx.pace.observe(ask.name, pace_of(ask, stage), stage.steps, seconds)


def edit(ctx: Context, ask: Ask, fitted: Any = None) -> Iterator[Step[Tensor]]:
    """The edit at the asked settings, or the same picture from the cache."""
    start, drawn = time.monotonic(), 0
    for step in cache.cached(ask.method.edit, *ask.arguments(fitted), **ask.edit):
        drawn += 1
        yield step
    if drawn > 1:
        ctx.pace.observe(ask.name, f"{ask.method.name} edit", drawn, time.monotonic() - start)
