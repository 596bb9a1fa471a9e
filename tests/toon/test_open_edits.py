"""Edits of open portraits: one attribute changes, every colour and the pose stay, the captions are true."""

import dataclasses

import pytest
import torch

from textedit_core.toon.edits import ASKED, held_out_edits, score
from textedit_core.toon.look import SAYS
from textedit_core.toon.open_world import OPEN_HELD_OUT_SEEDS, portrait_of_seed
from textedit_core.toon.world import ATTRIBUTES


@pytest.fixture(scope="module")
def edits():
    return held_out_edits(40, world="open")


def test_each_edit_changes_what_is_asked_and_nothing_else(edits):
    held = {portrait_of_seed(seed) for seed in OPEN_HELD_OUT_SEEDS}
    assert {edit.asked for edit in edits} == set(ASKED)
    for edit in edits:
        before, after = edit.before, edit.after
        assert before in held and edit.scene == before.scene and edit.wanted == after.scene
        assert edit.asked in before.named and edit.asked in after.named
        moved = {
            field.name
            for field in dataclasses.fields(before.look)
            if getattr(before.look, field.name) != getattr(after.look, field.name)
        }
        assert moved and moved <= set(SAYS[edit.asked])
        assert not torch.equal(edit.source(), edit.answer())


def test_captions_name_what_is_true_before_and_after(edits):
    """And only that: clothes and backgrounds between two colours, mixed moods, are in neither caption."""
    silent = 0
    for edit in edits:
        first, second = edit.captions
        assert first != second
        for name, word in (("clothes_color", "clothes"), ("background", "background")):
            if name != edit.asked and name not in edit.before.named:
                silent += 1
                assert word not in first and word not in second
            elif name != edit.asked:
                color = getattr(edit.scene, name)
                assert color in first and color in second
    assert silent > 3


def test_only_what_has_a_word_is_scored(edits):
    """A reader that says the first value of everything: right where that is the true word, of those said."""

    class First:
        def read(self, image):
            return torch.zeros(len(image), len(ATTRIBUTES), dtype=torch.long)

    for edit in edits[:8]:
        labels = edit.after.labels()
        others = [value for name, value in labels.items() if name != edit.asked and value >= 0]
        (found,) = score(edit, edit.answer(), First())
        assert found["asked"] == float(labels[edit.asked] == 0)
        assert found["unasked"] == pytest.approx(sum(value == 0 for value in others) / len(others))
        assert found["psnr_answer"] == float("inf")
