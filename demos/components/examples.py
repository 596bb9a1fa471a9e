"""Labelled example pictures: a click fills in the picture, its prompt and the knobs it wants."""

import gradio as gr

from demos import examples
from demos.components.marks import SELECT_JS, Tile, strip


class ExampleStrip:
    """A strip of small pictures; hidden where the method has no examples."""

    def __init__(self, method: str) -> None:
        self.examples = examples.read(method)
        gr.set_static_paths([str(examples.HERE)])
        tiles = [
            Tile(str(e.image), f"{e.label}: {e.prompt}", (e.label,), i) for i, e in enumerate(self.examples)
        ]
        self.strip = gr.HTML(
            f"<h4>Examples</h4>{strip(tiles, 'small')}" if tiles else "",
            visible=bool(tiles),
            js_on_load=SELECT_JS,
            elem_id="examples",
        )

    def on_pick(self, outputs: list, knobs: dict) -> None:
        """A click writes image, prompt and one update per knob into `outputs`."""

        def pick(chosen: gr.EventData):
            example = self.examples[int(chosen._data["index"])]
            values = [example.knobs.get(name, gr.skip()) for name in knobs]
            return [str(example.image), example.prompt, *values]

        self.strip.select(pick, None, outputs, show_progress="hidden", api_visibility="private")
