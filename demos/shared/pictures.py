"""Pictures that are shown and never uploaded, alone or two behind a slider; PNG, so that settings survive."""

import base64
import io

import gradio as gr
from torch import Tensor

from textedit_core import images

EDIT_FIRST = 25  # percent from the left that show the source: in the middle, half of the edit would be hidden
SHOWN = {"format": "png", "type": "filepath", "interactive": False, "buttons": ["fullscreen"]}


def picture(label: str, **look) -> gr.Image:
    """One picture, named for screen readers by its label."""
    return gr.Image(label=label, alt_text=label, **({"min_width": 90} | SHOWN | look))


def before_after(label: str, height: int, **look) -> gr.ImageSlider:
    """Two pictures of one size, a slider between them; at most `height` pixels high."""
    return gr.ImageSlider(label=label, max_height=height, **SHOWN, **look)


def thumbnail(image: Tensor, side: int = 128) -> str:
    """An image (1,3,H,W) as a PNG of at most `side` pixels along each side, in a data: address."""
    made, file = images.to_pil(image)[0], io.BytesIO()
    made.thumbnail((side, side))
    made.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
