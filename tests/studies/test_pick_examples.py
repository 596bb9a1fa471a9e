"""The examples are told in words, and are asked as the page asks them."""

import pytest

from studies import pick_examples
from textedit_core.toon.edits import ASKED, held_out_edits
from textedit_core.toon.world import ATTRIBUTES


def test_every_edit_has_words_of_its_own():
    seen = set()
    for edit in [one for asked in ASKED for one in held_out_edits(40, [asked])]:
        words = pick_examples.label(edit)
        assert words[0].isupper() and ":" not in words and "{" not in words
        value = getattr(edit.wanted, edit.asked)
        assert value in ATTRIBUTES[edit.asked]
        seen.add((edit.asked, value, words))
    assert len({words for _, _, words in seen}) == len(seen), "no two edits have the same words"
    assert {words.split()[2] for asked, _, words in seen if asked == "hair_color"} == {"hair", "beard"}


def test_candidates_are_of_both_worlds_and_differ():
    found = list(pick_examples.candidates(8))
    assert [edit.portraits is None for edit in found] == [True, False] * 4
    for edit in found:
        told = pick_examples.inputs(edit, "prompt_to_prompt")
        assert told["image"].size == (pick_examples.PIXELS,) * 2 and told["source_prompt"] != told["prompt"]
        assert set(pick_examples.inputs(edit, "imagic")) == {"image", "prompt"}


def test_the_change_that_is_made_and_seen():
    for edit in pick_examples.candidates(8):
        source, answer = edit.source(), edit.answer()
        whole, levels = pick_examples.change_made(edit, answer)
        assert whole == pytest.approx(1, abs=1e-5) and 1 < levels < 255
        assert pick_examples.change_made(edit, source) == (0, 0)
        half, seen = pick_examples.change_made(edit, (source + answer) / 2)
        assert half == pytest.approx(0.5, abs=1e-5) and seen == pytest.approx(levels / 2, rel=1e-4)
        assert pick_examples.change_made(edit, 2 * source - answer)[0] < 0


def test_one_edit_of_every_attribute_comes_before_all_second_ones():
    edits = list(pick_examples.candidates(32))
    a, b = ([one for one in edits if one.asked == asked][:2] for asked in ("glasses", "pose"))
    found = [(b[0], 60.0), (a[0], 5.0), (a[1], 9.0), (b[1], 4.0)]
    assert pick_examples.one_of_each(found) == [a[1], b[0], a[0], b[1]]
    assert set(pick_examples.FIRST) == set(ASKED)
