"""The Text2LIVE tab: a layer is learnt over one picture for one prompt, then laid over it."""

import gradio as gr

from demos.context import Context
from demos.shared.checks import image_problem
from demos.shared.fit import FitPanel
from demos.shared.prompt import PromptBox, source_prompt_box
from demos.shared.results import ResultPanel
from demos.shared.source import SourceBox
from demos.shared.tab import Run, Tab
from demos.text2live import runs
from textedit_core.methods.text2live import Layer
from textedit_core.steps import Step

NAME, METHOD = "Text2LIVE", "text2live"
FIRST_STEPS = (
    "Pick an example, or add a picture and its source prompt.",
    "Say what the edited picture should show: it is best at colours, materials and things laid over others.",
    "Press Edit, watch the layer grow, then drag the strength.",
)


def build(ctx: Context, models: gr.Dropdown) -> "Text2LiveTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return Text2LiveTab(ctx, models)


class Text2LiveTab(Tab):
    """A source prompt, a prompt, a layer that is learnt in sight, its strength."""

    view, title = runs.VIEW, NAME
    about_prepare = """Learn a layer over an image that shows `source_prompt`, so that it shows `prompt`.

Returns the status as HTML, the losses as SVG, and how many steps were done (changed by Stop). The layer stays
on the server under a key of its content: call /text2live_edit with the same settings."""
    about_edit = """Edit an image by text with Text2LIVE, learning its layer first where that is still to do.

Returns the edited picture (a PNG with its settings as text, as large as the source), the settings as JSON,
the scores, the source beside the edit, the source, the layer over green, and its opacity."""

    def draw_asking(self, presets: dict) -> None:
        """Source, both prompts, Prepare and its knobs, strength, Edit."""
        self.source = SourceBox(self.ctx, METHOD, self.models, square=False)
        self.examples = self.source.examples
        self.source_prompt = source_prompt_box(self.ctx, self.models, METHOD)
        example = "what the edited picture shows, all of it: a happy man with sunglasses"
        self.prompt = PromptBox(self.ctx, self.models, "Prompt", f"{METHOD}-prompt", placeholder=example)
        with gr.Accordion("Preparation settings", open=False):
            about = "Learns a layer for this image and these prompts, once."
            self.fit = FitPanel(METHOD, "this image and these prompts", about)
            self.draw_knobs([name for name in self.view.fit_knobs if name != "seed"], presets)
        self.draw_knobs(["strength"], presets)
        self.draw_seeds()

    def draw_answer(self) -> ResultPanel:
        """The slider, with source, layer, opacity and edit beside it."""
        pictures = {"source": "Source", "layer": "Layer", "opacity": "Opacity", "edit": "Edit"}
        return ResultPanel(self.view, FIRST_STEPS, pictures, losses=self.fit.losses)

    @property
    def fields(self) -> dict:
        """Image, source prompt, prompt."""
        return self.source.fields | self.texts

    @property
    def texts(self) -> dict:
        """Both prompts."""
        return {"source_prompt": self.source_prompt.text, "prompt": self.prompt.text}

    @property
    def again_knobs(self) -> tuple[str, ...]:
        """What is dragged most."""
        return ("strength",)

    def problems(self, values: dict) -> dict[str, str]:
        """What is wrong with the image or a text."""
        return {"image": image_problem(values["image"])} | runs.problems(self.ctx, values)

    def glimpse(self, run: Run, step: Step) -> dict:
        """Updates that show the layer of a step: over green, its opacity, and the picture under it."""
        if not isinstance(step.value, Layer):
            return super().glimpse(run, step)
        words = f"The layer, its opacity and the result, step {step.done} of {step.total}"
        return self.preview.show(runs.live(step.value), words, pictures=3)
