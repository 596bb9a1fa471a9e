"""Finished results of the examples, which a page shows at once: in results/ beside a method's index.json.

results/index.json has "weights", which models drew them, and "results", by the number of the example: a
result as shared/present.py describes it, its paths from that folder. `python -m studies.example_results`
writes them.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demos.examples import HERE

# What a result says of a batch and of attention, dozens of pictures: an edit on the page shows them again.
LEFT_OUT = ("siblings", "maps", "mask")


@dataclass(frozen=True)
class Finished:
    """Results by the number of their example, and the weights that drew them."""

    weights: str = ""
    results: Mapping[int, dict] = field(default_factory=dict)

    def of(self, number: int, weights: str) -> dict | None:
        """The result of an example; None where there is none of these weights."""
        return self.results.get(number) if weights and weights == self.weights else None


def weights_of(models, part: str) -> str:
    """Which weights a method's results depend on, as text: of its part of the models, the text-to-image part,
    and CLIP, which scores; "" for models without that part, and where files are added to them."""
    if models.additions is not None or part not in models.sources:
        return ""
    names = dict.fromkeys((part, "diffusion", "clip"))
    return "-".join(models.source(name).fingerprint()[:16] for name in names if name in models.sources)


def folder_of(method: str, folder: Path = HERE) -> Path:
    """Where the finished results of a method are."""
    return folder / method / "results"


def read(method: str, folder: Path = HERE) -> Finished:
    """The finished results of a method, with full paths, without those that lack a picture."""
    place = folder_of(method, folder)
    index = place / "index.json"
    if not index.is_file():
        return Finished()
    about = json.loads(index.read_text(encoding="utf-8"))
    results = {
        int(number): _moved(one, lambda name: str(place / name)) for number, one in about["results"].items()
    }
    whole = {number: one for number, one in results.items() if all(map(Path.is_file, _files(one)))}
    return Finished(about["weights"], whole)


def write(method: str, weights: str, results: Mapping[int, dict], folder: Path = HERE) -> None:
    """Replace the finished results of a method by these, and copy their pictures there."""
    place = folder_of(method, folder)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    kept = {number: _copied(one, number, place) for number, one in results.items()}
    text = json.dumps({"weights": weights, "results": kept}, indent=1)
    (place / "index.json").write_text(text + "\n", encoding="utf-8")


def _copied(result: dict, number: int, place: Path) -> dict:
    """The result with its pictures in `place`, under the number of the example, counted from 1."""
    plain = {name: value for name, value in result.items() if name not in LEFT_OUT}

    def copy(path: str) -> str:
        key = next(key for key, one in (plain["pictures"] | {"edit": plain["edit"]}).items() if one == path)
        name = f"{number + 1:02d}-{key}.png"
        shutil.copyfile(path, place / name)
        return name

    return _moved(plain, copy)


def _moved(result: dict, to: Callable[[str], str]) -> dict:
    pictures = {key: to(path) for key, path in result["pictures"].items()}
    return result | {"edit": to(result["edit"]), "pictures": pictures}


def _files(result: dict) -> list[Path]:
    return [Path(result["edit"]), *map(Path, result["pictures"].values())]
