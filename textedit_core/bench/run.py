"""The work of a benchmark: every item by every contestant. It can be stopped, continued, and split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from textedit_core.bench import lines, trial
from textedit_core.bench.item import Pictures
from textedit_core.bench.plan import Bench, Contestant

# Where torchrun and accelerate launch, Open MPI, and other MPIs say which process of how many this is.
NUMBERS = (("RANK", "WORLD_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"))


@dataclass(frozen=True)
class Share:
    """Which items this process does: every `count`-th from the `rank`-th on.

    Nothing else passes between processes: each appends to its own file, and reads all of them.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of_environment(cls) -> Share:
        """From the launcher's environment variables; all of the work where there are none."""
        names = next((pair for pair in NUMBERS if set(pair) <= set(os.environ)), None)
        if names is None:
            return cls()
        rank, count = (os.environ[name] for name in names)
        if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
            raise ValueError(
                f"{names[0]}={rank} and {names[1]}={count} are no process of several: unset both."
            )
        return cls(int(rank), int(count))


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
    """What `run_trial` returns, or {"error": a sentence}, so that one failure does not end a long run."""
    try:
        return trial.run_trial(bench, pictures, contestant, name)
    except ValueError as error:
        return {"error": str(error)}
    except Exception as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            torch.cuda.empty_cache()
        return {"error": f"{type(error).__name__}: {error}"}
