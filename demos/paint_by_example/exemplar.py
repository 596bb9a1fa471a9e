"""The exemplar: an example picture, the part of it that is used, and the square that the model sees."""

import gradio as gr

from demos.shared import painting
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, note
from demos.shared.pictures import picture
from demos.shared.sent import as_sent
from demos.shared.source import source_image

FITS = [("pad with white", "pad"), ("crop to the centre", "crop")]


class ExemplarBox:
    """The upload; `draw_crop` and `draw_preview` are called where those are to stand."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.image = source_image(
            190, label="Exemplar", elem_id=f"{method}-example", elem_classes="source", min_width=120
        )
        self.note = gr.HTML()

    def draw_crop(self) -> None:
        """A box in percent, and the rule for one that is not square."""
        sides = [name for name in painting.CROP.knobs if name != "exemplar_fit"]
        self.sides = {}
        for pair in (sides[:2], sides[2:]):
            with gr.Row():
                self.sides |= painting.CROP.widgets({}, pair, info=None)
        fit = painting.CROP.knobs["exemplar_fit"]
        self.fit = as_sent(gr.Radio(FITS, value=fit.default, label=fit.label, elem_classes="inline"))

    def draw_preview(self) -> None:
        """The square that the model sees."""
        look = {"height": 180, "min_width": 110, "elem_id": f"{self.method}-seen"}
        self.preview = picture("Exemplar as seen", **look)

    @property
    def fields(self) -> dict:
        """The inputs by name."""
        return {"exemplar": self.image, "exemplar_fit": self.fit} | self.sides

    def wire(self) -> None:
        """Show what becomes of it, and answer at once what cannot be used."""
        changed = [one.change for one in self.fields.values()]
        follow(changed, self.show, inputs_kwargs=self.fields, outputs=[self.preview, self.note], **HIDDEN)

    def show(self, **values):
        """The exemplar as the model sees it, or what is wrong."""
        if not values["exemplar"]:
            return None, ""
        try:
            return painting.exemplar_of(values), ""
        except ValueError as error:
            return None, note(str(error), "problem")
