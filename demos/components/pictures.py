"""Pictures that are shown, alone or two behind a slider, PNG for their settings; uploads that are none."""

import gradio as gr
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

SHOWN = {"format": "png", "type": "filepath", "interactive": False, "buttons": ["fullscreen"]}


def picture(label: str, **look) -> gr.Image:
    """One picture, named for screen readers by its label."""
    return gr.Image(label=label, alt_text=label, **({"min_width": 90} | SHOWN | look))


def before_after(label: str, height: int, **look) -> gr.ImageSlider:
    """Two pictures of one size, a slider between them; at most `height` pixels high."""
    return gr.ImageSlider(label=label, max_height=height, **SHOWN, **look)


def forgiving(model: type[BaseModel]) -> type[BaseModel]:
    """A data model of gradio's for an upload, with which what is no file counts as none.

    So the field asks for one, where gradio would answer with a validator's inner words.
    """

    class Upload(model):
        model_config = ConfigDict(title=model.__name__)

        @model_validator(mode="wrap")
        @classmethod
        def read(cls, value, handler):
            try:
                return handler(value)
            except ValidationError:
                return cls()

    return Upload
