"""ZeroGPU Spaces: heavy computations run in worker processes that have the GPU, all else here, on the CPU.

The package `spaces` hands out workers: a generator decorated with its `GPU` runs in a forked process, and its
arguments and what it yields are pickled. So what is sent is packed first: models by their name, since a fork
has them in memory and any other worker can load them, and tensors as arrays of bytes. Values come back on the
CPU, where the cache of this process keeps them under the keys that it made. A worker keeps nothing but models
on the GPU, and the last huge value (a tuned UNet), which is not sent to it again then.
"""

import copy
import secrets
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import gradio as gr
import numpy as np
import torch
from torch import Tensor, nn

from demos.context import Context, log
from textedit_core import device
from textedit_core.costs import Costs
from textedit_core.device import RemoteStep
from textedit_core.steps import Step

SMALL, HUGE = 2**22, 2**26  # bytes: what is sent with every step, and what is not sent to a worker twice
# Of GPU time: before a pace is known, at most unless a host says otherwise; on the pace, and to get ready.
FIRST_SECONDS, MOST_SECONDS, MARGIN, START = 60, 120, 1.5, 10
ABORTED = "task aborted"  # as the package calls it that a worker is gone
ENDED = (
    "The process on the GPU ended before the picture was made, most often because memory or time ran out "
    "there. Press Edit again, with fewer steps or a smaller picture if it ends again."
)


@dataclass(frozen=True)
class Named:
    """Models by name, or one part of them."""

    name: str
    part: str = ""


@dataclass(frozen=True)
class Kept:
    """A huge value that a worker has made and may still have."""

    token: str


@dataclass(frozen=True)
class Numbers:
    """A tensor: its bytes, the name of its dtype, its shape."""

    data: np.ndarray
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> "Numbers":
        """The numbers of a tensor on any device."""
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        return cls(flat.view(torch.uint8).numpy(), str(tensor.dtype).partition(".")[2], tuple(tensor.shape))

    def tensor(self) -> Tensor:
        """The tensor, on the CPU."""
        data = self.data if self.data.flags.writeable else self.data.copy()
        return torch.from_numpy(data).view(getattr(torch, self.dtype)).reshape(self.shape)


@dataclass(frozen=True)
class Job:
    """What a worker is asked to do. `seconds`: of GPU time, at most.

    flag: a file; where it is, the value of the next step is wanted, whatever its size.
    """

    function: Callable[..., Iterator[Step]]
    arguments: Any
    settings: Any
    seconds: int
    flag: str
    token: str


@dataclass(frozen=True)
class Answer:
    """A step of a job, its value packed. costs: seconds and UNet rows up to it."""

    step: Step
    seconds: float
    rows: int
    left_out: bool = False
    kept: bool = False


@dataclass(frozen=True)
class Mistake:
    """Why a job ended: a kind of error that crosses a process, and its sentence."""

    kind: str
    words: str

    @classmethod
    def of(cls, error: Exception) -> "Mistake":
        """What is to be told of an error."""
        if isinstance(error, ValueError):
            return cls("value", str(error))
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return cls("memory", str(error))
        return cls("other", f"{type(error).__name__}: {error}\n{traceback.format_exc()}")

    @property
    def error(self) -> Exception:
        """The error, to be raised here."""
        kinds = {"value": ValueError, "memory": torch.OutOfMemoryError, "over": ValueError}
        return kinds.get(self.kind, RuntimeError)(self.words)


class Gone(Exception):
    """A worker no longer has a huge value that it was to use again: it must be sent."""


