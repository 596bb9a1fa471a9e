"""Channel relevance from a bundle or from the published files, checked against its generator."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textedit_core.models.checkpoint import read
from textedit_core.models.numpy_pickle import read_arrays
from textedit_core.models.style.models import Relevance, StyleGenerator, digest


def bundled_relevance(
    state: Mapping[str, Tensor], generator: StyleGenerator, generator_digest: str = "", clip_digest: str = ""
) -> Relevance:
    """What a bundle holds as the tensors relevance, mean and std. ValueError where one is missing."""
    if missing := sorted({"relevance", "mean", "std"} - set(state)):
        raise ValueError(f"The weights of the relevance have missing tensors: {', '.join(missing)}.")
    found = state["relevance"], state["mean"], state["std"]
    return _checked(*found, generator, generator_digest, clip_digest)


def write_relevance(found: Relevance, path: Path, settings: Mapping[str, Any]) -> None:
    """Keep a relevance, finished or not, in one .safetensors file with the settings it was measured under.

    Only the rows that are known are written, in float32. The file is there as a whole or not at all.
    """
    from safetensors.torch import save_file

    tensors = {"relevance": found.relevance[: found.measured].clone(), "mean": found.mean, "std": found.std}
    about = {"generator": found.generator, "clip": found.clip, "settings": json.dumps(dict(settings))}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    os.close(handle)
    try:
        save_file({name: one.float().cpu().contiguous() for name, one in tensors.items()}, temporary, about)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def measured_relevance(
    path: Path, generator: StyleGenerator, clip_digest: str
) -> tuple[Relevance, dict[str, Any]]:
    """What `write_relevance` wrote, and the settings; the layers that are not measured yet have zero rows.

    Raises ValueError for a file that is none, and for one of another generator or CLIP.
    """
    state, own = read(path), digest(generator.network)
    try:
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
        settings = dict(json.loads(about["settings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The relevance in {path} does not say how it was measured.") from error
    for part, known in (("generator", own), ("clip", clip_digest)):
        if about.get(part) != known:
            raise ValueError(f"The relevance in {path} was measured with another {part}: measure it again.")
    if not len(state.get("relevance", ())):
        raise ValueError(f"The relevance in {path} has no channel: measure it again.")
    return bundled_relevance(state, generator, own, clip_digest), settings


def published_relevance(fs3: Path, statistics: Path, generator: StyleGenerator) -> Relevance:
    """The published fs3.npy, (n,D) of any precision, and S_mean_std, which holds a mean and a std per S code.

    fs3 may end early, as what the published program makes today does: the layers it lacks have zero rows,
    which no edit touches. So has a channel that changed nothing, for which that program divides 0 by 0.
    Neither file is executed. ValueError for files that are not these.
    """
    try:
        rows = np.lib.format.read_array(io.BytesIO(fs3.read_bytes()), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"The relevance in {fs3} could not be read: it is no plain array (.npy).") from error
    if rows.dtype.kind not in "fiu":
        raise ValueError(f"The relevance in {fs3} could not be read: it is an array of {rows.dtype}.")
    measured = torch.from_numpy(rows.astype(np.float32))
    measured[measured.isnan()] = 0
    pairs = read_arrays(statistics)
    if len(pairs) != 2 or not all(isinstance(one, list) and all(map(_is_array, one)) for one in pairs):
        raise ValueError(f"The statistics in {statistics} are not a list of means and one of deviations.")
    mean, std = (np.concatenate([np.empty(0), *map(np.ravel, one)]).astype(np.float32) for one in pairs)
    if not np.isfinite([*mean, *std]).all():
        raise ValueError(f"The statistics in {statistics} hold values that are no numbers.")
    return _checked(measured, torch.from_numpy(mean), torch.from_numpy(std), generator)


def _is_array(code: object) -> bool:
    return isinstance(code, np.ndarray)


def _checked(rows: Tensor, mean: Tensor, std: Tensor, generator: StyleGenerator, *digests: str) -> Relevance:
    """In float32: padded with zeros to all channels but ToRGB's, or as they are for rows of all channels.

    ValueError where the counts do not fit.
    """
    widths = generator.channel_counts
    channels = sum(layer.channels for layer in generator.layers if not layer.is_rgb)
    if rows.ndim != 2 or not _is_prefix(len(rows), generator):
        raise ValueError(
            f"The relevance has {tuple(rows.shape)} rows, where this generator has {channels} channels: "
            "it belongs to another generator."
        )
    if mean.shape != (sum(widths),) or std.shape != mean.shape:
        raise ValueError(
            f"The statistics are of {len(mean)} and {len(std)} channels, where this generator has "
            f"{sum(widths)}: they belong to another generator."
        )
    full = torch.zeros(max(channels, len(rows)), rows.shape[1], dtype=torch.float32)
    full[: len(rows)] = rows
    return Relevance(full, mean.float(), std.float(), len(rows), *digests)


def _is_prefix(count: int, generator: StyleGenerator) -> bool:
    """Whether so many rows are those of the first layers, as a whole, or of all channels with ToRGB's."""
    ends = accumulate(layer.channels for layer in generator.layers if not layer.is_rgb)
    return count in (*ends, sum(generator.channel_counts))
