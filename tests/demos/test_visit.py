"""What is found again after a reload or by a link: settings, source, result; and hostile values of either."""

from io import BytesIO
from types import SimpleNamespace
from urllib.parse import parse_qsl

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from demos.shared import link, painting
from demos.shared.shelf import is_key
from demos.shared.visit import FROM_LINK, SOURCE_GONE
from textedit_core.record import Record

NOBODY = SimpleNamespace(session_hash="me", query_params={})


def request(**query) -> SimpleNamespace:
    return SimpleNamespace(session_hash="me", query_params=query)


def opened(page, asked=NOBODY, listed=(), made=None, **stored) -> dict:
    """The updates of a page that is opened, and of the tabs it sets; stored: METHOD_values, METHOD_source."""
    tabs = page.visit.tabs
    values = {name: stored[f"{name}_values"] for name in tabs if f"{name}_values" in stored}
    sources = {name: stored[f"{name}_source"] for name in tabs if f"{name}_source" in stored}
    return followed(page, page.visit.opened(asked, list(listed), made or {}, values, sources))


def followed(page, updates: dict) -> dict:
    """Updates, and those that they order of the tabs."""
    reopen, found = page.history.reopen, {}
    for name, due in reopen.due.items():
        if due in updates:
            tab = page.panels[name]
            gr.utils.deep_hash(updates[due])  # as gradio does with what a state holds
            set_ = reopen.setter(tab)(updates.pop(due))
            assert set(set_) <= set(tab.shown_again)
            found |= {one: value for one, value in set_.items() if value != gr.skip()}
    return updates | found


def saved(tab, **more) -> dict:
    """What a browser has stored of a tab as it is at first."""
    return {"models": tab.ctx.default} | {name: one.value for name, one in tab.saved.items()} | more


def test_a_page_that_was_never_touched_opens_as_at_first(page):
    assert not opened(page), "the tiny models have no finished example"
    for name, tab in page.visit.tabs.items():
        assert not page.visit.is_touched(tab, saved(tab), None), name


def test_settings_and_source_are_found_again(page, picture):
    tab, path = page.visit.tabs["imagic"], picture()
    sources = page.visit.keeper("imagic", tab)(NOBODY, stored={"other": 1}, image=path)
    key = sources.pop("imagic")
    assert is_key(key) and sources == {"other": 1}
    values = saved(tab, prompt="a sad man", eta=0.3, embedding_steps=7, seed=11)
    updates = opened(page, imagic_values=values, imagic_source=key)
    assert updates[tab.prompt.text] == "a sad man" and updates[tab.controls["eta"]] == 0.3
    assert updates[tab.controls["embedding_steps"]] == 7 and updates[tab.controls["seed"]] == 11
    assert updates[tab.fields["image"]] == path and page.tabs not in updates


def test_mask_and_exemplar_are_found_again(page, picture):
    tab, path, other = page.visit.tabs["paint_by_example"], picture(size=(50, 40)), picture(7)
    mask = Image.new("L", (50, 40))
    mask.paste(255, (10, 5, 30, 25))
    _, layers = painting.on_canvas(Image.open(path), mask)
    file = BytesIO()
    layers[0].save(file, "PNG")
    keep = page.visit.keeper("paint_by_example", tab)
    sources = keep(NOBODY, stored={}, image=path, mask=[file.getvalue()], exemplar=other)
    assert len(sources) == 3 and all(map(is_key, sources.values()))
    again = keep(NOBODY, stored=sources, image=path, mask=[file.getvalue()], exemplar=other)
    assert again == sources, "at each pause: what has not changed takes no more of the shelf"
    stored = {"paint_by_example": saved(tab, guidance_scale=2.0)}
    updates = followed(page, page.visit.opened(NOBODY, [], {}, stored, sources))
    assert updates[tab.image] == path and updates[tab.exemplar.image] == other
    found = updates[tab.mask.editor]["layers"][0]
    again, painted = (np.asarray(one.getchannel("A")) > 0 for one in (found, layers[0]))
    assert (again & painted).sum() / (again | painted).sum() > 0.97
    emptied = keep(NOBODY, stored=sources, image=path, mask=[], exemplar=None)
    assert emptied["paint_by_example"] and not emptied["paint_by_example/mask"]
    updates = followed(page, page.visit.opened(NOBODY, [], {}, stored, emptied))
    assert not updates[tab.mask.editor]["layers"] and tab.exemplar.image not in updates
    wrong = keep(NOBODY, stored=sources, image=path, mask=[b"no picture"], exemplar="/etc/none")
    assert not wrong["paint_by_example/mask"] and not wrong["paint_by_example/exemplar"]


@pytest.mark.parametrize("stored", [None, "text", 7, [1]])
def test_values_that_are_none_open_the_page_as_at_first(page, stored):
    assert not followed(page, page.visit.opened(NOBODY, stored, stored, stored, stored))


def test_every_tab_finds_again_what_it_stores(page):
    for name, tab in page.visit.tabs.items():
        values = saved(tab)
        about = tab.read_saved(values)
        assert about is not None and about.method == name
        set_ = tab.set_as(about)
        for field, widget in tab.saved.items():
            if widget in set_ and field not in ("face", "accepted"):
                assert (set_[widget] or None) == (values[field] or None), (name, field)


