"""Sweeps: the plan, one fit for many cells, batches, the cache, streaming and stopping."""

from dataclasses import replace

import pytest
import torch

from tests.core import fakes
from tests.core.fakes import IMAGE, asked
from textedit_core.cache import Cache, cached
from textedit_core.method import read
from textedit_core.steps import Step, last
from textedit_core.sweep import plan, sweep

BOTH, EDIT = read("fake", fakes.edit, fakes.fit), read("fake", fakes.paint)


def swept(model, axes, cache=None, batch_size=8, keep=lambda cell: cell, **settings):
    store = Cache() if cache is None else cache
    return sweep(asked(model, **settings), axes, store, batch_size=batch_size, keep=keep)


def count(model, kind: str) -> int:
    """How many fits were run, or how many rows were edited."""
    return sum(call[1] if kind == "edit" else 1 for call in model.calls if call[0] == kind)


def alone(model, rounds=2, fit_seed=0, **settings) -> torch.Tensor:
    fitted = last(fakes.fit(model, IMAGE, "a man", rounds=rounds, seed=fit_seed))
    return last(fakes.edit(model, fitted, **settings))


def test_the_costliest_axis_is_the_outermost():
    cells = plan({"eta": [0, 1], "rounds": [1, 2], "steps": [3, 4]}, BOTH)
    assert [(cell["rounds"], cell["steps"], cell["eta"]) for cell in cells] == [
        (1, 3, 0),
        (1, 3, 1),
        (1, 4, 0),
        (1, 4, 1),
        (2, 3, 0),
        (2, 3, 1),
        (2, 4, 0),
        (2, 4, 1),
    ]
    assert all(list(cell) == ["eta", "rounds", "steps"] for cell in cells)


def test_a_plan_checks_its_values_and_drops_doubles():
    assert plan({"eta": [0, 0.0, 1]}, EDIT) == [{"eta": 0.0}, {"eta": 1.0}]
    assert plan({}, EDIT) == [{}]
    for axes, says in (
        ({"mood": [1]}, "no knob called 'mood'"),
        ({"rounds": [1]}, "no knob called 'rounds'"),
        ({"eta": [3]}, "Eta: 3"),
        ({"eta": []}, "Eta: there are no values"),
    ):
        with pytest.raises(ValueError, match=says):
            plan(axes, EDIT)


def test_what_keep_returns_stands_in_the_value_and_the_cache_has_the_whole_image():
    model, cache, seen = fakes.Model(), Cache(), []

    def keep(cell):
        seen.append(cell.image.shape)
        return replace(cell, image=cell.image[..., :1, :1])

    cells = last(swept(model, {"eta": [0, 1]}, cache, keep=keep))
    assert seen == [IMAGE.shape] * 2 and [cell.image.shape for cell in cells] == [(1, 3, 1, 1)] * 2
    again = last(swept(model, {"eta": [0, 1]}, cache))
    assert [cell.image.shape for cell in again] == [IMAGE.shape] * 2 and count(model, "edit") == 2


def test_mistakes_come_before_any_work():
    model = fakes.Model()
    for axes, fixed in (({"eta": [9]}, {}), ({"eta": [0]}, {"mood": 1}), ({"eta": [0]}, {"steps": 0})):
        with pytest.raises(ValueError):
            swept(model, axes, **fixed)
    assert not model.calls


def test_every_cell_is_what_the_edit_gives_alone():
    axes = {"rounds": [1, 3], "eta": [0, 0.3, 1], "seed": [4, 5]}
    cells = last(swept(fakes.Model(), axes, steps=2, batch_size=4))
    assert len(cells) == 12
    for cell in cells:
        assert cell.settings == {"rounds": 2, "fit_seed": 0, "eta": 0.5, "steps": 2, "seed": 0} | cell.coords
        assert cell.image.shape == (1, 3, 8, 8)
        torch.testing.assert_close(cell.image, alone(fakes.Model(), **cell.settings))


def test_each_distinct_fit_is_fitted_once_and_alike_cells_are_batched():
    model = fakes.Model()
    last(swept(model, {"eta": [0, 0.5, 1], "seed": [0, 1], "rounds": [1, 2]}, batch_size=4))
    assert model.calls == [("fit", 1, 0), ("edit", 4), ("edit", 2), ("fit", 2, 0), ("edit", 4), ("edit", 2)]


def test_a_knob_that_is_not_batched_is_never_mixed():
    model = fakes.Model()
    last(swept(model, {"eta": [0, 1], "steps": [2, 3, 4]}))
    assert [call for call in model.calls if call[0] == "edit"] == [("edit", 2)] * 3


def test_the_seed_of_the_edit_does_not_fit_again_and_that_of_the_fit_does():
    model = fakes.Model()
    last(swept(model, {"seed": [0, 1, 2]}, fit_seed=7))
    assert model.calls[0] == ("fit", 2, 7) and count(model, "fit") == 1
    last(swept(model, {"fit_seed": [0, 1, 2]}))
    assert count(model, "fit") == 4


def test_a_wider_sweep_computes_only_its_new_cells():
    model, cache = fakes.Model(), Cache()
    first = last(swept(model, {"eta": [0, 1], "seed": [0, 1]}, cache))
    model.calls.clear()
    cells = last(swept(model, {"eta": [0, 0.5, 1], "seed": [0, 1, 2]}, cache))
    assert (count(model, "fit"), count(model, "edit")) == (0, 5)
    assert [cell.seconds > 0 for cell in cells] == [
        cell.coords["eta"] == 0.5 or cell.coords["seed"] == 2 for cell in cells
    ]
    same = {tuple(cell.coords.values()): cell.image for cell in cells}
    assert all(torch.equal(same[tuple(cell.coords.values())], cell.image) for cell in first)


