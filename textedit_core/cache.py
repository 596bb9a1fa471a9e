"""Finished results by content: a sha256 key of what was asked, a memory LRU, and an atomic folder on disk."""

import hashlib
import importlib
import inspect
import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from PIL import Image

from textedit_core import __version__
from textedit_core.device import give_back_memory, on_device
from textedit_core.knobs import BoundKnob, knobs
from textedit_core.steps import Step, closing_steps

_PACKAGE = "textedit_core"
# Where the types of stored results were in earlier versions, and where they are now.
_MOVED = {
    "textedit_core.ddim": "textedit_core.models.diffusion.ddim",
    "textedit_core.latents": "textedit_core.models.style.latents",
    "textedit_core.models.directions": "textedit_core.models.style.directions",
    "textedit_core.models.style": "textedit_core.models.style.models",
}
_STALE_SECONDS = 3600
_log = logging.getLogger(__name__)


def cached(
    fn: Callable[..., Iterator[Step[Any]]],
    model: Any,
    *args: Any,
    cache: "Cache | None" = None,
    **settings: Any,
) -> Iterator[Step[Any]]:
    """`fn(model, *args, **settings)`, or one finished Step with the value it had the last time.

    Only a value that was finished is stored; a run that fails or is closed midway leaves nothing. What comes
    out is shared with later callers and not to be changed in place. TypeError for an argument `key` refuses.
    """
    store = default if cache is None else cache
    name = key(fn, (model, *args), settings)
    return lookup_or_run(store, name, lambda: on_device(fn, (model, *args), settings))


def lookup_or_run(store: "Cache", name: str, run: Callable[[], Iterator[Step[Any]]]) -> Iterator[Step[Any]]:
    """What `cached` does, for a call whose key is known already: `run` is called where the cache lacks it."""
    entry = store.get(name)
    if entry is not None:
        yield Step(entry.total, entry.total, entry.value, entry.loss)
        return
    step = None
    with closing_steps(run()) as steps:
        for step in steps:
            if step.done == step.total and step.value is not None:
                store.put(name, Entry(step.value, step.total, step.loss))
            yield step
    if step is not None and step.done != step.total and step.value is not None:
        store.put(name, Entry(step.value, step.done, step.loss))  # it ended before its announced total
    give_back_memory()


