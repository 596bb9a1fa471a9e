"""The page is light in the browser: few events with few targets, and none follows fewer changes for it."""

import gradio as gr
import pytest

from demos import app
from demos.shared.events import HEARD, follow, lighten
from textedit_core.models import zoo

# What a browser does before the page can be used grows with both: for each of its components gradio's page
# looks at every target of every event, and for each target it searches all components.
MOST_EVENTS, MOST_TARGETS = 456, 751


def followed(page: gr.Blocks) -> dict:
    """What each event that does something follows: changes, and events that do something, by number."""
    found = {}
    for number, event in page.fns.items():
        targets, after = {one for one in event.targets if one[0] is not None}, event.trigger_after
        while after is not None and page.fns[after].js == HEARD:
            targets |= {one for one in page.fns[after].targets if one[0] is not None}
            after = page.fns[after].trigger_after
        if event.js != HEARD and (event.fn or event.js or event.cancels):
            found[number] = (targets, after)
    return found


@pytest.fixture(scope="module")
def light(tiny_folder):
    """The page, with what its events followed before it was made lighter."""

    def noted(page: gr.Blocks) -> None:
        before.update(followed(page))
        lighten(page)

    before: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "lighten", noted)
        page = app.create_app(zoo, models=str(tiny_folder), device="cpu")
    return page, before


def test_the_page_has_no_more_events_and_targets_than_it_needs(light):
    page, _ = light
    targets = [target for one in page.fns.values() for target in one.targets]
    assert len(page.fns) <= MOST_EVENTS and len(targets) <= MOST_TARGETS
    assert all(component is not None for component, _ in targets), "the whole page is searched for it"


def test_each_event_follows_the_same_changes_as_before(light):
    page, before = light
    assert len(before) > 300 and followed(page) == before


def test_what_others_hear_too_is_heard_first_and_told():
    with gr.Blocks() as page:
        a, b, c, d, said = gr.Textbox(), gr.Textbox(), gr.Textbox(), gr.Textbox(), gr.HTML()
        looks = [lambda: "1", lambda: "2", lambda: "3", lambda: "4"]
        follow([a.change, b.change], looks[0], None, said)
        follow([b.change, a.change], looks[1], None, said)
        follow([c.change, a.change, b.change], looks[2], None, said)
        follow([d.change], looks[3], None, said)
        lighten(page)
    hearing = [one for one in page.fns.values() if one.js == HEARD]
    by_look = {one.fn: one for one in page.fns.values() if one.fn}
    (both,) = hearing
    assert [by_look[look].trigger_after for look in looks] == [both._id] * 3 + [None]
    assert set(both.targets) == {(a._id, "change"), (b._id, "change")}
    assert [by_look[look].targets for look in looks] == [[], [], [(c._id, "change")], [(d._id, "change")]]


def test_what_is_told_is_asked_alone_where_something_else_hears_the_change():
    with gr.Blocks() as page:
        a, said = gr.Textbox(), gr.HTML()
        follow([a.change], lambda: "1", None, said)
        a.change(lambda: None)
        lighten(page)
    told = [one for one in page.fns.values() if one.trigger_after is not None]
    assert len(page.fns) == 3 and len(told) == 1 and told[0].targets == []
