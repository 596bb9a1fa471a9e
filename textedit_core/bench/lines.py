"""Results as JSON lines: each process appends to its own file, and incomplete lines are ignored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def append(path: Path, record: dict[str, Any], allow_nan: bool = False) -> None:
    """Add one record as a line, in one write that is on the disk when this returns.

    An incomplete line that a killed process left at the end is ended first, so that this one can be read.
    ValueError for a record that is not JSON; NaN and infinity, which JSON lacks, can be allowed.
    """
    line = json.dumps(record, allow_nan=allow_nan) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = "\n" + line
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path, name: str = "lines", key: str = "key") -> dict[Any, dict[str, Any]]:
    """The records of all processes in a folder, its NAME-*.jsonl, by their key.

    Incomplete lines are ignored; of two with the same key the last counts.
    """
    paths = sorted(folder.glob(f"{name}-*.jsonl"))
    return {record[key]: record for path in paths for record in _read(path, key)}


def _read(path: Path, key: str) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and key in record:
            yield record
