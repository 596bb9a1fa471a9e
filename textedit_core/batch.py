"""The rows of a batched edit: knobs that came as lists or as single values, one value per row."""

from __future__ import annotations

from typing import Any


def spread(**values: Any) -> list[list[Any]]:
    """Each value as a list of B: a list stays, a single value is repeated. B is 1 without any list.

    spread(eta=[0, 0.5], seed=3) -> [[0, 0.5], [3, 3]]. Raises ValueError for empty or unequal lists.
    """
    lengths = {name: len(value) for name, value in values.items() if isinstance(value, list | tuple)}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"Lists that make one batch must be equally long and not empty: {found}.")
    rows = next(iter(lengths.values()), 1)
    return [list(value) if name in lengths else [value] * rows for name, value in values.items()]
