"""python -m studies.trust: whether the running app can be trusted with anybody's visit.

Starts app.py on tiny random models (or --models) and, as its clients: sends malformed uploads to every field
that takes a file, and hostile texts and values to every other field of every tab, each of which must be
answered with a sentence that names the field (or an edit, where the value is fine); cancels runs of every tab
at random moments, each followed by an edit that must equal one made by the library alone; lets several
clients work at once, each of whom must only ever see pictures of its own, also where two share a cookie;
watches the memory of the app; follows strange links, and hands the page's own handlers values that no page
has stored; at last fills the disk of an app, and kills another one.
Prints a Markdown table; ends with 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from gradio_client import handle_file

from studies import hostile, hostile_values
from studies.trust_crowd import cancels, crowd, same_cookie
from studies.trust_host import full_disk, killed
from studies.trust_page import links, stored_by_anybody
from studies.visits import INNER, answer, endpoints, running_app, visitor
from studies.visits_asks import METHODS, Library, Pictures, picture_of, plain

OWN = {"origin": "picture"}
PAINT = {"methods": ["paint_by_example"]}
# Every field that takes a file: the endpoint, the field, what its sentence speaks of, what must be asked too.
PLACES = (
    ("imagic_edit", "image", "source image", {}),
    ("recall", "file", "recall", {}),
    ("prompt_to_prompt_edit", "image", "source image", {}),
    ("paint_by_example_edit", "image", "source image", {}),
    ("paint_by_example_edit", "mask", "mask", {}),
    ("paint_by_example_edit", "exemplar", "exemplar", {}),
    ("styleclip_project", "image", "own picture", {}),
    ("compare_add", "file", "png", {}),
    ("styleclip_directions_edit", "image", "own picture", OWN),
    ("styleclip_optimizer_edit", "image", "own picture", OWN),
    ("styleclip_mapper_edit", "image", "own picture", OWN),
    ("compare", "image", "source image", {}),
    ("compare", "mask", "mask", PAINT),
    ("compare", "exemplar", "exemplar", PAINT),
    ("imagic_sweep", "image", "source image", {}),
    ("paint_by_example_sweep", "mask", "mask", {}),
    ("imagic_best_of_seeds", "image", "source image", {}),
    ("text2live_edit", "image", "source image", {}),
    ("imagic_sweep", "pictures", "pictures", {}),
    ("tedigan_edit", "image", "own picture", OWN),
    ("styleflow_edit", "image", "own picture", OWN),
)
LEFT_OUT = ("compare_pair",)  # a key that is not on its shelf gives way: there is nothing to refuse


@dataclass
class Tally:
    """What was counted, and what was not as it must be."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, what: str, found: str) -> None:
        self.rows.append((what, found))
        sys.stdout.write(f"| {what} | {found} |\n")
        sys.stdout.flush()

    def fault(self, words: str) -> None:
        self.faults.append(words)
        sys.stderr.write(f"NOT AS IT MUST BE: {words}\n")
        sys.stderr.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--hostile", type=int, default=200)
    parser.add_argument("--cancels", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument(
        "--checked", type=int, default=200, help="edits of the crowd that are compared, at most"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the hostile values and the moments of cancels"
    )
    parser.add_argument("--same", type=int, default=10, help="edits each of two clients of one cookie")
    parser.add_argument("--links", type=int, default=100, help="links with strange settings")
    parser.add_argument("--stored", type=int, default=300, help="calls of the page's own handlers")
    parser.add_argument(
        "--host",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a full disk and a killed app, in apps of their own",
    )
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
            strangers(address, work, tally)
            strange_values(address, work, options.hostile, options.seed, library, tally)
            cancels(address, work, options.cancels, options.seed, library, tally)
            crowd(address, work, options.clients, options.minutes, library, process, tally, options.checked)
            same_cookie(address, work, options.same, library, tally)
            no_tracebacks(work, tally)
            links(address, work, options.links, options.seed, tally)
            stored_by_anybody(address, options.stored, options.seed, tally)
            still_serves(address, work, library, tally, "after strange links and stored values")
        if options.host:
            full_disk(folder, work, library, tally)
            killed(folder, work, library, tally)
    sys.stdout.write(f"\n{len(tally.faults)} faults.\n")
    return 1 if tally.faults else 0


def tiny_models(folder: Path) -> Path:
    from tests.bundles import write_tiny_bundle

    return write_tiny_bundle(folder)


def uploads(address: str, work: Path, count: int, library: Library, tally: Tally) -> None:
    """The fields in turn; where settings are read, every other file is a good PNG with settings that lie."""
    client, found, mine = visitor(address, work), Counter(), Pictures(work, 0)
    for number in range(count):
        api, name, called, more = PLACES[number % len(PLACES)]
        turn = number // len(PLACES)
        if name == "file" and turn % 2 == 0:
            path = hostile.lying_record(turn // 2 + len(hostile.RECORDS) // 2 * (api == "recall"), work)
        else:
            path = hostile.malformed(number, work)
        sent = [handle_file(str(path))] if name == "pictures" else handle_file(str(path))
        sent = {"background": None, "layers": [sent], "composite": None} if name == "mask" else sent
        asked = plain(api, mine) | more | {name: sent}
        if name == "file" and api == "compare_add":
            asked |= {"a": None, "b": None}
        kind, words, _ = answer(client, api, asked, called)
        found[kind] += 1
        if kind != "sentence":
            tally.fault(f"upload {path.name} as {name} of {api}: {kind}: {words[:300]}")
        path.unlink()
    tally.add(f"{count} malformed uploads in {len(PLACES)} fields", told(found))
    still_serves(address, work, library, tally, "after the uploads")


def strangers(address: str, work: Path, tally: Tally) -> None:
    """Files that nobody uploaded, of the host and of its network, must not be read."""
    named = visitor(address, work).view_api(return_format="dict", print_info=False)["named_endpoints"]
    paths = ("/etc/passwd", "app.py", "../../../../etc/hosts", f"{address}/config", "file:///etc/passwd")
    found = Counter()
    for path in paths:
        for where in ("path", "url"):
            sent = {where: path, "meta": {"_type": "gradio.FileData"}}
            data = [
                {"image": sent, "prompt": "a hat"}.get(one["parameter_name"], one.get("parameter_default"))
                for one in named["/imagic_edit"]["parameters"]
            ]
            reply = httpx.post(f"{address}/gradio_api/call/imagic_edit", json={"data": data}, timeout=300)
            refused = reply.status_code in (400, 422) and not INNER.search(reply.text)
            found["refused" if refused else "taken"] += 1
            if not refused:
                tally.fault(f"{where} {path}: {reply.status_code} {reply.text[:300]}")
    tally.add(f"{2 * len(paths)} files that nobody uploaded", told(found))


def strange_values(address: str, work: Path, count: int, seed: int, library: Library, tally: Tally) -> None:
    """Every endpoint in turn, its texts and its other fields in turn."""
    client, found, mine = visitor(address, work), Counter(), Pictures(work, 0)
    known = [one for one in endpoints(client) if one[0] not in LEFT_OUT and "file" not in one[1]]
    answer(client, "recall", {"file": mine.image})  # after it each widget is one that gradio made anew
    for number in range(count):
        wrong = hostile_values.strange(number, known, seed)
        kind, words, _ = answer(client, wrong.api, plain(wrong.api, mine) | wrong.asked, *wrong.names)
        found[kind] += 1
        if kind not in wrong.answers:
            value = str(wrong.asked[wrong.field])[:60]
            tally.fault(f"{wrong.api}, {wrong.field}={value!r}: {kind}: {words[:300]}")
    tally.add(f"{count} hostile texts and values at {len(known)} endpoints", told(found))
    still_serves(address, work, library, tally, "after the hostile values")


def no_tracebacks(work: Path, tally: Tally) -> None:
    """Nothing that the app was asked by its API has surprised it."""
    log = (work / "app.log").read_text(errors="replace")
    tracebacks = log.count("Traceback (most recent call last)")
    tally.add("tracebacks in the app's log", str(tracebacks))
    if tracebacks:
        tally.fault(log[log.index("Traceback (most recent call last)") :][:3000])


def still_serves(address: str, work: Path, library: Library, tally: Tally, when: str) -> None:
    """One plain edit by every method."""
    client, mine, right = visitor(address, work), Pictures(work, 2), 0
    for method in METHODS:
        kind, words, shown = picture_of(client, method, mine, 6)
        if kind == "edit" and (shown == library.edit(method, mine, 6)).all():
            right += 1
        else:
            tally.fault(f"a plain edit by {method} {when}: {kind}: {words[:300]}")
    tally.add(f"plain edits {when}, one by each method", f"{right} of {len(METHODS)} as by the library")


def told(found: Counter) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in found.most_common())


if __name__ == "__main__":
    sys.exit(main())
