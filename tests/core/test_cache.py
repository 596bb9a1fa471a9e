"""The cache: what a key tells apart, and what is stored when."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.core import fakes
from textedit_core import cache as caches
from textedit_core.cache import Cache, cached, key
from textedit_core.steps import Step, last

IMAGE = torch.linspace(-1, 1, 3 * 8 * 8).view(1, 3, 8, 8)


def of_anything(model, *args, **kwargs): ...


def paint_key(*args, **kwargs) -> str:
    return key(fakes.paint, args, kwargs)


def test_one_call_has_one_key_however_it_is_written():
    model = fakes.Model()
    plain = paint_key(model, IMAGE, "a man")
    assert plain == paint_key(model, IMAGE, "a man", eta=0.5, steps=3, seed=0)
    assert plain == paint_key(prompt="a man", image=IMAGE.clone(), model=fakes.Model(), seed=0)
    assert plain == paint_key(model, IMAGE.flip(0), "a man", seed=0.0)
    assert paint_key(model, IMAGE, "", eta=1) == paint_key(model, IMAGE, "", eta=1.0)
    assert paint_key(model, IMAGE, "", eta=0.0) == paint_key(model, IMAGE, "", eta=-0.0)
    whole, floats = ({"eta": [0, 1]}, {"eta": [0.0, 1.0]})
    assert key(fakes.edit, (model, model), whole) == key(fakes.edit, (model, model), floats)


def test_every_argument_changes_the_key():
    grey, palette = Image.new("L", (4, 2)), Image.new("P", (4, 2))
    other = palette.copy()
    other.putpalette([9] * 768)
    values = [
        None,
        True,
        False,
        0,
        1,
        1.0,
        0.1,
        1.5,
        1.5000001,
        "",
        "0",
        "1",
        "None",
        "ab",
        [],
        (1, 2),
        [[1], 2],
        [1, [2]],
        ["a", "b"],
        {},
        {"a": 1},
        {"b": 1},
        {"a": "1"},
        float("inf"),
        IMAGE,
        IMAGE + 1,
        IMAGE.double(),
        IMAGE.view(1, 3, 64),
        torch.zeros(2),
        torch.zeros(2, dtype=torch.int32),
        torch.zeros(()),
        torch.zeros(0),
        IMAGE.bfloat16(),
        grey,
        Image.new("L", (2, 4)),
        Image.new("RGB", (4, 2)),
        palette,
        other,
        fakes.Model(),
        fakes.Model("other"),
        fakes.Fitted(1.0, "fake"),
    ]
    keys = [key(of_anything, (None, value), {}) for value in values]
    keys += [key(of_anything, (None, value, value), {}) for value in values]
    keys += [key(of_anything, (None,), {"value": value}) for value in values]
    keys += [key(fakes.paint, (None, IMAGE, "x"), {"seed": 1}), key(fakes.fit, (None, IMAGE, "x"), {})]
    assert len(set(keys)) == len(keys) == 3 * len(values) + 2


def test_a_dictionary_is_keyed_by_content_and_not_by_order():
    assert key(of_anything, ({"a": 1, "b": 2},), {}) == key(of_anything, ({"b": 2, "a": 1},), {})


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, Path("a"), bytearray(b"bytes"), len, [object()], {"a": object()}, 1j]
)
def test_what_cannot_be_keyed_raises(value):
    with pytest.raises(TypeError, match="'args' is a"):
        key(of_anything, (None, value), {})


def test_only_a_function_with_a_name_of_its_own_is_keyed():
    captured = 3

    def closure(model):
        yield Step(1, 1, captured)

    for function in (closure, lambda model: None, print, fakes.Model()):
        with pytest.raises(TypeError, match="Cannot cache"):
            cached(function, fakes.Model())


def test_a_hit_is_one_finished_step_with_the_same_value():
    model, cache = fakes.Model(), Cache()
    first = list(cached(fakes.fit, model, IMAGE, "a man", cache=cache, rounds=3))
    again = list(cached(fakes.fit, model, IMAGE, "a man", cache=cache, rounds=3))
    assert [step.done for step in first] == [1, 2, 3]
    assert again == [first[-1]]
    assert model.calls == [("fit", 3, 0)]
    last(cached(fakes.fit, model, IMAGE, "a man", cache=cache, rounds=4))
    assert len(model.calls) == 2


def test_the_default_cache_is_used_and_can_be_cleared():
    model = fakes.Model("only in this test")
    for _ in range(2):
        last(cached(fakes.paint, model, IMAGE, "x"))
    assert len(model.calls) == 1
    caches.default.clear()
    last(cached(fakes.paint, model, IMAGE, "x"))
    assert len(model.calls) == 2


@pytest.mark.parametrize("drawn", [0, 1, 2])
def test_closing_midway_stops_the_work_and_leaves_nothing(drawn, tmp_path):
    model, cache = fakes.Model(), Cache(folder=tmp_path)
    steps = cached(fakes.held_paint, model, IMAGE, "x", cache=cache)
    for _ in range(drawn):
        next(steps)
    steps.close()
    assert model.closed == (drawn > 0)
    assert cache.get(key(fakes.held_paint, (model, IMAGE, "x"), {})) is None
    assert not list(tmp_path.iterdir())


def failing(model):
    yield Step(1, 3, 1)
    raise RuntimeError("broken")


def ending_early(model):
    yield Step(1, 9, "first")
    yield Step(2, 9, "second")


def without_a_value(model):
    yield Step(1, 1)


def test_a_failure_leaves_nothing_and_comes_through(tmp_path):
    cache = Cache(folder=tmp_path)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            last(cached(failing, fakes.Model(), cache=cache))
    assert not list(tmp_path.iterdir())


def test_who_stops_after_the_final_step_has_finished():
    model, cache = fakes.Model(), Cache()
    for step in cached(fakes.paint, model, IMAGE, "x", cache=cache):
        if step.done == step.total:
            break
    assert len(list(cached(fakes.paint, model, IMAGE, "x", cache=cache))) == 1


def test_a_computation_that_ends_early_is_finished_and_one_without_value_is_not():
    cache = Cache()
    assert len(list(cached(ending_early, fakes.Model(), cache=cache))) == 2
    assert [(step.done, step.total) for step in cached(ending_early, fakes.Model(), cache=cache)] == [(2, 2)]
    list(cached(without_a_value, fakes.Model(), cache=cache))
    assert list(cached(without_a_value, fakes.Model(), cache=cache)) == [Step(1, 1)]
    assert cache.get(key(without_a_value, (fakes.Model(),), {})) is None
