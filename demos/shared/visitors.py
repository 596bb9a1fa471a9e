"""What gradio keeps of each visitor, without what would grow for as long as the host runs.

Gradio has of a visit the values of its states, the widgets that an update has made anew for it, and a copy of
the configuration of the whole page. Three things of that grow without end, and are left out here:

* A widget that was made anew has a number of its own besides its place on the page. At its next plain value
  gradio files it under that number too, where it stays: a visit that edits gains ten widgets an edit.
* The copy of the configuration is made for each visit, 4.3 MB and .13 s, and holds the last value of each
  widget, pictures among them. Only gradio's deep links read it; this page has its own (shared/link.py).
* A visit whose page was closed is kept until there are 10,000 of them.
"""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio import state_holder
from gradio.state_holder import SessionState, StateHolder

KEPT_CLOSED = datetime.timedelta(hours=1)  # as long as gradio keeps the states of a page that was closed
MOST_VISITORS = 1_000  # whose pages are open, or who ask by the API; who was away longest goes first


class Visitor(SessionState):
    """The state of one visit: `SessionState`, with widgets under their places on the page alone."""

    def __init__(self, page: gr.Blocks) -> None:
        # Without blocks to copy the configuration of.
        super().__init__(SimpleNamespace(default_config=page.default_config, blocks=()))  # type: ignore[arg-type]
        self._places: dict[int, int] = {}  # of widgets that were made anew, by their numbers
        forget_closed(getattr(page, "state_holder", None))

    def __getitem__(self, key: int) -> Any:
        return super().__getitem__(self._places.get(key, key))

    def __contains__(self, key: int) -> bool:
        return super().__contains__(self._places.get(key, key))

    def __setitem__(self, key: int, value: Any) -> None:
        place = self._places.get(key, key)
        known = self.blocks_config.blocks
        if isinstance(known.get(place), gr.State):
            super().__setitem__(place, value)
            self.config_values.clear()
            return
        if (before := known.get(place)) is not None:
            self._places.pop(before._id, None)
        known[place] = value
        if value._id != place:
            self._places[value._id] = place

    def _update_config(self, key: int) -> None:
        """Nothing: no copy of the configuration is kept."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Nothing, as above."""


def forget_closed(holder: StateHolder | None) -> None:
    """Forget the visits whose pages were closed and of which nothing was heard for an hour."""
    if holder is None:
        return
    now = datetime.datetime.now()
    for name, visit in list(holder.session_data.items()):
        used = holder.time_last_used.get(name, now)
        if visit.is_closed and now - used > KEPT_CLOSED:
            holder.delete_state(name)
            holder.session_data.pop(name, None)
            holder.time_last_used.pop(name, None)


def keep_little() -> None:
    """Have gradio keep visits in this way, from now on: it looks the class up in its module for each one."""
    state_holder.SessionState = Visitor  # type: ignore[misc]
