"""A fit and an edit of a few numbers, which note every call: what caches and sweeps are tested on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any

import torch

from textedit_core.knobs import Eta, Knob, Seed, Steps, batches
from textedit_core.method import read
from textedit_core.noise import noise
from textedit_core.request import Request
from textedit_core.steps import Step

Rounds = Annotated[int, Knob(1, 9, 1, label="Rounds")]


@dataclass
class Model:
    """A model by its fingerprint, its calls, how many were closed, and the generators it holds."""

    fingerprint: str = "fake"
    calls: list = field(default_factory=list)
    closed: int = 0
    held: list = field(default_factory=list)
    rows_that_fit: int = 100


@dataclass(frozen=True)
class Fitted:
    """What `fit` learns: one number, named after what it was learned from."""

    level: float
    fingerprint: str


def fit(model: Model, image: torch.Tensor, prompt: str, *, rounds: Rounds = 2, seed: Seed = 0):
    model.calls.append(("fit", rounds, seed))
    level = float(image.mean()) + rounds / 10 + seed / 100
    for done in range(1, rounds + 1):
        yield Step(done, rounds, Fitted(level * done / rounds, f"{prompt} {level} {done}"), 1 / done)


@batches("eta", "seed")
@torch.no_grad()
def edit(
    model: Model, fitted: Fitted, *, eta: Eta = 0.5, steps: Steps = 3, seed: Seed = 0
) -> Iterator[Step[torch.Tensor]]:
    etas, seeds = [value if isinstance(value, list) else [value] for value in (eta, seed)]
    rows = max(len(etas), len(seeds))
    etas, seeds = [values * rows if len(values) == 1 else values for values in (etas, seeds)]
    model.calls.append(("edit", rows))
    if rows > model.rows_that_fit:
        raise torch.cuda.OutOfMemoryError("out of memory")
    start = 0.1 * noise((1, 3, 8, 8), seeds)
    try:
        for done in range(1, steps + 1):
            part = done / steps
            yield Step(done, steps, (start + fitted.level + torch.tensor(etas).view(-1, 1, 1, 1)) * part)
    finally:
        model.closed += 1


def paint(
    model: Model, image: torch.Tensor, prompt: str, *, eta: Eta = 0.5, steps: Steps = 3, seed: Seed = 0
) -> Iterator[Step[torch.Tensor]]:
    """An edit without a fit, and without batches."""
    model.calls.append(("paint", eta, steps, seed))
    try:
        for done in range(1, steps + 1):
            yield Step(done, steps, (image * (1 - eta) + noise(image.shape, seed) * eta) * done / steps)
    finally:
        model.closed += 1


def held_paint(model: Model, image: torch.Tensor, prompt: str, *, eta: Eta = 0.5, seed: Seed = 0):
    """`paint`, with its generator held elsewhere: it ends only when somebody closes it."""
    model.held.append(paint(model, image, prompt, eta=eta, seed=seed))
    return model.held[-1]


IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)
MODELS = SimpleNamespace(name="fakes", device=torch.device("cpu"))


def asked(
    model: Model,
    edit: Callable = edit,
    fit: Callable | None = fit,
    *,
    texts: dict | None = None,
    **settings: Any,
) -> Request:
    """A request to these functions for `IMAGE` and "a man"."""
    how = read("fake", edit, fit)
    inputs = {"model": model, "image": IMAGE, "prompt": "a man"} | (texts or {})
    defaults = {name: knob.default for name, knob in how.knobs.items()}
    return Request(how, MODELS, inputs, defaults).at(**settings)