def test_a_source_that_is_gone_is_told_and_another_key_shows_nothing(page, picture):
    tab = page.visit.tabs["imagic"]
    values = saved(tab, prompt="a sad man")
    for key in ("f" * 32, picture(), "../../etc/passwd", 7, {"key": 1}):
        updates = opened(page, imagic_values=values, imagic_source=key)
        assert tab.fields["image"] not in updates and SOURCE_GONE in updates[tab.edit_status]
    for nothing in (None, [], "", {}):
        assert tab.fields["image"] not in opened(page, imagic_values=values, imagic_source=nothing)


@pytest.mark.parametrize("stored", [None, [], "text", 3, {"other": 1}, {"prompt": {"a": 1}}])
def test_what_no_page_has_stored_changes_nothing_or_is_left_out(page, stored):
    tab = page.visit.tabs["imagic"]
    updates = opened(page, imagic_values=stored)
    assert updates.get(tab.prompt.text, "") == ""


def test_one_wrong_value_does_not_lose_the_others(page):
    tab = page.visit.tabs["imagic"]
    wrong = {"eta": "<b>", "steps": None, "seed": 1e99, "guidance_scale": [], "sizing": {"a": 1}}
    updates = opened(page, imagic_values=saved(tab, prompt="a sad man", embedding_steps=7, **wrong))
    assert updates[tab.prompt.text] == "a sad man" and updates[tab.controls["embedding_steps"]] == 7
    assert updates[tab.controls["eta"]] == tab.knobs["eta"].default


def test_a_link_opens_its_tab_with_its_settings_and_what_suits_the_models(page):
    tab = page.visit.tabs["prompt_to_prompt"]
    asked = request(tab="prompt_to_prompt", prompt="a sad man", cross_replace_steps="0.4", __theme="dark")
    updates = opened(page, asked, prompt_to_prompt_values=saved(tab, prompt="mine"))
    assert updates[page.tabs]["selected"] == "prompt_to_prompt"
    assert updates[tab.texts["prompt"]] == "a sad man" and updates[tab.controls["cross_replace_steps"]] == 0.4
    assert updates[tab.controls["steps"]] == tab.usual(tab.ctx.default)["steps"]
    assert FROM_LINK in updates[tab.edit_status] and page.visit.said not in updates


def test_the_link_that_the_page_wrote_itself_does_not_undo_what_came_after(page):
    tab = page.visit.tabs["imagic"]
    about = Record(
        "imagic", tab.ctx.default, {"prompt": "a sad man"}, tab.usual(tab.ctx.default) | {"eta": 0.9}
    )
    query = link.query("imagic", "imagic", about, tab.usual(tab.ctx.default), tab.ctx.default)
    assert parse_qsl(query) == [("tab", "imagic"), ("prompt", "a sad man"), ("eta", "0.9")]
    asked, values = request(**dict(parse_qsl(query))), saved(tab, prompt="a sad man", eta=0.2)
    kept = opened(page, asked, made={"query": query}, imagic_values=values)
    assert kept[tab.controls["eta"]] == 0.2
    theirs = opened(page, asked, imagic_values=values)
    assert theirs[tab.controls["eta"]] == 0.9


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"tab": "<script>"}, "a tab that is not here"),
        ({"tab": "imagic", "eta": "99"}, "Left out of the link: Eta"),
        ({"tab": "imagic", "eta": "nan"}, "Left out of the link: Eta"),
        ({"tab": "imagic", "seed": "1e400"}, "Left out of the link: Seed"),
        ({"tab": "imagic", "tune": "__import__('os')"}, "Left out of the link: Tuned weights"),
        ({"tab": "imagic", "image": "/etc/passwd"}, "which is no setting of this tab"),
        ({"tab": "imagic", "prompt": "x" * 5000}, "at most 1,000 are read"),
        ({"tab": "imagic", "models": "evil/repo"}, "are not offered here"),
        ({"tab": "styleclip", "method": "imagic", "eta": "1"}, "names no method"),
        ({"tab": "imagic", "a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}, "And 2 more."),
    ],
)
def test_a_hostile_link_sets_nothing_and_is_told(page, query, says):
    updates = opened(page, request(**query))
    assert (
        says in updates[page.visit.said].replace("&#x27;", "'") and "<script" not in updates[page.visit.said]
    )
    assert set(updates) <= {page.visit.said, page.tabs}
    assert updates.get(page.tabs, {}).get("selected", "imagic") in page.visit.names


def test_a_kept_result_is_shown_again_with_what_was_set_since(page, picture):
    from PIL import Image

    from textedit_core.record import save_png

    tab, folder = page.visit.tabs["imagic"], page.history.ctx.folder()
    about = Record("imagic", tab.ctx.default, {"prompt": "a sad man"}, {"seed": 5, "eta": 0.3})
    paths = {key: str(folder / f"{key}.png") for key in ("edit", "source", "reconstruction")}
    for path in paths.values():
        save_png(Image.open(picture()), path, about)
    edit = paths.pop("edit")
    shown = {
        "edit": edit,
        "pictures": paths,
        "captions": {},
        "record": about.to_json(),
        "words": "",
        "scores": None,
    }
    listed, *_ = page.history.adder(tab)(shown, [], None, NOBODY)
    updates = opened(page, listed=listed, imagic_values=saved(tab, prompt="a sad man", eta=0.6))
    assert updates[tab.result.shown]["edit"] == edit and updates[tab.controls["eta"]] == 0.6
