"""Visits to the running app: app.py in a process of its own, its clients, and what it answers them."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httpx
import psutil
from gradio_client import Client

ROOT = Path(__file__).parents[1]
SORRY = "Something went wrong"
SENTENCE = re.compile(r"[^\n]{10,400}[.!?]")
FRAME = re.compile(r"\d+ parameter\(s\) failed validation:")  # one line above a sentence for each field
# The inner words of a program, which no person should have to read.
INNER = re.compile(
    r"Traceback|File \"|Errno|\w+Error\b|Exception|NoneType|<class|unhashable|invalid literal|pydantic"
    r"|positional argument|object (is|has) n|could not be converted|cannot convert|Value: |preprocess"
)
PROBLEM = re.compile(r'<p class="note problem"[^>]*>(.*?)</p>', re.DOTALL)
LAUNCHED = "To create a public link"  # gradio says so once it has found its own page
STARTS, START_SECONDS, ANSWER_SECONDS = 5, 600, 300


@contextmanager
def running_app(folder: Path, work: Path, **environment: str):
    """app.py in a process of its own: its address, and the process to watch; its output goes to app.log.

    environment: variables of that process.
    On a machine that is too busy gradio gives up on its own page while it starts: it is started again then.
    """
    for _ in range(STARTS):
        process, address = _started(folder, work, environment)
        end = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < end:
            if LAUNCHED in (work / "app.log").read_text(errors="replace") and _answers(address):
                break
            time.sleep(0.5)
        if process.poll() is None:
            break
    else:
        raise RuntimeError((work / "app.log").read_text(errors="replace")[-2000:])
    try:
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _started(folder: Path, work: Path, environment: dict[str, str]) -> tuple[subprocess.Popen, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    own |= {"GRADIO_TEMP_DIR": str(work / "files"), "TEXTEDIT_HOME": str(work / "home")}
    command = [sys.executable, "app.py", "--models", str(folder), "--port", str(port), "--device", "cpu"]
    with (work / "app.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | own | environment
        )
    return process, f"http://127.0.0.1:{port}"


def _answers(address: str) -> bool:
    """Whether the page is there, and not only something that takes the connection."""
    try:
        with urllib.request.urlopen(f"{address}/config", timeout=30) as found:
            return found.status == 200
    except (OSError, HTTPException):
        return False


def visitor(address: str, work: Path, **more: Any) -> Client:
    """A client with a session of its own, patient with a busy machine; what it fetches lies in `work`."""
    patient = {"timeout": ANSWER_SECONDS}
    fetched = str(work / "fetched")
    return Client(address, verbose=False, httpx_kwargs=patient, download_files=fetched, **more)


def endpoints(client: Client) -> list[tuple[str, dict[str, str]]]:
    """Every public endpoint that takes something: (name, {field: kind of its widget})."""
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    found = [
        (name.removeprefix("/"), {one["parameter_name"]: one["component"] for one in about["parameters"]})
        for name, about in named.items()
    ]
    return [(name, fields) for name, fields in found if fields]


def answer(client: Client, api: str, asked: dict, *names: str) -> tuple[str, str, tuple]:
    """What an endpoint answers: its kind, its words, and what it returned if it did.

    The kind is "edit", or "sentence" for one that speaks of one of `names`, or what it was instead.
    """
    try:
        out = client.submit(**asked, api_name=f"/{api}").result(timeout=ANSWER_SECONDS)
        out = out if isinstance(out, tuple) else (out,)
    except Exception as error:
        words = _words(error)
        return _kind(words, names), words or "(nothing)", ()
    if found := PROBLEM.search("\n".join(one for one in out if isinstance(one, str))):
        words = html.unescape(found[1])
        return _kind(words, names), words, ()
    return "edit", "", out


def _words(error: Exception) -> str:
    """What the page would say: of a request that was not taken the words are in the body."""
    if isinstance(error, httpx.HTTPStatusError):
        try:
            return str(json.loads(error.response.text)["detail"]).strip()
        except (ValueError, KeyError, TypeError):
            return error.response.text.strip()
    return str(error).strip() or type(error).__name__


def _kind(words: str, names: tuple[str, ...]) -> str:
    """Whether words are a sentence (or one for each field), and speak of one of `names`, if there are any."""
    if SORRY in words:
        return "an unexpected error"
    if INNER.search(words):
        return "a program's inner words"
    told = [line.removeprefix("- ") for line in words.splitlines() if not FRAME.fullmatch(line)]
    if not told or not all(map(SENTENCE.fullmatch, told)):
        return "no sentence"
    named = not names or any(name.lower() in words.lower() for name in names)
    return "sentence" if named else "a sentence about something else"
