"""The results of this visit over all tabs: small pictures in a drawer of the header, newest first.

The visitor's browser stores keys and a few words. The results themselves are on the host's shelf, for as long
as that keeps them; a key whose result is gone is a grey square that says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from demos.context import Context
from demos.examples.finished import LEFT_OUT
from demos.shared.events import follow
from demos.shared.marks import EVERY_CLICK, HIDDEN, SELECT_JS, Tile, note, strip
from demos.shared.panel import MethodPanel
from demos.shared.reopen import Reopen
from demos.shared.shelf import OWN_FOLDERS, is_key
from textedit_core.record import Record

MOST = 40  # of one visitor; who makes more loses the oldest
THUMBNAIL_SIDE = 128
MOST_WORDS = 300  # characters that are read of what a browser has stored
STORED_AS = "textedit-studio-history"
# Gradio encrypts what a browser stores. No secret is in it, and a new one at each start would lose it.
NO_SECRET = "textedit-studio"
GONE = "This picture is no longer kept on the host."
NOTHING = "Results of all tabs appear here, newest first."
SHOWN_AGAIN = "Shown again from the history, with its settings."


@dataclass(frozen=True)
class Entry:
    """A result in the list of a visitor: its key, what it is in words."""

    key: str
    words: str


def entries(stored: Any) -> list[Entry]:
    """The list as a browser has stored it; what is not as this page writes it is left out."""
    found: dict[str, Entry] = {}
    for one in stored if isinstance(stored, list) else ():
        if isinstance(one, dict) and is_key(one.get("key")) and isinstance(one.get("words"), str):
            found.setdefault(one["key"], Entry(one["key"], one["words"][:MOST_WORDS]))
    return list(found.values())[:MOST]


def words_of(title: str, about: Record) -> str:
    """Method, prompt and seed of a result in one line."""
    prompt = next((one for one in reversed(about.prompts.values()) if one), "")
    seed = about.knobs.get("seed", about.knobs.get("latent_seed"))
    return ", ".join(
        [f"{title}: {prompt}" if prompt else title, *([f"seed {seed}"] if seed is not None else [])]
    )


class History:
    """The drawer; `wire` makes it follow the results of all panels.

    known_models(name): an update of the models' drop-down, where this host has those of a record.
    """

    def __init__(self, ctx: Context, known_models: Callable[[str], Any]) -> None:
        self.ctx, self.known_models = ctx, known_models
        self.stored = gr.BrowserState([], storage_key=STORED_AS, secret=NO_SECRET)
        with gr.Accordion("History", open=False, elem_id="history") as self.drawer:
            self.strip = gr.HTML(note(NOTHING), js_on_load=SELECT_JS, label="Results of this visit")
            self.clear = gr.Button("Clear the history", size="sm", visible=False)

    @property
    def outputs(self) -> list:
        """What `show` updates."""
        return [self.strip, self.clear, self.drawer]

    def wire(self, page: gr.Blocks, tabs: gr.Tabs, models: gr.Dropdown, reopen: Reopen) -> None:
        """Fill the drawer when the page is opened, add what any panel shows, show again what is clicked."""
        self.reopen = reopen
        page.load(self.show, self.stored, self.outputs, **HIDDEN)
        lane = {"concurrency_id": "history", "concurrency_limit": None, **HIDDEN}
        changed = [self.stored, *self.outputs]
        for panel in reopen.panels.values():
            asked = [panel.result.shown, self.stored, source_of(panel)]
            follow([panel.result.shown.change], self.adder(panel), asked, changed, **lane)

        def again(stored: Any, chosen: gr.EventData) -> dict:
            return self.again(tabs, models, stored, chosen._data.get("index"))

        outputs = [tabs, models, *reopen.due.values(), *self.outputs]
        self.strip.select(again, self.stored, outputs, **EVERY_CLICK)
        self.clear.click(self.forget, self.stored, changed, **HIDDEN)

    # --- what the browser has stored ----------------------------------------------------------------------

    def adder(self, panel: MethodPanel) -> Callable:
        """The handler that puts what a panel shows on the shelf, and its key first in the list."""

        def add(shown: dict | None, stored: Any, source: str | None, request: gr.Request) -> list:
            """Keep a result that was made for this page; that of an example, or of the list, is not new."""
            if not shown or self.is_example(shown):
                return [gr.skip()] * 4
            known = entries(stored)
            key = shown.get("kept") or self.keep(panel, shown, source, request.session_hash or "")
            if key in {one.key for one in known}:
                return [gr.skip()] * 4
            added = [Entry(key, words_of(panel.title, Record.from_json(shown["record"]))), *known]
            self.ctx.shelf.drop(one.key for one in added[MOST:])
            return self.updates(added[:MOST])

        return add

    @staticmethod
    def is_example(shown: dict) -> bool:
        """Whether a result came with an example, and was not made for anybody."""
        return not Path(shown["edit"]).parent.name.startswith(OWN_FOLDERS)

    def keep(self, panel: MethodPanel, shown: dict, source: str | None, session: str) -> str:
        """Put a result and the picture it was made of on the shelf; returns its key."""
        plain = {name: value for name, value in shown.items() if name not in LEFT_OUT}
        small = str(Path(shown["edit"]).with_name(f"small-{Path(shown['edit']).name}"))
        with Image.open(shown["edit"]) as picture:
            picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            picture.save(small)
        files = [shown["edit"], small, *shown["pictures"].values()]
        value = {"shown": plain, "small": small, "source": source}
        return self.ctx.shelf.put(session, shown["edit"], value, files)

    def updates(self, known: list[Entry]) -> list:
        """The list to store, and the drawer that shows it."""
        return [[vars(one) for one in known], *self.show([vars(one) for one in known])]

    def show(self, stored: Any) -> list:
        """The drawer for a list as it is stored."""
        known = entries(stored)
        tiles = [self.tile(number, one) for number, one in enumerate(known)]
        label = f"History ({len(tiles)})" if tiles else "History"
        return [
            strip(tiles, "past") or note(NOTHING),
            gr.update(visible=bool(tiles)),
            gr.update(label=label),
        ]

    def tile(self, number: int, entry: Entry) -> Tile:
        """The small picture of a result, or the sentence that it is gone."""
        kept = self.ctx.shelf.get(entry.key)
        if not isinstance(kept, dict):
            return Tile("", GONE, (entry.words,), number)
        return Tile(kept["small"], entry.words, (entry.words,), number)

    def forget(self, stored: Any) -> list:
        """Empty the list, and remove its pictures from the host."""
        self.ctx.shelf.drop(one.key for one in entries(stored))
        return self.updates([])

    def again(self, tabs: gr.Tabs, models: gr.Dropdown, stored: Any, number: Any) -> dict:
        """Updates that open the tab of a result, and have it shown there with its settings and its source."""
        known = entries(stored)
        there = isinstance(number, int) and 0 <= number < len(known)
        kept = self.ctx.shelf.get(known[number].key) if there else None
        if not isinstance(kept, dict):  # between the drawing of the square and the click
            return dict(zip(self.outputs, self.show(stored), strict=True))
        about = Record.from_json(kept["shown"]["record"])
        # The picture of a sample is no source.
        more = {"source": kept["source"] if about.image else None, "words": note(SHOWN_AGAIN, "done")}
        return self.reopen.order(about.method, about, key=known[number].key, **more) | {
            tabs: gr.update(selected=self.reopen.panels[about.method].tab_id),
            models: self.known_models(about.models),
            self.drawer: gr.update(open=False),  # it lies over the result
        }


def source_of(panel: MethodPanel) -> gr.Image:
    """The widget of the picture that a panel edits."""
    return next(one for one in panel.source_outputs if isinstance(one, gr.Image))
