"""The work of a benchmark: every item by every contestant, one recorded line each, resumable, splittable."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from textedit_core.bench import lines, trial
from textedit_core.bench.item import Item, Pictures
from textedit_core.bench.plan import MEASURING, Contestant, contents, key, parts_of
from textedit_core.cache import Cache
from textedit_core.images import Fit
from textedit_core.metrics.extras import Distance
from textedit_core.models import zoo

# Where torchrun and accelerate launch, Open MPI, and other MPIs say which process of how many this is.
NUMBERS = (("RANK", "WORLD_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"))


@dataclass(frozen=True)
class Share:
    """Which items are this process's: every `count`-th from the `rank`-th on.

    Nothing else passes between processes: each appends to its own file, and reads all of them.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of_environment(cls) -> Share:
        """As the launcher tells its processes; all of the work where none did."""
        names = next((pair for pair in NUMBERS if set(pair) <= set(os.environ)), None)
        rank, count = (os.environ[name] for name in names) if names else ("0", "1")
        if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
            raise ValueError(
                f"{names[0]}={rank} and {names[1]}={count} are no process of several: unset both."
            )
        return cls(int(rank), int(count))


@dataclass(frozen=True, eq=False)
class Bench:
    """A benchmark: `items` by `contestants`, by these models, pictures made square by `resize`.

    out: the folder of the results.  batch_size: how many cells of a sweep are computed at once.  extras:
    further measures of a result and its source, by name.
    """

    name: str
    items: Sequence[Item]
    contestants: Sequence[Contestant]
    models: zoo.Models
    out: Path
    resize: Fit = "crop"
    batch_size: int = 8
    extras: Mapping[str, Distance] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)  # of fits that serve all items
    _keys: dict[tuple[int, int], str] = field(default_factory=dict)

    def key(self, item: int, contestant: int) -> str:
        """The key of a piece of work, by the two places. Loads the models that the contestants take."""
        if not self._keys:
            measuring = [part for part in MEASURING if part in self.models.sources]
            seen = [contents(item) for item in self.items]
            for j, one in enumerate(self.contestants):
                parts = sorted({*parts_of([one], self.models), *measuring})
                world = [self.resize, *self.extras, *map(self._fingerprint, parts)]
                for i, asked in enumerate(self.items):
                    self._keys[i, j] = key(asked, one, [*world, *seen[i]])
        return self._keys[item, contestant]

    def records(self) -> list[tuple[Item, Contestant, dict[str, Any] | None]]:
        """All work in order, each with its record, None where it is not done yet."""
        done = lines.read(self.out)
        places = itertools.product(range(len(self.items)), range(len(self.contestants)))
        return [(self.items[i], self.contestants[j], done.get(self.key(i, j))) for i, j in places]

    def _fingerprint(self, part: str) -> str:
        return f"{part} {getattr(getattr(self.models, part), 'fingerprint', '')}"


def work(bench: Bench, share: Share = Share()) -> Iterator[dict[str, Any]]:
    """Do what is not done of this process's share; yields every record once it is written.

    Each record goes to DIR/lines-RANK.jsonl and its pictures to DIR/items/ before: a process that is killed
    has lost one piece of work at most, and running the same again goes on after it. What a contestant cannot
    use is recorded as skipped, and an error as the sentence it came with; neither stops the others.
    """
    bench.out.mkdir(parents=True, exist_ok=True)
    done = lines.read(bench.out)
    for i, item in enumerate(bench.items):
        if i % share.count != share.rank:
            continue
        pictures = Pictures(item, bench.resize)
        for j, contestant in enumerate(bench.contestants):
            if (name := bench.key(i, j)) in done:
                continue
            record = {"key": name, "item": item.name, "group": item.group, "label": contestant.label}
            reason = contestant.lacks(item)
            record |= {"skipped": reason} if reason else _tried(bench, pictures, contestant, name)
            lines.append(bench.out / f"lines-{share.rank}.jsonl", record)
            yield record


def _tried(bench: Bench, pictures: Pictures, contestant: Contestant, name: str) -> dict[str, Any]:
    """What `do` gives, or {"error": a sentence}: one broken item or setting is not to end a long run."""
    try:
        return trial.do(bench, pictures, contestant, name)
    except ValueError as error:
        return {"error": str(error)}
    except Exception as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            torch.cuda.empty_cache()
        return {"error": f"{type(error).__name__}: {error}"}
