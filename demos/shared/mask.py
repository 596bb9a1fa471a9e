"""Where to repaint: a brush on the source or an uploaded mask, tools for it, and a preview."""

from typing import Any

import gradio as gr
from gradio.components.image_editor import EditorData
from PIL import Image
from pydantic import ConfigDict, model_validator

from demos.context import Context
from demos.shared import painting
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, note
from demos.shared.part import load_part
from demos.shared.pictures import picture
from demos.shared.sent import altered, lenient
from demos.shared.uploads import opened
from textedit_core import images, mask_reading

REPAINTED = "What is blue is repainted: {}."
FRAMED = "The orange frame is the part of the picture that the model sees."
NO_SOURCE = "Add the source image first, or pick an example: it can then be painted on here."
EMPTY = "Paint over what is to change, or upload a mask."
BRUSH = (f"#{bytes(painting.TINT).hex()}", painting.OPACITY)
HEIGHT = "min(60vh, 620px, calc(100vw + 40px))"  # a phone is higher than its canvas needs
KEPT = 64  # strokes of everybody that wait to be read


class MaskData(EditorData):
    """The value of an editor; or a file, as a program sends it, as the only layer of one."""

    model_config = ConfigDict(title="ImageData")

    @model_validator(mode="before")
    @classmethod
    def of_file(cls, value: Any) -> Any:
        """{"path": ...} is a layer; what is neither is left as it is."""
        is_file = isinstance(value, dict) and "path" in value and "layers" not in value
        return {"background": None, "layers": [value], "composite": None} if is_file else value


def painting_editor(**look) -> gr.ImageEditor:
    """An editor whose value is what was painted: its layers, each a path or a file's bytes; one colour only.

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
        brush=gr.Brush(default_size=28, colors=[BRUSH], default_color=BRUSH, color_mode="fixed"),
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

    return altered(editor, preprocess=layers, data_model=lenient(MaskData))


def canvas(source: str | None, mask: str | Image.Image | None = None) -> dict | None:
    """The editor's value for a source, with a mask on it if there is one. Raises ValueError."""
    if not source:
        return None
    picture = opened(source)
    given = painting.painted([mask], picture.size, picture.size) if mask else None
    background, layers = painting.on_canvas(picture, given)
    return {"background": background, "layers": layers, "composite": None}


def strokes(source: str, layers: list[str | bytes]) -> Image.Image | None:
    """What is painted on a source, white on black; None for nothing, and for what is no mask of it."""
    try:
        size = opened(source).size
        found = painting.painted(layers, size, size)
    except ValueError:
        return None
    return found if found.getbbox() else None


def empty_canvas(image: str | None) -> dict | None:
    """The editor's value for a new source, nothing painted on it."""
    try:
        return canvas(image)
    except ValueError:
        return None  # the note below the source says why


def masked_canvas(image: str | None, mask: str) -> tuple:
    """The editor's value with an uploaded mask on it, and what it was read as or what is wrong, as HTML."""
    if not image:
        return gr.skip(), note(NO_SOURCE, "problem")
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
    """The editor and all about it; `draw_tools` and `draw_preview` are called where those are to stand.

    Without `draw_tools` the mask is used as it is painted.
    """

    def __init__(self, ctx: Context, method: str) -> None:
        self.ctx, self.method = ctx, method
        self.tools: dict = {}
        self.grow: gr.components.Component | None = None
        self.editor = painting_editor(
            label="Mask",
            height=HEIGHT,
            buttons=["fullscreen"],
            elem_id=f"{method}-mask",
            elem_classes="painting",
        )
        self.hint = gr.HTML(note(NO_SOURCE), label="About the mask", elem_id=f"{method}-mask-hint")
        self.note = gr.HTML(label="About the uploaded mask", elem_id=f"{method}-mask-note")
        with gr.Row(elem_classes="offers"):
            self.upload = gr.UploadButton(
                "Upload a mask", file_types=["image"], size="sm", elem_id=f"{method}-upload-mask"
            )
            self.mend = gr.Button("Grow the mask", size="sm", visible=False, elem_id=f"{method}-mend")
        self.growth = gr.State(None)

    def draw_tools(self, grow: gr.components.Component) -> None:
        """The tools beside `grow`, the method's own."""
        self.grow = grow
        self.tools = painting.TOOLS.widgets({})

    def draw_preview(self) -> None:
        """The mask as it will be used, over the source."""
        look = {"height": 180, "min_width": 110, "elem_id": f"{self.method}-repainted"}
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
        if self.grow is not None:
            self.mend.click(lambda growth: growth, self.growth, self.grow, **HIDDEN)

    def show(self, *, models: str, **values):
        """Lay the mask over the source, and say where it is outside of what the model was trained on."""
        values = painting.with_defaults(values)
        try:
            if not values["image"] or not painting.touched(values):
                words = note(EMPTY if values["image"] else NO_SOURCE)
                yield None, words, gr.update(visible=False), None
                return
            yield self.look(values, None)
            if (model := load_part(self.ctx, models, painting.PART)) is not None:
                yield self.look(values, model)
        except ValueError as error:
            yield None, note(str(error), "hint"), gr.update(visible=False), None

    def look(self, values: dict, model) -> tuple[Image.Image, str, dict, float | None]:
        """The preview, its share and advice, and the growth that the button offers."""
        seen = painting.preview(values, model)
        offered = seen.grow is not None and self.grow is not None
        grow = gr.update(visible=offered, value=f"Grow the mask by {seen.grow or 0:g} %")
        share = REPAINTED.format(mask_reading.of_picture(seen.share))
        words = note(f"{share} {FRAMED}" if seen.framed else share) + note(seen.advice, "hint")
        return seen.picture, words, grow, seen.grow
