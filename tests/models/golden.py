"""Weights by a rule, for which reference results are known, and small generators for tests."""

import torch
from torch import Tensor, nn

from textedit_core.models.stylegan2 import Generator

TABLE = {4: 6, 8: 5, 16: 4}


def wave(index: int, shape: torch.Size) -> Tensor:
    """sin(0.7 (index + 1) + 1.13 n), n the position in memory order."""
    n = torch.arange(shape.numel(), dtype=torch.float64)
    return torch.sin(0.7 * (index + 1) + 1.13 * n).view(shape)


def fill_by_rule(network: nn.Module, rule) -> nn.Module:
    """Give every tensor but the filters `rule(key, wave)`, the keys in alphabetical order; float64."""
    state = network.double().state_dict()
    for index, key in enumerate(sorted(key for key in state if not key.endswith("kernel"))):
        state[key].copy_(rule(key, wave(index, state[key].shape)))
    return network.requires_grad_(False)


def small_generator(seed: int = 0) -> Generator:
    """A generator of 16 pixels with few channels, and biases and noise that are not zero; float64."""
    network = Generator(16, style_dim=7, n_mlp=2, channels=TABLE).double().requires_grad_(False)
    draw = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=draw, dtype=torch.float64) / 3)
    return network


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
