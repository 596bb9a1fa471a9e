"""The seed row: a number, and what becomes of it on each edit: fixed, random or next."""

import gradio as gr

from demos.shared.knobs import control, settings_of
from demos.shared.marks import HIDDEN
from textedit_core.knobs import BoundKnob

DRAW_JS = """(mode, seed) => [mode === 'random' ? Math.floor(Math.random() * 2147483647)
  : mode === 'next' ? Math.min(seed + 1, 2147483647) : seed, '']"""


class SeedRow:
    """`number` is the knob's widget; `draw(triggers, status)` sets it before an edit, clears a status."""

    def __init__(self, method: str, knob: BoundKnob) -> None:
        with gr.Row(elem_classes="seeds"):
            self.number = control(knob, info=None, scale=2, elem_id=f"{method}-seed")
            self.mode = gr.Radio(
                ["fixed", "random", "next"], value="fixed", label="On each edit", min_width=200, scale=3
            )

    def draw(self, triggers: list, status: gr.HTML):
        """The event that draws the seed in the browser; the edit follows with `.then`."""
        return gr.on(triggers, None, [self.mode, self.number], [self.number, status], js=DRAW_JS, **HIDDEN)

    def use_from(self, result) -> None:
        """The result panel's "Use this seed" sets the number and fixes it."""

        def use(shown: dict | None) -> tuple:
            return (settings_of(shown)["seed"] if shown else gr.skip()), "fixed"

        result.use_seed.click(use, result.shown, [self.number, self.mode], **HIDDEN)
