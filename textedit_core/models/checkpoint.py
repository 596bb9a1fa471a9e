"""Checkpoint files: read as tensors only, and loaded strictly; errors name the tensors."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

# The options of a training command, which its checkpoints carry: made here as plain attributes.
OPTIONS = (SimpleNamespace, "argparse.Namespace")
_reading = threading.Lock()  # what torch may make besides tensors is one list for all threads


def read(path: str | Path) -> dict[str, Any]:
    """The dictionary that a .safetensors or a torch file holds, as of `held`; else a ValueError."""
    checkpoint = held(path)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"The weights in {path} could not be read: there is no dictionary in it.")
    return checkpoint


def held(path: str | Path) -> Any:
    """What a .safetensors or a torch file holds, on the CPU; no code in it is executed.

    An argparse.Namespace in it becomes a SimpleNamespace of the same attributes; see `options`.
    Raises ValueError for a file that is not there or holds anything but tensors and plain values.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with _reading, torch.serialization.safe_globals([OPTIONS]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"The weights in {path} could not be read: {reason(error)}.") from error


DAMAGED = "it is damaged, or was not fetched in full"
# What libraries say of a file -> what is wrong with it.
REASONS = {
    "deserializing header": DAMAGED,
    "Unable to load weights from checkpoint file": DAMAGED,
    "PytorchStreamReader": DAMAGED,
    "Ran out of input": DAMAGED,
    "Weights only load failed": "it is no file of tensors alone, and nothing else in it is executed",
}


def reason(error: BaseException) -> str:
    """Why a file could not be read, without a full stop: in words where the library's own say little."""
    said = str((isinstance(error, OSError) and error.strerror) or error).strip()
    known = (words for part, words in REASONS.items() if part in said)
    first = said.split("\n")[0].split(". ")[0].rstrip(".")
    return next(known, first or DAMAGED)


def header(path: str | Path) -> dict[str, str]:
    """What the header of a .safetensors tells beside the tensors; no tensor is read."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as held:
        return held.metadata() or {}


def options(kept: Any) -> dict[str, Any]:
    """The options that a checkpoint carries, as a dictionary or as a Namespace, by name; {} for neither."""
    kept = vars(kept) if isinstance(kept, SimpleNamespace) else kept
    return dict(kept) if isinstance(kept, Mapping) else {}


def part(checkpoint: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """The tensors of one network: of `name.*` in a checkpoint's "state_dict", or of a bare state dict.

    In a bare state dict the prefix may be there or not. Entries that are not tensors are left out.
    """
    state = checkpoint.get("state_dict", checkpoint)
    held = state.items() if isinstance(state, Mapping) else ()
    tensors = {key: value for key, value in held if isinstance(key, str) and isinstance(value, Tensor)}
    inside = {key.removeprefix(f"{name}."): tensors[key] for key in tensors if key.startswith(f"{name}.")}
    return inside or tensors


def fill(
    network: nn.Module,
    state: Mapping[str, Tensor],
    title: str,
    optional: str | None = None,
    assign: bool = False,
) -> None:
    """Copy a state dict into a network, all or nothing.

    optional: a regular expression; what is missing and matches it keeps its value, with a warning.
    assign: take the tensors themselves in place of the network's, which may then have none ("meta").
    Raises ValueError that names the missing, unexpected or misshapen tensors, and then changes nothing.
    """
    own = network.state_dict()
    missing = [key for key in own if key not in state]
    kept = [key for key in missing if optional and re.search(optional, key)]
    faults = {
        "missing": [key for key in missing if key not in kept],
        "unexpected": [key for key in state if key not in own],
        "mismatched": [key for key in own if key in state and own[key].shape != state[key].shape],
    }
    for kind, keys in faults.items():
        if keys:
            raise ValueError(f"The weights of {title} have {kind} tensors: {listed(keys)}.")
    if kept:
        message = f"The weights of {title} lack {listed(kept)}: those of a new network stand in."
        warnings.warn(message, stacklevel=2)
    network.load_state_dict(dict(state), strict=False, assign=assign)


def listed(keys: Iterable[str]) -> str:
    """The first three names of many, and how many more there are."""
    names = sorted(keys)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
