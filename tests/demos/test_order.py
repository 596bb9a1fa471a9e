"""Which answer the page ends with, where two are under way: the one asked last; and how answers are sent."""

import time

import gradio as gr
import pytest

from demos.app import create_app
from demos.shared.checks import guarded
from textedit_core.models import zoo


@pytest.fixture(scope="module")
def page(tiny_folder):
    return create_app(zoo, models=str(tiny_folder), device="cpu")


@pytest.fixture
def events(page):
    """The events of the whole page that have a handler."""
    return [one for one in page.fns.values() if one.fn is not None]


def name(event) -> str:
    return event.fn.__qualname__


def writers(events, kind: type) -> dict:
    """The events that write each component of a kind."""
    found = {}
    for event in events:
        for one in event.outputs:
            if isinstance(one, kind):
                found.setdefault(one, []).append(event)
    return found


def clicked(index: int) -> gr.EventData:
    return gr.EventData(None, {"index": index})


def test_beside_the_queue_a_sentence_is_written_by_one_event(events):
    for said, found in writers(events, gr.HTML).items():
        beside = {name(one) for one in found if not one.queue}
        count = sum(not one.queue for one in found)
        assert count <= 1, f"{said.elem_id}: {beside} may answer in another order than they were asked"


def test_beside_the_queue_what_is_asked_meanwhile_is_answered_too(events):
    dropped = {name(one) for one in events if not one.queue and one.trigger_mode != "always_last"}
    assert not dropped


def test_what_is_asked_again_is_asked_alone(page):
    """Else all that hear an event are asked again with the one that was late, and are late in turn."""
    hearing = {}
    for event in page.fns.values():
        for target in event.targets:
            if target[0] is not None:  # one that follows another event hears nothing else
                hearing.setdefault(target, []).append(event)
    late = {name(one) for heard in hearing.values() for one in heard if len(heard) > 1 if waits(one)}
    assert not late


def waits(event) -> bool:
    return event.fn is not None and event.trigger_mode == "always_last"


def test_each_run_whose_end_is_followed_tells_of_it(events, page):
    """By an event chained to it; after an error by itself, for gradio sends nothing then."""
    told = [one for one in events if one.fn is time.monotonic_ns]
    assert len(told) > 10
    for one in told:
        assert set(one.outputs) <= set(page.fns[one.trigger_after].outputs)


@pytest.mark.parametrize("error", [ValueError("no"), gr.Error("no", print_exception=False)])
def test_a_run_that_fails_tells_its_end(error):
    class Panel:
        status, ended = "the status", "the end"

        @guarded("status", "ended")
        def run(self):
            yield {"the picture": 1}
            raise error

    run, found = Panel().run(), {}
    with pytest.raises(gr.Error):
        for updates in run:
            found |= updates
    assert found.keys() >= {"the picture", "the end"}


def test_each_click_on_one_of_several_pictures_counts(events):
    clicks = [one for one in events if any(event == "select" for _, event in one.targets)]
    clicks = [one for one in clicks if name(one) != "Tab.again"]  # a slider that is let go: the last counts
    assert len(clicks) > 10
    assert {name(one) for one in clicks if one.trigger_mode != "multiple"} == set()


@pytest.mark.parametrize(
    ("component", "lane", "handlers"),
    [
        ("compare-slider", "pair", 4),
        ("paint_by_example-mask", "paint_by_example-canvas", 2),
        ("compare-mask", "compare-canvas", 2),
        ("styleclip-gallery", "model", 4),
    ],
)
def test_what_several_events_write_they_write_in_one_lane(events, component, lane, handlers):
    kinds = (gr.HTML, gr.ImageSlider, gr.ImageEditor)
    (found,) = (by for one, by in writers(events, kinds).items() if one.elem_id == component)
    # An example, a source from a result or for all tabs, and a tab that is set as it was: all at once.
    whole = ("on_pick", "wire_reuse", "wire_one_source", "Reopen.setter")
    queued = [one for one in found if one.queue and not any(part in name(one) for part in whole)]
    assert len(queued) == handlers
    assert {one.concurrency_id for one in queued} == {lane}
    assert {one.concurrency_limit for one in queued} == {1}


def test_the_pictures_of_other_models_follow_the_last_choice(events):
    follow = [one for one in events if name(one) in ("LatentPicker.look", "LatentPicker.refill")]
    assert len(follow) == 4 and {one.trigger_mode for one in follow} == {"always_last"}
    again = [one for one in events if name(one) == "Tab.edit" and one.trigger_only_on_success]
    assert len(again) == 4 and {one.trigger_mode for one in again} == {"always_last"}, "undo upon undo"


def test_an_answer_leaves_alone_what_was_chosen_meanwhile(tiny_folder, monkeypatch):
    from demos.compare import tab as compare
    from demos.context import Context
    from demos.styleclip import mapper as styleclip_mapper
    from demos.styleclip import tab as styleclip

    ctx = Context(zoo, str(tiny_folder), "cpu")
    with gr.Blocks():
        models = gr.Dropdown([ctx.default], value=ctx.default)
        asking = compare.build(ctx, models).asking
        mapper = styleclip.build(ctx, models).panels["styleclip_mapper"]
    methods, _ = asking.use_models(ctx.default, ["sdedit"])
    assert "value" not in methods and methods["choices"], "a box ticked while it was asked stays ticked"
    methods, _ = asking.use_models(ctx.default, ["sdedit", "of other models"])
    assert methods["value"] == ["sdedit"]
    monkeypatch.setattr(styleclip_mapper, "choices", lambda *_: [("sad", "a"), ("angry", "b")])
    assert "value" not in mapper.list_mappers(ctx.default, "b", [])[0]
    assert mapper.list_mappers(ctx.default, "gone", [])[0]["value"] == "a"


def test_two_choices_made_at_once_are_both_kept():
    from demos.compare.pair import Pair

    with gr.Blocks():
        pair = Pair("compare", gr.State([]))
    made = [{"label": one, "path": f"{one}.png", "record": ""} for one in "xyz"]
    shown = pair.choose("png 1", "png 3", [], made)
    assert "value" not in shown[pair.a] and "value" not in shown[pair.b]
    assert shown[pair.slider] == ("x.png", "z.png")
    gone = pair.choose("sdedit", "png 3", [], made)
    assert gone[pair.a]["value"] == "png 1" and "value" not in gone[pair.b]


def test_a_click_means_what_was_clicked_and_not_what_stands_there_by_then(tiny_folder):
    from demos.context import Context
    from demos.shared.cellview import CellView
    from demos.styleclip.picker import LatentPicker, tiles

    ctx = Context(zoo, str(tiny_folder), "cpu")
    with gr.Blocks():
        picker = LatentPicker(ctx, gr.Dropdown([ctx.default], value=ctx.default))
        view = CellView()
    assert 'data-cell="24"' in tiles(["x.png"], 24) and picker.pick(clicked(24))[0] == 24
    assert view.show([], clicked(3)) == [gr.skip()] * len(view.outputs), "a sweep that has given way"


def test_a_later_answer_of_a_generator_is_sent_whole(page, events):
    """A change within the earlier one would be written into what a widget is yet to show."""
    event = next(one for one in events if len(one.outputs) == 1)
    picture, nothing = {"path": "a.png", "url": "/a.png"}, {"__type__": "update"}

    def sent(answer: dict) -> list:
        return page.handle_streaming_diffs(event, [answer], "a visit", "a run", final=False)[0]

    assert sent(picture) == picture
    assert sent(nothing) == [["replace", [], nothing]]
    assert sent(nothing) == []
