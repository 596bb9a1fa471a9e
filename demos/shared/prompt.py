"""A prompt with a hint below it: words that a small model was never shown, and brackets that do nothing."""

import gradio as gr

from demos.context import Context
from demos.shared.checks import word_hint
from demos.shared.events import follow
from demos.shared.marks import UNQUEUED, note
from textedit_core import bracketed

SHOWN_NOW = "what the picture shows now: a happy man with glasses"


class PromptBox:
    """`text` is the widget; the hint follows it and the models.

    has_weights: whether the words of this prompt have weights in a field of their own.
    """

    def __init__(
        self,
        ctx: Context,
        models: gr.Dropdown,
        label: str,
        elem_id: str,
        *,
        has_weights: bool = False,
        **look,
    ) -> None:
        self.ctx, self.has_weights = ctx, has_weights
        self.text = gr.Textbox(label=label, elem_id=elem_id, **({"lines": 2, "max_lines": 4} | look))
        self.hint = gr.HTML(elem_id=f"{elem_id}-hint")
        changed = [self.text.change, models.change]
        follow(changed, self.say_hint, [models, self.text], self.hint, **UNQUEUED)

    def say_hint(self, models: str, prompt: str) -> str:
        """Name the words these models do not know, and say where weights in brackets go."""
        advice = bracketed.advice(prompt or "", self.has_weights)
        return word_hint(self.ctx, models, prompt) + note(advice, "hint")


def source_prompt_box(ctx: Context, models: gr.Dropdown, method: str, **look) -> PromptBox:
    """The prompt that says what the source shows."""
    return PromptBox(ctx, models, "Source prompt", f"{method}-source-prompt", placeholder=SHOWN_NOW, **look)
