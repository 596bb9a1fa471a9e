"""Step and last: the final value, or a ValueError that says what is missing."""

from dataclasses import FrozenInstanceError

import pytest

from textedit_core.steps import Step, last


def test_last_runs_to_the_end_and_returns_the_final_value():
    drawn = []

    def steps():
        for done in range(1, 4):
            drawn.append(done)
            yield Step(done, 3, value=done * 10)

    assert last(steps()) == 30
    assert drawn == [1, 2, 3]


def test_last_takes_a_value_that_is_false():
    assert last([Step(1, 1, value=0)]) == 0


def test_last_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no step"):
        last([])


def test_last_does_not_fall_back_to_an_earlier_preview():
    with pytest.raises(ValueError, match="step 2 of 5"):
        last([Step(1, 5, value="preview"), Step(2, 5)])


def test_an_error_of_the_computation_comes_through():
    def steps():
        yield Step(1, 2, value=1)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        last(steps())


def test_a_step_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Step(1, 2).done = 2
