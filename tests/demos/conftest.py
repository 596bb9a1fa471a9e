"""One app on the tiny random bundle, served on 127.0.0.1, for every test of this folder."""

import functools
import json
from contextlib import contextmanager
from threading import Event

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def app(tiny_folder):
    """The address of a running app whose models are the tiny bundle."""
    from demos.app import LAUNCH_KWARGS, create_app
    from textedit_core.models import zoo

    demo = create_app(zoo, models=str(tiny_folder), device="cpu", max_cells=12)
    # Not _frontend: it asks the page once, for three seconds, and a busy machine may take longer.
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **LAUNCH_KWARGS)
    yield address
    demo.close()


@pytest.fixture(scope="session")
def page(tiny_folder):
    """The page on the tiny bundle, not served: demo, tabs, places and panels, and what keeps a visit."""
    from types import SimpleNamespace

    from demos import app
    from textedit_core.models import zoo

    found = SimpleNamespace()

    class Caught(app.History):
        def wire(self, *args):
            found.history = self
            super().wire(*args)

    class CaughtVisit(app.Visit):
        def wire(self, *args):
            found.visit = self
            super().wire(*args)

    def wire_reuse(tabs, places, panels, one_source):
        vars(found).update(tabs=tabs, places=places, panels=panels)
        app_wires(tabs, places, panels, one_source)

    app_wires = app.wire_reuse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "wire_reuse", wire_reuse)
        patch.setattr(app, "History", Caught)
        patch.setattr(app, "Visit", CaughtVisit)
        found.demo = app.create_app(zoo, models=str(tiny_folder), device="cpu")
    return found


@pytest.fixture
def visitor(app):
    """visitor() -> a client with a session of its own."""
    from gradio_client import Client

    return lambda: Client(app, verbose=False, httpx_kwargs={"timeout": 120})  # a busy machine is slow


@pytest.fixture
def client(visitor):
    """A client with a session of its own."""
    return visitor()


@pytest.fixture
def held(monkeypatch):
    """held(module, name, step) holds the first run of that function to get there until its Stop is pressed.

    However busy the machine: the run cannot end before. Returns what is set when it has got there.
    """
    from demos.context import Stops

    real_running, flags = Stops.running, []

    @contextmanager
    def running(stops, session):
        with real_running(stops, session) as flag:
            flags.append(flag)
            yield flag

    def hold(module, name: str, step: int) -> Event:
        real, there = getattr(module, name), Event()

        @functools.wraps(real)
        def run(*args, **kwargs):
            for number, one in enumerate(real(*args, **kwargs), 1):
                if number == step and not there.is_set():
                    there.set()
                    flags[-1].wait(120)
                yield one

        monkeypatch.setattr(module, name, run)
        return there

    monkeypatch.setattr(Stops, "running", running)
    return hold


@pytest.fixture(autouse=True)
def empty_cache():
    """Every test starts from an empty cache."""
    from textedit_core import cache

    cache.default.clear()


@pytest.fixture
def picture(tmp_path):
    """picture(seed) -> the path of a small PNG that differs with the seed."""

    def write(seed: int = 0, size: tuple[int, int] = (40, 40)) -> str:
        pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        path = tmp_path / f"picture{seed}.png"
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
        return str(path)

    return write


@pytest.fixture
def counted(monkeypatch):
    """Counts the steps that fits and edits really compute: a dict by function name."""
    from textedit_core.methods import imagic

    steps = {"fit": 0, "edit": 0}

    def counting(name):
        real = getattr(imagic, name)

        def run(*args, **kwargs):
            for step in real(*args, **kwargs):
                steps[name] += 1
                yield step

        run.__wrapped__ = real
        for attribute in ("batched", "__name__", "__qualname__", "__module__", "__doc__"):
            if hasattr(real, attribute):
                setattr(run, attribute, getattr(real, attribute))
        return run

    for name in steps:
        monkeypatch.setattr(imagic, name, counting(name))
    return steps


def settings_in(path: str) -> dict:
    """The record inside a PNG."""
    with Image.open(path) as image:
        return json.loads(image.info["textedit"])
