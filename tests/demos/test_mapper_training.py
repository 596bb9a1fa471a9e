"""The training of a mapper without a server: its minutes, its chart, a finished one pressed again."""

from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import pytest

from demos.styleclip import mapper as runs
from demos.styleclip.mapper_tab import MapperTab


@pytest.fixture
def trained(tiny, monkeypatch, tmp_path):
    """trained(**values) -> the last state of a press of Train."""
    monkeypatch.setenv("TEXTEDIT_HOME", str(tmp_path))
    known = {name: knob.default for name, knob in runs.TRAINING.knobs.items()}
    asked = known | {"train_prompt": "a sad man", "models": "tiny"}

    def run(**values) -> runs.Training:
        ctx = SimpleNamespace(models=lambda name: tiny, gpu_seconds=None)
        *_, state = runs.train(ctx, asked | values, Event())
        return state

    return run


def test_a_press_of_train_has_its_minutes_and_the_next_goes_on(trained, monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    state = trained(train_steps=5, train_minutes=0.1)
    assert (state.about.steps, state.stopped, state.late) == (2, True, True)
    assert runs.load(state.about.name).steps == 2
    said = MapperTab.ended(None, state)
    assert said.startswith("Its minutes are over at step 2 of 5.") and "press Train to go on" in said
    state = trained(train_steps=5, train_minutes=10)
    assert (state.before, state.about.steps, state.stopped) == (2, 5, False)


def test_a_finished_training_pressed_again_shows_its_samples(trained):
    assert len(trained(train_steps=2).previews) == 4
    again = trained(train_steps=2)
    assert again.before == again.about.steps == 2 and len(again.previews) == 4


def test_the_chart_says_which_steps_it_draws_and_the_status_who_waits(trained):
    state = trained(train_steps=1)
    tab = SimpleNamespace(train_status="status", losses="losses", previews="looks")
    about = replace(state.about, steps=3000, settings=state.about.settings | {"steps": 5000})
    shown = MapperTab.progress(tab, replace(state, about=about, losses=(1.0,) * 3000))
    assert ">1001<" in shown["losses"] and ">3000<" in shown["losses"]
    assert "Others wait meanwhile" in shown["status"]
