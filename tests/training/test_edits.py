"""Edits with a known answer: one attribute changes, the answer scores best, a stopped study goes on."""

import dataclasses
import json

import pytest
import torch

from studies import inversions_beside, sharded
from studies.imagic_beside_sdedit import table
from studies.sharded import read_rows
from textedit_core.toon.captions import describe
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.edits import ASKED, NAMED, held_out_edits, score
from textedit_core.toon.world import ATTRIBUTES


def test_an_edit_changes_the_asked_attribute_alone():
    edits = held_out_edits(40)
    assert {edit.asked for edit in edits} == set(ASKED)
    for edit in edits:
        changed = [name for name in ATTRIBUTES if getattr(edit.scene, name) != getattr(edit.wanted, name)]
        assert changed == [edit.asked]
        assert edit.prompt == describe(edit.wanted, (edit.asked,))
        assert not torch.equal(edit.source(), edit.answer())
    assert held_out_edits(10) == edits[:10]
    poses = held_out_edits(5, ("pose",))
    assert [edit.asked for edit in poses] == ["pose"] * 5 and all(e.scene.visible("pose") for e in poses)


def test_the_captions_differ_in_the_asked_attribute_alone():
    for edit in held_out_edits(24):
        before, after = edit.captions
        assert before != after
        kept = [name for name in NAMED if name != edit.asked and name in ("mood", "clothes_color")]
        for name in kept:
            word = describe(edit.scene, (name,)).removeprefix("a ").removeprefix("an ")
            assert {part for part in word.split() if part not in ("person", "in")} <= set(after.split())
        back = dataclasses.replace(edit, scene=edit.wanted, wanted=edit.scene)
        assert back.captions == (after, before)


def test_the_changed_part_is_where_the_answer_differs():
    for edit in held_out_edits(8):
        mask, apart = edit.changed(), (edit.answer() - edit.source()).abs().amax(1, keepdim=True)
        assert mask.shape == (1, 1, 64, 64) and set(mask.unique().tolist()) == {0, 1}
        assert (apart * (1 - mask)).max() <= 8 / 127.5
        assert 0 < mask.mean() < 1 or edit.asked in ("pose", "background")


class Reads(AttributeClassifier):
    """A reader that recognises known pictures."""

    def __init__(self, known):
        super().__init__()
        self.known = known

    def read(self, image):
        return torch.stack([
            next(torch.tensor(list(scene.labels().values())) for picture, scene in self.known
                 if torch.equal(picture[0], row)) for row in image
        ])  # fmt: skip


def test_the_true_answer_scores_best_and_the_source_keeps_the_rest():
    edit = next(edit for edit in held_out_edits(8) if edit.asked == "mood")
    source, answer = edit.source(), edit.answer()
    reader = Reads([(source, edit.scene), (answer, edit.wanted)])
    of_source, of_answer = score(edit, torch.cat([source, answer]), reader)
    assert of_answer["asked"] == 1 and of_answer["unasked"] == 1
    assert of_source["asked"] == 0 and of_source["unasked"] == 1
    assert of_answer["psnr_answer"] > of_source["psnr_answer"] > 0
    assert of_source["psnr_source"] == float("inf")


def test_a_line_cut_short_is_an_edit_not_done(tmp_path):
    picture = {"method": "sdedit", "setting": 0.5, "asked": 1.0, "unasked": 0.5, "psnr_answer": 20.0,
               "psnr_source": 18.0}  # fmt: skip
    whole = json.dumps({"edit": 3, "asked_for": "mood", "prompt": "x", "pictures": [picture, picture]})
    (tmp_path / "edits-0.jsonl").write_text("\n" + whole + "\n" + whole[:40])
    rows = read_rows(tmp_path)
    assert [row["edit"] for row in rows] == [3, 3]
    assert "| sdedit | strength 0.5 | 2 | 1.00 | 0.500 | 20.0 dB | 18.0 dB |" in table(rows)


def test_shards_divide_the_edits_and_a_second_run_does_nothing_again(tmp_path):
    done = []

    def study(edit):
        done.append(edit)
        return [{"psnr_source": float("inf")}, {"psnr_source": 20.0}]

    for shard, edits in (("0/2", [*"ab", None, *"de"]), ("0/2", "abcde"), ("1/2", "abcde"), ("0/1", "abcde")):
        options = sharded.flags("", limit=5).parse_args(["--out", str(tmp_path), "--shard", shard])
        sharded.run(options, edits, tell=lambda edit: {"part": edit}, study=study)
    assert done == ["a", "e", "c", "b", "d"]
    assert {path.name for path in tmp_path.iterdir()} == {"edits-0.jsonl", "edits-1.jsonl"}
    rows = read_rows(tmp_path)
    assert [row["part"] for row in rows[::2]] == done
    assert all("abcde"[row["edit"]] == row["part"] for row in rows)
    assert [row["psnr_source"] for row in rows] == [float("inf"), 20.0] * 5


def test_the_study_of_inversions_counts_against_the_published_loop():
    """Two edits of two steps: the published loop makes the caption's noise once more in each step."""
    costs = {"fit_seconds": 1.0, "edit_seconds": 2.0, "fit_gradient_rows": 0, "edit_rows": 8}
    measures = {"asked": 1.0, "unasked": 0.9, "psnr_answer": 20.0, "clip": 30.0}
    rows = []
    for outside in ({"psnr_outside": 25.0}, {}):
        own = {"losses": [0.5, 0.1], "psnr_rebuilt": 29.0} | costs | measures | outside
        rows.append(own | {"method": "direct", "fit_rows": 2, "losses": []})
        rows.append(
            own | {"method": "null_text", "fit_rows": 12, "fit_seconds": 10.0, "fit_gradient_rows": 5}
        )
        rows.append(own | {"method": "null_text_paper", "fit_rows": 22, "psnr_rebuilt": 29.1})
        rows.append({"method": "sdedit 0.4", "edit_seconds": 1.0, "edit_rows": 4} | measures)
    found = inversions_beside.summary(rows)
    assert found["methods"]["direct"]["psnr_outside"] == 25.0 and found["methods"]["direct"]["edits"] == 2
    assert found["methods"]["null_text"]["losses"] == [0.5, 0.1]
    ratios = found["ratios"]
    assert ratios["null_text rows / published loop"] == 12 / 24
    assert ratios["null_text rebuilt dB - published"] == pytest.approx(-0.1)
    assert ratios["direct + edit / null_text + edit, rows"] == 10 / 20
    assert ratios["direct + edit / null_text + edit, passes"] == 10 / 25
    assert ratios["direct + edit / null_text + edit, seconds"] == 3 / 12
    lines = inversions_beside.table(found).splitlines()
    assert "| sdedit 0.4 | 2 | - | 1.000 | 0.900 | 20.0 | - | 30.0 | - + 1.0 | - (-) + 4 |" in lines
    assert inversions_beside.summary([])["ratios"] == {}
