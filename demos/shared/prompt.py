"""A prompt with a hint below it, naming the words that a small model was never shown."""

import gradio as gr

from demos.context import Context
from demos.shared.checks import word_hint
from demos.shared.events import follow
from demos.shared.marks import UNQUEUED

SHOWN_NOW = "what the picture shows now: a happy man with glasses"


class PromptBox:
    """`text` is the widget; the hint follows it and the models."""

    def __init__(self, ctx: Context, models: gr.Dropdown, label: str, elem_id: str, **look) -> None:
        self.ctx = ctx
        self.text = gr.Textbox(label=label, elem_id=elem_id, **({"lines": 2, "max_lines": 4} | look))
        self.hint = gr.HTML(elem_id=f"{elem_id}-hint")
        changed = [self.text.change, models.change]
        follow(changed, self.say_hint, [models, self.text], self.hint, **UNQUEUED)

    def say_hint(self, models: str, prompt: str) -> str:
        """Name the words these models do not know."""
        return word_hint(self.ctx, models, prompt)


def source_prompt_box(ctx: Context, models: gr.Dropdown, method: str, **look) -> PromptBox:
    """The prompt that says what the source shows."""
    return PromptBox(ctx, models, "Source prompt", f"{method}-source-prompt", placeholder=SHOWN_NOW, **look)
