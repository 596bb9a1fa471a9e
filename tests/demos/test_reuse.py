"""Use as source: what each tab sets when a result becomes its source."""

import gradio as gr


def handler(page, panel):
    """What "Use as source" of a panel calls."""
    button = panel.result.use_source._id
    found = [fn for fn in page.demo.fns.values() if (button, "click") in fn.targets]
    assert len(found) == 1
    return found[0].fn


def test_every_result_can_be_used_in_each_tab(page, picture):
    path, seen = picture(), set()
    for panel in page.panels.values():
        if panel.result is None:
            continue
        use = handler(page, panel)
        choices = [name for _, name in panel.result.target.choices]
        assert set(choices) == {"", "*"} | set(page.places) - {panel.tab_id}
        everywhere = use({"edit": path}, "*")
        assert {one for place in page.places.values() for one in place.built.source_outputs} < set(everywhere)
        for where in filter(lambda name: name != "*", choices):
            set_ = use({"edit": path}, where)
            assert set_[page.tabs]["selected"] == (where or panel.tab_id)
            place = page.places[where or panel.tab_id].built
            assert path in [value for value in set_.values() if isinstance(value, str)]
            assert set(set_) == {page.tabs, *place.source_outputs}
            seen.add(where or panel.tab_id)
    assert seen == set(page.places)


def test_a_tab_that_is_none_is_the_own_one_and_without_a_result_nothing_moves(page, picture):
    use = handler(page, page.panels["imagic"])
    assert use({"edit": picture()}, "../other")[page.tabs]["selected"] == "imagic"
    assert use(None, "") == {page.tabs: gr.skip()}


def test_styleclip_starts_from_the_picture_and_paint_by_example_has_a_clean_canvas(page, picture):
    path = picture()
    picker = page.places["styleclip"].built.picker
    assert page.places["styleclip"].built.with_source(path)[picker.origin] == "picture"
    paint = page.places["paint_by_example"].built
    assert paint.with_source(path)[paint.fields["mask"]]["layers"] == []


def test_one_source_for_all_tabs_follows_what_a_person_adds_while_it_is_ticked(page, picture):
    path, later = picture(), picture(2)
    (tick,) = [one for one in page.demo.blocks.values() if getattr(one, "elem_id", "") == "one-source"]
    events = [fn for fn in page.demo.fns.values() if tick in fn.inputs]
    (ticked,) = [fn for fn in events if (tick._id, "input") in fn.targets]
    last, sources = ticked.inputs[1], {}
    for name, place in page.places.items():
        sources[name] = next(one for one in place.built.source_outputs if isinstance(one, gr.Image))
    (added,) = [fn for fn in events if (sources["imagic"]._id, "upload") in fn.targets]
    assert added.fn(path, False) == {last: (path, "imagic")}, "it is kept for the tick"
    set_ = ticked.fn(True, (path, "imagic"))
    assert all(set_[image] == path for name, image in sources.items() if name != "imagic")
    assert sources["imagic"] not in set_, "the tab that has it keeps its mask"
    set_ = added.fn(later, True)
    assert all(set_[image] == later for name, image in sources.items() if name != "imagic")
    assert ticked.fn(False, (path, "imagic")) == {last: (path, "imagic")}
    assert added.fn(None, True) == {last: None}, "a source that is taken away goes in its own tab alone"
