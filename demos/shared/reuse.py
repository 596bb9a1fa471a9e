"""Use as source: the picture of a result becomes the source of its own tab, or of another one."""

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr

from demos.shared.marks import EVERY_CLICK
from demos.shared.panel import BuiltTab, MethodPanel

HERE = ""  # the choice of the tab that a result stands in


@dataclass(frozen=True)
class Place:
    """A tab that takes a source: its name on the page, and what was built in it."""

    title: str
    built: BuiltTab


def wire_reuse(tabs: gr.Tabs, places: Mapping[str, Place], panels: Mapping[str, MethodPanel]) -> None:
    """Wire the button of every result; `places` by the id of their gr.Tab, `panels` by their method."""
    outputs = [tabs, *dict.fromkeys(one for place in places.values() for one in place.built.source_outputs)]
    for panel in panels.values():
        if panel.result is None:
            continue
        others = [(f"in {place.title}", name) for name, place in places.items() if name != panel.tab_id]
        panel.result.target.choices = [("in this tab", HERE), *others]

        def use(shown: dict | None, where: str, own: str = panel.tab_id) -> dict:
            """Updates that make the shown result the source of a tab, and open that."""
            name = where if where in places else own
            if not shown:
                return {tabs: gr.skip()}
            return {tabs: gr.update(selected=name)} | places[name].built.with_source(shown["edit"])

        asked = [panel.result.shown, panel.result.target]
        panel.result.use_source.click(use, asked, outputs, **EVERY_CLICK)
