"""The About tab: what each method does, the papers, licences, and what happens to a visitor's data."""

from pathlib import Path

import gradio as gr

from demos.context import Context

NAME = "About"

TEXT = (Path(__file__).parent / "about.md").read_text(encoding="utf-8")


def build(ctx: Context) -> None:
    """Draw the tab inside the current gr.Tab; it asks nothing, so it needs no models."""
    gr.Markdown(TEXT, elem_classes="about")
