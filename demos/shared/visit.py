"""What a visitor finds again after a reload, or by a link: tab, source, prompts, knobs, the last results.

The visitor's browser stores the values of the widgets and the key of the source; the picture itself is on the
host's shelf. What a browser has stored may be of another version, or written by anybody: it is read as the
settings of a saved picture are, by the checks of the fields.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from demos.context import Context
from demos.shared import link
from demos.shared.events import follow
from demos.shared.history import NO_SECRET, History, entries, source_of
from demos.shared.marks import HIDDEN, UNQUEUED, note
from demos.shared.reopen import Reopen
from demos.shared.shelf import is_key
from demos.shared.tab import Tab
from textedit_core.record import Record

STORED_AS = "textedit-studio-{}"
# All widgets of all tabs at once, when a person has paused: page.js presses the button. An event for each of
# their changes would be hundreds while the page is built.
SAVE_JS = """(...all) => {{
  const found = {{}};
  {names}.forEach(([tab, name], k) => {{ (found[tab] ??= {{}})[name] = all[k]; }});
  return found;
}}"""
WRITE_LINK_JS = "made => { window.studio?.made(made?.query ?? ''); }"
FROM_LINK = "Set by the link. Add a source image if it needs one, then press Edit."
SOURCE_GONE = (
    "Your settings are as you left them. The source image is no longer kept on the host: add it again."
)


class Visit:
    """Stores what each tab holds, sets it again when the page is opened, and writes the link of a result.

    said: where it is told what of a link cannot be used.
    """

    def __init__(self, ctx: Context, history: History, reopen: Reopen, said: gr.HTML) -> None:
        self.ctx, self.history, self.reopen, self.said = ctx, history, reopen, said
        self.tabs = {name: one for name, one in reopen.panels.items() if isinstance(one, Tab)}
        self.values, self.sources, self.link = stored("values"), stored("sources"), stored("link")
        self.save = gr.Button("Remember the settings", elem_id="save-visit")

    def wire(self, page: gr.Blocks, tabs: gr.Tabs, models: gr.Dropdown, names: Mapping[str, str]) -> None:
        """Wire all of it; `names` are those of the tabs by id."""
        self.models, self.page_tabs, self.names = models, tabs, names
        for name, tab in self.tabs.items():
            self.wire_tab(name, tab)
        self.link.change(None, self.link, None, js=WRITE_LINK_JS, **HIDDEN)
        self.wire_save()
        states = [self.history.stored, self.link, self.values, self.sources]
        outputs = [self.said, tabs, models, *self.reopen.due.values()]
        page.load(self.opened, states, outputs, **HIDDEN)

    def wire_save(self) -> None:
        """The button that stores the value of every widget."""
        saved = {name: {"models": self.models} | tab.saved for name, tab in self.tabs.items()}
        names = [(name, one) for name, widgets in saved.items() for one in widgets]
        widgets = [saved[name][one] for name, one in names]
        self.save.click(None, widgets, self.values, js=SAVE_JS.format(names=json.dumps(names)), **HIDDEN)

    def wire_tab(self, name: str, tab: Tab) -> None:
        """Keep the source of a tab, and write the link of what it shows."""
        shown, pictures = tab.result.shown, {"image": source_of(tab)} | tab.beside
        # Not at each stroke: a canvas is long in handing over what is on it, and the brush waits meanwhile.
        paused = [self.save.click] if tab.beside else []
        follow(
            [pictures["image"].change, *paused],
            self.keeper(name, tab),
            inputs_kwargs={"stored": self.sources, **pictures},
            outputs=self.sources,
            **UNQUEUED,
        )
        follow([shown.change], self.linker(name, tab), shown, self.link, **UNQUEUED)

    # --- what is stored -----------------------------------------------------------------------------------

    def keeper(self, name: str, tab: Tab):
        """The handler that puts the source of a tab, and what lies beside it, on the shelf, and their keys
        into what is stored: under the name of the tab, and under that and the field."""

        def keep(request: gr.Request, *, stored: Any, image: str | None, **beside: Any) -> dict:
            found, session = stored if isinstance(stored, dict) else {}, request.session_hash or ""
            keys = {name: self.keep(image, session)}
            paths = tab.files_beside(image, beside) if keys[name] and beside else {}
            for field in tab.beside:
                keys[f"{name}/{field}"] = self.keep(paths.get(field), session)
            return found | keys

        return keep

    def keep(self, path: str | None, session: str) -> str | None:
        """Put a source on the shelf; its key, None for no picture."""
        if not path or not Path(path).is_file():
            return None
        return self.ctx.shelf.put(session, f"source {path}", path, [path])

    def linker(self, name: str, tab: Tab):
        """The handler that gives the link of a shown result; that of an example changes nothing."""

        def made(shown: dict | None) -> Any:
            if not shown or self.history.is_example(shown):
                return gr.skip()
            about = Record.from_json(shown["record"])
            usual = tab.usual(about.models)
            return {"query": link.query(name, tab.tab_id, about, usual, self.ctx.default)}

        return made

    # --- what is found again ------------------------------------------------------------------------------

    def opened(self, request: gr.Request, listed: Any, made: Any, values: Any, sources: Any) -> dict:
        """Updates for a page that is opened: what its browser stored, what a link asks for, or an example."""
        values, sources = (one if isinstance(one, dict) else {} for one in (values, sources))
        asked = link.read(dict(request.query_params), self.names, self.tabs, self.offered)
        own = isinstance(made, dict) and made.get("query") == plain_query(request)
        updates: dict = {self.said: note(asked.words, "hint")} if asked.words else {}
        models = next((one for one in (asked.models, saved_models(values)) if one in self.offered), "")
        if models:
            updates[self.models] = models
        for number, (name, tab) in enumerate(self.tabs.items()):
            source = sources.get(name)
            if asked.method == name and asked.sets and not own:
                updates |= self.from_link(name, tab, asked)
            elif self.is_touched(tab, values.get(name), source) and (about := tab.read_saved(values[name])):
                about = replace(about, models=models or self.ctx.default)
                updates |= self.found(name, about, sources, listed)
            elif number == 0:
                updates |= self.reopen.order(name, models=models or self.ctx.default)
        if asked.tab:
            updates[self.page_tabs] = gr.update(selected=asked.tab)
        return updates or {self.said: gr.skip()}

    @staticmethod
    def is_touched(tab: Tab, values: Any, source: Any) -> bool:
        """Whether the browser has stored more of a tab than how it is at first."""
        if not isinstance(values, dict):
            return False
        at_first = {name: widget.value for name, widget in tab.saved.items()}
        changed = {name for name, value in at_first.items() if (values.get(name) or None) != (value or None)}
        return bool(changed) or is_key(source)

    @property
    def offered(self) -> tuple[str, ...]:
        """The models that a link or a stored name may choose: those of the menu."""
        return tuple(dict.fromkeys([value for _, value in self.models.choices]))

    def from_link(self, name: str, tab: Tab, asked: link.Link) -> dict:
        """Updates that have a tab set as a link says, and all other knobs as suits the models."""
        models = asked.models or self.ctx.default
        about = Record(name, models, dict(asked.prompts), tab.usual(models) | dict(asked.knobs))
        return self.reopen.order(name, about, words=note(FROM_LINK))

    def found(self, name: str, about: Record, sources: Mapping[str, Any], listed: Any) -> dict:
        """Updates that have a tab set as it was left: settings, source, the last result made in it."""
        source, path = sources.get(name), self.kept(sources.get(name))
        beside = {field: self.kept(sources.get(f"{name}/{field}")) for field in self.tabs[name].beside}
        words = note(SOURCE_GONE, "hint") if source and not path else ""
        made = [one.key for one in entries(listed) if self.method_of(one.key) == name]
        more = {
            "source": path,
            "beside": {field: found for field, found in beside.items() if found},
            "key": made[0] if made else "",
            "words": words,
        }
        return self.reopen.order(name, about, whole=False, **more)

    def kept(self, key: Any) -> str | None:
        """The path of a picture that is on the shelf under this key."""
        return found if isinstance(found := self.ctx.shelf.get(key), str) else None

    def method_of(self, key: str) -> str:
        """The method of a kept result; "" where it is gone."""
        kept = self.ctx.shelf.get(key)
        return json.loads(kept["shown"]["record"])["method"] if isinstance(kept, dict) else ""


def stored(name: str) -> gr.BrowserState:
    """A small value in the visitor's browser."""
    return gr.BrowserState({}, storage_key=STORED_AS.format(name), secret=NO_SECRET)


def saved_models(values: Mapping[str, Any]) -> str:
    """The models of the tab that was stored first; "" where none was."""
    found = (one.get("models") for one in values.values() if isinstance(one, dict))
    return next((one for one in found if isinstance(one, str)), "")


def plain_query(request: gr.Request | None) -> str:
    """The query of the page as `link.query` writes it, without gradio's own parameters."""
    given = dict(request.query_params) if request else {}
    return link.urlencode({name: value for name, value in given.items() if not name.startswith(link.OWN)})
