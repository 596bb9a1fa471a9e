"""What a click on a cell of a sweep shows: the source beside it, its scores, its settings."""

import gradio as gr

from demos.shared.cells import place_words
from demos.shared.knobs import settings_of
from demos.shared.marks import note
from demos.shared.pictures import EDIT_FIRST, before_after


class CellView:
    """Hidden until `show` puts a cell into it; `picked` then holds that cell."""

    def __init__(self) -> None:
        self.picked = gr.State(None)
        with gr.Row(visible=False, elem_classes="picked") as self.body:
            with gr.Column(scale=3, min_width=260):
                self.compare = before_after("Source and this cell", 420, slider_position=EDIT_FIRST)
            with gr.Column(scale=2, min_width=220):
                self.words = gr.HTML()
                self.send = gr.Button("Send to the tab", size="sm")
                self.download = gr.DownloadButton("Download this cell", size="sm")
                with gr.Accordion("Settings of this cell", open=False):
                    self.settings = gr.JSON(show_label=False, label="Settings of this cell", open=True)

    @property
    def outputs(self) -> list:
        """What `show` returns, in order."""
        return [self.picked, self.body, self.compare, self.words, self.settings, self.download]

    def show(self, cells: list, chosen: gr.EventData) -> list:
        """Updates for the clicked cell; none for one of a sweep that has given way to another."""
        if (index := int(chosen._data["index"])) >= len(cells):
            return [gr.skip()] * len(self.outputs)
        cell = cells[index]
        place = place_words(cell)
        words = f"<h4>{place}</h4>" + note(cell["words"])
        pictures, file = (cell["pictures"]["source"], cell["edit"]), cell["edit"]
        return [cell, gr.update(visible=True), pictures, words, settings_of(cell), file]
