"""Weights by a rule, for which reference results are known; small networks and pictures for tests."""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from textedit_core.models.style.stylegan2 import Generator

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


def with_statistics(network):
    """Running means and variances that are not those of a new network."""
    draw = torch.Generator().manual_seed(1)
    for name, tensor in network.named_buffers():
        if "running" in name:
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    return network


def portraits(rows, side, seed=0):
    """Patches of colour with grain, (rows,3,side,side) in [-1,1]."""
    draw = torch.Generator().manual_seed(seed)
    patches = torch.rand(rows, 3, 4, 4, generator=draw)
    patches = patches.repeat_interleave(side // 4, dim=2).repeat_interleave(side // 4, dim=3)
    return patches + torch.rand(rows, 3, side, side, generator=draw) - 1


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor computed in this block, as `elements`."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        made = result.untyped_storage().nbytes() // result.element_size() if isinstance(result, Tensor) else 0
        self.elements = max(self.elements, made)
        return result
