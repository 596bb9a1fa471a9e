"""Lists of numpy arrays from a pickle file, by an interpreter of the few opcodes that need no code to run."""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import numpy as np

MARK = object()
MODULES = ("numpy.core", "numpy._core")
# What such a file may name. Nothing is imported; `_call` knows what each one makes.
NAMES = {
    **{(f"{module}.multiarray", "_reconstruct"): "array" for module in MODULES},
    **{(f"{module}.numeric", "_frombuffer"): "filled array" for module in MODULES},
    ("numpy", "ndarray"): "type",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "bytes",
}
PLAIN = {"BININT", "BININT1", "BININT2", "INT", "LONG1", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES"}
PLAIN |= {"SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING", "SHORT_BINSTRING", "UNICODE"}
FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
IGNORED = {"PROTO", "FRAME", "STOP"}


class _Array:
    """An array that was created, before its content was read."""

    value: np.ndarray | None = None


def read_arrays(path: str | Path) -> list[Any]:
    """The nested lists of arrays in a pickle file, as StyleCLIP's `S_mean_std` is one.

    Raises ValueError for a file that is not there or holds anything but lists, tuples, numbers, texts and
    arrays of numbers, and says then how to convert it.
    """
    try:
        found = _resolve(_Reader().read(Path(path).read_bytes()))
    except Exception as error:  # a damaged or hostile file can break the reader in any way
        raise ValueError(
            f"The arrays in {path} could not be read safely ({error}): load the file where you trust it and "
            "pickle plain lists of numpy arrays."
        ) from error
    if not isinstance(found, list):
        raise ValueError(f"The file {path} holds no list of arrays.")
    return found


class _Reader:
    """A stack machine for the few opcodes that lists of arrays are written with."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(data):
            self._step(opcode.name, argument)
        (result,) = self.stack
        return result

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in PLAIN:
            stack.append(argument)
        elif name in FIXED:
            stack.append(FIXED[name])
        elif name == "MARK":
            stack.append(MARK)
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "APPEND":
            stack[-2].append(stack.pop())
        elif name == "APPENDS":
            items = self._above_mark()
            stack[-1].extend(items)
        elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            items = (
                self._above_mark() if name == "TUPLE" else [stack.pop() for _ in range(int(name[-1]))][::-1]
            )
            stack.append(tuple(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            names = argument.split(" ") if name == "GLOBAL" else [stack.pop() for _ in range(2)][::-1]
            stack.append(self._named(*names))
        elif name == "REDUCE":
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        elif name == "BUILD":
            state = stack.pop()
            _build(stack[-1], state)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name not in IGNORED:
            raise ValueError(f"it uses {name}")

    def _above_mark(self) -> list[Any]:
        at = max(place for place, item in enumerate(self.stack) if item is MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    @staticmethod
    def _named(module: str, member: str) -> str:
        if (module, member) not in NAMES:
            raise ValueError(f"it names {module}.{member}")
        return f"<{NAMES[module, member]}>"


def _call(what: str, arguments: tuple[Any, ...]) -> Any:
    if what == "<array>":
        return _Array()
    if what == "<filled array>":
        data, (dtype,), shape, order = arguments
        return np.frombuffer(data, dtype).reshape(shape, order=order)
    if what == "<dtype>":
        dtype = np.dtype(str(arguments[0]))
        if dtype.kind not in "fiu":
            raise ValueError(f"it has an array of {dtype}")
        return [dtype]
    if what == "<bytes>" and arguments[1] == "latin1":
        return arguments[0].encode("latin1")
    raise ValueError("it calls what is no array")


def _build(target: Any, state: tuple[Any, ...]) -> None:
    """Give an array its content, or a dtype its byte order."""
    if isinstance(target, _Array):
        _, shape, (dtype,), fortran, data = state
        flat = np.frombuffer(data, dtype)
        target.value = flat.reshape(shape, order="F" if fortran else "C")
    elif isinstance(target, list) and isinstance(target[0], np.dtype):
        target[0] = target[0].newbyteorder(state[1])
    else:
        raise ValueError("it builds what is no array")


def _resolve(value: Any) -> Any:
    """The same lists with the arrays in native byte order."""
    value = value.value if isinstance(value, _Array) else value
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("="))
    if isinstance(value, list | tuple):
        return [_resolve(one) for one in value]
    return value
