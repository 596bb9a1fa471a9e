"""Labelled example pictures: a click fills in the picture, its prompts and the knobs it wants."""

from collections.abc import Callable

import gradio as gr

from demos import examples
from demos.components.marks import QUIET, SELECT_JS, Tile, strip


class ExampleStrip:
    """A strip of small pictures; hidden where the method has no examples."""

    def __init__(self, method: str) -> None:
        self.examples = examples.read(method)
        gr.set_static_paths([str(examples.HERE)])
        tiles = [
            Tile(str(e.image), ": ".join(filter(None, (e.label, e.words))), (e.label,), i)
            for i, e in enumerate(self.examples)
        ]
        self.strip = gr.HTML(
            f"<h4>Examples</h4>{strip(tiles, 'small')}" if tiles else "",
            visible=bool(tiles),
            js_on_load=SELECT_JS,
            elem_id=f"{method}-examples",
        )

    def on_pick(self, fields: dict, controls: dict, convert: Callable[[dict], dict]) -> None:
        """A click writes the picture into fields["image"], and what else the example has by name.

        convert: makes the values of the widgets from those of the example.
        """
        names = [*fields, *controls]

        def pick(chosen: gr.EventData):
            example = self.examples[int(chosen._data["index"])]
            files = {name: str(path) for name, path in example.files.items()}
            values = convert({"image": str(example.image)} | files | example.fields | example.knobs)
            return [values.get(name, gr.skip()) for name in names]

        self.strip.select(pick, None, [*fields.values(), *controls.values()], **QUIET)
