"""Where heavy computations run: in this process, unless a host has its device elsewhere."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from textedit_core.steps import Step

GIVE_BACK_SECONDS = 2.0  # it takes some 10 ms
_given_back = float("-inf")  # when memory was last given back to the system, in seconds

Function = TypeVar("Function", bound=Callable[..., Any])
Value = TypeVar("Value", covariant=True)
# Runs function(*arguments, **settings), a generator of steps; closing what it returns stops the work.
Runner = Callable[[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]], Iterator[Step[Any]]]


@dataclass(frozen=True)
class RemoteStep(Step[Value]):
    """A step of a computation in another process.

    seconds, rows: what the computation has cost there up to this step; UNet rows are 0 where none is at work.
    ask: None where the step has its value. Else the value stayed there, and a call of this asks for that of
    a later step, which then comes with it.
    """

    seconds: float = 0.0
    rows: int = 0
    ask: Callable[[], None] | None = None


def value_elsewhere(step: Step[Any]) -> bool:
    """Whether the value of a step stayed in another process; that of a later step has then been asked for."""
    ask = step.ask if isinstance(step, RemoteStep) else None
    if ask is not None:
        ask()
    return ask is not None


def here(
    function: Callable[..., Any], arguments: tuple[Any, ...], settings: Mapping[str, Any]
) -> Iterator[Step[Any]]:
    """Run a computation in this process."""
    return function(*arguments, **settings)


_runner: Runner = here


def run_by(runner: Runner) -> Runner:
    """Let all heavy computations of this process be run by `runner`; returns what ran them before."""
    global _runner
    before, _runner = _runner, runner
    return before


def light(function: Function) -> Function:
    """Mark a computation as so short that it runs in this process wherever the others run."""
    function.light = True  # type: ignore[attr-defined]
    return function


def on_device(
    function: Callable[..., Any], arguments: tuple[Any, ...], settings: Mapping[str, Any]
) -> Iterator[Step[Any]]:
    """The steps of function(*arguments, **settings), run where this host has its device.

    The values of finished steps are as if they were computed here. Of an unfinished one the value may be left
    out, see `RemoteStep`.
    """
    run = here if getattr(function, "light", False) else _runner
    return run(function, arguments, settings)


def give_back_memory(now: Callable[[], float] = time.monotonic) -> None:
    """Let the system have what this process has freed, at most once in GIVE_BACK_SECONDS.

    The allocator of GNU's C library keeps it for itself: after a fit on a CPU hundreds of MB. Others do not.
    """
    global _given_back
    if sys.platform != "linux" or now() - _given_back < GIVE_BACK_SECONDS:
        return
    _given_back = now()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
