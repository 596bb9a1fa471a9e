"""Labelled example pictures: a click fills in the picture, its prompts and the knobs it wants."""

from collections.abc import Callable

import gradio as gr

from demos import examples
from demos.shared.marks import EVERY_CLICK, SELECT_JS, Tile, strip


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
            elem_classes="scrolling",
        )

    def on_pick(
        self,
        fields: dict,
        controls: dict,
        convert: Callable[[dict], dict],
        models: gr.Dropdown | None = None,
        at_first: Callable[[str | None], dict] = lambda models: {},
    ) -> None:
        """A click writes the picture into fields["image"], and what else the example has by name.

        convert: makes the values of the widgets from those of the example.  at_first(models): values by name
        for what the example says nothing of; what neither has stays as it is.
        """
        names = [*fields, *controls]

        def pick(known: str | None, chosen: gr.EventData):
            values = self.values(int(chosen._data["index"]), convert, at_first(known))
            return [values.get(name, gr.skip()) for name in names]

        self.strip.select(
            pick, models or gr.State(None), [*fields.values(), *controls.values()], **EVERY_CLICK
        )

    def values(self, number: int, convert: Callable[[dict], dict], at_first: dict) -> dict:
        """What a pick of this example sets, by name."""
        example = self.examples[number]
        files = {name: str(path) for name, path in example.files.items()}
        own = {"image": str(example.image)} | files | example.fields | example.knobs
        return at_first | convert(own)
