"""Which file of a folder holds a generator, told by the names in it: nothing is executed or loaded."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PICKLE = ".pkl"  # a network of NVIDIA's, which `nvidia` reads
ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", PICKLE)
PERSISTENT = "_reconstruct_persistent_obj"  # what NVIDIA's PyTorch code would load its networks with
RELEVANCE = ".relevance.safetensors"  # ends the name of the file of a measured relevance
MARK = "conv1.conv.modulation.weight"  # a tensor that every StyleGAN2 generator of this layout has
MOST = 2**26  # bytes of names that are looked at
PICKLES = 4  # of a torch file of before 2020: two numbers, a description of the machine, and what it holds


def generator_file(folder: Path) -> str | None:
    """The name of the one file of a folder that holds a generator, None where no file does.

    Raises ValueError, a sentence, where several do.
    """
    own = (path for path in sorted(folder.glob("*")) if not path.name.endswith(RELEVANCE))
    found = [path.name for path in own if is_generator(path)]
    if len(found) > 1:
        listed = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise ValueError(f"{folder} holds {len(found)} generators, {listed}: give the path of one of them.")
    return found[0] if found else None


def is_generator(path: Path) -> bool:
    """Whether a file names the tensors of a generator alone, or beside a discriminator or training's state.

    What also holds an encoder or a mapper, with the generator it was trained for, is not one.
    """
    if path.suffix not in ENDINGS or not path.is_file():
        return False
    if path.suffix == PICKLE:
        return any(PERSISTENT in name for name in _names(path))
    names = set(_names(path))
    return MARK in names or f"g_ema.{MARK}" in names


def _names(path: Path) -> Iterator[str]:
    """The texts that a file begins with: the names of its tensors among them."""
    try:
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                yield from json.loads(file.read(length)) if length <= MOST else ()
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for one in archive.infolist():
                    if one.filename.endswith("/data.pkl") and one.file_size <= MOST:
                        yield from _texts(archive.open(one))
        else:
            with path.open("rb") as file:
                for _ in range(PICKLES):
                    yield from _texts(file)
    except Exception:  # no weights, or damaged: whoever asks for it by name is told by `checkpoint.read`
        return


def _texts(file: IO[bytes]) -> Iterator[str]:
    """The texts of one pickle, whose opcodes are read and not run; the file stands behind it afterwards."""
    begun = file.tell()
    for _, argument, position in pickletools.genops(file):
        if isinstance(argument, str):
            yield argument
        if (position or 0) - begun > MOST:
            return
