"""Labelled example pictures: a click fills in picture, prompts and knobs, and shows a finished result."""

from collections.abc import Callable, Collection

import gradio as gr

from demos import examples
from demos.examples import finished
from demos.shared.marks import EVERY_CLICK, SELECT_JS, Tile, strip


class ExampleStrip:
    """A strip of small pictures; hidden where the method has no examples."""

    def __init__(self, method: str) -> None:
        self.examples, self.finished = examples.read(method), finished.read(method)
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
        show: Callable[[int, str | None], dict] | None = None,
        shown: Collection[gr.components.Component] = (),
        late: Collection[gr.components.Component] = (),
    ) -> None:
        """A click writes the picture into fields["image"], and what else the example has by name.

        convert: makes the values of the widgets from those of the example.  at_first(models): values by name
        for what the example says nothing of; what neither has stays as it is.  show(number, models): updates
        that show its finished result, {} where there is none; `shown` are the components it may update.
        late: widgets that a browser draws slowly, a canvas: written once the rest is on the page.
        """
        known, widgets = models or gr.State(None), fields | controls

        def fill(number: int, chosen: str | None) -> dict:
            values = self.values(number, convert, at_first(chosen))
            updates = {widget: values[name] for name, widget in widgets.items() if name in values}
            return updates | (show(number, chosen) if show else {})

        def pick(chosen: str | None, event: gr.EventData):
            return fill(int(event._data["index"]), chosen)

        def pick_in_turn(chosen: str | None, event: gr.EventData):
            updates = fill(int(event._data["index"]), chosen)
            after = {widget: updates.pop(widget) for widget in late if widget in updates}
            yield updates
            yield after

        outputs = list(dict.fromkeys([*widgets.values(), *shown]))
        self.strip.select(pick_in_turn if late else pick, known, outputs, **EVERY_CLICK)
        self.fill, self.models, self.outputs = fill, known, outputs

    def values(self, number: int, convert: Callable[[dict], dict], at_first: dict) -> dict:
        """What a pick of this example sets, by name."""
        example = self.examples[number]
        files = {name: str(path) for name, path in example.files.items()}
        own = {"image": str(example.image)} | files | example.fields | example.knobs
        return at_first | convert(own)
