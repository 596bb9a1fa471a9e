"""StyleCLIP's optimizer and TediGAN as tabs: one latent is optimised towards one text, step by step."""

import gradio as gr

from demos.context import MODEL_LANE
from demos.shared.checks import guarded, text_problem
from demos.shared.fit import FitPanel
from demos.shared.marks import EVERY_CLICK, HIDDEN, SELECT_JS, Tile, note, strip
from demos.shared.prompt import PromptBox
from demos.shared.results import ResultPanel
from demos.shared.tab import Run
from demos.styleclip import optimizer as runs
from demos.styleclip.technique import TechniqueTab
from textedit_core.request import FITTING, Result, known_fit, optional_part
from textedit_core.steps import Step

FIRST_STEPS = (
    "Pick a sample above, or project a picture of your own.",
    "Say what the picture is to become.",
    "Press Edit, then move Position from the source, 0, to the result, 1.",
)
ABOUT_PREPARE = """Optimise the code of a latent towards a text.

Returns the status as HTML, the losses as SVG with the latest image, and the steps it was stopped after. The
path stays on the server under a key of its content: call /{}_edit with the same settings."""
ABOUT_EDIT = """Edit a latent by optimising its code towards a text, where that has not been done.

`position` is the place on the path, from 0, the source, to 1. Returns the edited picture (a PNG with its
settings as text), the settings as JSON, the scores, the source beside the edit, the source, and the path."""


class PathTab(TechniqueTab):
    """A text, the weights of the losses, and a position on the path. shown: the knobs in view, in pairs."""

    shown: tuple[tuple[str, ...], ...] = ()

    def draw_asking(self, presets: dict) -> None:
        """The text, Prepare, the weights, Edit, the position, and the knobs that are seldom changed."""
        name = self.view.name
        example = "what the picture is to become: an angry person"
        self.prompt = PromptBox(
            self.ctx, self.models, "Prompt", f"{name}-prompt", placeholder=example, lines=1
        )
        for pair in self.shown:
            with gr.Row(elem_classes="axis"):
                self.draw_knobs(pair, presets)
        with gr.Accordion("More settings", open=False):
            self.fit = FitPanel(name, "this latent and prompt", "Follows the prompt, once.")
            seen = {name for pair in self.shown for name in pair}
            self.draw_knobs([one for one in self.view.fit_knobs if one not in seen], presets)
        self.draw_knobs(["position"], presets)

    def draw_answer(self) -> ResultPanel:
        """The slider, source and edit, and the steps between them."""
        pictures = {"source": "Source", "edit": "Edit"}
        return self.panel(FIRST_STEPS, pictures, ("Steps", lambda: PathView(self.view.name)))

    @property
    def texts(self) -> dict:
        """The prompt."""
        return {"prompt": self.prompt.text}

    def own_problems(self, values: dict) -> dict[str, str]:
        """An empty or too long text."""
        models = self.ctx.models(values["models"])
        empty = "Write the prompt: what is the picture to become?"
        wrong = text_problem(models.clip.tokenizer, values["prompt"], empty)
        return {"prompt": wrong} if wrong else {}

    # --- wiring and handlers ------------------------------------------------------------------------------

    def wire_runs(self) -> list:
        """The position too: the slider when it is released, and a click on the strip."""
        events, view, position = super().wire_runs(), self.result.details, self.controls["position"]
        scrubs = {
            "inputs_kwargs": self.inputs | self.unfinished,
            "outputs": self.run_outputs,
            "trigger_mode": "always_last",
        }
        position.release(self.scrub, **scrubs, **HIDDEN, **MODEL_LANE)
        picked = view.strip.select(self.place_of, view.positions, position, **EVERY_CLICK)
        picked.then(self.scrub, **scrubs, **HIDDEN, **MODEL_LANE)
        return events

    def place_of(self, positions: list, chosen: gr.EventData) -> float:
        """The position of a picture of the strip."""
        return positions[int(chosen._data["index"])]

    @guarded("edit_status")
    def scrub(self, request: gr.Request, **values):
        """Show another position of a path that has been optimised; this does not begin a new one."""
        if wrong := next(filter(None, self.problems(values).values()), ""):
            raise ValueError(wrong)
        asked = self.asked(values)
        if known_fit(asked) is None:
            yield {self.edit_status: note("Press Edit first: nothing has been optimised for these settings.")}
            return
        with self.ctx.stops.running(request.session_hash) as stop:
            yield from self.finish(Run.of(asked, stop, values))

    def glimpse(self, run: Run, step: Step) -> dict:
        """Updates that show the image of a step of the optimisation."""
        if step.stage != FITTING:
            return super().glimpse(run, step)
        return self.preview.show(step.value.image, f"The latest image, step {step.done} of {step.total}")

    def extras(self, result: Result) -> dict:
        """The strip of the whole path."""
        return {"path": runs.path_of(result)}


class OptimizerTab(PathTab):
    """StyleCLIP's optimizer, in W+ or S, held by the distance of the codes and by the identity."""

    view, title = runs.VIEW, "Optimizer"
    shown = (("steps", "space"), ("l2_lambda", "id_lambda"), ("clip_preprocess", "stop_after"))
    about_prepare, about_edit = ABOUT_PREPARE.format("styleclip_optimizer"), ABOUT_EDIT

    def own_problems(self, values: dict) -> dict[str, str]:
        """Also a weight for a network that is not there."""
        found = super().own_problems(values)
        models = self.ctx.models(values["models"])
        if values["id_lambda"] and optional_part(models, "identity", fetch=False) is None:
            found["id_lambda"] = "These models have no identity network on this machine: set it to 0."
        return found


class TediganTab(PathTab):
    """TediGAN, which StyleCLIP is compared with: held by pixels, features and the encoder."""

    view, title = runs.TEDIGAN, "TediGAN"
    shown = (("steps", "clip_lambda"), ("pixel_lambda", "domain_lambda"))
    about_prepare, about_edit = ABOUT_PREPARE.format("tedigan"), ABOUT_EDIT


class PathView:
    """A strip of pictures along the optimisation, from a result's "path"; empty for a result without."""

    def __init__(self, method: str) -> None:
        self.positions = gr.State([])
        self.strip = gr.HTML(
            js_on_load=SELECT_JS, label="Steps of the optimisation", elem_id=f"{method}-path"
        )

    @property
    def outputs(self) -> list:
        """What `show` updates."""
        return [self.positions, self.strip]

    def show(self, result: dict) -> dict:
        """Updates for a result."""
        path = result.get("path", [])
        tiles = [
            Tile(one["picture"], f"Go to step {one['step']}", (f"step {one['step']}",), k)
            for k, one in enumerate(path)
        ]
        heading = "<h4>From the source to the result; click a step to show it</h4>" if tiles else ""
        return {
            self.positions: [one["position"] for one in path],
            self.strip: heading + strip(tiles, "small"),
        }
