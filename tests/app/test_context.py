"""What every tab is handed, without a server: which parts are in memory, folders, precision, Stop."""

import threading

import pytest

from demos.components.checks import prompt_problem
from demos.context import Context, Stops
from textedit_core.models import zoo


def test_a_part_in_memory_says_nothing_of_the_others(tiny_folder, monkeypatch):
    ctx = Context(zoo, str(tiny_folder), "cpu")
    ctx.load(ctx.default, "paint_by_example")
    assert ctx.loaded(ctx.default, "paint_by_example") and not ctx.loaded(ctx.default)
    monkeypatch.setattr(zoo.Models, "diffusion", property(lambda self: pytest.fail("it would be fetched")))
    assert prompt_problem(ctx, ctx.default, "a man in a red hat") == ""


def test_a_prompt_is_measured_where_the_diffusion_part_is_in_memory(tiny_folder):
    ctx = Context(zoo, str(tiny_folder), "cpu")
    ctx.load(ctx.default)
    assert "shorten it" in prompt_problem(ctx, ctx.default, "man " * 40)
    assert prompt_problem(ctx, ctx.default, "a man") == ""


def test_stop_waits_for_a_slow_step_however_long_it_takes(monkeypatch):
    stops, patience, started, ended = Stops(), [], threading.Event(), threading.Event()
    real = stops._changed.wait_for

    def waiting(until, timeout=None):
        patience.append(timeout)
        return real(until, 10)

    monkeypatch.setattr(stops._changed, "wait_for", waiting)

    def work():
        with stops.running("mine") as flag:
            started.set()
            flag.wait(5)
            ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(5)
    assert stops.ask("mine") and ended.is_set() and patience == [None]
    thread.join()
