"""The toon generator's mapping network: z -> w by regression on the scenes that z names, without images.

What is to be learned is an arg max in each attribute's block of the turned z. It looks the same for all
coordinates of a block, so every layer is made to treat them alike: three numbers an attribute and layer in
place of a full matrix. Trained for a minute that misses the codes by a tenth of what full matrices from the
best start we found (a contest by hand) miss after five: a mean square of 0.02 in place of 0.2.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textedit_core.models.style import layers as style_layers
from textedit_core.toon import latent_world
from textedit_core.toon.latent_world import COUNTS, SLOTS, STYLE_DIM
from textedit_core.training import ranks
from textedit_core.training.loop import Budget, Randomness, train

LAYERS = 12  # 8, as published, miss by 0.05
BATCH = 512
LEARNING_RATE = 1e-2
SIZES = [len(slots) for slots in SLOTS.values()]


class Contest(nn.Module):
    """A mapping network whose layers treat all coordinates of a block alike.

    own, others, bias: (LAYERS,A). A layer turns a coordinate x of block b into the activation of
    own_b x + others_b mean(block) + bias_b; the first one turns z, the last one adds up the coordinates that
    stand for one value.  rest: the last layer's bias where w holds nothing.
    """

    belongs: Tensor
    holds: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        shape = LAYERS, len(SIZES)
        own, others, bias = torch.ones(shape), torch.zeros(shape), torch.zeros(shape)
        own[0] = 0.7
        for layer in range(1, LAYERS - 5):  # the mean holds down all but the large ones, more and more
            own[layer], others[layer] = 1.2, -1.2 * (1 + 0.3 * layer)
        own[LAYERS - 5 : -1], bias[LAYERS - 5 : -1] = -1.2, 0.7  # turned over: what is too large is cut
        own[-1], bias[-1] = 1.5, -0.3
        self.own, self.others, self.bias = (nn.Parameter(one) for one in (own, others, bias))
        self.rest = nn.Parameter(torch.tensor(-1.2))
        self.register_buffer("belongs", _blocks(SIZES), persistent=False)  # (D,A): coordinates of z
        self.register_buffer("holds", _blocks(COUNTS), persistent=False)  # (D,A): coordinates of w
        self.register_buffer("values", _values_of_slots(), persistent=False)  # (D,D)

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weight (D,D) and bias (D,) of every layer."""
        mean = (self.belongs / self.belongs.sum(dim=0)).T
        made = []
        for own, others, bias in zip(self.own, self.others, self.bias, strict=True):
            weight = torch.diag(self.belongs @ own) + (self.belongs * others) @ mean
            made.append((weight, self.belongs @ bias))
        made[0] = made[0][0] @ latent_world.rotation().T.to(made[0][0]), made[0][1]
        weight = self.values * (self.belongs @ self.own[-1]) + (self.holds * self.others[-1]) @ mean
        empty = 1 - self.holds.sum(dim=1)
        made[-1] = weight, self.holds @ self.bias[-1] + self.rest * empty
        return made

    def forward(self, z: Tensor) -> Tensor:
        """z (B,D) -> w (B,D), as `network` does."""
        x = style_layers.PixelNorm()(z)
        for weight, bias in self.layers():
            x = style_layers.scaled_leaky_relu(F.linear(x, weight, bias))
        return x

    @torch.no_grad()
    def network(self) -> nn.Sequential:
        """The same function as StyleGAN2's mapping network has it."""
        network = style_layers.mapping(STYLE_DIM, LAYERS)
        for layer, (weight, bias) in zip(_linear(network), self.layers(), strict=True):
            layer.weight.copy_(weight / _scale(layer))
            layer.bias.copy_(bias / layer.lr_mul)
        return network


def fit(folder: Path, budget: Budget, seed: int, device: str) -> Contest:
    """Mean squared error between map(z) and the code of the scene that z names. No images are needed."""
    contest = Contest().to(device)
    optimizer = torch.optim.Adam(contest.parameters(), lr=LEARNING_RATE)

    def loss_of_batch(contest: Contest, randomness: Randomness) -> dict[str, Tensor]:
        shape = ranks.share(BATCH), STYLE_DIM
        z = torch.randn(shape, generator=randomness.torch, device=device)
        values = latent_world.values_of(z)
        w = contest(z)
        error = (w - latent_world.code(values)).square().mean()
        named = (latent_world.read_code(w) == values).float().mean()
        return {"loss": error, "named": named}

    return train(folder, contest, optimizer, loss_of_batch, budget, seed=seed, device=device)


def _linear(network: nn.Sequential) -> list[style_layers.EqualLinear]:
    return [layer for layer in network if isinstance(layer, style_layers.EqualLinear)]


def _scale(layer: style_layers.EqualLinear) -> float:
    """What a layer multiplies its weight by."""
    return layer.lr_mul / layer.weight.shape[1] ** 0.5


def _blocks(sizes: list[int]) -> Tensor:
    """(D,A): which of the coordinates, one block after the other, belongs to which attribute."""
    used = torch.block_diag(*[torch.ones(size, 1) for size in sizes])
    return F.pad(used, (0, 0, 0, STYLE_DIM - len(used)))


def _values_of_slots() -> Tensor:
    """(D,D): the coordinates that stand for one value, added up in that value's place of a w code."""
    blocks = [
        F.one_hot(torch.tensor(slots), count).T.float()
        for slots, count in zip(SLOTS.values(), COUNTS, strict=True)
    ]
    used = torch.block_diag(*blocks)
    return F.pad(used, (0, STYLE_DIM - used.shape[1], 0, STYLE_DIM - used.shape[0]))
