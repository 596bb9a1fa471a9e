"""Sets one tab as it was: settings, source, a kept result. Its own event, so that no other tab is touched.

A page that gets an update for each widget of every tab is busy for seconds, even where most say nothing.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import gradio as gr

from demos.context import Context
from demos.shared.marks import HIDDEN
from demos.shared.panel import MethodPanel
from textedit_core.record import Record

NOTHING: Mapping[str, str] = MappingProxyType({})


class Reopen:
    """`order` gives the update that has a panel set; `due` are what such updates are for, by method."""

    def __init__(self, ctx: Context, panels: Mapping[str, MethodPanel]) -> None:
        self.ctx = ctx
        self.panels = {name: one for name, one in panels.items() if one.result is not None}
        self.due = {name: gr.State(None) for name in self.panels}
        for name, panel in self.panels.items():
            self.due[name].change(self.setter(panel), self.due[name], panel.shown_again, **HIDDEN)

    def order(self, name: str, about: Record | None = None, **more: Any) -> dict:
        """The update that has the panel of a method set.

        about: its settings; None for the first example.  more: as `updates` takes it.
        """
        told = about.to_json() if about else None  # gradio hashes what a state holds
        return {self.due[name]: {"at": time.monotonic_ns(), "about": told, **more}}

    def setter(self, panel: MethodPanel):
        """The handler that sets a panel as it was ordered."""

        def set_panel(due: dict | None) -> dict:
            asked = {name: value for name, value in (due or {}).items() if name != "at"}
            if told := asked.pop("about", None):
                asked["about"] = Record.from_json(told)
            return self.updates(panel, **asked) or {panel.shown_again[0]: gr.skip()}

        return set_panel

    def updates(
        self,
        panel: MethodPanel,
        about: Record | None = None,
        models: str = "",
        source: str | None = None,
        beside: Mapping[str, str] = NOTHING,
        key: str = "",
        words: str = "",
        whole: bool = True,
    ) -> dict:
        """Updates that set a panel.

        models: those of an example.  source: the path of a picture of this app.  beside: those of what lies
        beside it, by the names of the panel.  key: of a kept result; without it, that of an example with
        these settings.  words: HTML for the status.  whole: whether the part of a tab is opened that the
        panel stands in.
        """
        if about is None:
            return panel.first_example(models)
        found = dict(zip(panel.restore_outputs, panel.restore(about), strict=True))
        found = {one: value for one, value in found.items() if whole or not isinstance(one, gr.Tabs)}
        if source and Path(source).is_file():
            # What the record says of it counts: where a latent is from, where the face is.
            brought = panel.with_source(source, **beside) if beside else panel.with_source(source)
            found |= {one: value for one, value in brought.items() if one not in found}
        kept = self.ctx.shelf.get(key)
        if isinstance(kept, dict):
            return found | panel.finished(kept["shown"] | {"kept": key}, words)
        return found | panel.said(words) | panel.example_as(about, source)
