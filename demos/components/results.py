"""The result panel: before and after, the pictures side by side, settings, download, pins."""

import html
import json

import gradio as gr

from demos.components.marks import SELECT_JS, Tile, note, strip

EMPTY = """<div class="empty"><p>Your edit will appear here.</p>
<ol><li>Pick an example or add a picture of your own.</li><li>Say what the edited picture should show.</li>
<li>Press Edit, then drag eta: 0 rebuilds the source, 1 follows the prompt.</li></ol></div>"""


def picture(label: str, **look) -> gr.Image:
    """A picture that is shown, never uploaded; PNG, so that its settings survive."""
    return gr.Image(
        label=label,
        alt_text=label,
        format="png",
        type="filepath",
        interactive=False,
        buttons=["fullscreen"],
        min_width=90,
        **look,
    )


class ResultPanel:
    """What an edit shows. A result is plain data: paths, the record, and a sentence of scores."""

    def __init__(self) -> None:
        self.shown = gr.State(None)
        self.pins = gr.State([])
        self.empty = gr.HTML(EMPTY, label="Invitation")
        with gr.Column(visible=False) as self.body:
            with gr.Row(elem_classes="result"):
                with gr.Column(scale=3, min_width=260):
                    self.compare = gr.ImageSlider(
                        label="Source and edit",
                        format="png",
                        type="filepath",
                        max_height=620,
                        interactive=False,
                        buttons=["fullscreen"],
                        elem_id="compare",
                    )
                with gr.Column(scale=1, min_width=120, elem_classes="pictures"):
                    self.source = picture("Source")
                    self.reconstruction = picture("Reconstruction")
                    self.edit = picture("Edit", elem_id="edited")
                    self.baseline = picture("SDEdit", visible=False)
            self.words = gr.HTML(label="Scores")
            with gr.Row(elem_classes="actions"):
                self.download = gr.DownloadButton("Download PNG", size="sm", min_width=120)
                self.pin = gr.Button("Pin", size="sm", min_width=90)
                self.use_seed = gr.Button("Use this seed", size="sm", min_width=120)
            with gr.Accordion("Settings of this picture", open=False):
                self.settings = gr.JSON(show_label=False, label="Settings", open=True)
            self.pinned = gr.HTML(js_on_load=SELECT_JS, elem_id="pinned")
            self.unpin = gr.Button("Clear pins", size="sm", visible=False)
        self.pin.click(
            self.add_pin,
            [self.shown, self.pins],
            [self.pins, self.pinned, self.unpin],
            show_progress="hidden",
            api_visibility="private",
        )
        self.unpin.click(
            lambda: ([], "", gr.update(visible=False)),
            None,
            [self.pins, self.pinned, self.unpin],
            show_progress="hidden",
            api_visibility="private",
        )
        self.pinned.select(
            self.show_pin, self.pins, self.outputs, show_progress="hidden", api_visibility="private"
        )

    @property
    def outputs(self) -> list:
        """Every component that `show` may update."""
        return [
            self.edit,
            self.settings,
            self.words,
            self.compare,
            self.source,
            self.reconstruction,
            self.baseline,
            self.download,
            self.shown,
            self.empty,
            self.body,
        ]

    def show(self, result: dict) -> dict:
        """Updates that put a result on the page."""
        return {
            self.edit: result["edit"],
            self.settings: json.loads(result["record"]),
            self.words: note(result["words"], "done"),
            self.compare: (result["source"], result["edit"]),
            self.source: result["source"],
            self.reconstruction: result["reconstruction"],
            self.baseline: gr.update(
                value=result["baseline"],
                visible=bool(result["baseline"]),
                label=result.get("baseline_label", "SDEdit"),
            ),
            self.download: gr.update(value=result["edit"]),
            self.shown: result,
            self.empty: gr.update(visible=False),
            self.body: gr.update(visible=True),
        }

    def add_pin(self, shown: dict | None, pins: list):
        """Keep the shown result in the strip below."""
        pins = pins if shown is None or shown in pins else [*pins, shown][-12:]
        tiles = [
            Tile(p["edit"], f"Pinned {i + 1}: {p['words']}", pin_captions(p), i) for i, p in enumerate(pins)
        ]
        body = f"<h4>{html.escape('Pinned')}</h4>{strip(tiles)}" if tiles else ""
        return pins, body, gr.update(visible=bool(tiles))

    def show_pin(self, pins: list, chosen: gr.EventData):
        """Put a pinned result back on the page."""
        return self.show(pins[int(chosen._data["index"])])


def pin_captions(result: dict) -> tuple[str, ...]:
    """Prompt and the two knobs one looks for first."""
    about = json.loads(result["record"])
    knobs = about["knobs"]
    first = [f"{name} {knobs[name]:g}" for name in ("eta", "seed") if name in knobs]
    return (about["prompts"].get("prompt", "")[:48], " · ".join(first))
