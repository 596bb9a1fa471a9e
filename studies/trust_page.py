"""The part of the study of trust about the page: links, and what a browser has stored, written by anybody."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import httpx
import numpy as np

from studies.visits import INNER

TAGS = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", '"><svg onload=alert(1)>')
NAMES = ("tab", "prompt", "source_prompt", "models", "eta", "seed", "steps", "guidance_scale", "sizing", "x")
VALUES = (
    *TAGS,
    "imagic",
    "prompt_to_prompt",
    "nowhere",
    "../../etc/passwd",
    "/etc/passwd",
    "1e999",
    "-1",
    "nan",
    "9" * 5000,
    "",
    "\x00",
    "{}",
    "[]",
    "toon + /etc/passwd",
    "owner/name",
    "\u202e\ufeff",
    "0.5",
)
STORED = (
    None,
    "text",
    "<script>alert(1)</script>",
    5,
    -1e308,
    True,
    [],
    [1, None, {}],
    {},
    {"imagic": 5},
    {"imagic": {"prompt": "<img src=x onerror=alert(1)>", "eta": "x", "seed": 1e99}},
    {"imagic": "f" * 32},
    {"query": "tab=<script>"},
    [{"key": "f" * 32, "words": "<img src=x onerror=alert(1)>"}],
    [{"key": "../../etc/passwd", "words": "a"}],
    {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
    {"edit": "/etc/passwd", "record": "{}", "pictures": {}},
    "x" * 100_000,
)
PAGE_LOADED = "load"  # the target of what is done when a page is opened
OF_HOST = "root:x:"  # of /etc/passwd


def links(address: str, work: Path, count: int, seed: int, tally) -> None:
    """Open the page by links with strange settings: it must be there, and hand on no tags of theirs."""
    rng, found = np.random.default_rng([seed, 1]), Counter()
    page = httpx.get(f"{address}/config", timeout=300).json()
    at_load = [one for one in page["dependencies"] if any(two[1] == PAGE_LOADED for two in one["targets"])]
    for _ in range(count):
        names = rng.choice(NAMES, size=4, replace=False)
        query = urlencode({name: VALUES[int(rng.integers(len(VALUES)))] for name in names})
        shown = httpx.get(f"{address}/?{query}", timeout=300)
        words = _tags_in(shown.text)
        for one in at_load:
            told = called(address, one, [None] * len(one["inputs"]), query)
            words = words or _tags_in(told) or (INNER.search(told) and "a program's inner words")
        good = shown.status_code == 200 and not words
        found["opened"] += good
        if not good:
            tally.fault(f"link {query[:200]}: {shown.status_code}: {words}")
    tally.add(f"{count} links with strange settings", f"{found['opened']} opened the page, with none of it")


def stored_by_anybody(address: str, count: int, seed: int, tally) -> None:
    """Call the handlers that only the page calls, each with values that no page has stored.

    They may refuse in any way; but no file of the host may come back, and no tag but as text.
    """
    rng, answered = np.random.default_rng([seed, 2]), Counter()
    page = httpx.get(f"{address}/config", timeout=300).json()
    own = [one for one in page["dependencies"] if one["backend_fn"] and one["api_visibility"] == "private"]
    for number in range(count):
        one = own[number % len(own)]
        data = [STORED[int(rng.integers(len(STORED)))] for _ in one["inputs"]]
        told = called(address, one, data)
        answered["refused" if '"success": false' in told or not told else "answered"] += 1
        if wrong := _tags_in(told) or (OF_HOST in told and "a file of the host"):
            tally.fault(f"handler {one['id']} ({one.get('api_name')}) of {json.dumps(data)[:300]}: {wrong}")
    words = ", ".join(f"{number} {kind}" for kind, number in answered.most_common())
    tally.add(f"{count} calls of {len(own)} handlers of the page with stored values of nobody", words)


def called(address: str, event: dict, data: list, query: str = "") -> str:
    """What the page would get that triggers an event: the data of its last message, as JSON."""
    session = secrets.token_hex(5)
    body = {"data": data, "fn_index": event["id"], "session_hash": session, "trigger_id": None}
    url = f"{address}/gradio_api/queue"
    reply = httpx.post(f"{url}/join?{query}", json=body, timeout=300)
    if reply.status_code != 200:
        return ""
    last = ""
    with httpx.stream("GET", f"{url}/data?session_hash={session}", timeout=300) as messages:
        for line in messages.iter_lines():
            if line.startswith("data:"):
                last = line.removeprefix("data:").strip()
                if '"process_completed"' in last or '"close_stream"' in last:
                    break
    return last


def _tags_in(text: str) -> str:
    """The tag of ours that stands in a text as a tag, "" for none; of JSON its strings are looked at.

    A value that a field holds is no HTML, so it may have tags: what is looked for are those in markup.
    """
    try:
        found = json.loads(text)
    except ValueError:
        return next((tag for tag in TAGS if tag in text), "")
    return next((tag for one in _markup(found) for tag in TAGS if tag in one), "")


def _markup(found: object) -> list[str]:
    """The strings of an answer that are markup: with a tag of the page's own."""
    if isinstance(found, str):
        return [found] if "<p class" in found or "<div" in found else []
    if isinstance(found, dict):
        found = list(found.values())
    return [text for one in found for text in _markup(one)] if isinstance(found, list) else []