def test_the_cells_and_a_single_edit_share_the_cache():
    model, cache = fakes.Model(), Cache()
    cell = last(swept(model, {"eta": [0.25, 0.75]}, cache))[0]
    model.calls.clear()
    fitted = last(cached(fakes.fit, model, IMAGE, "a man", cache=cache))
    steps = list(cached(fakes.edit, model, fitted, cache=cache, eta=0.25))
    assert not model.calls and torch.equal(steps[0].value, cell.image)
    last(cached(fakes.edit, model, fitted, cache=cache, eta=2))
    last(swept(model, {"eta": [2]}, cache))
    assert count(model, "edit") == 1


def test_a_cell_does_not_hold_its_whole_batch():
    cache = Cache()
    cells = last(swept(fakes.Model(), {"eta": [0, 0.5, 1]}, cache))
    (kept,) = last(swept(fakes.Model(), {"eta": [0.5]}, cache))
    assert kept.seconds == 0
    assert {cell.image.untyped_storage().nbytes() for cell in (*cells, kept)} == {3 * 8 * 8 * 4}


def test_the_folder_of_the_cache_serves_a_later_sweep(tmp_path):
    cells = last(sweep(asked(fakes.Model(), fakes.paint, None), {"eta": [0, 1]}, Cache(folder=tmp_path)))
    model = fakes.Model()
    again = last(sweep(asked(model, fakes.paint, None), {"eta": [1, 0]}, Cache(folder=tmp_path)))
    assert not model.calls
    assert all(torch.equal(one.image, other.image) for one, other in zip(cells, again[::-1], strict=True))


def test_closing_ends_an_edit_that_somebody_else_holds():
    model = fakes.Model()
    steps = sweep(asked(model, fakes.held_paint, None), {"eta": [0, 1]}, Cache())
    for _ in range(3):
        next(steps)
    steps.close()
    assert (len(model.held), model.closed) == (1, 1)


def test_finished_cells_stream_in_the_order_of_the_plan():
    cache = Cache()
    last(swept(fakes.Model(), {"eta": [1]}, cache))
    steps = list(swept(fakes.Model(), {"eta": [0, 0.5, 1]}, cache, batch_size=1))
    assert all((step.done, step.total) == (len(step.value), 3) for step in steps)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert [cell.coords["eta"] for cell in next(step.value for step in steps if step.done == 2)] == [0, 1]
    assert len({step.value for step in steps if step.done == 2}) == 1  # the same tuple until there is more
    assert [cell.coords["eta"] for cell in steps[-1].value] == [0, 0.5, 1]


def test_the_steps_of_the_fit_are_steps_of_the_sweep_with_their_loss():
    steps = list(swept(fakes.Model(), {"eta": [0]}, rounds=4))
    assert [step.loss for step in steps[:4]] == [1, 1 / 2, 1 / 3, 1 / 4]


@pytest.mark.parametrize("drawn", [1, 3, 4, 5, 8])
def test_stopping_stops_at_once_and_keeps_the_finished_cells(drawn):
    model, cache = fakes.Model(), Cache()
    steps = swept(model, {"eta": [0, 0.5, 1]}, cache, batch_size=1)
    kept = [next(steps) for _ in range(drawn)][-1].value
    steps.close()
    started = count(model, "edit")
    assert model.closed == started and started <= len(kept) + 1
    assert count(model, "fit") == 1
    last(swept(model, {"eta": [0, 0.5, 1]}, cache, batch_size=1))
    assert count(model, "edit") == started + 3 - len(kept)


def test_without_a_fit():
    model, axes = fakes.Model(), {"eta": [0, 1], "seed": [0, 1]}
    cells = last(sweep(asked(model, fakes.paint, None, steps=2), axes, Cache()))
    assert [call[0] for call in model.calls] == ["paint"] * 4
    for cell in cells:
        assert torch.equal(cell.image, last(fakes.paint(model, IMAGE, "a man", **cell.settings)))


def test_no_axis_is_one_cell():
    (cell,) = last(swept(fakes.Model(), {}, seed=3))
    torch.testing.assert_close(cell.image, alone(fakes.Model(), seed=3))


def test_full_memory_makes_smaller_batches():
    model = fakes.Model(rows_that_fit=2)
    cells = last(swept(model, {"eta": [0, 0.25, 0.5, 0.75, 1]}, batch_size=5))
    assert [call[1] for call in model.calls if call[0] == "edit"] == [5, 2, 3, 1, 2]
    assert [cell.coords["eta"] for cell in cells] == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        last(swept(fakes.Model(rows_that_fit=0), {"eta": [0, 1]}))


def retell(model, fitted, prompt: str, target: str, *, steps: fakes.Steps = 2):
    yield Step(1, 1, torch.full((1, 3, 2, 2), len(prompt + target) + fitted.level))


def test_an_edit_may_take_texts_the_fit_has_and_others():
    model = fakes.Model()
    fitted = last(fakes.fit(model, IMAGE, "a man"))
    wanted = last(retell(model, fitted, "a man", "a dog"))
    both = asked(model, retell, fakes.fit, texts={"target": "a dog"})
    cells = last(sweep(both, {"steps": [1, 2]}, Cache()))
    assert all(torch.equal(cell.image, wanted) for cell in cells)


def short(model, image: torch.Tensor, *, seed: fakes.Seed = 0):
    yield Step(1, 1, torch.zeros(2, 3, 2, 2))


def test_a_method_that_returns_another_number_of_images_is_told():
    with pytest.raises(TypeError, match="short did not return 1 images"):
        last(sweep(asked(fakes.Model(), short, None), {"seed": [0]}, Cache()))
