"""The history: keys in the browser, results on the host's shelf, bounded, told when gone, never another's."""

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from demos.shared import history as module
from demos.shared.history import GONE, MOST, Entry, entries, words_of
from demos.shared.shelf import Shelf, is_key
from tests.demos.test_visit import followed
from textedit_core.record import Record, save_png

KEY = "0123456789abcdef" * 2


@pytest.fixture
def files(tmp_path):
    """files(n, bytes) -> paths in a folder of results of its own."""

    def write(number: int, size: int = 100) -> list[Path]:
        folder = tmp_path / f"studio-{number}"
        folder.mkdir()
        (folder / "edit.png").write_bytes(b"x" * size)
        return [folder / "edit.png"]

    return write


def test_a_key_is_no_path_and_nothing_but_a_key_finds_something(files):
    shelf, paths = Shelf(), files(1)
    key = shelf.put("me", "a", "value", paths)
    assert is_key(key) and shelf.get(key) == "value"
    assert shelf.put("me", "a", "other", paths) == key, "the same result again has the key it had"
    assert shelf.put("you", "a", "other", paths) != key, "another session never gets it"
    for wrong in (None, 3, "", key[:-1], key.upper() + "\n", f"{key}\n", str(paths[0]), "../" + key, [key]):
        assert shelf.get(wrong) is None


def test_the_shelf_is_bounded_in_number_and_bytes_and_what_was_asked_for_stays(files):
    shelf, (one, two, three) = Shelf(most_items=2), (files(k) for k in range(3))
    first, second = shelf.put("", "1", 1, one), shelf.put("", "2", 2, two)
    assert shelf.get(first) == 1
    third = shelf.put("", "3", 3, three)
    assert [shelf.get(key) for key in (first, second, third)] == [1, None, 3]
    assert one[0].is_file() and not two[0].is_file()
    small = Shelf(most_bytes=150)
    keys = [small.put("", str(k), k, files(k)) for k in (4, 5)]
    assert [small.get(key) for key in keys] == [None, 5]


def test_what_has_lost_a_file_is_gone_and_uploads_are_left_alone(tmp_path, files):
    shelf, (path,) = Shelf(), files(1)
    upload = tmp_path / "upload.png"
    upload.write_bytes(b"x")
    key, other = shelf.put("", "1", 1, [path]), shelf.put("", "2", 2, [upload])
    path.unlink()
    assert shelf.get(key) is None
    shelf.drop([other, "nonsense", None])
    assert shelf.get(other) is None and upload.is_file()


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "text",
        7,
        {"key": KEY},
        [KEY],
        [{"key": "../etc/passwd", "words": "x"}],
        [{"key": KEY, "words": 3}],
    ],
)
def test_what_a_browser_stored_is_read_defensively(stored):
    assert entries(stored) == []


def test_a_list_is_read_once_each_and_no_longer_than_it_may_be():
    many = [{"key": f"{k:032x}", "words": "w" * 999, "more": 1} for k in range(MOST + 9)]
    found = entries([many[0], *many])
    assert len(found) == MOST and found[1].key == f"{1:032x}" and len(found[0].words) < 999


def test_a_result_is_told_by_method_prompt_and_seed():
    about = Record(
        "imagic", "toon", prompts={"source_prompt": "a man", "prompt": "a sad man"}, knobs={"seed": 3}
    )
    assert words_of("Imagic", about) == "Imagic: a sad man, seed 3"
    assert words_of("Paint by Example", Record("paint_by_example", "toon")) == "Paint by Example"


@pytest.fixture
def made(picture, page):
    """A result of the Imagic tab as the page has it, in a folder of results of its own, and its source."""
    folder, names = page.history.ctx.folder(), {}
    knobs = {"seed": 5, "eta": 0.3}
    about = Record("imagic", page.history.ctx.default, {"prompt": "a sad man"}, knobs, image="0" * 64)
    for number, key in enumerate(("edit", "source", "reconstruction")):
        names[key] = str(folder / f"{key}.png")
        save_png(Image.open(picture(number)), names[key], about)
    shown = {"edit": names.pop("edit"), "pictures": names, "captions": {}, "record": about.to_json()}
    return shown | {"scores": None, "words": "w", "maps": {"large": "x" * 1000}}, picture(1)


VISITOR = SimpleNamespace(session_hash="one")


def added(page, made, stored, visitor=VISITOR):
    shown, source = made
    return page.history.adder(page.panels["imagic"])(shown, stored, source, visitor)


def test_a_result_comes_first_in_the_list_once_and_a_click_shows_it_with_its_settings(page, made):
    older = [{"key": KEY, "words": "an older one"}]
    stored, drawn, _, drawer = added(page, made, older)
    assert [one["words"] for one in stored] == ["Imagic: a sad man, seed 5", "an older one"]
    assert stored[1]["key"] == KEY and GONE in drawn and "(2)" in drawer["label"]
    assert "small-edit.png" in drawn and made[0]["edit"] not in str(stored)
    assert added(page, made, stored)[0] == gr.skip(), "shown twice, listed once"
    tab, models = page.panels["imagic"], gr.State()
    updates = followed(page, page.history.again(page.tabs, models, stored, 0))
    assert updates[page.tabs]["selected"] == "imagic" and updates[tab.controls["eta"]] == 0.3
    assert updates[tab.fields["image"]] == made[1] and updates[tab.prompt.text] == "a sad man"
    shown = updates[tab.result.shown]
    assert shown["edit"] == made[0]["edit"] and "maps" not in shown
    assert added(page, (shown, None), stored)[0] == gr.skip(), "what is shown from the list is in it"
    outputs = {*tab.shown_again, page.tabs, models, page.history.drawer}
    assert set(updates) <= outputs


def test_a_picture_that_is_gone_and_a_click_on_nothing_are_no_errors(page, made):
    stored, *_ = added(page, made, [])
    Path(made[0]["edit"]).unlink()
    for number in (0, 1, -1, None, "0", 1.5):
        updates = page.history.again(page.tabs, gr.State(), stored, number)
        assert set(updates) == set(page.history.outputs)
    assert GONE in updates[page.history.strip]


def test_an_example_is_not_listed_and_clearing_removes_the_files(page, made):
    example = made[0] | {"edit": "/somewhere/examples/imagic/results/01-edit.png"}
    assert added(page, (example, None), [])[0] == gr.skip()
    stored, *_ = added(page, made, [])
    cleared, drawn, button, drawer = page.history.forget(stored)
    assert (
        cleared == [] and module.NOTHING in drawn and not button["visible"] and drawer["label"] == "History"
    )
    assert not Path(made[0]["edit"]).exists() and page.history.ctx.shelf.get(stored[0]["key"]) is None


def test_two_visitors_never_share_a_key(page, made):
    mine, *_ = added(page, made, [])
    yours, *_ = added(page, made, [], SimpleNamespace(session_hash="two"))
    assert mine[0]["key"] != yours[0]["key"]
    assert Entry(**mine[0]) == entries(mine)[0]
