"""StyleFlow's network (arXiv 2008.02401): a conditional continuous flow between W and a Gaussian.

The flow is FFJORD's (arXiv 1810.01367): a code moves along dx/dt = f(x, t, a) from t = 0, where it is the
normalised w, to t = T, where it is Gaussian. The attributes a take part in every layer of f. Solved by
torchdiffeq, which is imported when a flow is first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from textedit_core.knobs import Knob, quoted
from textedit_core.models.checkpoint import fill
from textedit_core.models.clip import Clip

Solver = Annotated[
    Literal["dopri5", "rk4"],
    Knob(label="Solver", help="dopri5 chooses its steps, rk4 takes as many as are given"),
]
SolverSteps = Annotated[int, Knob(1, 200, 1, label="Solver steps", help="of rk4, each way")]
Tolerance = Annotated[
    float, Knob(1e-8, 1e-1, 1e-5, label="Tolerance", help="of dopri5, relative and absolute")
]
EPSILON = 1e-4  # added to variances
MOMENTUM = 0.02  # how fast the moving mean and variance follow the batches


class ConcatSquash(nn.Module):
    """(W x + b) sigmoid(Wg c + bg) + Wb c: a linear layer whose output a condition gates and shifts."""

    def __init__(self, inputs: int, outputs: int, conditions: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(conditions, outputs)
        self.shift = nn.Linear(conditions, outputs, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B,inputs) and conditions (B,C) -> (B,outputs)."""
        return self.linear(x) * torch.sigmoid(self.gate(condition)) + self.shift(condition)