def key(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A sha256 (64 hex digits) of the call: the function's name and every argument, defaults applied.

    Tensors and images count by content, models and fitted values by their `fingerprint`, device and dtype;
    a number for a knob is first made the knob's type, so that 1 and 1.0 are one setting. TypeError for any
    other kind of argument, and for a function that a name does not identify (a lambda, a closure).
    """
    function = inspect.unwrap(fn)
    if not isinstance(function, FunctionType) or function.__closure__ or function.__name__ == "<lambda>":
        raise TypeError(f"Cannot cache {fn!r}: only a function that its name identifies can be keyed.")
    bound = inspect.signature(fn).bind(*args, **kwargs)
    bound.apply_defaults()
    known = knobs(fn)
    digest = hashlib.sha256()
    _feed(digest, [__version__, function.__module__, function.__qualname__], "function")
    for name, value in bound.arguments.items():
        _feed(digest, _normalised(value, known.get(name)), name)
    return digest.hexdigest()


def _normalised(value: Any, knob: BoundKnob | None) -> Any:
    if knob is None or knob.type not in (int, float):
        return value
    if isinstance(value, list | tuple):
        return [_normalised(one, knob) for one in value]
    fits = isinstance(value, int | float) and not isinstance(value, bool) and knob.type(value) == value
    return knob.type(value) if fits else value


def _feed(digest: Any, value: Any, name: str) -> None:
    """Add one argument to the digest, each part with its kind and length, so that no two calls read alike."""
    parts: list[Any] = []
    if value is None or isinstance(value, bool | int | str):
        kind, data = type(value).__name__, str(value).encode()
    elif isinstance(value, bytes):
        kind, data = "bytes", value
    elif isinstance(value, float):
        kind, data = "float", (value + 0.0).hex().encode()
    elif isinstance(value, list | tuple):
        kind, data, parts = "list", str(len(value)).encode(), list(value)
    elif isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: (str(type(item[0])), str(item[0])))
        kind, data, parts = "dict", str(len(value)).encode(), [part for item in items for part in item]
    elif isinstance(value, torch.Tensor):
        kind, data = "tensor", f"{value.dtype} {tuple(value.shape)} {value.device}".encode()
        parts = [value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()]
    elif isinstance(value, Image.Image):
        about = f"{value.mode} {value.size} {value.getpalette()} {value.info.get('transparency')}"
        kind, data, parts = "image", about.encode(), [value.tobytes()]
    elif isinstance(getattr(value, "fingerprint", None), str):
        where = f"{getattr(value, 'device', '')} {getattr(value, 'dtype', '')}"
        kind, data = "fingerprint", f"{type(value).__qualname__} {where} {value.fingerprint}".encode()
    else:
        raise TypeError(f"Cannot cache: the argument '{name}' is a {type(value).__name__}, which has no key.")
    digest.update(f"{kind}:{len(data)}:".encode() + data)
    for part in parts:
        _feed(digest, part, name)


@dataclass(frozen=True)
class Entry:
    """What is stored: the value of a finished computation, the steps it took, and its last loss."""

    value: Any
    total: int
    loss: float | None = None


class Cache:
    """Entries by key. Safe to use from several threads, and its folder from several processes.

    In memory the least recently used entries go first, beyond `items` or `memory_bytes`. A value of more than
    `huge_bytes` (a tuned Stable Diffusion UNet) is kept in memory alone, with at most one other of its kind.
    With a `folder` every other entry is also written there, up to `disk_bytes`; a broken file is a miss.
    `late`: it is written once it leaves memory, so that most never are.
    """

    def __init__(
        self,
        items: int = 512,
        memory_bytes: int = 2**30,
        huge_bytes: int = 2**29,
        folder: str | os.PathLike[str] | None = None,
        disk_bytes: int = 8 * 2**30,
        late: bool = False,
    ):
        self.items, self.memory_bytes, self.huge_bytes = items, memory_bytes, min(huge_bytes, memory_bytes)
        self.folder = Path(folder) if folder is not None else None
        self.disk_bytes, self.late = disk_bytes, late
        self._lock = threading.Lock()
        self._memory: OrderedDict[str, tuple[Entry, int]] = OrderedDict()
        self._huge: OrderedDict[str, tuple[Entry, int]] = OrderedDict()

    def get(self, name: str) -> Entry | None:
        """The entry of this key, or None."""
        with self._lock:
            for shelf in (self._memory, self._huge):
                if name in shelf:
                    shelf.move_to_end(name)
                    return shelf[name][0]
        entry = self._read(self.folder, name) if self.folder is not None else None
        if entry is not None:
            self._remember(name, entry, _size(entry.value))
        return entry

    def put(self, name: str, entry: Entry) -> None:
        """Store a finished entry. A disk that is full or read-only is logged, and never stops an edit."""
        size = _size(entry.value)
        self._remember(name, entry, size)
        if not self.late and size <= self.huge_bytes:
            self._keep_on_disk(name, entry)

    def clear(self) -> None:
        """Forget what is in memory; the folder stays."""
        with self._lock:
            self._memory.clear()
            self._huge.clear()

    def _keep_on_disk(self, name: str, entry: Entry) -> None:
        if self.folder is None:
            return
        try:
            self._write(self.folder, name, entry)
        except (OSError, TypeError, RuntimeError) as error:
            _log.warning("This result is not kept on disk: %s", error)

    def _remember(self, name: str, entry: Entry, size: int) -> None:
        for left, gone in self._made_room(name, entry, size):
            if self.late and self.folder is not None and not (self.folder / f"{left}.pt").exists():
                self._keep_on_disk(left, gone)

    def _made_room(self, name: str, entry: Entry, size: int) -> list[tuple[str, Entry]]:
        """Put an entry into memory; those that had to leave for it, but for the huge ones."""
        gone: list[tuple[str, Entry]] = []
        with self._lock:
            if size > self.huge_bytes:
                self._huge[name] = (entry, size)
                self._huge.move_to_end(name)
                while len(self._huge) > 2:
                    self._huge.popitem(last=False)
                return gone
            self._memory[name] = (entry, size)
            self._memory.move_to_end(name)
            total = sum(one for _, one in self._memory.values())
            while len(self._memory) > self.items or total > self.memory_bytes:
                left, (evicted, bytes_of) = self._memory.popitem(last=False)
                total -= bytes_of
                gone.append((left, evicted))
        return gone

    def _read(self, folder: Path, name: str) -> Entry | None:
        path = folder / f"{name}.pt"
        try:
            entry = _decode(torch.load(path, weights_only=True))
            with suppress(OSError):  # another process may trim, the folder may be read-only
                os.utime(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # a broken file may break the reader in any way
            _log.warning("A stored result cannot be read and is made again: %s", error)
            return None
        return entry if isinstance(entry, Entry) else None

    def _write(self, folder: Path, name: str, entry: Entry) -> None:
        plain = _encode(entry)
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=name[:16], suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(plain, file)
            os.replace(temporary, folder / f"{name}.pt")
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._trim(folder)

    def _trim(self, folder: Path) -> None:
        """Remove the files used longest ago beyond `disk_bytes`, and what a killed process left."""
        found = []
        for path in folder.glob("*.*"):
            with suppress(FileNotFoundError):  # another process may trim too
                stat = path.stat()
                if path.suffix == ".tmp" and time.time() - stat.st_mtime > _STALE_SECONDS:
                    path.unlink()
                elif path.suffix == ".pt":
                    found.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.disk_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size


default = Cache()


def _encode(value: Any) -> Any:
    """`value` in what `torch.load(weights_only=True)` reads back; TypeError for what cannot be stored."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().clone()  # a view would drag its whole storage along
    if type(value) in (list, tuple):
        return type(value)(_encode(one) for one in value)
    if type(value) is dict and "__dataclass__" not in value:
        return {label: _encode(one) for label, one in value.items()}
    if _is_ours(type(value)):
        stored = {field.name: _encode(getattr(value, field.name)) for field in fields(value) if field.init}
        return {"__dataclass__": [type(value).__module__, type(value).__qualname__], "fields": stored}
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _decode(value: Any) -> Any:
    if type(value) in (list, tuple):
        return type(value)(_decode(one) for one in value)
    if type(value) is not dict:
        return value
    if "__dataclass__" not in value:
        return {label: _decode(one) for label, one in value.items()}
    module, name = value["__dataclass__"]
    if module.partition(".")[0] != _PACKAGE:
        raise ValueError(f"{module}.{name} is not a type of this package")
    kind = getattr(importlib.import_module(_MOVED.get(module, module)), name)
    if not _is_ours(kind):
        raise ValueError(f"{module}.{name} is not a frozen dataclass")
    return kind(**{label: _decode(one) for label, one in value["fields"].items()})


def _is_ours(kind: Any) -> bool:
    """Whether this is a frozen dataclass of this package."""
    parameters = getattr(kind, "__dataclass_params__", None)
    return (
        isinstance(kind, type)
        and is_dataclass(kind)
        and getattr(parameters, "frozen", False)
        and kind.__module__.partition(".")[0] == _PACKAGE
    )


def _size(value: Any) -> int:
    """The bytes of the tensors in a value, roughly its size in memory."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(_size(one) for one in value.values())
    if isinstance(value, list | tuple):
        return sum(_size(one) for one in value)
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_size(getattr(value, field.name)) for field in fields(value))
    return 0
