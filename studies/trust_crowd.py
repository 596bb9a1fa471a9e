"""The half of the study of trust about time: runs that are cancelled, and many visitors at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import psutil

from studies.visits import ANSWER_SECONDS, visitor
from studies.visits_asks import METHODS, Library, Pictures, picture_of, plain

# Runs that take long enough to be cancelled: the endpoint, what makes it long, and whose edit follows.
LONG = (
    ("imagic_prepare", {"embedding_steps": 400, "finetune_steps": 400}, "imagic"),
    (
        "prompt_to_prompt_prepare",
        {"inversion": "null_text", "steps": 100, "inner_steps": 20},
        "prompt_to_prompt",
    ),
    ("paint_by_example_edit", {"steps": 200}, "paint_by_example"),
    ("styleclip_optimizer_prepare", {"steps": 300}, "styleclip_optimizer"),
    ("styleclip_project", {"projection_steps": 500}, "styleclip_directions"),
    ("imagic_sweep", {"x_values": "0-1 [8]", "y": "seed", "y_values": "0-7", "steps": 60}, "imagic"),
    ("styleclip_mapper_train", {"train_steps": 5000}, "styleclip_mapper"),
    ("prompt_to_prompt_edit", {"steps": 200}, "prompt_to_prompt"),
    ("compare", {"methods": ["sdedit", "p2p_null_text", "imagic"], "sdedit_steps": 200}, "compare"),
    ("imagic_edit", {"steps": 200, "eta": 0.3}, "imagic"),
    ("paint_by_example_sweep", {"x_values": "1-8 [8]", "steps": 100}, "paint_by_example"),
    ("imagic_best_of_seeds", {"seeds": 16, "steps": 100}, "imagic"),
)


def cancels(address: str, work: Path, count: int, seed: int, library: Library, tally) -> None:
    """The runs of LONG in turn; the moment is drawn. Half are cancelled by the client, half by Stop."""
    client, rng, equal, at_work = visitor(address, work), np.random.default_rng(seed), 0, 0
    for number in range(count):
        api, longer, method = LONG[number % len(LONG)]
        mine = Pictures(work, 1000 + number)
        wanted = library.edit(method, mine, number)
        job = client.submit(**plain(api, mine) | longer, api_name=f"/{api}")
        end = time.monotonic() + ANSWER_SECONDS
        while not job.outputs() and not job.done() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 1)))
        at_work += not job.done()
        if number // len(LONG) % 2:
            client.predict(api_name="/imagic_stop")  # of the whole visit, whatever runs
        else:
            job.cancel()
        kind, words, shown = picture_of(client, method, mine, number)
        if kind == "edit" and (shown == wanted).all():
            equal += 1
        else:
            tally.fault(f"{method} after cancel {number}, of {api}: {kind}: {words[:300]}")
    found = f"{at_work} while at work; {equal} equal to a fresh one"
    tally.add(f"{count} cancels of {len(LONG)} kinds of run, each followed by an edit", found)


def crowd(
    address: str,
    work: Path,
    clients: int,
    minutes: float,
    library: Library,
    process: psutil.Process,
    tally,
    checked: int = 10_000,
) -> None:
    """Clients at once, each with a picture of its own, every method in turn; and the app's memory.

    checked: of how many edits at most the picture is compared with one made by the library alone.
    """
    end, seen, lock = time.monotonic() + 60 * minutes, [], threading.Lock()
    pictures = [Pictures(work, 100 + number) for number in range(clients)]

    def visit(number: int) -> None:
        client, turn = visitor(address, work), 0
        while time.monotonic() < end:
            method, place = METHODS[(number + turn) % len(METHODS)], 1000 * number + turn
            found = picture_of(client, method, pictures[number], place)
            with lock:
                seen.append((number, method, place, *found))
            turn += 1

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(process.memory_info().rss / 2**20)
        time.sleep(min(5, max(0.1, minutes / 10)))
    own, compared = 0, seen[:: max(1, -(-len(seen) // checked))]
    for number, method, place, kind, words, _ in seen:
        if kind != "edit":
            tally.fault(f"client {number}, {method} {place}: {kind}: {words[:300]}")
    for number, method, place, kind, _, shown in compared:
        if kind == "edit" and (shown == library.edit(method, pictures[number], place)).all():
            own += 1
        else:
            tally.fault(f"client {number}, {method} {place}: {kind}, not its own picture")
    found = f"{len(seen)} edits; {own} of {len(compared)} that were compared its own to the byte"
    tally.add(f"{clients} clients for {minutes:g} minutes", found)
    memory_of(memory, minutes, tally)


def same_cookie(address: str, work: Path, edits: int, library: Library, tally) -> None:
    """Two clients at once with one cookie, then two that call themselves the same visit.

    With one cookie each must see pictures of its own. Two of one visit share its line of messages, so that
    some get lost; but what comes must be their own.
    """
    cookie = {"Cookie": "session=one; access-token=one"}
    with_cookie = [visitor(address, work, headers=cookie) for _ in range(2)]
    own, lost = _two_at_once(with_cookie, work, edits, library, tally)
    tally.add(f"{2 * edits} edits of two clients with one cookie", f"{own} its own to the byte")
    if lost:
        tally.fault(f"{lost} edits of two clients with one cookie were not answered")
    of_one = [visitor(address, work) for _ in range(2)]
    of_one[1].session_hash = of_one[0].session_hash
    own, lost = _two_at_once(of_one, work, edits, library, tally)
    tally.add(f"{2 * edits} edits of two that call themselves one visit", f"{own} its own, {lost} unanswered")


def _two_at_once(clients: list, work: Path, edits: int, library: Library, tally) -> tuple[int, int]:
    """How many edits of two clients were their own, and how many had no picture for an answer."""
    found, lock = {"own": 0, "lost": 0}, threading.Lock()

    def visit(number: int) -> None:
        mine = Pictures(work, 500 + number)
        for turn in range(edits):
            method, place = METHODS[(3 * number + turn) % len(METHODS)], 50_000 + 1000 * number + turn
            kind, _, shown = picture_of(clients[number], method, mine, place)
            with lock:  # the library's models are of one thread at a time
                if kind != "edit":
                    found["lost"] += 1
                elif (shown == library.edit(method, mine, place)).all():
                    found["own"] += 1
                else:
                    tally.fault(f"client {number} of two, {method}: not its own picture")

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found["own"], found["lost"]


def memory_of(memory: list[float], minutes: float, tally) -> None:
    """What the app held over the minutes, in MB: twelve moments, and whether it went on growing."""
    moments = [memory[round(k * (len(memory) - 1) / 11)] for k in range(12)]
    told = ", ".join(f"{one:.0f}" for one in moments)
    tally.add(f"MB of the app at twelve moments of {minutes:g} minutes", told)
    quarter = max(1, len(memory) // 4)
    warm, late = (float(np.median(part)) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    tally.add(
        "memory of the app, second and last quarter; most",
        f"{warm:.0f} MB, {late:.0f} MB; {max(memory):.0f} MB",
    )
    if late > 1.05 * warm + 10:
        tally.fault(f"memory grew from {warm:.0f} to {late:.0f} MB after warming up")
