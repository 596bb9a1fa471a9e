"""The examples are told in words, and are asked as the page asks them."""

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
    assert len({words for _, _, words in seen}) == len({(asked, value) for asked, value, _ in seen})


def test_candidates_are_of_both_worlds_and_differ():
    found = list(pick_examples.candidates(8))
    assert [edit.portraits is None for edit in found] == [True, False] * 4
    for edit in found:
        told = pick_examples.inputs(edit, "prompt_to_prompt")
        assert told["image"].size == (pick_examples.PIXELS,) * 2 and told["source_prompt"] != told["prompt"]
        assert set(pick_examples.inputs(edit, "imagic")) == {"image", "prompt"}
