"""What StyleCLIP is compared with as a tab: GANSpace, InterFaceGAN and StyleSpace on the same latent."""

import gradio as gr

from demos.shared.events import follow
from demos.shared.fit import FitPanel
from demos.shared.marks import UNQUEUED, note
from demos.shared.prompt import PromptBox
from demos.shared.results import ResultPanel
from demos.styleclip import comparators as runs
from demos.styleclip.technique import TechniqueTab
from textedit_core.request import Result

FIRST_STEPS = (
    "Pick a sample above, or project a picture of your own.",
    "Choose a technique: GANSpace needs no text, the other two need both.",
    "Press Edit, then drag the strength.",
)
NEUTRAL, PROMPT = "a person", "a surprised person"  # so that every technique moves something from the start


class ComparatorsTab(TechniqueTab):
    """A technique, its texts where it has some, strength, and its own knobs."""

    view, title, needs = runs.VIEW, "Comparators", ()
    about_prepare = """Find the directions of a technique from random codes; for InterFaceGAN from images.

Returns the status as HTML. What is found stays on the server under a key of its content: call
/latent_directions_edit with the same settings."""
    about_edit = """Edit a latent by GANSpace, InterFaceGAN or StyleSpace, preparing first where needed.

GANSpace uses neither text. Returns the edited picture (a PNG with its settings as text), the settings as
JSON, the scores, the source beside the edit, and the source."""

    def draw_asking(self, presets: dict) -> None:
        """Technique, texts, Prepare, its knobs, strength, Edit, and knobs that are seldom changed."""
        name = self.view.name
        self.draw_knobs(["technique"], presets)
        with gr.Column(elem_classes="texts") as self.textual:
            self.neutral, self.prompt = (
                PromptBox(self.ctx, self.models, label, f"{name}-{key}", value=value, lines=1)
                for key, label, value in (
                    ("neutral", "Neutral text, what it shows", NEUTRAL),
                    ("prompt", "Prompt, what it is to show", PROMPT),
                )
            )
        self.draw_knobs(["component", "channel", "strength"], presets)
        with gr.Accordion("More settings", open=False):
            self.fit = FitPanel(name, "this technique and text", "Learns from samples, once.")
            self.draw_knobs(["first_layer", "last_layer", "samples", "share", "sample_seed"], presets)
        for widget, shown in zip(
            self.used_by_some, self.show_used(self.controls["technique"].value), strict=True
        ):
            widget.visible = shown["visible"]

    def draw_answer(self) -> ResultPanel:
        """The slider, source and edit."""
        return self.panel(FIRST_STEPS, {"source": "Source", "edit": "Edit"}, None)

    # --- what is asked ------------------------------------------------------------------------------------

    @property
    def texts(self) -> dict:
        """Both texts."""
        return {"neutral": self.neutral.text, "prompt": self.prompt.text}

    @property
    def fit_fields(self) -> dict:
        """What directions are found for: the texts; they serve any latent."""
        return self.texts

    def own_problems(self, values: dict) -> dict[str, str]:
        """Texts that say nothing, and layers or components that are not there."""
        return runs.problems(self.ctx, values)

    @property
    def live(self) -> list:
        """Strength and component, when their sliders are released."""
        return [self.controls[name].release for name in ("strength", "component")]

    # --- wiring and handlers ------------------------------------------------------------------------------

    @property
    def used_by_some(self) -> list:
        """The widgets that only some techniques use: the texts, then knobs."""
        return [self.textual, *(self.controls[name] for name in runs.KNOBS_USED_BY_SOME)]

    def wire(self) -> None:
        """What Tab wires, and the knobs of the technique."""
        super().wire()
        technique = self.controls["technique"]
        follow([technique.change], self.show_used, technique, self.used_by_some, **UNQUEUED)

    def show_used(self, technique: str) -> list:
        """Show the texts and those knobs that the technique uses."""
        shown = [runs.used(technique, name) for name in runs.KNOBS_USED_BY_SOME]
        texts = gr.update(visible=runs.used(technique, "prompt"))  # a column knows no "hidden"
        return [texts, *(gr.update(visible=one or "hidden") for one in shown)]

    def summary(self, result: Result) -> str:
        """The direction of the edit."""
        return note(runs.words(result), "done")
