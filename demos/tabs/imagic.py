"""The Imagic tab: fit a photo to a prompt once, then drag eta; SDEdit stands beside it for comparison."""

import time

import gradio as gr

from demos.components import knobs
from demos.components.checks import guarded, image_problem, validator, word_hint
from demos.components.examples import ExampleStrip
from demos.components.fit import FitPanel
from demos.components.marks import QUIET, bar, note
from demos.components.results import ResultPanel
from demos.components.seeds import SeedRow
from demos.components.source import source_image
from demos.components.sweep import SweepPanel
from demos.context import MODEL_LANE, Context
from demos.runs import imagic as runs
from textedit_core import images

NAME, METHOD = "Imagic", "imagic"


def build(ctx: Context, models: gr.Dropdown) -> "ImagicTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return ImagicTab(ctx, models)


class ImagicTab:
    """Widgets as attributes; handlers are functions of the widgets' values and the cache alone."""

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        self.ctx, self.models = ctx, models
        presets = ctx.presets(ctx.default, METHOD)
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=320, elem_classes="asking"):
                self.draw_source()
                self.draw_prepare(presets)
                self.draw_edit(presets)
            with gr.Column(scale=2, min_width=320, elem_classes="answer"):
                self.result = ResultPanel()
        self.sweep = SweepPanel(ctx, self)
        self.wire()

    def draw_source(self) -> None:
        """Source image, sizing rule, examples, target prompt."""
        self.image = source_image(label="Source image", elem_id="source")
        self.image_note = gr.HTML()
        self.examples = ExampleStrip(METHOD)
        self.sizing = gr.Radio(
            [("crop to the centre", "crop"), ("pad with white", "pad")],
            value="crop",
            label="It is not square",
            elem_classes="inline",
            visible=False,
        )
        self.prompt = gr.Textbox(
            label="Target prompt",
            lines=2,
            max_lines=4,
            elem_id="prompt",
            placeholder="what the edited picture shows, all of it: an angry man with sunglasses",
        )
        self.hint = gr.HTML(elem_id="hint")

    def draw_prepare(self, presets: dict) -> None:
        """Step one: the button, its progress and losses, and the knobs of the fit."""
        self.fit = FitPanel()
        with gr.Accordion("Preparation settings", open=False):
            self.controls = knobs.controls(runs.KNOBS, runs.FIT, presets)

    def draw_edit(self, presets: dict) -> None:
        """Step two: eta, the seed row, the button, and the quieter knobs."""
        self.controls |= knobs.controls(runs.KNOBS, ["eta"], presets)
        self.seeds = SeedRow(runs.KNOBS["seed"])
        self.controls["seed"] = self.seeds.number
        with gr.Row(elem_classes="run"):
            self.edit_button = gr.Button("2  Edit", variant="primary", scale=3, min_width=140, elem_id="edit")
            self.edit_stop = gr.Button("Stop", variant="stop", scale=1, min_width=70)
        self.edit_status = gr.HTML(label="Edit status", elem_id="edit-status")
        with gr.Accordion("Sampling settings", open=False):
            rest = [name for name in runs.EDIT if name not in ("eta", "seed")]
            self.controls |= knobs.controls(runs.KNOBS, rest, presets)
        with gr.Accordion("Compare with SDEdit", open=False):
            self.sdedit = gr.Checkbox(False, label="Show an SDEdit result beside the edit")
            self.strength = knobs.control(runs.STRENGTH)

    @property
    def inputs(self) -> dict:
        """What every run of this tab is asked with, by keyword."""
        return {
            "image": self.image,
            "prompt": self.prompt,
            "models": self.models,
            "sizing": self.sizing,
            **{name: self.controls[name] for name in runs.KNOBS},
        }

    @property
    def tuned(self) -> list:
        """The two step counts, which Stop sets to what was done."""
        return [self.controls["embedding_steps"], self.controls["finetune_steps"]]

    @property
    def widgets(self) -> list:
        """The widget of every knob, in the order of `runs.KNOBS`."""
        return [self.controls[name] for name in runs.KNOBS]

    def wire(self) -> None:
        """Hints and presets as the inputs change, then the runs and what follows them."""
        prompted = [self.prompt.change, self.models.change]
        gr.on(prompted, self.say_hint, [self.models, self.prompt], self.hint, **QUIET)
        self.image.change(self.say_image, self.image, [self.image_note, self.sizing], **QUIET)
        # .input and not .change: Recall sets the models too, and must not lose its knobs to presets.
        self.models.input(self.use_presets, self.models, self.widgets, **QUIET)
        self.examples.on_pick([self.image, self.prompt, *self.widgets], runs.KNOBS)
        self.seeds.use_from(self.result)
        self.sweep.wire(self.wire_runs())

    def wire_runs(self) -> list:
        """Prepare and Edit in the model's lane, Stop for both; returns their events."""
        inputs = self.inputs
        extra = inputs | {"sdedit": self.sdedit, "strength": self.strength}
        fitted = [self.fit.status, self.fit.losses, *self.tuned]
        find = knobs.problems(runs.KNOBS)
        prepared = self.fit.button.click(
            self.prepare,
            inputs_kwargs=inputs,
            outputs=fitted,
            validator=validator(self.ctx, list(inputs), find),
            api_name="imagic_prepare",
            show_progress="minimal",
            show_progress_on=self.fit.status,
            **MODEL_LANE,
        )
        drawn = self.seeds.draw([self.edit_button.click, self.prompt.submit], self.edit_status)
        edited = drawn.then(
            self.edit,
            inputs_kwargs=extra,
            outputs=[*self.result.outputs, self.edit_status, *fitted],
            validator=validator(self.ctx, list(extra), find),
            api_name="imagic_edit",
            show_progress="minimal",
            show_progress_on=self.edit_status,
            **MODEL_LANE,
        )
        # First the run ends by itself and keeps what it has; then one still waiting in the queue is dropped.
        self.fit.stop.click(self.stop, api_name="stop", show_progress="hidden").then(None, cancels=[prepared])
        self.edit_stop.click(self.stop, **QUIET).then(None, cancels=[edited])
        return [prepared, edited]

    @property
    def restore_outputs(self) -> list:
        """What Recall sets."""
        return [self.prompt, self.seeds.mode, *self.widgets]

    def restore(self, about) -> list:
        """Updates for `restore_outputs` from a record; a knob it does not have takes its default."""
        known = {
            name: knob.check(about.knobs[name]) for name, knob in runs.KNOBS.items() if name in about.knobs
        }
        return [about.prompts.get("prompt", ""), "fixed", *knobs.restored(runs.KNOBS, known, {})]

    @property
    def send_outputs(self) -> list:
        """What "Send to the tab" sets: the knobs and the result panel."""
        return [*self.widgets, *self.result.outputs]

    def send(self, cell: dict | None) -> dict:
        """Set the tab as a cell of a sweep was made, and show it as the result."""
        if not cell:
            return {self.controls["seed"]: gr.skip()}
        made = knobs.settings_of(cell)
        return {self.controls[name]: gr.update(value=made[name]) for name in runs.KNOBS} | self.result.show(
            cell
        )

    def say_hint(self, models: str, prompt: str) -> str:
        """Name the words these models do not know."""
        return word_hint(self.ctx, models, prompt)

    def say_image(self, image: str | None) -> tuple:
        """Answer at once an upload that cannot be used; ask how to make it square only if it is not."""
        problem = image_problem(image) if image else ""
        if problem or not image:
            return note(problem, "problem"), gr.update(visible=False)
        width, height = images.open_image(image).size
        return "", gr.update(visible=width != height, label=f"It is {width} × {height}, so")

    def use_presets(self, models: str) -> list:
        """The values that suit the chosen models."""
        return knobs.restored(runs.KNOBS, {}, self.ctx.presets(models, METHOD))

    def stop(self, request: gr.Request) -> None:
        """End the run of this session after the step in hand; what has been done is kept and usable."""
        self.ctx.stops.ask(request.session_hash)

    def fitting(self, ask: runs.Ask, stop):
        """Yield page updates while the fit runs; returns its last state."""
        run = None
        for run in runs.prepare(self.ctx, ask, stop):
            yield self.fit.show(run)
        if run.stopped:
            yield dict(zip(self.tuned, run.done, strict=True))
        return run

    @guarded("fit.status", runs.MEMORY_HINT)
    def prepare(
        self, request: gr.Request, *, image: str, prompt: str, models: str, sizing: str = "crop", **settings
    ):
        """Fit Imagic to an image and a prompt: optimise the text embedding, then fine-tune on the image.

        Returns the status as HTML, the losses as SVG, and the step counts of both stages (changed by Stop).
        The fit stays on the server under a key of its content: call /imagic_edit with the same settings.
        """
        ask = runs.read(self.ctx, models, image, sizing, prompt, settings)
        with self.ctx.stops.running(request.session_hash) as stop:
            yield from self.fitting(ask, stop)

    @guarded("edit_status", runs.MEMORY_HINT)
    def edit(
        self,
        request: gr.Request,
        *,
        image: str,
        prompt: str,
        models: str,
        sizing: str = "crop",
        sdedit: bool = False,
        strength: float = 0.6,
        **settings,
    ):
        """Edit an image by text with Imagic, preparing first where that has not been done.

        Returns the edited picture (a PNG with its settings as text), the settings as JSON, the scores, the
        source beside the edit, the source, its reconstruction by the autoencoder, an SDEdit result if asked.
        """
        ask = runs.read(self.ctx, models, image, sizing, prompt, settings)
        with self.ctx.stops.running(request.session_hash) as stop:
            yield {self.edit_status: ""}
            run = yield from self.fitting(ask, stop)
            if run.stopped:
                yield {
                    self.edit_status: note("Stopped while preparing. Press Edit to use what has been learnt.")
                }
                return
            yield from self.finish(ask, run, stop, strength if sdedit else None)

    def finish(self, ask: runs.Ask, run: runs.Fitting, stop, strength: float | None):
        """The sampling half of an edit: progress, then the whole result at once."""
        start, step, other = time.monotonic(), None, None
        for step in runs.edit(self.ctx, ask, run.step.value):
            yield {self.edit_status: bar(step.done, step.total, f"Editing, step {step.done} of {step.total}")}
            if stop.is_set() and step.done < step.total:
                yield {self.edit_status: note("Stopped. The last result is still shown.")}
                return
        seconds = time.monotonic() - start
        if strength is not None:
            for other in runs.baseline(ask, strength):
                words = f"SDEdit, step {other.done} of {other.total}"
                yield {self.edit_status: bar(other.done, other.total, words)}
                if stop.is_set() and other.done < other.total:
                    strength, other = None, None
                    break
        compared = None if other is None else other.value
        result = runs.present(self.ctx, ask, step.value, compared, strength, seconds)
        yield self.result.show(result) | {self.edit_status: ""}
