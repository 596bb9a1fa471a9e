"""The source image: upload or paste. The handler gets the file as it is, and the core checks it."""

import gradio as gr

from demos.shared.checks import image_problem
from demos.shared.events import follow
from demos.shared.examples import ExampleStrip
from demos.shared.marks import HIDDEN, note
from demos.shared.sent import altered, as_sent, lenient
from demos.shared.uploads import opened


def source_image(height: int = 200, **look) -> gr.Image:
    """A gr.Image whose value is the path of the uploaded file, whether it can be read or not; no webcam."""
    image = gr.Image(
        type="filepath",
        format="png",
        height=height,
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        **look,
    )
    return altered(
        image,
        preprocess=lambda self, payload: None if payload is None else payload.path,
        data_model=lenient(image.data_model),
    )


def sizing_radio(native: bool = False, **look) -> gr.Radio:
    """How a picture that is not square is made so, or left; hidden until `say_image` has seen one."""
    choices = [("crop to the centre", "crop"), ("pad with white", "pad")]
    choices += [("keep its shape", "native")] if native else []
    return as_sent(gr.Radio(choices, value="crop", label="It is not square", visible=False, **look))


def say_image(image: str | None, field: str = "Source image") -> tuple:
    """Answer at once an upload that cannot be used; ask how to make it square only if it is not."""
    problem = image_problem(image, field) if image else ""
    if problem or not image:
        return note(problem, "problem"), gr.update(visible=False)
    width, height = opened(image).size
    return "", gr.update(visible=width != height, label=f"It is {width} × {height}, so")


class SourceBox:
    """The source image of a tab, its examples, and the rule for one that is not square.

    square: whether it may be made square; else no rule is asked for.
    """

    def __init__(self, method: str, square: bool = True) -> None:
        self.image = source_image(label="Source image", elem_id=f"{method}-source", elem_classes="source")
        self.note = gr.HTML()
        self.examples = ExampleStrip(method)
        self.sizing = sizing_radio(native=True, elem_classes="inline") if square else None
        if self.sizing:
            follow([self.image.change], say_image, self.image, [self.note, self.sizing], **HIDDEN)
        else:
            follow([self.image.change], lambda image: say_image(image)[0], self.image, self.note, **HIDDEN)

    @property
    def fields(self) -> dict:
        """The inputs by name."""
        return {"image": self.image} | ({"sizing": self.sizing} if self.sizing else {})
