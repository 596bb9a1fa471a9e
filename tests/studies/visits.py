"""Visits to the running app: app.py in a process of its own, what it answers, and the same by the library."""

from __future__ import annotations

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

import numpy as np
import psutil
from gradio_client import Client, handle_file
from PIL import Image

ROOT = Path(__file__).parents[2]
PROMPT = "a woman in a red hat"
FIT = {"embedding_steps": 2, "finetune_steps": 2, "finetune_lr": 1e-3, "steps": 2}
SORRY = "Something went wrong"
SENTENCE = re.compile(r"[^\n]{10,400}[.!?]")
FRAME = re.compile(r"\d+ parameter\(s\) failed validation:")  # one line above a sentence for each field
STARTS, START_SECONDS, ANSWER_SECONDS = 5, 600, 300


class Library:
    """The same edits by the library alone, in this process."""

    def __init__(self, folder: Path):
        import torch

        from textedit_core.models import zoo

        torch.set_num_threads(1)
        self.models = zoo.load(folder)
        self._fits: dict = {}

    def edit(self, picture: Image.Image, prompt: str, fit_seed: int, seed: int) -> np.ndarray:
        """The pixels that /imagic_edit must return for FIT and these seeds."""
        from textedit_core.images import to_pil, to_tensor
        from textedit_core.knobs import divide
        from textedit_core.methods import imagic
        from textedit_core.steps import last

        model = self.models.diffusion
        settings = dict(self.models.presets.get("imagic", {})) | FIT | {"fit_seed": fit_seed, "seed": seed}
        of_fit, of_edit = divide(settings, imagic.edit, imagic.fit)
        name = (picture.tobytes(), prompt, fit_seed)
        if name not in self._fits:
            self._fits[name] = last(imagic.fit(model, to_tensor(picture, model.size), prompt, **of_fit))
        return np.asarray(to_pil(last(imagic.edit(model, self._fits[name], **of_edit)))[0])


@contextmanager
def running_app(folder: Path, work: Path):
    """app.py in a process of its own: its address, and the process to watch; its output goes to app.log.

    On a machine that is too busy gradio gives up on its own page while it starts: it is started again then.
    """
    for _ in range(STARTS):
        process, address = _started(folder, work)
        end = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < end and not _answers(address):
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


def _started(folder: Path, work: Path) -> tuple[subprocess.Popen, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    given = os.environ | one_thread | {"HF_HUB_OFFLINE": "1", "GRADIO_TEMP_DIR": str(work / "files")}
    command = [sys.executable, "app.py", "--models", str(folder), "--port", str(port), "--device", "cpu"]
    with (work / "app.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=given)
    return process, f"http://127.0.0.1:{port}"


def visitor(address: str) -> Client:
    """A client with a session of its own, patient with a busy machine."""
    return Client(address, verbose=False, httpx_kwargs={"timeout": ANSWER_SECONDS})


def picture_of(client: Client, path: str, fit_seed: int, seed: int) -> tuple[str, str, np.ndarray | None]:
    """A plain edit: kind of the answer, its words, its pixels."""
    asked = {"image": handle_file(path), "prompt": PROMPT, "fit_seed": fit_seed, "seed": seed, **FIT}
    kind, found = answer(client, **asked)
    if kind != "edit":
        return kind, found, None
    with Image.open(found) as image:
        return kind, "", np.asarray(image.convert("RGB"))


def answer(client: Client, **asked) -> tuple[str, str]:
    """What /imagic_edit answers: ("edit", path), ("sentence", it), or what it was instead and its words."""
    try:
        job = client.submit(**asked, api_name="/imagic_edit")
        return "edit", job.result(timeout=ANSWER_SECONDS)[0]
    except Exception as error:
        words = str(error).strip()
    if SORRY in words:
        return "an unexpected error", words
    if "Traceback" in words or 'File "' in words:
        return "a traceback", words
    told = [line.removeprefix("- ") for line in words.splitlines() if not FRAME.fullmatch(line)]
    good = bool(told) and all(map(SENTENCE.fullmatch, told))
    return ("sentence" if good else "no sentence"), words or "(nothing)"


def _answers(address: str) -> bool:
    """Whether the page is there, and not only something that takes the connection."""
    try:
        with urllib.request.urlopen(f"{address}/config", timeout=30) as found:
            return found.status == 200
    except (OSError, HTTPException):
        return False
