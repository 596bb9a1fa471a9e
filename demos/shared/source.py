"""The source image: upload or paste. The handler gets the file as it is, and the core checks it."""

import gradio as gr

from demos.context import Context
from demos.shared.checks import image_problem
from demos.shared.events import follow
from demos.shared.examples import ExampleStrip
from demos.shared.marks import HIDDEN, note
from demos.shared.sent import altered, as_sent, lenient
from demos.shared.unfamiliar import say_unfamiliar
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


def say_image(ctx: Context, image: str | None, models: str | None, field: str = "Source image") -> tuple:
    """Answer at once an upload that cannot be used, or that the models do not know; ask how to make it square
    only if it is not."""
    problem = image_problem(image, field) if image else ""
    if problem or not image:
        return note(problem, "problem"), gr.update(visible=False)
    picture = opened(image)
    width, height = picture.size
    asked = gr.update(visible=width != height, label=f"It is {width} × {height}, so")
    return say_unfamiliar(ctx, models, picture), asked


class SourceBox:
    """The source image of a tab, its examples, and the rule for one that is not square.

    models: the menu of the models, which may not know such pictures.  square: whether it may be made square;
    else no rule is asked for.
    """

    def __init__(self, ctx: Context, method: str, models: gr.Dropdown, square: bool = True) -> None:
        self.image = source_image(label="Source image", elem_id=f"{method}-source", elem_classes="source")
        self.note = gr.HTML()
        self.examples = ExampleStrip(method)
        self.sizing = sizing_radio(native=True, elem_classes="inline") if square else None
        shown = [self.note, self.sizing] if self.sizing else [self.note]

        def say(image: str | None, models: str | None):
            found = say_image(ctx, image, models)
            return found if self.sizing else found[0]

        follow([self.image.change, models.change], say, [self.image, models], shown, **HIDDEN)

    @property
    def fields(self) -> dict:
        """The inputs by name."""
        return {"image": self.image} | ({"sizing": self.sizing} if self.sizing else {})
