"""Latents of a person's own in files: W+ codes and S codes, read as numbers alone and written."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textedit_core.models.checkpoint import held
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator

ENDINGS = (".pt", ".npy")


def read_latent(path: str | Path, generator: StyleGenerator, index: int | None = None) -> Latent:
    """One latent of a file, in float32 on the CPU; no code in the file is executed.

    A .npy or .pt file holds one array or tensor: a W+ code (n,D) or several (B,n,D), or a W code (D,) or
    several (B,D), each then the same in every layer; (n,D) is always one W+ code. A .pt file may instead hold
    S codes, a list of one (C,), (B,C) or (B,1,C,1,1) for each modulated convolution, as `write_latent` writes
    them for an edit in StyleSpace.
    index: which of several, from 0.
    Raises ValueError, a sentence, for a file that cannot be read or holds something else, codes of another
    generator, values that are no numbers, and for an index that is missing or out of range.
    """
    path = Path(path)
    found = _array(path) if path.suffix.lower() == ".npy" else _saved(path)
    if isinstance(found, list | tuple):
        codes = [_code(one, width, path) for one, width in _of_each_layer(found, generator, path)]
        rows = max(map(len, codes))
        if any(len(code) not in (1, rows) for code in codes):
            raise ValueError(f"The latent in {path} has S codes of different numbers of images.")
        row = _row(rows, index, path)
        return Latent(s_codes=tuple(code.expand(rows, -1)[row : row + 1].clone() for code in codes))
    if not isinstance(found, Tensor):
        raise ValueError(f"The latent in {path} is no tensor, but a {type(found).__name__}.")
    w_plus = _w_plus(_numbers(found, path), generator, path)
    row = _row(len(w_plus), index, path)
    return Latent(w_plus[row : row + 1].clone())


def write_latent(latent: Latent, path: str | Path) -> None:
    """Write a latent for `read_latent`: its W+ codes (B,n,D), or its S codes, a list of (B,C), in a .pt file.

    Raises ValueError for another ending than .pt and .npy, and for S codes in .npy, which holds one array.
    """
    path = Path(path)
    check_ending(path)
    codes = [code.detach().float().cpu().contiguous() for code in latent.s_codes]
    content = io.BytesIO()
    if path.suffix.lower() == ".npy":
        if codes or latent.w_plus is None:
            raise ValueError(f"{path} cannot hold an edit in StyleSpace, which is no single array: use .pt.")
        np.save(content, latent.w_plus.detach().float().cpu().numpy(), allow_pickle=False)
    elif codes or latent.w_plus is None:
        torch.save(codes, content)
    else:
        torch.save(latent.w_plus.detach().float().cpu().clone(), content)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content.getvalue())
    os.replace(temporary, path)


def check_ending(path: Path) -> None:
    """Raise ValueError for a file that no latent can be written to."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"'{path}' is no file for a latent: end its name in {' or '.join(ENDINGS)}.")


def _saved(path: Path) -> Any:
    try:
        return held(path)
    except ValueError as error:
        raise ValueError(
            f"The latent in {path} could not be read: it is no .pt file of tensors alone, nor a .npy file."
        ) from error


def _array(path: Path) -> Tensor:
    try:
        array = np.lib.format.read_array(io.BytesIO(path.read_bytes()), allow_pickle=False)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"The latent in {path} could not be read: it is no array of numbers.") from error


def _numbers(found: Any, path: Path) -> Tensor:
    """A tensor in float32. ValueError for what is none, or not finite."""
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.layout is not torch.strided:
        raise ValueError(f"The latent in {path} is not of floating-point numbers.")
    numbers = found.detach().float()
    if not numbers.isfinite().all():
        raise ValueError(f"The latent in {path} has values that are no numbers.")
    return numbers


def _w_plus(found: Tensor, generator: StyleGenerator, path: Path) -> Tensor:
    """W or W+ codes of any known shape -> (B,n,D)."""
    n, dim = generator.n_latent, generator.style_dim
    if found.shape == (n, dim):
        return found[None]
    if found.ndim == 3 and found.shape[1:] == (n, dim):
        return found
    if found.ndim in (1, 2) and found.shape[-1] == dim:
        return found.reshape(-1, 1, dim).expand(-1, n, -1)
    if found.ndim == 3 and found.shape[1:] == (1, dim):
        return found.expand(-1, n, -1)
    raise ValueError(
        f"The latent in {path} has the shape {tuple(found.shape)}, where this generator takes "
        f"({n}, {dim}), (1, {n}, {dim}) or (1, {dim})."
    )


def _of_each_layer(found: Sequence[Any], generator: StyleGenerator, path: Path) -> list[tuple[Any, int]]:
    """The S codes with the lengths that they must have."""
    counts = generator.channel_counts
    if len(found) != len(counts):
        raise ValueError(
            f"The latent in {path} is a list of {len(found)}, where this generator has {len(counts)} S codes."
        )
    return list(zip(found, counts, strict=True))


def _code(found: Any, width: int, path: Path) -> Tensor:
    """One S code (B,C)."""
    code = _numbers(found, path)
    rows = code.shape[0] if code.ndim else 0
    if code.shape not in ((width,), (rows, width), (rows, 1, width, 1, 1)) or not code.numel():
        raise ValueError(
            f"The latent in {path} has an S code of the shape {tuple(code.shape)}, where this generator has "
            f"one of {width} channels: it belongs to another generator."
        )
    return code.reshape(-1, width)


def _row(rows: int, index: int | None, path: Path) -> int:
    """Which of the latents of a file is taken."""
    if rows == 0:
        raise ValueError(f"The file {path} holds no latent.")
    if index is None and rows > 1:
        raise ValueError(f"The file {path} holds {rows} latents: say which, from 0 to {rows - 1}.")
    if index is not None and not 0 <= index < rows:
        raise ValueError(f"The file {path} holds {rows} latents: {index} is not one of 0 to {rows - 1}.")
    return index or 0
