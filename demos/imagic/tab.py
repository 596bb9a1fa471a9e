"""The Imagic tab: fit a photo to a prompt once, then drag eta; SDEdit stands beside it for comparison."""

from collections.abc import Iterator

import gradio as gr

from demos.context import Context
from demos.imagic import runs
from demos.shared import knobs
from demos.shared.checks import image_problem, prompt_problem
from demos.shared.events import follow
from demos.shared.fit import FitPanel
from demos.shared.marks import UNQUEUED
from demos.shared.present import present
from demos.shared.prompt import PromptBox
from demos.shared.results import ResultPanel
from demos.shared.source import SourceBox
from demos.shared.tab import Run, Tab
from textedit_core import request as engine
from textedit_core.knobs import BoundKnob, Knob

NAME, METHOD = "Imagic", "imagic"
FIRST_STEPS = (
    "Pick an example or add a picture of your own.",
    "Say what the edited picture should show.",
    "Press Edit, then drag eta: 0 rebuilds the source, 1 follows the prompt.",
)

WITH_SDEDIT = BoundKnob("sdedit", bool, False, Knob(label="Show an SDEdit result beside the edit"))
SDEDIT_PROBLEMS = knobs.problems(runs.SDEDIT.knobs | {"sdedit": WITH_SDEDIT})


def build(ctx: Context, models: gr.Dropdown) -> "ImagicTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return ImagicTab(ctx, models)


class ImagicTab(Tab):
    """One prompt, a fit of two stages, eta; an SDEdit result if asked."""

    view, title = runs.VIEW, NAME
    about_prepare = """Fit Imagic to an image and a prompt: the embedding first, then the model on the image.

Returns the status as HTML, the losses as SVG, and the step counts of both stages (changed by Stop).
The fit stays on the server under a key of its content: call /imagic_edit with the same settings."""
    about_edit = """Edit an image by text with Imagic, preparing first where that has not been done.

Returns the edited picture (a PNG with its settings as text), the settings as JSON, the scores, the
source beside the edit, the source, its reconstruction by the autoencoder, an SDEdit result if asked."""

    def draw_asking(self, presets: dict) -> None:
        """Source, prompt, Prepare, eta, seeds, Edit, and the knobs that are seldom changed."""
        self.source = SourceBox(self.ctx, METHOD, self.models)
        self.examples = self.source.examples
        example = "what the edited picture shows, all of it: an angry man with sunglasses"
        self.prompt = PromptBox(self.ctx, self.models, "Prompt", f"{METHOD}-prompt", placeholder=example)
        with gr.Accordion("Preparation settings", open=False):
            self.fit = FitPanel(METHOD, "this image and prompt", "Learns this image and prompt, once.")
            self.draw_knobs(self.view.fit_knobs, presets)
            self.controls["tune"].choices = [(one, one) for one in runs.tunings()]
        self.draw_knobs(["eta"], presets)
        self.draw_seeds()
        with gr.Accordion("Sampling settings", open=False):
            self.draw_knobs([name for name in self.view.edit_knobs if name not in self.controls], presets)
        with gr.Accordion("Compare with SDEdit", open=False):
            self.sdedit = knobs.control(WITH_SDEDIT)
            self.baseline = runs.SDEDIT.widgets(self.ctx.presets(self.ctx.default, "sdedit"))

    def draw_answer(self) -> ResultPanel:
        """The slider, with source, reconstruction, edit and SDEdit beside it."""
        pictures = {
            "source": "Source",
            "reconstruction": "Reconstruction",
            "edit": "Edit",
            "baseline": "SDEdit",
        }
        more = {"optional": ("baseline",), "saved": ("baseline",), "losses": self.fit.losses}
        return ResultPanel(self.view, FIRST_STEPS, pictures, **more)

    @property
    def fields(self) -> dict:
        """Image, sizing rule, prompt."""
        return self.source.fields | self.texts

    @property
    def texts(self) -> dict:
        """The prompt."""
        return {"prompt": self.prompt.text}

    @property
    def extra(self) -> dict:
        """Whether SDEdit is shown, and its own knobs."""
        return {"sdedit": self.sdedit, **self.baseline}

    @property
    def again_knobs(self) -> tuple[str, ...]:
        """What is dragged most."""
        return ("eta", "guidance_scale")

    def problems(self, values: dict) -> dict[str, str]:
        """What is wrong with the image, the prompt, or the knobs of an SDEdit result that is asked for."""
        asked = {name: values[name] for name in runs.SDEDIT.knobs} if values.get("sdedit") else {}
        asked |= {"sdedit": values["sdedit"]} if "sdedit" in values else {}
        return {
            "image": image_problem(values["image"]),
            "prompt": prompt_problem(self.ctx, values["models"], values["prompt"]),
            **SDEDIT_PROBLEMS(asked),
        }

    def wire(self) -> None:
        """What Tab wires; SDEdit's knobs follow the models too."""
        super().wire()
        follow([self.models.input], self.suit_baseline, self.models, list(self.baseline.values()), **UNQUEUED)

    def suit_baseline(self, models: str) -> list:
        """SDEdit's knobs as they suit the chosen models."""
        return list(runs.SDEDIT.values(self.ctx.presets(models, "sdedit")).values())

    def finish(self, run: Run) -> Iterator[dict]:
        """The edit, then SDEdit where it is asked for, then both at once."""
        result = yield from self.watch(run, engine.run(run.asked, costs=run.costs))
        if result is None:
            return
        shown = present(self.view, result, folder := self.ctx.folder())
        if run.values["sdedit"]:
            beside = Run.of(runs.beside(run.asked, run.values), run.stop, run.values)
            other = yield from self.watch(beside, engine.run(beside.asked, costs=beside.costs))
            if other is not None:
                shown["pictures"]["baseline"] = runs.save_beside(other, folder)
                strength = other.request.settings["strength"]
                shown["labels"] = {"baseline": f"SDEdit, strength {strength:g}"}
        yield self.finished(shown)
