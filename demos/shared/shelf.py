"""What the host keeps for the pages of its visitors, by keys that nobody can guess; a page keeps the keys.

A key is no path and says nothing. Who has one may see what it stands for, and only the page whose picture it
is was ever given it.
"""

import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEY = re.compile(r"[0-9a-f]{32}")
MOST_ITEMS = 1_000  # of all visitors together
MOST_BYTES = 1 << 30
OWN_FOLDERS = "studio-"  # what Context.folder calls a folder of results


@dataclass(frozen=True)
class Kept:
    """One thing on the shelf: plain data, the files it names, their bytes."""

    name: str
    value: Any
    files: tuple[Path, ...]
    size: int


class Shelf:
    """Keeps things with their files. When it is full, those go first that were not asked for longest.

    most_items, most_bytes: of all visitors together.
    """

    def __init__(self, most_items: int = MOST_ITEMS, most_bytes: int = MOST_BYTES) -> None:
        self.most_items, self.most_bytes = most_items, most_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._keys: dict[str, str] = {}
        self._lock = threading.Lock()

    def put(self, owner: str, name: str, value: Any, files: Iterable[str | Path]) -> str:
        """Keep a value under a new key; the same name of the same owner again gives the key it has.

        owner: the session that asks.  files: what the value names, which goes with it when the shelf is full.
        """
        paths, name = tuple(map(Path, files)), f"{owner}\n{name}"
        size = sum(path.stat().st_size for path in paths if path.is_file())
        with self._lock:
            if name in self._keys:
                return self._keys[name]
            key = secrets.token_hex(16)
            self._kept[key], self._keys[name] = Kept(name, value, paths, size), key
            while len(self._kept) > self.most_items or (
                len(self._kept) > 1 and sum(one.size for one in self._kept.values()) > self.most_bytes
            ):
                self._remove(next(iter(self._kept)))
        return key

    def get(self, key: Any) -> Any:
        """What was kept under a key, None where that is no key, or is gone, or lacks a file."""
        if not is_key(key):
            return None
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if not all(path.is_file() for path in found.files):
                self._remove(key)
                return None
            self._kept.move_to_end(key)
            return found.value

    def drop(self, keys: Iterable[Any]) -> None:
        """Forget what these keys stand for, and remove its files."""
        with self._lock:
            for key in keys:
                if is_key(key) and key in self._kept:
                    self._remove(key)

    def _remove(self, key: str) -> None:
        gone = self._kept.pop(key)
        self._keys.pop(gone.name, None)
        still = {path for one in self._kept.values() for path in one.files}
        for path in gone.files:
            # An upload has the name of its content: another visitor may have sent the same one.
            if path.parent.name.startswith(OWN_FOLDERS) and path not in still:
                path.unlink(missing_ok=True)


def is_key(value: Any) -> bool:
    """Whether this is written as a key is; it may come from anywhere."""
    return isinstance(value, str) and KEY.fullmatch(value) is not None
