"""Examples: small pictures with their prompts, in one folder per method with an index.json.

A row has "image" (a path from the folder; a picture of another method's folder serves too), "label" and
"prompt", and where a tab has more: "fields", other inputs by name, "files", those that are pictures (paths
like that of "image"), and "knobs", values of knobs.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Example:
    """A picture, what it is called, the inputs that suit it, knob values and pictures if it wants some."""

    image: Path
    label: str
    fields: dict = field(default_factory=dict)
    knobs: dict = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Its prompts in one line."""
        return " → ".join(str(value) for value in self.fields.values())


def read(method: str, folder: Path = HERE) -> list[Example]:
    """The examples of a method as its index.json lists them, without those whose picture is missing."""
    index = folder / method / "index.json"
    if not index.is_file():
        return []
    rows = json.loads(index.read_text(encoding="utf-8"))
    found = [
        Example(
            (index.parent / row["image"]).resolve(),
            row["label"],
            ({"prompt": row["prompt"]} if "prompt" in row else {}) | row.get("fields", {}),
            row.get("knobs", {}),
            {name: (index.parent / path).resolve() for name, path in row.get("files", {}).items()},
        )
        for row in rows
    ]
    return [example for example in found if example.image.is_file()]
