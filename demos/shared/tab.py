"""What the tab of a method is: widgets on the left, the result on the right, the sweep below, all wired.

shared/view.py says how a new tab is made of it.
"""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr

from demos.context import MODEL_LANE, STOP_LANE, Context
from demos.examples.finished import weights_of
from demos.shared import knobs
from demos.shared.checks import guarded, validator
from demos.shared.events import follow
from demos.shared.examples import ExampleStrip
from demos.shared.fit import FitPanel, FitProgress
from demos.shared.leave_out import may_leave_out
from demos.shared.marks import HIDDEN, QUIET, UNQUEUED, bar, note
from demos.shared.panel import BuiltTab, MethodPanel
from demos.shared.present import present
from demos.shared.preview import Pacer, Preview, Telling, decoded
from demos.shared.results import ResultPanel
from demos.shared.runbar import RunBar
from demos.shared.seeds import SeedRow
from demos.shared.sweep import SweepPanel
from demos.shared.uploads import opened
from demos.shared.view import MethodView, Stage
from textedit_core import estimate
from textedit_core import request as engine
from textedit_core.choices import SIZINGS
from textedit_core.costs import Costs
from textedit_core.device import value_elsewhere
from textedit_core.record import Record, image_sha
from textedit_core.request import (
    EDITING,
    FINISHING,
    FITTING,
    PROJECTING,
    TUNING,
    Request,
    Result,
    known_fit,
    located,
)
from textedit_core.steps import Step

GLIMPSES = {
    FITTING: "What the model sees of the picture, step {} of {}",
    EDITING: "The picture so far, step {} of {}",
}
MADE_BEFOREHAND = "This result came with the example. Edit makes it anew."
STOPPED_PROJECTING = "Stopped while projecting. Fewer projection steps are quicker."


@dataclass
class Run:
    """A press of Prepare or Edit under way: what is asked, the Stop of its page, the widgets' values."""

    asked: Request
    stop: Event
    values: dict
    costs: Costs

    @classmethod
    def of(cls, asked: Request, stop: Event, values: dict) -> "Run":
        """A run that has cost nothing so far."""
        return cls(asked, stop, values, Costs(asked.models.device, asked.inputs))


def memory_note(asked: Request) -> str:
    """How much memory a heavy run will take, and what helps where that is not there; nothing for others."""
    found = estimate.of(asked)
    if found is None:
        return ""
    return note(f"Memory: {found.text}", "" if found.fits else "problem")


