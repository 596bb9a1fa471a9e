"""The part of the study of trust about the host: a disk that is full, and an app that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import httpx
from gradio_client import Client

from studies.visits import answer, running_app, visitor
from studies.visits_asks import METHODS, Library, Pictures, asked_of, picture_of, plain

PROBLEM = "disk of this host is full"
DISK = "8m"  # as mount writes it: room for the page, and for a few pictures


def full_disk(folder: Path, work: Path, library: Library, tally) -> None:
    """An app whose temporary files lie on a small disk that something else fills; then it is emptied."""
    disk = work / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", disk], check=False)
    if mounted.returncode:
        tally.add("a full disk", "left out: only root can make a small one")
        return
    try:
        there = {"GRADIO_TEMP_DIR": str(disk / "files"), "TMPDIR": str(disk)}
        with running_app(folder, work, **there) as (address, _):
            client, mine, kinds = visitor(address, work), Pictures(work, 700), []
            picture_of(client, "imagic", mine, 1)  # what is made at the first edit
            uploaded = {name: _uploaded(address, path) for name, path in mine.paths.items()}
            filler = disk / "filler"
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            if PROBLEM not in (said := _posted(address, mine.paths["image"]).text):
                tally.fault(f"an upload on a full disk: {said[:300]}")
            for turn, method in enumerate(METHODS):
                api, asked = asked_of(method, mine, 60_000 + turn)
                asked |= {name: sent for name, sent in uploaded.items() if name in asked}
                said = _called(client, address, api, asked)
                kinds.append("told" if PROBLEM in said else "made" if said.startswith("complete") else said)
                if kinds[-1] == said:
                    tally.fault(f"{method} on a full disk: {said[:300]}")
            filler.unlink()
            right = 0
            for turn, method in enumerate(METHODS[:3]):
                kind, _, shown = picture_of(visitor(address, work), method, mine, 61_000 + turn)
                right += kind == "edit" and bool((shown == library.edit(method, mine, 61_000 + turn)).all())
            words = f"{kinds.count('told')} of {len(kinds)} told so in a sentence, {kinds.count('made')} made"
            tally.add("edits while the disk is full", f"{words}; {right} of 3 right once there is room")
            if right < 3:
                tally.fault("edits are not right after the disk was full")
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def _posted(address: str, path: str) -> httpx.Response:
    with open(path, "rb") as file:
        return httpx.post(f"{address}/gradio_api/upload", files={"files": file}, timeout=300)


def _uploaded(address: str, path: str) -> dict:
    """A file that has been uploaded, as the page sends it with an edit."""
    return {"path": _posted(address, path).json()[0], "meta": {"_type": "gradio.FileData"}}


def _called(client: Client, address: str, api: str, asked: dict) -> str:
    """The last event of a call, "complete" or "error", and its data; files are not uploaded again."""
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    data = [
        asked.get(one["parameter_name"], one.get("parameter_default"))
        for one in named[f"/{api}"]["parameters"]
    ]
    url = f"{address}/gradio_api/call/{api}"
    event = httpx.post(url, json={"data": data}, timeout=300).json()["event_id"]
    *_, last = httpx.get(f"{url}/{event}", timeout=600).text.strip().split("event: ")
    return last


def killed(folder: Path, work: Path, library: Library, tally) -> None:
    """An app that is killed in the middle of a fit, and one that is started in its place."""
    place = work / "killed"
    place.mkdir()
    there = {"TMPDIR": str(place)}
    with running_app(folder, work, **there) as (address, process):
        client, mine = visitor(address, work), Pictures(work, 800)
        picture_of(client, "imagic", mine, 1)
        long = {"embedding_steps": 400, "finetune_steps": 400}
        job = client.submit(**plain("imagic_prepare", mine) | long, api_name="/imagic_prepare")
        while not job.outputs() and not job.done():
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        before = {one.name for one in place.glob("textedit-cache-*")}
    with running_app(folder, work, **there) as (address, _):
        after = {one.name for one in place.glob("textedit-cache-*")}
        client, right = visitor(address, work), 0
        for turn, method in enumerate(METHODS):
            kind, words, shown = picture_of(client, method, mine, 70_000 + turn)
            if kind == "edit" and (shown == library.edit(method, mine, 70_000 + turn)).all():
                right += 1
            else:
                tally.fault(f"{method} in the app after a killed one: {kind}: {words[:300]}")
        kind, *_ = answer(client, "imagic_prepare", plain("imagic_prepare", mine))
        gone = not before & after
        words = f"{right} of {len(METHODS)} edits of the next one as by the library"
        tally.add("an app that was killed in a fit", f"{words}; what it kept is {'gone' if gone else 'left'}")
        if not gone or kind != "edit":
            tally.fault(f"after a killed app: {before & after} left, prepare: {kind}")
