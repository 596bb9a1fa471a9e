"""The study of a bundle's figures: means, the table of two sets, and pictures shown at 256 pixels."""

import math
from types import SimpleNamespace

import pytest
import torch

from studies import toon_figures
from textedit_core.models.enlarger import Enlarger, EnlargerNetwork
from textedit_core.toon.edits import held_out_edits


def test_means_leave_out_what_is_infinite_or_missing():
    rows = [
        {"method": "a", "asked": 1.0, "psnr_answer": 20.0},
        {"method": "a", "asked": 0.0, "psnr_answer": math.inf},
        {"method": "b", "asked": 1.0},
    ]
    found = toon_figures.means(rows, "method", ("asked", "psnr_answer"))
    assert found == {"a": {"edits": 2, "asked": 0.5, "psnr_answer": 20.0}, "b": {"edits": 1, "asked": 1.0}}


def test_the_table_has_a_column_for_each_set():
    parts = {"autoencoder_psnr_db": 30.0, "autoencoder_large_psnr_db": 33.04,
             "clip_zero_shot_accuracy": {"mean": 0.885}}  # fmt: skip
    found = {
        "closed": {"parts": parts, "edits": {"direct": {"asked": 0.76, "unasked": 0.76}}, "imagic": {}},
        "open": {"edits": {}, "imagic": {"0.0": {"psnr_source": 24.31}}},
    }
    lines = toon_figures.table(found).splitlines()
    assert lines[0] == "| | closed | open |"
    assert "| autoencoder, dB at 64 px, 256 px | 30.0, 33.0 | - |" in lines
    assert "| clip_zero_shot_accuracy: mean | 0.885 | - |" in lines
    assert "| direct: asked, unasked | 0.76, 0.76 | - |" in lines
    assert "| Imagic at eta 0: dB to the source | - | 24.3 |" in lines


@pytest.mark.parametrize("world", ["closed", "open"])
def test_details_bring_back_what_an_edit_left_alone(world):
    """The true answer at 64 px, shown at 256: bicubic blurs it, the source's details sharpen the rest."""
    models = SimpleNamespace(sources={"enlarger": 1}, enlarger=Enlarger(EnlargerNetwork(4, 1), None))
    edit = next(one for one in held_out_edits(16, world=world) if one.asked == "glasses")
    found = toon_figures.larger(models, edit, edit.answer(64), edit.source(64))
    assert set(found) == set(toon_figures.LARGER)
    assert found["enlarger"] == found["bicubic"], "it has not learned yet"
    assert found["details"] > found["bicubic"] + 1
    assert found["details_outside"] > found["bicubic_outside"] + 5
    unedited = toon_figures.larger(models, edit, edit.source(64), edit.source(64))
    assert unedited["details_outside"] > 60 or unedited["details_outside"] == math.inf
    assert not torch.equal(edit.source(256), edit.answer(256))
