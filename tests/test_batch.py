"""Values and lists become the rows of one batch."""

import pytest

from textedit_core.batch import spread


def test_single_values_make_one_row():
    assert spread(eta=0.5, seed=3) == [[0.5], [3]]


def test_a_list_sets_the_number_of_rows_and_single_values_follow():
    assert spread(eta=[0, 0.5], guidance_scale=3, seed=(7, 8)) == [[0, 0.5], [3, 3], [7, 8]]


def test_a_list_of_one_is_one_row():
    assert spread(eta=[0.5], seed=3) == [[0.5], [3]]


@pytest.mark.parametrize("eta", [[], [0.1, 0.2, 0.3], [0.1]])
def test_unequal_and_empty_lists_are_refused_by_name(eta):
    with pytest.raises(ValueError, match=f"eta has {len(eta)}, seed has 2"):
        spread(eta=eta, seed=[1, 2])