class MovingNorm(nn.Module):
    """Batch norm by moving mean and variance, in training too, so that it is one map and has an inverse."""

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.log_scale, self.offset = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))
        self.register_buffer("batches", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """(B,D) -> (B,D); in training the moving mean and variance follow x first."""
        if self.training:
            self._follow(x.detach())
        return (x - self.mean) * self.log_slope.exp() + self.offset

    def inverse(self, y: Tensor) -> Tensor:
        """What `forward` has made y of."""
        return (y - self.offset) * (-self.log_slope).exp() + self.mean

    @property
    def log_slope(self) -> Tensor:
        """(D,) logarithm of dy/dx; its sum is the change of log volume."""
        return self.log_scale - (self.variance + EPSILON).log() / 2

    def _follow(self, x: Tensor) -> None:
        share = MOMENTUM if self.batches else 1.0
        self.mean.lerp_(x.mean(dim=0), share)
        self.variance.lerp_(x.var(dim=0, correction=0), share)
        self.batches += 1


class FlowNetwork(nn.Module):
    """One block of a conditional continuous flow. Published are 17 attributes and 5 layers of 512.

    style_dim: of the codes.  attributes: how many numbers a code is conditioned on.  width, layers: of the
    hidden layers of f.
    """

    def __init__(self, style_dim: int = 512, attributes: int = 17, width: int = 512, layers: int = 5):
        super().__init__()
        self.style_dim, self.attributes = style_dim, attributes
        sizes = [style_dim, *[width] * layers, style_dim]
        self.layers = nn.ModuleList(ConcatSquash(*pair, attributes + 1) for pair in pairwise(sizes))
        self.before, self.after = MovingNorm(style_dim), MovingNorm(style_dim)
        self.root_time = nn.Parameter(torch.ones(()))  # its square is the end time T

    def speed(self, x: Tensor, t: Tensor, attributes: Tensor) -> Tensor:
        """f: dx/dt (B,D) of codes (B,D) at the time t, given attributes (B,A)."""
        condition = torch.cat([t.expand(len(x), 1), attributes], dim=1)
        for number, layer in enumerate(self.layers):
            x = layer(torch.tanh(x) if number else x, condition)
        return x

    def density(
        self, w: Tensor, attributes: Tensor, probe: Tensor, solver: str = "dopri5", steps: int = 8,
        tolerance: float = 1e-5,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """z (B,D) of codes w (B,D), and log |det dz/dw| (B,) by Hutchinson's estimate with one probe (B,D).

        The probe's numbers are independent, of mean 0 and variance 1. The log density of w given the
        attributes is log N(z; 0, I) plus the second value. Differentiable in the weights.
        """
        x = self.before(w)
        motion = _Motion(self, attributes, probe)
        x, volume = _solved(motion, (x, x.new_zeros(len(x))), True, solver, steps, tolerance)
        z = self.after(x)
        return z, volume + self.before.log_slope.sum() + self.after.log_slope.sum()

    def to_gaussian(self, w: Tensor, attributes: Tensor, solver: str, steps: int, tolerance: float) -> Tensor:
        """z (B,D) of codes w (B,D) with the attributes (B,A)."""
        (x,) = _solved(_Motion(self, attributes), (self.before(w),), True, solver, steps, tolerance)
        return self.after(x)

    def to_code(self, z: Tensor, attributes: Tensor, solver: str, steps: int, tolerance: float) -> Tensor:
        """The code w (B,D) with the attributes (B,A) whose z (B,D) this is: the inverse of `to_gaussian`."""
        x = self.after.inverse(z)
        (x,) = _solved(_Motion(self, attributes), (x,), False, solver, steps, tolerance)
        return self.before.inverse(x)


class _Motion(nn.Module):
    """The right side of the equation in s = t / T: dx/ds = T f, so that the end time T can be learnt too.

    With a probe e, the log volume moves beside x, by e (df/dx) e^T.
    """

    def __init__(self, network: FlowNetwork, attributes: Tensor, probe: Tensor | None = None):
        super().__init__()
        self.network, self.attributes, self.probe = network, attributes, probe

    def forward(self, s: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        end = self.network.root_time.square()
        if self.probe is None:
            return (end * self.network.speed(state[0], end * s, self.attributes),)
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            used = learning and state[0].requires_grad
            x = state[0] if used else state[0].detach().requires_grad_()
            speed = end * self.network.speed(x, end * s, self.attributes)
            (product,) = torch.autograd.grad(speed, x, self.probe, create_graph=learning)
        return speed, (product * self.probe).sum(dim=1)


def _solved(
    motion: _Motion, state: tuple[Tensor, ...], forth: bool, solver: str, steps: int, tolerance: float
) -> tuple[Tensor, ...]:
    """The state at the other end; dopri5 finds gradients of weights by the adjoint equation."""
    from torchdiffeq import odeint, odeint_adjoint

    options: dict[str, Any] = {"method": solver, "rtol": tolerance, "atol": tolerance}
    if solver == "rk4":
        options["options"] = {"step_size": 1 / steps}
    ends = state[0].new_tensor([0.0, 1.0] if forth else [1.0, 0.0])
    learning = torch.is_grad_enabled() and any(p.requires_grad for p in motion.parameters())
    integrate = odeint_adjoint if learning and solver != "rk4" else odeint
    return tuple(values[-1] for values in integrate(motion, state, ends, **options))


@dataclass(frozen=True)
class Attribute:
    """What a flow is conditioned on: a pair of texts, which CLIP compares.

    name: how a person calls it.  neutral, prompt: an image has the attribute as far as CLIP finds the prompt
    likelier than the neutral text.  first, last: the rows of W+ that an edit of it changes.
    """

    name: str
    neutral: str
    prompt: str
    first: int = 0
    last: int = 17


@dataclass(frozen=True, eq=False)
class Flow:
    """A trained flow, frozen.

    attributes: what it is conditioned on, in order.  generator, clip: `digest` of the networks that it was
    trained with.
    """

    network: FlowNetwork
    attributes: tuple[Attribute, ...]
    generator: str
    clip: str
    fingerprint: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.attributes)

    def index(self, name: str) -> int:
        """The place of an attribute. ValueError, a sentence, for a name it does not have."""
        if name not in self.names:
            raise ValueError(
                f"Attributes: this flow has no attribute {quoted(name)}; it has {', '.join(self.names)}."
            )
        return self.names.index(name)


def read_attributes(clip: Clip, image: Tensor, attributes: Sequence[Attribute]) -> Tensor:
    """How far images (B,3,H,W) in [-1,1] have the attributes: (B,A) in [0,1].

    Of each pair CLIP's probability of the prompt: softmax over its two logits.
    """
    texts = [[clip.concept(text, ("{}",)) for text in (one.neutral, one.prompt)] for one in attributes]
    towards = torch.stack([prompt - neutral for neutral, prompt in texts])
    features = clip.image_features(image.clamp(-1, 1))
    return torch.sigmoid(clip.model.logit_scale.exp().float() * features @ towards.to(features).T)


def flow_facts(config: dict[str, Any]) -> dict[str, Any]:
    """The attributes, and the digests of generator and CLIP, in a flow's config.json.

    ValueError, a sentence, where they are not there.
    """
    try:
        found = tuple(Attribute(**one) for one in config["attributes"])
        return {"attributes": found, "generator": config["generator"], "clip": config["clip"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"The config.json of the flow does not fit: {error}.") from error


def loaded_flow(config: dict[str, Any], state: dict[str, Tensor]) -> tuple[FlowNetwork, dict[str, Any]]:
    """The network of a flow's config.json and tensors, and `flow_facts`.

    ValueError, a sentence, where they do not fit one another.
    """
    facts = flow_facts(config)
    try:
        shape = {name: int(config[name]) for name in ("style_dim", "width", "layers")}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The config.json of the flow does not fit: {error}.") from error
    network = FlowNetwork(attributes=len(facts["attributes"]), **shape)
    fill(network, state, "the flow")
    return network, facts
