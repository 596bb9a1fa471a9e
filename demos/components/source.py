"""The source image: upload or paste. The file reaches the handler untouched, so that core can judge it."""

import gradio as gr


def source_image(**look) -> gr.Image:
    """A gr.Image whose value is the uploaded file's own path, readable or not; no webcam."""
    image = gr.Image(
        type="filepath",
        format="png",
        height=280,
        sources=["upload", "clipboard"],
        buttons=["fullscreen"],
        **look,
    )
    image.preprocess = lambda payload: None if payload is None else payload.path
    return image
