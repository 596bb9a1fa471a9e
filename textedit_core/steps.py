"""Step: what every long computation yields, one per denoising or optimisation step."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
Value = TypeVar("Value", covariant=True)  # a Step of a kind of value is a Step of any wider kind


@dataclass(frozen=True)
class Step(Generic[Value]):
    """One step of a computation that takes `total` of them.

    `done` counts the steps finished so far. `value` is the result so far: a preview until the last step,
    final on the last one, which alone may have `done == total`. `loss` is there where something is optimised.
    `stage` names what is being done where a computation has several parts, each counted by itself.
    `preview` is for the eye alone: the clean latents (B,4,h,w) that a diffusion model predicts at this step.
    """

    done: int
    total: int
    value: Value | None = None
    loss: float | None = None
    stage: str = ""
    preview: "Tensor | None" = None


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


@contextmanager
def closing_steps(steps: Iterator[T]) -> Iterator[Iterator[T]]:
    """`with closing_steps(steps):` stops a computation at the end of the block, finished or not.

    A generator is closed, so that its `finally` runs at once; any other iterator has nothing to close.
    """
    try:
        yield steps
    finally:
        if isinstance(steps, Generator):
            steps.close()
