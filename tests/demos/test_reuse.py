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
        assert set(choices) == {""} | set(page.places) - {panel.tab_id}
        for where in choices:
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
