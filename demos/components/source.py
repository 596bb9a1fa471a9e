"""The source image: upload or paste. The file reaches the handler untouched, so that core can judge it."""
import gradio as gr


class SourceImage(gr.Image):
    """A gr.Image (type "filepath") whose value is the uploaded file's own path, readable or not."""

    is_template = True

    def preprocess(self, payload) -> str | None:
        return None if payload is None else payload.path
