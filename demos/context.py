"""What every tab is given: the models, folders for results, the pace of earlier runs, and how to stop a run.

Nothing here belongs to one visitor: results live in the cache by content, what is shown lives in the page.
"""

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import torch
from gradio.utils import get_upload_folder
from PIL import Image

from demos.shared.shelf import OWN_FOLDERS, Shelf
from textedit_core.models import additions
from textedit_core.models.diffusion.memory import check
from textedit_core.models.diffusion.safety import SafetyChecker
from textedit_core.record import image_sha

log = logging.getLogger("textedit")
MODEL_LANE = {"concurrency_id": "model", "concurrency_limit": 1}
STOP_LANE = {"concurrency_limit": None}  # no Stop waits for that of another visitor
DAY = 86_400
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_private(host: str, share: bool = False, public: bool = False) -> bool:
    """Whether a page served there can be opened on this machine alone.

    public: what its host says of it; behind a proxy that cannot be seen from here.
    """
    return host in LOOPBACK and not (share or public) and "SPACE_ID" not in os.environ


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Pace:
    """Seconds a step of each kind of work takes, learned from the runs so far."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, str], float] = {}

    def observe(self, models: str, kind: str, steps: float, seconds: float) -> None:
        """Blend a finished run of `steps` steps into the mean."""
        if steps > 0 and seconds > 0:
            old = self._seconds.get((models, kind), seconds / steps)
            self._seconds[models, kind] = 0.5 * old + 0.5 * seconds / steps

    def guess(self, models: str, kind: str, steps: float) -> float | None:
        """Seconds for `steps` steps, or None before the first run of this kind."""
        each = self._seconds.get((models, kind))
        return 0.0 if not steps else None if each is None else each * steps


class Stops:
    """Lets a Stop button end the run of its own page after the step in hand, keeping what is done."""

    def __init__(self) -> None:
        self._flags: dict[str, threading.Event] = {}
        self._changed = threading.Condition()

    @contextmanager
    def running(self, session: str | None) -> Iterator[threading.Event]:
        """While open, ask(session) sets the event this hands out."""
        flag, name = threading.Event(), session or secrets.token_hex(8)
        with self._changed:
            self._flags[name] = flag
        try:
            yield flag
        finally:
            with self._changed:
                if self._flags.get(name) is flag:
                    del self._flags[name]
                self._changed.notify_all()

    def ask(self, session: str | None) -> bool:
        """Set the flag of a session's run and wait until it has ended; False when nothing was running.

        It waits however long a step takes, since a run that is cancelled instead loses what it has done.
        """
        with self._changed:
            flag = self._flags.get(session or "")
            if flag is None:
                return False
            flag.set()
            self._changed.wait_for(lambda: self._flags.get(session or "") is not flag)
            return True


@dataclass(frozen=True, eq=False)
class Context:
    """What all visitors share: the loader of models, the device, the limits of this host, pace and Stops.

    folders: whether visitors may name what they like as models: folders and files of this machine, and any
    repository of the hub.  allowed: what they may name otherwise, beside the loader's own list: models, and
    LoRA and textual inversion files to add.  dtype: "float16" or another of
    torch's, for all models; "auto" is what the loader takes by itself.  memory: how much of
    the device's memory diffusion models may take, at first; see `use_memory`.  checker: refuses results of
    models from the hub or a folder; None for a host that has not turned it on.  gpu_seconds: on ZeroGPU the
    time that one run may ask for, while `device` is that of what is not heavy; None elsewhere.  shelf: what
    pages may show again, by keys.
    """

    zoo: ModuleType
    default: str = "toon"
    device: str = "auto"
    max_cells: int = 64
    folders: bool = field(default_factory=lambda: "SPACE_ID" not in os.environ)
    dtype: str = "auto"
    checker: SafetyChecker | None = None
    memory: str = "auto"
    allowed: tuple[str, ...] = ()
    gpu_seconds: int | None = None
    pace: Pace = field(default_factory=Pace)
    stops: Stops = field(default_factory=Stops)
    shelf: Shelf = field(default_factory=Shelf)
    _models: dict = field(default_factory=dict)
    _memory: list = field(default_factory=list)  # the level chosen on the page, if one was
    _ready: set = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loading: threading.Lock = field(default_factory=threading.Lock)

    def models(self, name: str):
        """The models called `name`, shared by everybody. Nothing is fetched before a part is used."""
        name = self.named(name)
        self.check_allowed(name)
        plain, added = additions.split(name)
        with self._lock:
            if plain not in self._models:
                precision = {} if self.dtype == "auto" else {"dtype": getattr(torch, self.dtype)}
                models = self.zoo.load(plain, device=self.device, memory=self.level, **precision)
                bundled = plain in self.zoo.NAMES and plain not in self.zoo.HUB
                judged = self.checker is not None and not bundled
                self._models[plain] = replace(models, checker=self.checker) if judged else models
            models = self._models[plain]
            return models.adding(added) if added else models

    def check_allowed(self, name: str) -> None:
        """Raise ValueError, one sentence, for models or an addition that this host does not offer."""
        if self.folders or name == self.default:
            return
        plain, added = additions.split(name)
        models = (*self.zoo.NAMES, self.default, *self.allowed)
        if plain not in models:
            offered = " and ".join(dict.fromkeys(models))
            raise ValueError(
                f"Models: this host offers {offered} only, no folders and no other repositories."
            )
        for item in added:
            if item.place not in self.allowed:
                raise ValueError(f"Models: this host does not offer {item.place} to add.")

    @property
    def level(self) -> str:
        """How much memory diffusion models may take now: "auto", "fast", "balanced" or "low"."""
        return self._memory[-1] if self._memory else self.memory

    def use_memory(self, level: str) -> None:
        """Take this level from now on, for all models and everybody; what is loaded stays loaded.

        Raises ValueError where visitors may not choose it, and for an unknown level.
        """
        if not self.folders:
            raise ValueError("Memory: the host of this page has set it.")
        if level != "auto":
            check(level)
        with self._loading, self._lock:
            changed = {name: models.with_memory(level) for name, models in self._models.items()}
            self._models.update(changed)
            self._memory[:] = [level]

    @property
    def known(self) -> dict:
        """The models that were asked for so far, with additions too, by the name that gives each again."""
        plain = dict(self._models)
        return plain | {made.name: made for models in plain.values() for made in models.remembered}

    def named(self, name: str | None) -> str:
        """The name of models that was sent, else the default's; ValueError, a sentence, for no text."""
        if name is not None and not isinstance(name, str):
            raise ValueError("Models: choose one of the list, or type the path of a folder.")
        return (name or "").strip() or self.default

    def load(self, name: str, part: str = "diffusion"):
        """The models with this part in memory, fetching what is missing; one load at a time."""
        models = self.models(name)
        with self._loading:
            getattr(models, part)
            self._ready.add((name, part))
        return models

    def loaded(self, name: str, part: str = "diffusion") -> bool:
        """Whether this part of these models is in memory, so that reading it fetches nothing."""
        name = self.named(name)
        if additions.split(name)[0] not in self._models:
            return False
        # Where a cached property keeps what it has made; what was added shares all other parts.
        models = self.models(name)
        return part in vars(models if part == "diffusion" else models.base or models)

    def warm(self) -> None:
        """Load the default models while the first visitor reads the page, if that fetches nothing."""
        if self.ready(self.default):
            threading.Thread(target=self.load, args=(self.default,), daemon=True).start()

    def ready(self, name: str, part: str = "diffusion") -> bool:
        """Whether using this part of `name` fetches nothing; with "diffusion" is CLIP, which scores.

        ValueError for an unknown name.
        """
        name, parts = self.named(name), () if part == "diffusion" else (part,)
        if (name, part) not in self._ready:
            needed = self.zoo.describe(name, *parts)["parts"]
            if not any(one["fetched"] for one in needed):
                self._ready.add((name, part))
        return (name, part) in self._ready

    def presets(self, name: str, method: str) -> dict:
        """Knob values that suit these models; empty where they have none or cannot be read."""
        try:
            return dict(self.models(name).presets.get(method, {}))
        except (ValueError, OSError):
            return {}

    def kept_file(self, picture: Image.Image, name: str) -> str:
        """The path of a picture's file, NAME.png in a folder named by what is in it: written once, however
        often it is asked for."""
        path = Path(get_upload_folder()) / f"{OWN_FOLDERS}{image_sha(picture)}" / f"{name}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        return str(path)

    def folder(self) -> Path:
        """A fresh folder for one request's files, under a name nobody can guess; old ones are removed."""
        root = Path(get_upload_folder())
        now = time.time()
        for old in root.glob(f"{OWN_FOLDERS}*"):
            if now - old.stat().st_mtime > DAY:
                shutil.rmtree(old, ignore_errors=True)
        fresh = root / f"{OWN_FOLDERS}{secrets.token_hex(16)}"
        fresh.mkdir(parents=True)
        return fresh