class Tab(BuiltTab, MethodPanel):
    """Widgets as attributes; handlers are functions of the widgets' values and the cache alone.

    A tab of its own sets `view`, `about_edit`, `about_prepare` (texts for the API) and the methods up to
    `fields`. The run bar stands below what `draw_asking` draws.
    """

    view: MethodView
    title = ""
    about_prepare = ""
    about_edit = ""
    left_out = "its source image: add that again"  # what a PNG does not carry
    fit: FitPanel | None = None  # for a method that has a fit
    seeds: SeedRow | None = None
    examples: ExampleStrip | None = None

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        self.ctx, self.models, self.controls = ctx, models, {}
        self.panels = {self.view.name: self}
        self.knobs, self.memory_hint = self.view.knobs, self.view.memory_hint
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=320, elem_classes="asking"):
                self.draw_asking(ctx.presets(ctx.default, self.view.name))
                self.draw_run()
            with gr.Column(scale=2, min_width=320, elem_classes="answer"):
                self.preview = Preview(self.view.name)
                self.result = self.draw_answer()
        self.sweep = SweepPanel(ctx, self)
        self.wire()

    # --- what a tab says of itself ------------------------------------------------------------------------

    def draw_asking(self, presets: dict) -> None:
        """Draw the left third; every knob gets a widget in `controls`, by `draw_knobs` or by hand."""
        raise NotImplementedError

    def draw_answer(self) -> ResultPanel:
        """Draw the result panel."""
        raise NotImplementedError

    @property
    def fields(self) -> dict:
        """The inputs that are no knobs, by name; the source image is "image"."""
        raise NotImplementedError

    @property
    def texts(self) -> dict:
        """The widgets of the prompts in a record, by name; also what submits an edit with Enter."""
        return {}

    def problems(self, values: dict) -> dict[str, str]:
        """The sentence for each field that cannot be used; `values` has the fields and "models"."""
        raise NotImplementedError

    @property
    def again_knobs(self) -> tuple[str, ...]:
        """Knobs whose sliders, when they are let go, edit again without a press of Edit."""
        return ()

    @property
    def again_events(self) -> list:
        """The events that edit again without a press of Edit."""
        return [self.controls[name].release for name in self.again_knobs]

    @property
    def extra(self) -> dict:
        """Inputs of an edit that a sweep does not have."""
        return {}

    @property
    def tab_id(self) -> str:
        """The id of the gr.Tab that it stands in."""
        return self.view.name

    def finish(self, run: Run) -> Iterator[dict]:
        """Yield updates while the picture is made, at last the result; override it to do more."""
        result = yield from self.watch(run, engine.run(run.asked, costs=run.costs))
        if result is not None:
            shown = present(self.view, result, folder := self.ctx.folder())
            shown["pictures"] |= self.more_files(result, run.values, folder)
            yield self.finished(shown | self.extras(result), self.summary(result))

    def finished(self, shown: dict, summary: str = "") -> dict:
        """Updates that put a result on the page, plain data, with what the run bar says of it as HTML."""
        return self.result.show(shown) | {self.edit_status: summary} | self.preview.clear()

    def said(self, words: str) -> dict:
        """Updates that say something, HTML, in the run bar; {} for nothing."""
        return {self.edit_status: words} if words else {}

    def projected(self, values: dict) -> dict:
        """Updates when a picture has been projected, for a method that starts from a latent."""
        raise NotImplementedError

    def more_files(self, result: Result, values: dict, folder: Path) -> dict[str, str]:
        """Paths of what an edit alone shows or offers, and no cell of a sweep, by the names of the panel."""
        return {}

    def extras(self, result: Result) -> dict:
        """What the result has for the tab's own view of it."""
        return {}

    def summary(self, result: Result) -> str:
        """What the line below Edit says of a finished edit, as HTML."""
        return ""

    @property
    def drawn_late(self) -> tuple:
        """The widgets that a browser draws slowly; an example fills them in last."""
        return ()

    def from_example(self, values: dict) -> dict:
        """What an example writes into the widgets, by name; override it for one that is no plain value."""
        return values

    # --- pieces to draw with ------------------------------------------------------------------------------

    def draw_knobs(self, names, presets: dict) -> None:
        """One widget per knob."""
        self.controls |= knobs.controls(self.knobs, names, presets)

    def draw_seeds(self) -> None:
        """The seed row, for a method that has a seed."""
        self.seeds = SeedRow(self.view.name, self.knobs["seed"])
        self.controls["seed"] = self.seeds.number

    def draw_run(self) -> None:
        """What is done with a finished edit, folded; Edit, Stop, and the lines below them."""
        presets = self.ctx.presets(self.ctx.default, self.view.name)
        with gr.Accordion("Size and details of the result", open=False):
            self.draw_knobs(self.view.finish_knobs, presets)
        name, lines = f"{self.view.name}-edit", (self.fit.status,) if self.fit else ()
        self.bar = RunBar(name, "Edit", name, lines, previews=True)
        self.edit_button, self.edit_status = self.bar.button, self.bar.status

    # --- wiring -------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> dict:
        """What every run of this tab is asked with, by keyword."""
        return {**self.fields, "models": self.models, **{name: self.controls[name] for name in self.knobs}}

    @property
    def triggers(self) -> list:
        """The events that start an edit."""
        return [self.edit_button.click, *(text.submit for text in self.texts.values())]

    @property
    def widgets(self) -> list:
        """The widget of every knob, in the order of the method's."""
        return [self.controls[name] for name in self.knobs]

    def wire(self) -> None:
        """Presets as the models change, examples, seeds, then the runs and what follows them."""
        # .input and not .change: Recall sets the models too, and must not lose its knobs to presets.
        suited = [*self.widgets, *self.unfinished.values()]
        follow([self.models.input], self.suit, self.models, suited, **UNQUEUED)
        if self.examples:
            widgets = self.fields, self.controls, self.from_example, self.models, self.at_first
            self.examples.on_pick(*widgets, self.finished_example, self.shown_again, self.drawn_late)
        if self.seeds:
            self.seeds.use_from(self.result)
        runs = self.wire_runs()
        self.sweep.wire(runs, [self.fit.shown_key.change] if self.fit else [])
        if self.fit:
            self.follow_fit()

    def wire_runs(self) -> list:
        """Prepare and Edit in the model's lane, Stop for both; returns their events."""
        events = []
        if self.fit:
            inputs = self.inputs | self.unfinished | self.watching
            options = self.run_options("prepare", self.about_prepare, inputs, self.fit.status)
            outputs = [*self.fit_outputs, self.preview.html, self.sweep.ended]
            prepare = may_leave_out(self.prepare, inputs)
            events.append(self.fit.button.click(prepare, outputs=outputs, **options))
        inputs = self.inputs | self.extra | self.unfinished | self.watching
        options = self.run_options("edit", self.about_edit, inputs, self.edit_status)
        started = self.before_edit(self.triggers)
        edit = may_leave_out(self.edit, inputs)
        events.append(started.then(edit, outputs=self.run_outputs, **options))
        asked = {"api_name": f"{self.view.name}_stop", **QUIET, **STOP_LANE}
        self.bar.wire_stop(self.ctx.stops, [*events, *self.wire_again()], **asked)
        return events

    def wire_again(self) -> list:
        """What is let go while an edit runs is edited after it; returns the events."""
        inputs = self.inputs | self.extra | self.unfinished | {"shown": self.result.shown}
        options = {"inputs_kwargs": inputs, "outputs": self.run_outputs, "trigger_mode": "always_last"}
        options |= HIDDEN | MODEL_LANE
        return [let_go(self.again, **options) for let_go in self.again_events]

    def before_edit(self, triggers: list):
        """The event in which a press of Edit clears the status and draws a seed; the edit follows it."""
        if self.seeds:
            return self.seeds.draw(triggers, self.edit_status)
        return gr.on(triggers, None, None, self.edit_status, js="() => ''", **HIDDEN)

    def run_options(self, name: str, about: str, inputs: dict, status: gr.HTML) -> dict:
        """What the events of Prepare and Edit have in common."""
        find = knobs.problems(self.knobs)
        return {
            "inputs_kwargs": inputs,
            "validator": validator(self.ctx, list(inputs), self.problems, find, part=self.view.part),
            "api_name": f"{self.view.name}_{name}",
            "api_description": about or None,
            "show_progress": "minimal",
            "show_progress_on": status,
            **MODEL_LANE,
        }

    # --- the preparation ------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the models that a preparation takes."""
        return (self.view.part,)

    @property
    def fit_fields(self) -> dict:
        """The inputs that a preparation is made for, by name, beside models and knobs."""
        return self.fields

    @property
    def fit_outputs(self) -> list:
        """What a fit under way may update."""
        if not self.fit:
            return []
        return [self.fit.status, self.fit.losses, self.fit.unfinished, self.fit.shown_key]

    @property
    def run_outputs(self) -> list:
        """What an edit may update."""
        shown = [*self.result.outputs, self.edit_status, self.preview.html]
        return [*shown, *self.fit_outputs, self.sweep.ended]

    @property
    def watching(self) -> dict:
        """Whether the picture of each step is shown; nothing that is made depends on it."""
        return {"watching": self.bar.watching}

    @property
    def unfinished(self) -> dict:
        """What all that uses a fit is asked with too: what is kept of one that was stopped."""
        return {"unfinished": self.fit.unfinished} if self.fit else {}

    def asked(self, values: dict) -> Request:
        """The request of the widgets' values; where its fit was stopped, with what was kept of it.

        ValueError, a sentence, for what cannot be used.
        """
        asked, unfinished = self.view.read(self.ctx, values), values.get("unfinished")
        if unfinished and fit_key(asked) == unfinished["key"]:
            return asked.at(**unfinished["kept"])
        return asked

    def follow_fit(self) -> None:
        """The panel speaks of what is asked now: after every change of it, and of what a run has told."""
        fields, knobs = self.fit_fields.values(), [self.controls[name] for name in self.view.fit_knobs]
        # One event for all of it: the page sends the next only when the last has answered, so that an answer
        # from before the end of a run never comes after one from behind it.
        follow(
            [one.change for one in (*fields, self.models, *knobs, self.fit.shown_key)],
            self.say_fit,
            inputs_kwargs={**self.inputs, **self.unfinished, "shown_key": self.fit.shown_key},
            outputs=[self.fit.status, self.fit.losses, self.fit.shown_key],
            **UNQUEUED,
        )

    # --- Recall, sweeps -----------------------------------------------------------------------------------

    @property
    def restore_outputs(self) -> list:
        """What Recall sets."""
        row = [self.seeds.mode] if self.seeds else []
        sizing = [self.fields["sizing"]] if "sizing" in self.fields else []
        return [*self.texts.values(), *row, *sizing, *self.widgets, *self.unfinished.values()]

    def restore(self, about) -> list:
        """Updates for `restore_outputs` from a record; a knob it does not have takes its default."""
        known = {n: knob.check(about.knobs[n]) for n, knob in self.knobs.items() if n in about.knobs}
        texts = [about.prompts.get(name, "") for name in self.texts]
        row = ["fixed"] if self.seeds else []
        sizing = [about.resize if about.resize in SIZINGS else "crop"]
        return [
            *texts,
            *row,
            *(sizing if "sizing" in self.fields else []),
            *knobs.restored(self.knobs, known, {}),
            *({} for _ in self.unfinished),  # what was kept of a stopped fit is of no more interest
        ]

    @property
    def axis_outputs(self) -> list:
        """The axes of the sweep."""
        return list(self.sweep.axes.values())

    def restore_axes(self, axes: dict[str, str]) -> dict:
        """Updates that set the axes of the sweep."""
        return self.sweep.restore(axes)

    @property
    def send_outputs(self) -> list:
        """What "Send to the tab" sets: knobs, swept texts, models for a swept weight, the result panel."""
        row = [self.seeds.mode] if self.seeds else []
        models = [self.models] if self.view.weights else []
        return [*self.widgets, *self.texts.values(), *row, *models, *self.result.outputs]

    def send(self, cell: dict | None) -> dict:
        """Set the tab as a cell of a sweep was made, and show it as the result."""
        if not cell:
            return {self.widgets[0]: gr.skip()}
        made = knobs.settings_of(cell)
        # The weight of a LoRA stands in the name of the models.
        weighed = any(name in self.view.weights for name in made)
        models = {self.models: knobs.models_of(cell)} if weighed else {}
        made = {name: made.get(name, self.knobs[name].default) for name in self.knobs}
        set_knobs = {self.controls[name]: gr.update(value=value) for name, value in made.items()}
        row = {self.seeds.mode: "fixed"} if self.seeds else {}  # or the next edit would show another picture
        swept = {name: widget for name, widget in self.texts.items() if name in cell.get("coords", {})}
        if swept:
            prompts = Record.from_json(cell["record"]).prompts
            swept = {widget: prompts[name] for name, widget in swept.items()}
        return set_knobs | swept | row | models | self.result.show(cell)

    @property
    def saved(self) -> dict:
        """The widgets whose values the browser stores, by the names of `read_saved`."""
        sizing = {"sizing": self.fields["sizing"]} if "sizing" in self.fields else {}
        return {**self.texts, **sizing, **{name: self.controls[name] for name in self.knobs}}

    def read_saved(self, values: Any) -> Record | None:
        """Stored values of `saved` as the settings of a picture; None where there are none of this tab.

        They may be of another version, or written by hand: what its field would refuse is left out.
        """
        if not isinstance(values, dict) or not values.keys() & self.saved.keys():
            return None
        texts = {name: values[name] for name in self.texts if isinstance(values.get(name), str)}
        others = {name: values[name] for name in self.saved.keys() - self.texts.keys() if name in values}
        wrong = knobs.problems(self.knobs)(others)
        sizing = one if (one := others.pop("sizing", "crop")) in SIZINGS else "crop"
        kept = self.record_knobs({name: value for name, value in others.items() if name not in wrong})
        try:
            about = Record(self.view.name, self.ctx.default, texts, kept, "", sizing)
            about = Record.from_json(about.to_json())
            self.restore(about)
        except (ValueError, TypeError):
            return None
        return about

    def record_knobs(self, values: dict) -> dict:
        """Stored values that are no texts as the knobs of a record."""
        return values

    def set_as(self, about: Record) -> dict:
        """Updates that set the widgets as a record says."""
        return dict(zip(self.restore_outputs, self.restore(about), strict=True))

    def usual(self, models: str) -> dict:
        """The knobs as they are at first with these models."""
        return dict(zip(self.knobs, self.use_presets(models), strict=True))

    @property
    def shown_again(self) -> list:
        """What an example with its result sets, and a result from the history."""
        shown = [*self.result.outputs, self.edit_status, self.preview.html]
        sources = [*self.source_outputs, *self.beside.values()]
        return list(dict.fromkeys([*self.restore_outputs, *sources, *shown]))

    def at_picture(self, values: dict, path: str) -> dict:
        """The values of the fields with this picture as the source, as one of several that are swept."""
        return values | {"image": path}

    @property
    def source_outputs(self) -> list:
        """What "Use as source" sets: the picture, and what lies on it."""
        return [self.fields[name] for name in ("image", "mask") if name in self.fields]

    @property
    def beside(self) -> dict:
        """The widgets of what lies beside the source and is found again after a reload, by the names under
        which `with_source` takes their files; other tabs have none."""
        return {}

    def files_beside(self, image: str, values: dict) -> dict[str, str]:
        """The paths of the files that hold the values of `beside`, by name; those that are empty left out."""
        raise NotImplementedError

    def with_source(self, path: str, **beside: str) -> dict:
        """Updates that make this picture the source, with the files of what lies beside it."""
        values = self.from_example({"image": path} | beside)
        return {self.fields[name]: value for name, value in values.items()}

    # --- handlers -----------------------------------------------------------------------------------------

    def use_presets(self, models: str) -> list:
        """The values that suit the chosen models."""
        return knobs.restored(self.knobs, {}, self.ctx.presets(models, self.view.name))

    def suit(self, models: str) -> list:
        """The same as updates for the page: what was kept of a stopped fit is of no more interest."""
        return [*self.use_presets(models), *({} for _ in self.unfinished)]

    def at_first(self, models: str) -> dict:
        """The knobs as an example finds them: as suits the models, whatever was set; the seed stays."""
        suited = zip(self.knobs, self.use_presets(models), strict=True)
        return {name: value for name, value in suited if name != "seed"}

    def finished_example(self, number: int, models: str | None) -> dict:
        """Updates that show the finished result of an example, and set every knob as it was made.

        {} where these models have none.
        """
        try:
            weights = weights_of(self.ctx.models(models), self.view.part)
        except (ValueError, OSError):
            return {}
        result = self.examples.finished.of(number, weights)
        if result is None:
            return {}
        about = Record.from_json(result["record"])
        return self.set_as(about) | self.finished(result, note(MADE_BEFOREHAND, "done"))

    def first_example(self, models: str) -> dict:
        """Updates for a page that is opened: the first example where its result is finished, else nothing."""
        there = self.examples and self.examples.examples and self.finished_example(0, models)
        return self.examples.fill(0, models) if there else {}

    def example_as(self, about: Record, source: str | None) -> dict:
        """Updates that show the finished result of the example with these settings; {} for none."""
        if not self.examples:
            return {}
        alike = {}
        for number, result in self.examples.finished.results.items():
            made = Record.from_json(result["record"])
            knobs = {name: value for name, value in made.knobs.items() if name in self.knobs}
            same = {name: about.knobs.get(name) for name in knobs} == knobs
            if same and made.prompts == about.prompts:
                alike[number] = made.image
        found = _made_of(source, alike)
        return {} if found is None else self.finished_example(found, about.models)

    @guarded("edit_status", "sweep.ended")
    def edit(self, request: gr.Request, **values):
        """Edit, preparing first where that has not been done."""
        with self.ctx.stops.running(request.session_hash) as stop:
            yield {self.edit_status: ""}
            run = Run.of(self.asked(values), stop, values)
            if said := memory_note(run.asked):
                yield {self.edit_status: said}
            yield from self.unwatched(self.finish(run))

    @guarded("edit_status")
    def again(self, request: gr.Request, *, shown: dict | None, **values):
        """Edit again after a slider was let go: only beside a result, and nothing is prepared for it."""
        loaded = all(self.ctx.loaded(values["models"], part) for part in self.parts)
        if not shown or not loaded or any(self.problems(values).values()):
            yield {self.edit_status: gr.skip()}
            return
        asked = self.asked(values)
        if asked.has_fit and known_fit(asked) is None:
            yield {self.edit_status: note("Press Edit: these settings have to be prepared first.")}
            return
        with self.ctx.stops.running(request.session_hash) as stop:
            yield from self.finish(Run.of(asked, stop, values))

    @guarded("fit.status", "sweep.ended")
    def prepare(self, request: gr.Request, **values):
        """Do the part of the method that is done once for its inputs, and keep it under its content."""
        with self.ctx.stops.running(request.session_hash) as stop:
            run = Run.of(self.view.read(self.ctx, values), stop, values)
            if said := memory_note(run.asked):
                yield {self.fit.status: said}
            steps = engine.fit(run.asked, costs=run.costs)
            yield from self.unwatched(self.watch(run, steps, self.fit.status))

    def unwatched(self, updates: Iterator[dict]) -> Iterator[dict]:
        """The same updates; where they end with an error, no picture of a step is left standing."""
        try:
            yield from updates
        except Exception:
            yield self.preview.clear()
            raise

    def watch(
        self, run: Run, steps: Iterator[Step], status: gr.HTML | None = None, pictures: int = 1
    ) -> Generator[dict, None, Any]:
        """Yield page updates for each of the engine's steps; returns the last value, or None once stopped.

        status: where a projection is told, else below Edit.  pictures: how many are made at once.
        """
        progress, status, step, drawn = None, status or self.edit_status, None, 0
        pacer, telling = Pacer(), Telling()
        with closing(steps):
            for step in steps:
                stopped = run.stop.is_set() and step.done < step.total
                if stopped and step.stage == FITTING and self.view.keep and value_elsewhere(step):
                    continue  # what has been learnt comes with a later step
                if run.values.get("watching") and not stopped and pacer.due():
                    yield self.glimpse(run, step)
                if step.stage == PROJECTING and step.done == step.total:
                    yield self.projected(run.values)
                elif step.stage == PROJECTING:
                    yield {status: bar(step.done, step.total, step_words("Projecting", step))}
                elif step.stage == FITTING and self.fit:
                    progress = progress or FitProgress(self.view.stages(run.asked.settings))
                    progress.take(step, run.costs.stages[FITTING])
                    progress.stopped = stopped
                    if telling.due() or stopped or step.done == step.total:
                        yield self.fitted(run, progress)
                elif step.stage == EDITING:
                    drawn += 1
                    yield {status: bar(step.done, step.total, step_words("Editing", step))}
                elif step.stage == TUNING:
                    yield {status: bar(step.done, step.total, step_words("Tuning the upscaler", step))}
                elif step.stage == FINISHING:
                    yield {status: bar(step.done, step.total, step_words("Enlarging", step))}
                if stopped:
                    if step.stage != FITTING or status is self.edit_status:  # else the panel has said it
                        yield {status: note(self.stopped_words(step, progress))} | self.preview.clear()
                    return None
        cost = run.costs.stages.get(EDITING)
        if cost and drawn and not cost.cached:
            models, kind = run.asked.models.name, f"{run.asked.method.name} edit"
            self.ctx.pace.observe(models, kind, drawn * pictures, cost.seconds)
        return step.value if step else None

    def glimpse(self, run: Run, step: Step) -> dict:
        """Updates that show the picture of a step, if it has one."""
        if step.preview is None:
            return {self.preview.html: gr.skip()}
        picture = decoded(getattr(run.asked.models, self.view.part), step.preview)
        return self.preview.show(
            picture, GLIMPSES.get(step.stage, "Predicted at step {} of {}").format(step.done, step.total)
        )

    def fitted(self, run: Run, progress: FitProgress) -> dict:
        """Updates for a step of a fit; at its end the panel says of what, of a stopped one what is kept."""
        asked, before = run.asked, run.values.get("unfinished") or {}
        if progress.stopped and self.view.keep:
            progress.kept = self.view.keep(asked, progress.step)
        key = fit_key(asked) if progress.ended else ""
        if key and key == before.get("made"):  # an edit has used what is kept, and so may the next
            return self.fit.show(progress.of_kept(self.planned_stages(run.values), before["kept"]))
        updates = self.fit.show(progress)
        if not progress.ended:
            return updates
        if not progress.stopped:
            progress.remember_pace(self.ctx, self.view, asked.models.name)
        made = fit_key(asked.at(**progress.kept)) if progress.kept else key
        kept = {"key": key, "kept": progress.kept, "made": made} if progress.kept else {}
        return updates | self.preview.clear() | {self.fit.shown_key: made, self.fit.unfinished: kept}

    def planned_stages(self, values: dict) -> tuple[Stage, ...]:
        """The stages of the fit as the widgets have it."""
        return self.view.stages(self.view.read(self.ctx, values).settings)

    def stopped_words(self, step: Step, progress: FitProgress | None) -> str:
        """What is said of a run that was stopped at this step."""
        if step.stage == PROJECTING:
            return STOPPED_PROJECTING
        if step.stage == FITTING:
            more = " Press Edit to use what has been learnt." if progress and progress.kept else ""
            return f"Stopped while preparing.{more}"
        return "Stopped. The last result is still shown."

    # --- what has been prepared ---------------------------------------------------------------------------

    def say_fit(self, *, shown_key: str, **values) -> dict:
        """Say whether what is asked now has been prepared; `shown_key` is the key of what the panel shows.

        What a run has said of its own end stays; else the cache is asked.
        """
        asked = self.fit_asked(values)
        key = fit_key(asked) if asked else ""
        if key and key == shown_key:
            return {self.fit.shown_key: key}
        entry = known_fit(asked) if asked else None
        if entry is None:
            return self.fit.invite()
        progress, before = FitProgress.finished(self.view, asked, entry), values.get("unfinished") or {}
        if key == before.get("made"):
            progress = progress.of_kept(self.planned_stages(values), before["kept"])
        return self.fit.show(progress) | {self.fit.shown_key: key}

    def fit_asked(self, values: dict) -> Request | None:
        """What Prepare would be asked with; None while that is not complete, or nothing is in memory."""
        known = values | {name: values[name] or "" for name in self.texts}
        try:
            loaded = all(self.ctx.loaded(values["models"], part) for part in self.parts)
            return self.asked(known) if loaded and self.pictured(values) else None
        except (ValueError, OSError):
            return None

    def pictured(self, values: dict) -> bool:
        """Whether the picture that a preparation is made for is there."""
        return bool(values["image"])


def fit_key(asked: Request) -> str:
    """The key of its fit in the cache; "" while its picture has not been projected."""
    found = located(asked)
    return found.fit_call().key() if found else ""


def step_words(doing: str, step: Step) -> str:
    """What is being done, and how far it is."""
    loss = "" if step.loss is None or step.stage == EDITING else f", loss {step.loss:.3f}"
    return f"{doing}, step {step.done} of {step.total}{loss}"


def _made_of(source: str | None, results: dict[int, str]) -> int | None:
    """Which result, of several by the `image_sha` of their pictures, was made of the picture in this file.

    Without a file it is the first; None where there is none.
    """
    if not results or not source or not Path(source).is_file():
        return next(iter(results), None)
    try:
        seen = image_sha(opened(source))
    except ValueError:  # no picture
        return None
    return next((number for number, image in results.items() if image == seen), None)
