"""python -m tests.studies.trust: whether the running app can be trusted with anybody's visit.

Starts app.py on tiny random models (or --models) and, as its clients: sends malformed uploads, hostile
prompts and values, each of which must be answered with a sentence (or an edit, where the value is fine);
cancels runs at random moments, each followed by an edit that must equal one made by the library alone; lets
several clients work at once, each of whom must only ever see pictures of its own; and watches the memory of
the app. Prints a Markdown table; ends with 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from gradio_client import Client, handle_file
from PIL import Image

from tests.studies import hostile
from tests.studies.visits import (
    ANSWER_SECONDS,
    FIT,
    PROMPT,
    Library,
    answer,
    picture_of,
    running_app,
    visitor,
)

LONG = {"embedding_steps": 300, "finetune_steps": 300}


@dataclass
class Tally:
    """What was counted, and what was not as it must be."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, what: str, found: str) -> None:
        self.rows.append((what, found))
        sys.stdout.write(f"| {what} | {found} |\n")
        sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--hostile", type=int, default=200)
    parser.add_argument("--cancels", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--models", help="a folder of models; tiny random ones unless given")
    options = parser.parse_args(arguments)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="trust-") as name:
        work = Path(name)
        folder = Path(options.models) if options.models else tiny_models(work / "tiny")
        library = Library(folder)
        sys.stdout.write("| what | found |\n|---|---|\n")
        with running_app(folder, work) as (address, process):
            uploads(address, work, options.uploads, library, tally)
            strange_values(address, work, options.hostile, library, tally)
            cancels(address, work, options.cancels, library, tally)
            crowd(address, work, options.clients, options.minutes, library, process, tally)
        log = (work / "app.log").read_text(errors="replace")
    tracebacks = log.count("Traceback (most recent call last)")
    tally.add("tracebacks in the app's log", str(tracebacks))
    if tracebacks:
        tally.faults.append(log[log.index("Traceback (most recent call last)") :][:3000])
    for fault in tally.faults:
        sys.stdout.write(f"\nNOT AS IT MUST BE: {fault}\n")
    return 1 if tally.faults else 0


def tiny_models(folder: Path) -> Path:
    from tests.bundles import write_tiny_bundle

    return write_tiny_bundle(folder)


def uploads(address: str, work: Path, count: int, library: Library, tally: Tally) -> None:
    client, found = visitor(address), Counter()
    for number in range(count):
        path = hostile.malformed(number, work)
        kind, words = answer(client, image=handle_file(str(path)), prompt=PROMPT, **FIT)
        if kind == "sentence" and "image" not in words.lower():
            kind = "a sentence about something else"
        found[kind] += 1
        if kind != "sentence":
            tally.faults.append(f"upload {path.name}: {kind}: {words[:300]}")
        path.unlink()
    tally.add(f"{count} malformed uploads", _told(found))
    still_serves(client, work, library, tally, "after the uploads")


def strange_values(address: str, work: Path, count: int, library: Library, tally: Tally) -> None:
    client, found, path = (
        visitor(address),
        Counter(),
        _write(hostile.good(0), work / "plain.png"),
    )
    for number in range(count):
        asked = hostile.hostile(number)
        ((name, value),) = asked.items()
        given = {"prompt": PROMPT, **FIT} | asked
        kind, words = answer(client, image=handle_file(path), **given)
        found[kind] += 1
        allowed = {"sentence", "edit"} if name == "prompt" or hostile.fine(name, value) else {"sentence"}
        if kind not in allowed:
            tally.faults.append(f"{name}={str(value)[:60]!r}: {kind}: {words[:300]}")
    tally.add(f"{count} hostile prompts and values", _told(found))
    still_serves(client, work, library, tally, "after the hostile values")


def cancels(address: str, work: Path, count: int, library: Library, tally: Tally) -> None:
    """Every other cancelled run is a fit, the others edits after one; the moment is drawn by seed."""
    client, equal, at_work = visitor(address), 0, 0
    picture = hostile.good(1)
    path, rng = _write(picture, work / "cancel.png"), np.random.default_rng(0)
    for number in range(count):
        wanted = library.edit(picture, PROMPT, number, number)
        asked = {"image": handle_file(path), "prompt": PROMPT, "fit_seed": number}
        if number % 2:
            job = client.submit(**asked, **LONG, api_name="/imagic_prepare")
        else:
            job = client.submit(**asked, **FIT | {"steps": 200, "eta": 0.3}, api_name="/imagic_edit")
        end = time.monotonic() + ANSWER_SECONDS
        while not job.outputs() and not job.done() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 1)))
        at_work += not job.done()
        job.cancel()
        kind, words, shown = picture_of(client, path, number, number)
        if kind == "edit" and (shown == wanted).all():
            equal += 1
        else:
            tally.faults.append(f"after cancel {number}: {kind}: {words[:300]}")
    tally.add(
        f"{count} cancels, each followed by an edit", f"{at_work} while at work; {equal} equal to a fresh one"
    )


def crowd(
    address: str,
    work: Path,
    clients: int,
    minutes: float,
    library: Library,
    process: psutil.Process,
    tally: Tally,
) -> None:
    """Clients at once, each with a picture of its own and new seeds all the time; and the app's memory."""
    end, seen, lock = time.monotonic() + 60 * minutes, [], threading.Lock()

    def visit(number: int) -> None:
        path = _write(hostile.good(100 + number), work / f"client-{number}.png")
        client, turn = visitor(address), 0
        while time.monotonic() < end:
            seed = 1000 * number + turn
            kind, words, shown = picture_of(client, path, number, seed)
            with lock:
                seen.append((number, seed, kind, words, shown))
            turn += 1

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(process.memory_info().rss / 2**20)
        time.sleep(max(0.1, minutes / 10))
    own = 0
    for number, seed, kind, words, shown in seen:
        wanted = library.edit(hostile.good(100 + number), PROMPT, number, seed)
        if kind == "edit" and (shown == wanted).all():
            own += 1
        else:
            tally.faults.append(f"client {number}, seed {seed}: {kind}, not its own picture: {words[:300]}")
    tally.add(f"{clients} clients for {minutes:g} minutes", f"{len(seen)} edits, {own} its own to the byte")
    quarter = max(1, len(memory) // 4)
    warm, late = (float(np.median(part)) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    tally.add("memory of the app, second and last quarter", f"{warm:.0f} MB, {late:.0f} MB")
    if late > 1.05 * warm + 10:
        tally.faults.append(f"memory grew from {warm:.0f} to {late:.0f} MB after warming up")


def still_serves(client: Client, work: Path, library: Library, tally: Tally, when: str) -> None:
    picture = hostile.good(2)
    kind, words, shown = picture_of(client, _write(picture, work / "good.png"), 5, 6)
    right = kind == "edit" and (shown == library.edit(picture, PROMPT, 5, 6)).all()
    tally.add(f"a plain edit {when}", "as by the library" if right else kind)
    if not right:
        tally.faults.append(f"a plain edit {when}: {kind}: {words[:300]}")


def _write(picture: Image.Image, path: Path) -> str:
    picture.save(path)
    return str(path)


def _told(found: Counter) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in found.most_common())


if __name__ == "__main__":
    sys.exit(main())
