"""Scenes as the indices of their values, for the tests of what is trained on them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from textedit_core.toon.world import ATTRIBUTES, Scene


def values_of_scenes(scenes: Sequence[Scene]) -> Tensor:
    """(B,A), the index of each scene's value of each attribute."""
    rows = [[options.index(getattr(one, name)) for name, options in ATTRIBUTES.items()] for one in scenes]
    return torch.tensor(rows)
