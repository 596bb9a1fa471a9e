"""Lists of numpy arrays from a pickle file, without executing it: what it describes is read, not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from textedit_core.models.inert_pickle import Made, Name, describe

MODULES = ("numpy.core", "numpy._core")
# What such a file may have made: an array that is filled afterwards, or one of its bytes at once.
ARRAYS = [Name(f"{module}.multiarray", "_reconstruct") for module in MODULES]
FILLED = [Name(f"{module}.numeric", "_frombuffer") for module in MODULES]
DTYPE, BYTES = Name("numpy", "dtype"), Name("_codecs", "encode")


def read_arrays(path: str | Path) -> list[Any]:
    """The nested lists of arrays in a pickle file, as StyleCLIP's `S_mean_std` is one.

    Raises ValueError for a file that is not there or holds anything but lists, tuples, numbers, texts and
    arrays of numbers, and says then how to convert it.
    """
    try:
        found = _value(describe(Path(path).read_bytes()))
    except Exception as error:  # a damaged or hostile file can break the reader in any way
        raise ValueError(
            f"The arrays in {path} could not be read safely ({error}): load the file where you trust it and "
            "pickle plain lists of numpy arrays."
        ) from error
    if not isinstance(found, list):
        raise ValueError(f"The file {path} holds no list of arrays.")
    return found


def _value(found: Any) -> Any:
    """The same lists, with the arrays themselves in native byte order."""
    if isinstance(found, list | tuple):
        return [_value(one) for one in found]
    if isinstance(found, Made):
        array = _array(found)
        return array.astype(array.dtype.newbyteorder("="))
    if found is None or isinstance(found, bool | int | float | str | bytes):
        return found
    raise ValueError(
        f"it names {found.module}.{found.member}" if isinstance(found, Name) else "it has no list"
    )


def _array(made: Made) -> np.ndarray[Any, Any]:
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    if made.what in ARRAYS:
        _, shape, dtype, fortran, data = made.state
        order = "F" if fortran else "C"
    elif made.what in FILLED:
        data, dtype, shape, order = made.arguments
    else:
        raise ValueError(f"it calls {_called(made)}")
    return np.frombuffer(_bytes(data), _dtype(dtype)).reshape(shape, order=order)


def _dtype(made: Any) -> np.dtype[Any]:
    """The type of an array's numbers, in the byte order of the file."""
    if not isinstance(made, Made) or made.what != DTYPE:
        raise ValueError("it has an array of no known type")
    found = np.dtype(str(made.arguments[0]))
    if found.kind not in "fiu":
        raise ValueError(f"it has an array of {found}")
    return found.newbyteorder(made.state[1]) if made.state else found


def _bytes(found: Any) -> bytes:
    """The bytes of an array; the oldest pickles have them as a text."""
    if isinstance(found, Made) and found.what == BYTES and found.arguments[1] == "latin1":
        return str(found.arguments[0]).encode("latin1")
    if isinstance(found, bytes | bytearray):
        return bytes(found)
    raise ValueError("it has an array without numbers")


def _called(made: Made) -> str:
    return f"{made.what.module}.{made.what.member}" if isinstance(made.what, Name) else "what has no name"
