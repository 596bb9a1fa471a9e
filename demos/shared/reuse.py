"""Use as source: the picture of a result becomes the source of its own tab, of another one, or of all.

And one source for all tabs: while that is ticked, a source that is added in one of them is set in the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr

from demos.shared.marks import EVERY_CLICK, HIDDEN
from demos.shared.panel import BuiltTab, MethodPanel

HERE, EVERYWHERE = "", "*"  # the choices of the tab that a result stands in, and of all


@dataclass(frozen=True)
class Place:
    """A tab that takes a source: its name on the page, and what was built in it."""

    title: str
    built: BuiltTab


def wire_reuse(
    tabs: gr.Tabs, places: Mapping[str, Place], panels: Mapping[str, MethodPanel], one_source: gr.Checkbox
) -> None:
    """Wire the button of every result, and the box of one source for all tabs.

    places: by the id of their gr.Tab.  panels: by their method.
    """
    wire_one_source(one_source, places)
    outputs = [tabs, *dict.fromkeys(one for place in places.values() for one in place.built.source_outputs)]
    for panel in panels.values():
        if panel.result is None:
            continue
        others = [(f"in {place.title}", name) for name, place in places.items() if name != panel.tab_id]
        panel.result.target.choices = [("in this tab", HERE), *others, ("in all tabs", EVERYWHERE)]

        def use(shown: dict | None, where: str, own: str = panel.tab_id) -> dict:
            """Updates that make the shown result the source of a tab, and open that."""
            name = where if where in places else own
            if not shown:
                return {tabs: gr.skip()}
            if where == EVERYWHERE:
                return {tabs: gr.update(selected=own)} | everywhere(places, shown["edit"])
            return {tabs: gr.update(selected=name)} | places[name].built.with_source(shown["edit"])

        asked = [panel.result.shown, panel.result.target]
        panel.result.use_source.click(use, asked, outputs, **EVERY_CLICK)


def everywhere(places: Mapping[str, Place], path: str, but: str = "") -> dict:
    """Updates that make a picture the source of all tabs, but of one."""
    found: dict = {}
    for name, place in places.items():
        if name != but:
            found |= place.built.with_source(path)
    return found


def wire_one_source(ticked: gr.Checkbox, places: Mapping[str, Place]) -> None:
    """While it is ticked, a source that a person adds in one tab is set in all; at the tick the last one."""
    last = gr.State(None)  # the path of the source that was added last, and the tab
    built = [place.built for place in places.values()]
    outputs = [last, *dict.fromkeys(one for each in built for one in each.source_outputs)]

    def setter(name: str):
        def added(path: str | None, one: bool) -> dict:
            found = everywhere(places, path, but=name) if path and one else {}
            return {last: (path, name) if path else None} | found

        return added

    def tick(one: bool, known: tuple[str, str] | None) -> dict:
        return {last: known} | (everywhere(places, *known) if one and known else {})

    for name, place in places.items():
        image = next(one for one in place.built.source_outputs if isinstance(one, gr.Image))
        # Not .change, or the others would set it in turn.
        gr.on([image.upload, image.input], setter(name), [image, ticked], outputs, **HIDDEN)
    ticked.input(tick, [ticked, last], outputs, **HIDDEN)
