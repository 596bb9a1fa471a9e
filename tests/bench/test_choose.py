"""The aim of --choose, the presets it writes, and the picture of what is traded for what."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from textedit_core import __main__ as cli
from textedit_core.bench import pareto, toon
from textedit_core.bench.choose import Aim, best
from textedit_core.bench.report import Report, Row
from textedit_core.toon.edits import held_out_edits, search_edits
from textedit_core.toon.open_world import OPEN_HELD_OUT_SEEDS, OPEN_SEARCH_SEEDS, OPEN_TRAINING_SEEDS
from textedit_core.toon.world import HELD_OUT_SEEDS, SEARCH_SEEDS, TRAINING_SEEDS


def rows(*means: dict) -> tuple[Row, ...]:
    return tuple(Row("sdedit", {"strength": i}, 1, one, ()) for i, one in enumerate(means))


def test_an_aim_is_a_sum_of_measures_within_limits():
    found = rows(
        {"asked": 0.9, "unasked": 0.5, "structure_distance": 0.3},
        {"asked": 0.7, "unasked": 0.9, "structure_distance": 0.1},
        {"asked": 0.2, "unasked": 1.0, "structure_distance": 0.0},
        {"asked": 1.0},
    )
    chosen = {text: best(found, Aim.parse(text)) for text in
              ("asked", "asked+unasked", "unasked, asked>=.8", "structure_distance", "asked - unasked",
               "unasked, asked>=2")[:4]}  # fmt: skip
    assert [row.coords["strength"] for row in chosen.values()] == [3, 1, 0, 2]
    assert best(found, Aim.parse("unasked, asked>=2")) is None
    # Of equals the first counts, so that the order of the axes decides and not chance.
    assert best(rows({"asked": 0.5}, {"asked": 0.5}), Aim.parse("asked")).coords == {"strength": 0}


@pytest.mark.parametrize("text", ["", "beauty", "asked, unasked", "asked, beauty>=1", "asked, unasked>=much"])
def test_an_aim_that_is_none_is_told_in_a_sentence(text):
    with pytest.raises(ValueError, match=r"--choose: '.*' is no"):
        Aim.parse(text)


def test_the_front_is_what_no_other_setting_beats():
    found = rows(
        {"asked": 0.1, "unasked": 0.9}, {"asked": 0.5, "unasked": 0.8}, {"asked": 0.5, "unasked": 0.7},
        {"asked": 0.4, "unasked": 0.4}, {"asked": 0.9, "unasked": 0.2}, {"asked": 0.9, "unasked": 0.2},
    )  # fmt: skip
    pair = pareto.measures(found)
    assert pair == ("asked", "unasked")
    assert [row.coords["strength"] for row in pareto.front(found, pair)] == [0, 1, 4, 5]
    svg, names = pareto.picture(Report("", "", found, (), ()))
    tree = ElementTree.fromstring(svg)
    circles = tree.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 6 and len(names) == 4 and "strength 1" in names[1]
    # More of the text lies to the right, more of the source above.
    x, y = ([float(circle.get(name)) for circle in circles] for name in ("cx", "cy"))
    assert x[0] < x[1] == x[2] < x[4] and y[0] < y[1] < y[2] < y[4]


def test_one_setting_or_one_measure_makes_no_picture():
    assert pareto.picture(Report("", "", rows({"asked": 1.0, "unasked": 1.0}), (), ())) is None
    assert pareto.picture(Report("", "", rows({"asked": 1.0}, {"asked": 0.5}), (), ())) is None


def test_equal_points_are_drawn_too():
    found = rows({"clip_score": 20.0, "clip_similarity": 1.0}, {"clip_score": 20.0, "clip_similarity": 1.0})
    svg, names = pareto.picture(Report("", "", found, (), ()))
    assert "nan" not in svg and len(names) == 2


def test_the_best_of_a_sweep_becomes_a_preset_that_the_models_take(bench, tiny, monkeypatch):
    monkeypatch.setitem(tiny.presets, "imagic", {"eta": 0.6})
    monkeypatch.setitem(tiny.presets, "sdedit", {"steps": 3, "strength": 0.9})
    sweep = ("--sweep", "strength=0.5,0.9", "--sweep", "guidance_scale=2,3")
    code, out, told = bench(*sweep, "--choose", "psnr_source", methods="sdedit:steps=2")
    assert code == 0, told
    summary = json.loads((out / "summary.json").read_text())
    wanted = max(summary["rows"], key=lambda row: row["means"]["psnr_source"])
    found = json.loads((out / "presets.json").read_text())
    assert found == {**tiny.presets, "sdedit": {"steps": 2, **wanted["coords"]}}
    assert any("By the aim 'psnr_source' the best of sdedit is" in note for note in summary["notes"])
    assert "--choose psnr_source" in summary["command"]
    report, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "(pareto.svg)" in report and "<svg" in page and (out / "pareto.svg").read_text() in page
    # The presets are read by whatever loads the models.
    monkeypatch.setitem(tiny.presets, "sdedit", found["sdedit"])
    code, again, told = bench(methods="sdedit", out="again")
    assert code == 0, told
    cells = json.loads((again / "summary.json").read_text())["rows"]
    assert cells[0]["means"]["psnr_source"] == wanted["means"]["psnr_source"]


def test_a_wrong_aim_ends_before_the_work(folder, tiny_folder, tmp_path, capsys):
    given = ["bench", str(folder), "--models", str(tiny_folder), "--methods", "sdedit", "--out"]
    assert cli.main([*given, str(tmp_path / "out"), "--choose", "beauty"]) == 2
    assert "'beauty' is no measure" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_settings_are_searched_on_scenes_neither_trained_nor_held_out():
    seen = [HELD_OUT_SEEDS, TRAINING_SEEDS, OPEN_HELD_OUT_SEEDS, OPEN_TRAINING_SEEDS]
    for seeds in (SEARCH_SEEDS, OPEN_SEARCH_SEEDS):
        assert all(seeds.stop <= other.start or other.stop <= seeds.start for other in seen)
    searched, held = search_edits(6), held_out_edits(6) + held_out_edits(6, world="open")
    assert [edit.portraits is None for edit in searched] == [True, False] * 3
    assert not {edit.before.look for edit in searched} & {edit.before.look for edit in held}


def test_the_toon_sets_have_names_of_their_own():
    names = [item.name for kind in toon.SETS for item in toon.items(2, name=kind)]
    assert names[:4] == ["0000-mood", "0001-glasses", "open-0000-mood", "open-0001-glasses"]
    assert names[4].startswith("search-0000-") and len(set(names)) == 6