# --- packing ----------------------------------------------------------------------------------------------


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value with `change` made to it, or else, where it returns the same, to everything in it."""
    changed = change(value)
    if changed is not value:
        return changed
    if isinstance(value, dict):
        return {name: mapped(one, change) for name, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(one, change) for one in value))
    if type(value) in (list, tuple):
        return type(value)(mapped(one, change) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: mapped(getattr(value, field.name), change) for field in fields(value)}
        return rebuilt(value, own)
    return value


def rebuilt(value: Any, own: Mapping[str, Any]) -> Any:
    """A dataclass with these fields, without what it had computed from the others."""
    fresh = object.__new__(type(value))
    for name, one in own.items():
        object.__setattr__(fresh, name, one)
    return fresh


def size_of(value: Any) -> int:
    """The bytes of the tensors in a value."""
    found = 0

    def add(one: Any) -> Any:
        nonlocal found
        found += one.numel() * one.element_size() if isinstance(one, Tensor) else 0
        return one

    mapped(value, add)
    return found


def placed(part: Any, place: torch.device) -> Any:
    """A part of the models with copies of its networks on a device; the copies' weights are there alone.

    Other tensors stay where they are, as they do where models are loaded for that device.
    """
    memo: dict[int, Any] = {}

    def move(one: Any) -> Any:
        if isinstance(one, nn.Module):
            for weight in one.parameters():
                memo[id(weight)] = nn.Parameter(weight.detach().to(place), weight.requires_grad)
            for buffer in one.buffers():
                memo[id(buffer)] = buffer.to(place)
            return copy.deepcopy(one, memo)
        return one

    return mapped(part, move)


# --- the worker -------------------------------------------------------------------------------------------


class Worker:
    """What runs jobs, in a process that was forked from the one where it was made.

    ctx: that process's, whose models a fork has too.  place: the device.
    """

    def __init__(self, ctx: Context, place: str) -> None:
        self.ctx, self.place = ctx, torch.device(place)
        self.parts: dict[Named, tuple[Any, Any]] = {}  # as loaded, and on the device
        self.kept: dict[str, Any] = {}
        self.made: WeakValueDictionary[str, Any] = WeakValueDictionary()  # huge values that were sent back

    def run(self, job: Job) -> Iterator[Answer | Mistake]:
        """The steps of a job; a mistake is the last of them."""
        torch.set_num_threads(1)  # a fork of a process that has used several threads cannot
        began = time.monotonic()
        try:
            arguments, settings = (self.unpacked(one) for one in (job.arguments, job.settings))
            # Pictures are moved; what a fit has made is moved by the edit, as far as it needs it.
            arguments = tuple(one.to(self.place) if isinstance(one, Tensor) else one for one in arguments)
            costs = Costs(self.place, dict(enumerate(arguments)))
            steps = costs.watch("", device.here(job.function, arguments, settings))
            step, left_out = None, False
            with closing(steps):
                for step in steps:
                    answer = self.answer(job, step, costs)
                    left_out = answer.left_out
                    yield answer
                    if time.monotonic() - began > job.seconds and step.done < step.total:
                        yield Mistake("over", str(job.seconds))
                        return
            if left_out:  # it ended before the total that it had announced
                yield self.answer(job, step, costs, last=True)
        except Gone:
            yield Mistake("lost", "")
        except Exception as error:
            yield Mistake.of(error)

    def answer(self, job: Job, step: Step, costs: Costs, last: bool = False) -> Answer:
        """A step to be sent, with its value where that is small, finished, or asked for."""
        cost, value, flag = costs.stages[""], step.value, Path(job.flag)
        size, wanted = size_of(value), last or step.done == step.total or flag.exists()
        if size > SMALL and not wanted:
            return Answer(Step(step.done, step.total, None, step.loss), cost.seconds, cost.rows or 0, True)
        flag.unlink(missing_ok=True)
        kept = size > HUGE and not isinstance(value, Tensor)
        if kept:
            self.kept = {job.token: value}
        sent = Step(step.done, step.total, packed(value), step.loss)
        return Answer(sent, cost.seconds, cost.rows or 0, kept=kept)

    def unpacked(self, value: Any) -> Any:
        """What was packed, models on the device, all else on the CPU. Gone for a value not kept here."""

        def unpack(one: Any) -> Any:
            if isinstance(one, Named):
                return self.part(one)
            if isinstance(one, Numbers):
                return one.tensor()
            if isinstance(one, Kept):
                found = self.kept.get(one.token, self.made.get(one.token))
                if found is None:
                    raise Gone
                return found
            return one

        return mapped(value, unpack)

    def part(self, named: Named) -> Any:
        """A part of the models on the device; loaded where this process does not have it yet."""
        # First without a lock: a thread that is no part of the fork may have held it.
        models = self.ctx.known.get(named.name) or self.ctx.models(named.name)
        if not named.part:
            return models
        loaded = getattr(models, named.part)
        if self.parts.get(named, (None,))[0] is not loaded:
            self.parts[named] = loaded, placed(loaded, self.place)
        return self.parts[named][1]


def packed(value: Any, pack: Callable[[Any], Any] = lambda one: one) -> Any:
    """A value with its tensors as bytes; pack(one) replaces other things in it."""
    return mapped(value, lambda one: Numbers.of(one) if isinstance(one, Tensor) else pack(one))


def opened(value: Any) -> Any:
    """A packed value, on the CPU."""
    return mapped(value, lambda one: one.tensor() if isinstance(one, Numbers) else one)


# --- this process -----------------------------------------------------------------------------------------


class ZeroGpu:
    """Runs heavy computations in workers. `use` makes one the place where those of the page run.

    gpu: the decorator `spaces.GPU`, or one of the same contract.  place: the device of a worker.
    """

    def __init__(self, ctx: Context, gpu: Callable[..., Any], place: str = "cuda") -> None:
        self.ctx, self.most_seconds = ctx, ctx.gpu_seconds or MOST_SECONDS
        self.worker = Worker(ctx, place)
        self.tokens: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self.flags = tempfile.TemporaryDirectory(prefix="textedit-flags-")
        worker = self.worker

        def heavy(job: Job) -> Iterator[Answer | Mistake]:
            yield from worker.run(job)

        self.heavy = gpu(duration=lambda job: job.seconds)(heavy)

    def __call__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> Iterator[Step]:
        """The steps of function(*arguments, **settings), computed by a worker."""
        job = self.job(function, arguments, settings)
        units, kind = planned(settings), f"gpu {function.__module__}.{function.__qualname__}"
        models = self.models_of(arguments)
        try:
            last = yield from self.steps(job)
            if isinstance(last, Mistake) and last.kind == "lost":
                last = yield from self.steps(self.job(function, arguments, settings, whole=True))
        except gr.Error as error:  # of the package: no GPU was free, the visitor's quota is spent
            raise ValueError(ENDED if ABORTED in str(error) else str(error)) from None
        if isinstance(last, RemoteStep):
            self.ctx.pace.observe(models, kind, units, last.seconds)
        elif isinstance(last, Mistake):
            if last.kind == "over":
                self.ctx.pace.observe(models, kind, units, 2 * float(last.words))
                raise ValueError(self.over(job.seconds))
            if last.kind == "other":
                log.error("in a GPU worker: %s", last.words)
            raise last.error

    def steps(self, job: Job) -> Iterator[Step]:
        """The steps of a job; returns the last one, or the mistake that ended it."""
        last, flag = None, Path(job.flag)
        try:
            with closing(self.heavy(job)) as answers:
                for answer in answers:
                    if isinstance(answer, Mistake):
                        return answer
                    step, value = answer.step, opened(answer.step.value)
                    if answer.kept:
                        self.tokens[value] = job.token
                        self.worker.made[job.token] = value
                    ask = flag.touch if answer.left_out else None
                    costs = {"seconds": answer.seconds, "rows": answer.rows, "ask": ask}
                    last = RemoteStep(step.done, step.total, value, step.loss, **costs)
                    yield last
        finally:
            flag.unlink(missing_ok=True)
        return last

    def over(self, seconds: int) -> str:
        """The sentence for a computation that had all its GPU time and was not done."""
        if seconds < self.most_seconds:
            asked = f"This took more than the {seconds} s of GPU time that it had asked for."
            return f"{asked} Start it again: it will ask for more."
        return f"This host gives one run {seconds} s of GPU time, and this takes more: choose fewer steps."

    def job(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        settings: Mapping[str, Any],
        whole: bool = False,
    ) -> Job:
        """What a worker is sent. whole: with what it may have kept."""
        token = secrets.token_hex(8)

        def pack(one: Any) -> Any:
            named = self.name_of(one)
            if named:
                return named
            kept = None if whole or not is_dataclass(one) else self.tokens.get(one)
            return one if kept is None else Kept(kept)

        seconds = self.seconds(function, arguments, settings)
        sent = packed(arguments, pack), packed(dict(settings), pack)
        return Job(function, *sent, seconds, str(Path(self.flags.name) / token), token)

    def seconds(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], settings: Mapping[str, Any]
    ) -> int:
        """The GPU time to ask for: from the pace of earlier runs, else the most for a fit."""
        kind = f"gpu {function.__module__}.{function.__qualname__}"
        guess = self.ctx.pace.guess(self.models_of(arguments), kind, planned(settings))
        if guess is None:
            guess = self.most_seconds if function.__name__ == "fit" else FIRST_SECONDS
        else:
            guess = MARGIN * guess + START
        return min(self.most_seconds, max(1, round(guess)))

    def models_of(self, arguments: tuple[Any, ...]) -> str:
        """The name of the models that a call is about."""
        return next((named.name for named in map(self.name_of, arguments) if named), "")

    def name_of(self, value: Any) -> Named | None:
        """The name of models, or of a part of them that is in memory; None for anything else."""
        if not is_dataclass(value):
            return None
        for name, models in self.ctx.known.items():
            if value is models:
                return Named(name)
            found = [part for part in models.sources if vars(models).get(part) is value]
            if found:
                return Named(name, found[0])
        return None


def planned(settings: Mapping[str, Any]) -> float:
    """The work that settings ask for, in steps: those of all their parts, of every row of a batch."""
    steps = sum(
        value for name, value in settings.items() if name.endswith("steps") and type(value) is int and value
    )
    rows = max((len(value) for value in settings.values() if isinstance(value, list)), default=1)
    return max(1, steps) * max(1, rows)


def use(ctx: Context, gpu: Callable[..., Any], **options: Any) -> ZeroGpu:
    """Let the heavy computations of the page run in workers from now on."""
    runner = ZeroGpu(ctx, gpu, **options)
    device.run_by(runner)
    return runner
