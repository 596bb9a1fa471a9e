"""What the page asks of a tab that has been built: `BuiltTab`, and a `MethodPanel` for each method in it."""

from __future__ import annotations

from typing import Any, Protocol

import gradio as gr

from demos.shared.results import ResultPanel
from textedit_core.record import Record


class MethodPanel(Protocol):
    """Where one method is asked: what Recall sets there, and the results that Compare may offer.

    title: its name where its pinned results are offered.  tab_id: the id of the gr.Tab that it stands in.
    left_out: what a saved picture does not carry, as the end of a sentence.  result: where its results are
    shown and pinned; None for a panel without pins.
    """

    title: str
    tab_id: str
    left_out: str
    result: ResultPanel | None

    @property
    def restore_outputs(self) -> list[gr.components.Component]:
        """The widgets that Recall sets."""
        ...

    @property
    def shown_again(self) -> list[gr.components.Component]:
        """What is updated where a result that was kept is shown with its settings and its source."""
        ...

    def finished(self, shown: dict, summary: str = "") -> dict[gr.components.Component, Any]:
        """Updates that show a result, plain data, with what is said of it as HTML."""
        ...

    def first_example(self, models: str) -> dict[gr.components.Component, Any]:
        """Updates that show the first example where its result is finished, else none."""
        ...

    def example_as(self, about: Record, source: str | None) -> dict[gr.components.Component, Any]:
        """Updates that show the finished result of the example with these settings; {} for none.

        source: the path of the picture that stands there, None for none.
        """
        ...

    def said(self, words: str) -> dict[gr.components.Component, Any]:
        """Updates that say something, HTML, in its run bar."""
        ...

    @property
    def source_outputs(self) -> list[gr.components.Component]:
        """The widgets that `with_source` sets."""
        ...

    def with_source(self, path: str) -> dict[gr.components.Component, Any]:
        """Updates that make a picture of this app the source, as an upload of it would."""
        ...

    def restore(self, about: Record) -> list[Any]:
        """Updates for `restore_outputs` from the settings of a picture; ValueError for a misfit."""
        ...

    @property
    def axis_outputs(self) -> list[gr.components.Component]:
        """What `restore_axes` sets."""
        return []

    def restore_axes(self, axes: dict[str, str]) -> dict[gr.components.Component, Any]:
        """Updates that set the axes of its sweep; ValueError for a misfit."""
        return {}


class BuiltTab(Protocol):
    """A tab of the page. panels: those in it, by the name of their method."""

    panels: dict[str, MethodPanel]

    @property
    def source_outputs(self) -> list[gr.components.Component]:
        """The widgets that `with_source` sets."""
        ...

    def with_source(self, path: str) -> dict[gr.components.Component, Any]:
        """Updates that make a picture of this app the source, as an upload of it would."""
        ...

    def on_open(self, tab: gr.Tab) -> None:
        """Wire what is looked up whenever a person opens the tab."""

    def connect(self, panels: dict[str, MethodPanel]) -> None:
        """Wire what takes something from the panels of all tabs; called once, when every tab is built."""
