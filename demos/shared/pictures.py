"""Pictures that are shown and never uploaded, alone or two behind a slider; PNG, so that settings survive."""

import gradio as gr

SHOWN = {"format": "png", "type": "filepath", "interactive": False, "buttons": ["fullscreen"]}


def picture(label: str, **look) -> gr.Image:
    """One picture, named for screen readers by its label."""
    return gr.Image(label=label, alt_text=label, **({"min_width": 90} | SHOWN | look))


def before_after(label: str, height: int, **look) -> gr.ImageSlider:
    """Two pictures of one size, a slider between them; at most `height` pixels high."""
    return gr.ImageSlider(label=label, max_height=height, **SHOWN, **look)
