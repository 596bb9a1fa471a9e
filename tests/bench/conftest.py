"""A folder of small pictures in the bench's own layout, and a way to run the command on it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textedit_core import __main__ as cli
from textedit_core.bench import lines
from textedit_core.models import zoo

QUICK = "sdedit:steps=2,prompt_to_prompt:steps=2:cross_replace_steps=0.5"


def write_picture(path: Path, seed: int, size: tuple[int, int] = (32, 32)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four items: the first has a mask, an exemplar and an answer, the third no caption."""
    place = tmp_path / "set"
    entries = []
    for number in range(4):
        write_picture(place / "images" / f"{number}.png", number)
        entry = {"image": f"images/{number}.png", "prompt": "a woman in a red hat", "group": "ab"[number % 2]}
        if number != 2:
            entry |= {"caption": "a man in a red hat"}
        entries.append(entry)
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[4:20, 8:28] = 255
    Image.fromarray(mask).save(place / "images" / "mask.png")
    write_picture(place / "images" / "answer.png", 9)
    write_picture(place / "images" / "hat.png", 8)
    entries[0] |= {"mask": "images/mask.png", "answer": "images/answer.png", "exemplar": "images/hat.png"}
    (place / "items.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
    return place


@pytest.fixture
def bench(tiny, tiny_folder, folder, tmp_path, capsys, monkeypatch):
    """bench("--methods", ..., out=NAME) runs the command: (exit code, the folder, what it said on stderr)."""
    monkeypatch.setattr(
        zoo, "load", lambda name, device="cpu": tiny
    )  # loading them again takes most of the time

    def run(*words, out: str = "out", name: str | None = None, methods: str = QUICK):
        place = tmp_path / out
        given = ["bench", name or str(folder), "--models", str(tiny_folder), "--device", "cpu"]
        code = cli.main([*given, "--methods", methods, "--out", str(place), *map(str, words)])
        return code, place, capsys.readouterr().err

    return run


def plain(place: Path) -> dict:
    """The records of a folder without what two runs may differ in: the seconds."""
    found = lines.read(place)
    for record in found.values():
        record.pop("edit_seconds", None)
        record.pop("fit_seconds", None)
    return found
