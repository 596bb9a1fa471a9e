"""A copy of a network that has a module tree of its own and shares the weights that are not replaced."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def sharing(network: Network, replaced: Mapping[str, Tensor] | None = None) -> Network:
    """The network with these values for some of its parameters, by name; all other tensors are shared.

    What is done to the copy (its hooks, buffers and parameters) does not reach the network; only shared
    values must not be written in place. A value may have another shape or type than the one it replaces.
    """
    values, memo = replaced or {}, {id(buffer): buffer for buffer in network.buffers()}
    for name, parameter in network.named_parameters():
        value = values.get(name, parameter)
        memo[id(parameter)] = nn.Parameter(value.detach(), requires_grad=False)
    return copy.deepcopy(network, memo)
