"""The result panel: before and after, the pictures side by side, settings, download, pins."""

import html
import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Protocol

import gradio as gr

from demos.shared.cells import short_labels, shown
from demos.shared.marks import EVERY_CLICK, HIDDEN, SELECT_JS, Tile, note, strip
from demos.shared.pictures import EDIT_FIRST, before_after, picture
from demos.shared.view import MethodView


def invitation(steps: tuple[str, ...]) -> str:
    """What stands there before the first result: what to do, in a few numbered lines."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in steps)
    return f'<div class="empty"><p>Your edit will appear here.</p><ol>{lines}</ol></div>'


class Details(Protocol):
    """What a method shows of a result below its pictures."""

    @property
    def outputs(self) -> list[gr.components.Component]: ...

    def show(self, result: dict) -> dict: ...


class ResultPanel:
    """What an edit shows. A result is plain data, as shared/present.py says.

    view: of its method.  steps: what to do first, in words.  pictures: {key: label}, "edit" among
    them, beside the slider, or in a row below it, each with a line under it, if they are `captioned`; those
    that are `optional` are hidden until a result has them; those of them that are `saved` can be downloaded,
    and other files of a result that are named there.
    details: the title of a tab below them, called to draw what stands in it.  losses: what stands in another.
    """

    def __init__(
        self,
        view: MethodView,
        steps: tuple[str, ...],
        pictures: dict[str, str],
        optional: tuple[str, ...] = (),
        saved: tuple[str, ...] = (),
        captioned: bool = False,
        details: tuple[str, Callable[[], Details]] | None = None,
        losses: gr.HTML | None = None,
    ) -> None:
        self.headline, self.optional = view.headline, optional
        self.shown = gr.State(None)
        self.pins = gr.State([])
        self.empty = gr.HTML(invitation(steps), label="Invitation")
        with gr.Column(visible=False) as self.body:
            with gr.Row(elem_classes="result"):
                with gr.Column(scale=3, min_width=260):
                    self.compare = before_after(
                        "Source and edit", 620, elem_classes="compare", slider_position=EDIT_FIRST
                    )
                if not captioned:
                    with gr.Column(scale=1, min_width=120, elem_classes="pictures"):
                        self.draw_pictures(view, pictures, captioned)
            if captioned:
                with gr.Row(elem_classes="captioned"):
                    self.draw_pictures(view, pictures, captioned)
            self.words = gr.HTML(label="Scores")
            self.draw_actions({key: pictures.get(key, key) for key in saved}, seeded="seed" in view.knobs)
            self.pinned = gr.HTML(js_on_load=SELECT_JS, elem_id=f"{view.name}-pinned")
            self.unpin = gr.Button("Clear pins", size="sm", visible=False)
        self.draw_more(view.name, details, losses)
        pinned = [self.pins, self.pinned, self.unpin]
        self.pin.click(self.add_pin, [self.shown, self.pins], pinned, **HIDDEN)
        self.unpin.click(lambda: ([], "", gr.update(visible=False)), None, pinned, **HIDDEN)
        self.pinned.select(self.show_pin, self.pins, self.outputs, **EVERY_CLICK)

    def draw_more(
        self, name: str, details: tuple[str, Callable[[], Details]] | None, losses: gr.HTML | None
    ) -> None:
        """A tab for each that there is: what a method adds, the losses of its fit, the settings."""
        self.details = None
        with gr.Tabs(overflow_behavior="wrap", elem_classes="more", elem_id=f"{name}-more"):
            if details:
                title, draw = details
                with gr.Tab(title):
                    self.details = draw()
            if losses is not None:
                with gr.Tab("Losses"):
                    losses.render()
            with gr.Tab("Settings of this picture"):
                self.settings = gr.JSON(show_label=False, label="Settings", open=True)

    def draw_actions(self, saved: dict[str, str], seeded: bool) -> None:
        """Download of the edit and of the `saved` pictures, {key: label}; Pin; seed; source."""
        with gr.Row(elem_classes="actions"):
            self.download = gr.DownloadButton("Download PNG", size="sm", min_width=120)
            self.saved = {
                key: gr.DownloadButton(f"Download {label}", size="sm", min_width=120, visible=False)
                for key, label in saved.items()
            }
            self.pin = gr.Button("Pin", size="sm", min_width=90)
            self.use_seed = gr.Button("Use this seed", size="sm", min_width=120, visible=seeded)
            self.use_source = gr.Button("Use as source", size="sm", min_width=120)
            self.target = gr.Dropdown(  # shared/reuse.py adds the other tabs
                [("in this tab", "")],
                value="",
                label="Use as source in which tab",
                container=False,
                min_width=130,
                elem_classes="target",
            )

    def draw_pictures(self, view: MethodView, pictures: dict[str, str], captioned: bool) -> None:
        """The pictures, each with the line under it where there is one."""
        self.pictures, self.captions = {}, {}
        for key, label in pictures.items():
            name = f"{view.name}-{'edited' if key == 'edit' else key}"
            with gr.Column(min_width=90, elem_classes="framed") if captioned else nullcontext():
                self.pictures[key] = picture(label, elem_id=name, visible=key not in self.optional)
                if captioned:
                    self.captions[key] = gr.HTML(label=f"{label}, in figures", elem_classes="under")

    @property
    def outputs(self) -> list:
        """Every component that `show` may update."""
        others = [widget for key, widget in self.pictures.items() if key != "edit"]
        more = self.details.outputs if self.details else []
        first = [self.pictures["edit"], self.settings, self.words, self.compare]
        last = [self.download, *self.saved.values(), self.shown, self.empty, self.body]
        return [*first, *others, *self.captions.values(), *last, *more]

    def show(self, result: dict) -> dict:
        """Updates that put a result on the page."""
        paths, captions = result["pictures"] | {"edit": result["edit"]}, result["captions"]
        updates = {self.pictures[key]: paths[key] for key in self.pictures if key not in self.optional}
        for key in self.optional:
            label = {"label": result["labels"][key]} if key in result.get("labels", {}) else {}
            shown = gr.update(value=paths.get(key), visible=key in paths, **label)
            updates[self.pictures[key]] = shown
        updates |= {widget: note(captions.get(key, "")) for key, widget in self.captions.items()}
        for key, button in self.saved.items():
            updates[button] = gr.update(value=paths.get(key), visible=key in paths)
        return updates | {
            self.settings: json.loads(result["record"]),
            self.words: note(result["words"], "done"),
            self.compare: (paths["source"], paths["edit"]),
            self.download: result["edit"],
            self.shown: result,
            self.empty: gr.update(visible=False),
            self.body: gr.update(visible=True),
            **(self.details.show(result) if self.details else {}),
        }

    def add_pin(self, shown: dict | None, pins: list):
        """Keep the shown result in the strip below."""
        pins = pins if shown is None or shown in pins else [*pins, shown][-12:]
        tiles = [
            Tile(p["edit"], f"Pinned {i + 1}: {p['words']}", pin_captions(p, self.headline), i)
            for i, p in enumerate(pins)
        ]
        body = f"<h4>{html.escape('Pinned')}</h4>{strip(tiles)}" if tiles else ""
        return pins, body, gr.update(visible=bool(tiles))

    def show_pin(self, pins: list, chosen: gr.EventData):
        """Put a pinned result back on the page."""
        return self.show(pins[int(chosen._data["index"])])


def pin_captions(result: dict, headline: tuple[str, ...]) -> tuple[str, ...]:
    """The prompt, the last one of several, and the knobs one looks for first."""
    about = json.loads(result["record"])
    knobs = about["knobs"]
    names = short_labels(about["method"])
    first = [f"{names.get(name, name)} {shown(knobs[name])}" for name in headline if name in knobs]
    prompts = list(about["prompts"].values())
    return (prompts[-1][:48] if prompts else "", " · ".join(first))
