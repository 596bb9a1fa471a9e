"""What a pickle describes, without doing it: its opcodes are read, nothing is imported or called."""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO


@dataclass(frozen=True)
class Name:
    """A class or a function that the pickle names."""

    module: str
    member: str


@dataclass(eq=False)
class Made:
    """What calling `what` with `arguments` would make, and what it would then be given.

    state: what its __setstate__ or its attributes would get, None for nothing.  entries: of a dictionary-like
    object, by key.  items: of a list-like one.
    """

    what: Any
    arguments: tuple[Any, ...]
    state: Any = None
    entries: dict[Any, Any] = field(default_factory=dict)
    items: list[Any] = field(default_factory=list)


_MARK = object()
_PLAIN = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "UNICODE"}
_PLAIN |= {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
_PLAIN |= {"BYTEARRAY8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_FIXED = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_IGNORED = {"PROTO", "FRAME", "STOP"}


def describe(file: bytes | BinaryIO) -> Any:
    """The value of a pickle: numbers, texts, bytes, lists, tuples, sets and dictionaries as they are.

    A set is a list, a class or function in it is a `Name`, and whatever one would make is a `Made`; so are
    bytes and sets before protocol 3, which made them by calls.
    Raises ValueError for what is no pickle, or refers to something outside of it.
    """
    try:
        return _Reader().read(file)
    except Exception as error:  # a damaged or hostile file can break the reader in any way
        raise ValueError(str(error) or "it is no pickle") from error


class _Reader:
    """The stack machine of a pickle, in which names and calls stay what they are."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, file: bytes | BinaryIO) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
            self._step(opcode.name, argument)
        (result,) = self.stack
        return result

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _PLAIN:
            stack.append(argument)
        elif name in _FIXED:
            stack.append(_FIXED[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name in _CONTAINERS:
            _CONTAINERS[name](self)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            names = argument.split(" ") if name == "GLOBAL" else self._pop(2)
            stack.append(Name(*map(str, names)))
        elif name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            what, *rest = self._pop(3 if name == "NEWOBJ_EX" else 2)
            stack.append(Made(what, tuple(rest[0])))
        elif name == "BUILD":
            target, state = self._pop(2)
            if not isinstance(target, Made):
                raise ValueError("it changes what is no object")
            target.state = state
            stack.append(target)
        elif name == "POP":
            stack.pop()
        elif name not in _IGNORED:
            raise ValueError(f"it uses {name}")

    def _pop(self, count: int) -> list[Any]:
        found = self.stack[-count:]
        if len(found) < count:
            raise ValueError("it ends too early")
        del self.stack[-count:]
        return found

    def above_mark(self) -> list[Any]:
        at = max(place for place, item in enumerate(self.stack) if item is _MARK)
        found = self.stack[at + 1 :]
        del self.stack[at:]
        return found

    def tuple_of(self, count: int) -> None:
        self.stack.append(tuple(self._pop(count) if count else []))

    def add_items(self, found: list[Any]) -> None:
        target = self.stack[-1]
        (target.items if isinstance(target, Made) else target).extend(found)

    def add_entries(self, found: list[Any]) -> None:
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Made) else target
        entries.update(zip(found[::2], found[1::2], strict=True))


_CONTAINERS: dict[str, Callable[[_Reader], None]] = {
    "EMPTY_LIST": lambda reader: reader.stack.append([]),
    "EMPTY_SET": lambda reader: reader.stack.append([]),
    "EMPTY_DICT": lambda reader: reader.stack.append({}),
    "LIST": lambda reader: reader.stack.append(reader.above_mark()),
    "FROZENSET": lambda reader: reader.stack.append(reader.above_mark()),
    "TUPLE": lambda reader: reader.stack.append(tuple(reader.above_mark())),
    "EMPTY_TUPLE": lambda reader: reader.tuple_of(0),
    "TUPLE1": lambda reader: reader.tuple_of(1),
    "TUPLE2": lambda reader: reader.tuple_of(2),
    "TUPLE3": lambda reader: reader.tuple_of(3),
    "APPEND": lambda reader: reader.add_items([reader.stack.pop()]),
    "APPENDS": lambda reader: reader.add_items(reader.above_mark()),
    "ADDITEMS": lambda reader: reader.add_items(reader.above_mark()),
    "SETITEM": lambda reader: reader.add_entries([reader.stack.pop(-2), reader.stack.pop()]),
    "SETITEMS": lambda reader: reader.add_entries(reader.above_mark()),
}
