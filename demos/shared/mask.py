"""Where to repaint: a brush on the source or an uploaded mask, tools for it, and a preview."""

from typing import Any

import gradio as gr
from PIL import Image

from demos.context import Context
from demos.shared import painting
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, note
from demos.shared.part import load_part
from demos.shared.pictures import picture
from demos.shared.sent import altered, lenient
from demos.shared.uploads import opened
from textedit_core import images

FRAMED = "Blue is repainted; the orange frame is the part of the picture that the model sees."
EMPTY = "Paint over what is to change, or upload a mask under Mask tools."
KEPT = 64  # strokes of everybody that wait to be read


def painting_editor(**look) -> gr.ImageEditor:
    """An editor whose value is what was painted: its layers, each a path or a file's bytes; white only.

    Gradio's own component drops the strokes once they have been read, but a validator reads them before the
    handler does; and it decodes uploads itself, where the core answers damaged ones in a sentence.
    """
    editor = gr.ImageEditor(
        type="filepath",
        image_mode="RGBA",
        format="png",
        layers=False,
        transforms=(),
        sources=(),
        canvas_size=(painting.EDITOR_SIDE, painting.EDITOR_SIDE),
        brush=gr.Brush(default_size=40, colors=["#ffffff"], color_mode="fixed"),
        eraser=gr.Eraser(default_size=40),
        **look,
    )

    def layers(self, payload: Any) -> list[str | bytes]:
        if payload is None:
            return []
        if payload.id is None:
            return [layer.path for layer in payload.layers]
        for old in list(editor.blob_storage)[:-KEPT]:
            editor.blob_storage.pop(old, None)
        found = editor.blob_storage.get(payload.id)
        return [layer for layer in found.layers if layer] if found else []

    return altered(editor, preprocess=layers, data_model=lenient(editor.data_model))


def canvas(source: str | None, mask: str | Image.Image | None = None) -> dict | None:
    """The editor's value for a source, with a mask on it if there is one. Raises ValueError."""
    if not source:
        return None
    picture = opened(source)
    given = painting.painted([mask], picture.size, picture.size) if mask else None
    background, layers = painting.on_canvas(picture, given)
    return {"background": background, "layers": layers, "composite": None}


def empty_canvas(image: str | None) -> dict | None:
    """The editor's value for a new source, nothing painted on it."""
    try:
        return canvas(image)
    except ValueError:
        return None  # the note below the source says why


def masked_canvas(image: str | None, mask: str) -> tuple:
    """The editor's value with an uploaded mask on it, and what it was read as or what is wrong, as HTML."""
    if not image:
        return gr.skip(), note("Add the source image first, then its mask.", "problem")
    try:
        reading = images.read_mask(mask, "Mask")
        return canvas(image, reading.image), note(f"The uploaded mask was read as: {reading}.")
    except ValueError as error:
        return gr.skip(), note(str(error), "problem")


def follow_source(name: str, image: gr.Image, upload: gr.UploadButton, outputs: list) -> None:
    """A new source clears the strokes, an uploaded mask becomes them: in the order in which they came.

    outputs: the editor, and the HTML that says what a mask was read as, or what is wrong with it.
    """
    lane = HIDDEN | {"concurrency_id": f"{name}-canvas", "concurrency_limit": 1}
    # Not .change: an example sets the source too, and brings a mask.
    new = [image.upload, image.clear, image.input]
    follow(new, lambda path: (empty_canvas(path), ""), image, outputs, **lane)
    follow([upload.upload], masked_canvas, [image, upload], outputs, **lane)


class MaskBox:
    """The editor and all about it; `draw_tools` and `draw_preview` are called where those are to stand."""

    def __init__(self, ctx: Context, method: str) -> None:
        self.ctx, self.method = ctx, method
        self.editor = painting_editor(
            label="Mask: paint over what is to change",
            height=400,
            buttons=["fullscreen"],
            elem_id=f"{method}-mask",
            elem_classes="painting",
        )
        self.note = gr.HTML(label="About the uploaded mask", elem_id=f"{method}-mask-note")
        self.hint = gr.HTML(label="About the mask", elem_id=f"{method}-mask-hint")
        self.mend = gr.Button("Grow the mask", size="sm", visible=False, elem_id=f"{method}-mend")
        self.growth = gr.State(None)

    def draw_tools(self, grow: gr.components.Component) -> None:
        """Upload, and the tools beside `grow`, the method's own."""
        self.grow = grow
        self.upload = gr.UploadButton(
            "Upload a mask (white: repaint)",
            file_types=["image"],
            size="sm",
            elem_id=f"{self.method}-upload-mask",
        )
        self.tools = painting.TOOLS.widgets({})

    def draw_preview(self) -> None:
        """The mask as it will be used, over the source."""
        look = {"height": 180, "min_width": 110, "elem_id": f"{self.method}-preview"}
        self.preview = picture("Repainted here", **look)

    @property
    def fields(self) -> dict:
        """The inputs by name."""
        return {"mask": self.editor} | self.tools

    def wire(self, image: gr.Image, models: gr.Dropdown, about: dict) -> None:
        """A new source clears the strokes, every change is shown; `about`: knobs that shape the region."""
        follow_source(self.method, image, self.upload, [self.editor, self.note])
        watched = {"models": models, "image": image} | self.fields | about
        follow(
            # The editor keeps back its first change, which may be a stroke: it is an input too.
            [self.editor.input, *(one.change for one in watched.values())],
            self.show,
            inputs_kwargs=watched,
            outputs=[self.preview, self.hint, self.mend, self.growth],
            **HIDDEN,
        )
        self.mend.click(lambda growth: growth, self.growth, self.grow, **HIDDEN)

    def show(self, *, models: str, **values):
        """Lay the mask over the source, and say where it is outside of what the model was trained on."""
        try:
            if not values["image"] or not painting.touched(values):
                words = note(EMPTY if values["image"] else "")
                yield None, words, gr.update(visible=False), None
                return
            yield self.look(values, None)
            if (model := load_part(self.ctx, models, painting.PART)) is not None:
                yield self.look(values, model)
        except ValueError as error:
            yield None, note(str(error), "hint"), gr.update(visible=False), None

    def look(self, values: dict, model) -> tuple[Image.Image, str, dict, float | None]:
        """The preview, its advice, and the growth that the button offers."""
        seen = painting.preview(values, model)
        grow = gr.update(visible=seen.grow is not None, value=f"Grow the mask by {seen.grow or 0:g} %")
        words = note(seen.advice, "hint") or note(FRAMED if seen.framed else "")
        return seen.picture, words, grow, seen.grow
