"""Step: what every long computation yields, one per denoising or optimisation step."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Step(Generic[T]):
    """One step of a computation that takes `total` of them.

    `done` counts the steps finished so far. `value` is the result so far: a preview until the last step,
    final on the last one, which alone may have `done == total`. `loss` is there where something is optimised.
    `stage` names what is being done where a computation has several parts, each counted by itself.
    """

    done: int
    total: int
    value: T | None = None
    loss: float | None = None
    stage: str = ""


def last(steps: Iterable[Step[T]]) -> T:
    """Run `steps` to the end and return the final value; ValueError when there is none."""
    final = None
    for step in steps:
        final = step
    if final is None:
        raise ValueError("There is no last value: the computation yielded no step.")
    if final.value is None:
        raise ValueError(f"There is no last value: step {final.done} of {final.total} ended without one.")
    return final.value
