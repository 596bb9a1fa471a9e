"""Examples: small pictures with a prompt each, in one folder per method with an index.json."""

import json
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """A picture, what it is called, the prompt that suits it, and knob values if it wants some."""

    image: Path
    label: str
    prompt: str
    knobs: dict = field(default_factory=dict)


def read(method: str, folder: Path = HERE) -> list[Example]:
    """The examples of a method as its index.json lists them, without those whose picture is missing."""
    index = folder / method / "index.json"
    if not index.is_file():
        return []
    rows = json.loads(index.read_text(encoding="utf-8"))
    found = [
        Example(index.parent / row["image"], row["label"], row["prompt"], row.get("knobs", {}))
        for row in rows
    ]
    return [example for example in found if example.image.is_file()]
