"""The sweep panel: knobs and texts on three axes, several pictures, cells as they come, downloads."""

import contextlib
import itertools
import math
import time
from dataclasses import asdict
from typing import Protocol

import gradio as gr

from demos.context import MODEL_LANE, STOP_LANE, Context
from demos.shared import charts, knobs, sweeping
from demos.shared.cells import AXES, grid, ranking, score_lines, status, sweep_problems
from demos.shared.cellview import CellView
from demos.shared.checks import guarded, validator
from demos.shared.events import ended, follow, pressed
from demos.shared.leave_out import may_leave_out
from demos.shared.marks import EVERY_CLICK, HIDDEN, SELECT_JS, UNQUEUED, bar, note
from demos.shared.runbar import wire_stop
from demos.shared.sent import as_sent, files
from demos.shared.view import MethodView
from textedit_core import request as engine
from textedit_core.knobs import BoundKnob, Knob
from textedit_core.request import Request

SEEDS = BoundKnob("seeds", int, 8, Knob(2, 16, 1, label="Seeds to try"))
INVITATION = "Cells appear here as they come, each with its scores."
HELP = "0, 0.5, 1 or 0-1 [5] for five values from 0 to 1; several prompts with commas, or one a line"
ABOUT_SWEEP = """Sweep one to three knobs. `x`, `y`, `z` name knobs (y and z may be empty), values are texts.

With `pictures` each of them is swept instead of the one above.
Streams the grid; at the end returns status, grid and scores as HTML, the contact sheet as PNG and
a ZIP of the cells (PNG with settings) with sweep.json. Cells made before come from the cache."""


ABOUT_PICTURES = (
    "Every picture here is swept, instead of the one above: with prompts on an axis, each picture with each "
    "prompt. The ZIP has all of them."
)
AXIS_FIELDS = tuple(name for axis in AXES for name in (axis, f"{axis}_values"))


class Swept(Protocol):
    """What the sweep panel shares with its tab: the inputs, their checks, Stop, and the result."""

    view: MethodView

    @property
    def inputs(self) -> dict[str, gr.components.Component]: ...

    @property
    def unfinished(self) -> dict[str, gr.components.Component]: ...

    @property
    def fields(self) -> dict[str, gr.components.Component]: ...

    @property
    def send_outputs(self) -> list[gr.components.Component]: ...

    def asked(self, values: dict) -> Request: ...

    def problems(self, values: dict) -> dict[str, str]: ...

    def at_picture(self, values: dict, path: str) -> dict: ...

    def send(self, cell: dict | None) -> dict: ...


class SweepPanel:
    """The sweep of a tab: the axes, the outlook, the cells as they come, their downloads."""

    def __init__(self, ctx: Context, tab: Swept) -> None:
        self.ctx, self.tab, self.view = ctx, tab, tab.view
        self.memory_hint = f"Sweep fewer cells. {self.view.memory_hint}"
        self.cells, self.ended = gr.State([]), gr.State(0)
        gr.HTML(
            "<h2>Sweep</h2><p class='note'>Everything as set above, over the values of knobs or texts.</p>",
            elem_classes="section",
        )
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=300):
                self.draw_axes()
                if self.view.rank:
                    self.draw_best()
            with gr.Column(scale=2, min_width=300):
                self.status = gr.HTML(note(INVITATION), label="Sweep status", elem_id=self.id("sweep-status"))
                self.grid = gr.HTML(label="Cells", js_on_load=SELECT_JS, elem_id=self.id("sweep-grid"))
                self.chart = gr.HTML(label="Scores")
                with gr.Row(visible=False, elem_classes="actions") as self.downloads:
                    self.sheet = gr.DownloadButton("Download contact sheet", size="sm", min_width=120)
                    self.archive = gr.DownloadButton("Download ZIP of the cells", size="sm", min_width=120)
                self.picked = CellView()

    def id(self, name: str) -> str:
        """The id of an element, of which every tab has one."""
        return f"{self.view.name}-{name}"

    def draw_axes(self) -> None:
        """Three axes, several pictures, the outlook, Run and Stop."""
        first = self.view.axes
        choices = [(label, name) for name, label in self.view.labels.items()]
        with gr.Row(elem_classes="axis"):
            self.x = as_sent(gr.Dropdown(choices, value=first.x, label="X axis", min_width=120))
            self.x_values = gr.Textbox(
                first.x_values, label="X values", info=HELP, min_width=120, elem_id=self.id("x-values")
            )
        with gr.Row(elem_classes="axis"):
            found = [("none", ""), *choices]
            self.y = as_sent(gr.Dropdown(found, value=first.y, label="Y axis", min_width=120))
            self.y_values = gr.Textbox(
                first.y_values, label="Y values", min_width=120, elem_id=self.id("y-values")
            )
        with gr.Row(elem_classes="axis"):
            self.z = as_sent(gr.Dropdown(found, value=first.z, label="Z axis", min_width=120))
            self.z_values = gr.Textbox(
                first.z_values, label="Z values", min_width=120, elem_id=self.id("z-values")
            )
        self.pictures = None
        if self.view.takes_pictures:
            with gr.Accordion("Several pictures", open=False):
                gr.HTML(note(ABOUT_PICTURES))
                self.pictures = files(
                    [],
                    label="Pictures",
                    file_count="multiple",
                    file_types=["image"],
                    height=120,
                    elem_id=self.id("sweep-pictures"),
                )
        if self.view.offers:
            with gr.Row(elem_classes="offers"):
                self.offers = {name: gr.Button(name, size="sm", min_width=90) for name in self.view.offers}
        self.plan = gr.HTML(elem_id=self.id("sweep-plan"))
        with gr.Row(elem_classes="run"):
            self.run_button = gr.Button("Sweep", variant="primary", scale=3, min_width=140)
            self.stop_button = gr.Button("Stop", variant="stop", scale=1, min_width=70)

    def draw_best(self) -> None:
        """Best of N seeds."""
        with gr.Accordion("Best of several seeds", open=False):
            gr.HTML(
                note("Edits with the next seeds and ranks them by CLIP score and likeness to the source.")
            )
            self.seeds = knobs.control(SEEDS)
            self.best_button = gr.Button("Find the best seed", min_width=140)

    # --- wiring -------------------------------------------------------------------------------------------

    @property
    def axes(self) -> dict:
        """The widgets of the axes, by keyword."""
        return {name: getattr(self, name) for name in AXIS_FIELDS}

    def restore(self, axes: dict[str, str]) -> dict:
        """Updates that set the axes as a contact sheet has them, columns first; none where it has none.

        ValueError, a sentence, for axes that are none of this method's.
        """
        if not axes:
            return {}
        typed = [*axes.items(), *[("", "")] * len(AXES)][: len(AXES)]
        sweeping.axes_of(self.view, *typed)
        return dict(zip(self.axes.values(), itertools.chain(*typed), strict=True))

    @property
    def asking(self) -> dict:
        """The axes, and the pictures where there may be several."""
        return self.axes | ({} if self.pictures is None else {"pictures": self.pictures})

    def wire(self, fitted: list, told: list) -> None:
        """Outlook on every change and after the runs, `fitted` included; runs in the model's lane; clicks.

        told: changes of what the panel of the preparation shows. With them all that this panel follows is
        followed here, and the page hears it once for both.
        """
        inputs = self.tab.inputs | self.tab.unfinished | self.asking
        watched = [*told, *(w.change for w in inputs.values() if hasattr(w, "change"))]
        runs = [self.wire_run(self.run_button, self.run, "sweep", ABOUT_SWEEP, self.asking, self.problems)]
        if self.view.rank:
            about, more = self.best.__doc__, {"seeds": self.seeds}
            find = (self.tab.problems, knobs.problems(self.view.knobs | {"seeds": SEEDS}))
            runs.append(self.wire_run(self.best_button, self.best, "best_of_seeds", about, more, *find))
        # The two runs tell their end with the last that they show, which is nothing that the outlook writes.
        changes = [*watched, ended(self.ended, *fitted)]
        follow(changes, self.say_outlook, inputs_kwargs=inputs, outputs=self.plan, **UNQUEUED)
        wire_stop(self.stop_button, self.ctx.stops, runs, **HIDDEN, **STOP_LANE)
        if self.view.offers:
            self.wire_offers()
        self.grid.select(self.picked.show, self.cells, self.picked.outputs, **EVERY_CLICK)
        sent = self.picked.send.click(self.tab.send, self.picked.picked, self.tab.send_outputs, **HIDDEN)
        sent.then(None, js="() => window.scrollTo({top: 0, behavior: 'smooth'})", **HIDDEN)

    def wire_offers(self) -> None:
        """Buttons that set both axes to what suits the fields."""
        clicks = [one.click for one in self.offers.values()]
        asked = {"inputs_kwargs": self.tab.fields, "outputs": list(self.axes.values())}
        gr.on(clicks, self.offer, **asked, **EVERY_CLICK)

    def offer(self, event: gr.EventData, **values) -> list:
        """The axes of the button that was pressed."""
        return list(asdict(self.view.offers[pressed(self.offers, event)](values)).values())

    def wire_run(self, button: gr.Button, handler, name: str, about: str, more: dict, *find):
        """One of the two runs, `more` its inputs beside the tab's; each of `find` judges all inputs."""
        inputs = self.tab.inputs | self.tab.unfinished | more
        outputs = [self.status, self.grid, self.chart, self.cells, self.sheet, self.archive]
        return button.click(
            may_leave_out(handler, inputs),
            inputs_kwargs=inputs,
            outputs=[*outputs, self.downloads, self.picked.body, self.ended],
            api_name=f"{self.view.name}_{name}",
            api_description=about,
            validator=validator(self.ctx, list(inputs), *find, part=self.view.part),
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL_LANE,
        )

    # --- what is asked ------------------------------------------------------------------------------------

    def axes_of(self, values: dict) -> dict[str, list]:
        """The axes as {knob: values}; ValueError, a sentence, for one that cannot be swept."""
        typed = ((values[axis], values[f"{axis}_values"]) for axis in AXES)
        return sweeping.axes_of(self.view, *typed)

    def placed(self, values: dict, axes: dict[str, list]) -> dict:
        """The values of the tab's fields at the first cell: a knob on an axis is at its first value.

        So is a text that is empty; one that is not is where the first value is replaced.
        """
        firsts = {name: found[0] for name, found in axes.items()}
        texts = {name: values[name] for name in self.view.method.texts if (values.get(name) or "").strip()}
        return {name: value for name, value in values.items() if name not in self.asking} | firsts | texts

    def asked(self, values: dict, axes: dict[str, list]) -> dict[str, Request]:
        """The request of the first cell of each picture by its name, of the tab's own as ""; with what is
        kept of a stopped fit unless an axis is of a fit."""
        placed, paths = self.placed(values, axes), sweeping.by_name(values.get("pictures") or ())
        of_fit = any(name in self.view.fit_knobs for name in axes)
        read = self.tab.asked if not of_fit else lambda found: self.view.read(self.ctx, found)
        if not paths:
            return {"": read(placed)}
        return {name: read(self.tab.at_picture(placed, path)) for name, path in paths.items()}

    def problems(self, values: dict) -> dict[str, str]:
        """The sentence for each axis that cannot be swept; else for each field, as the first cell has it."""
        axes: dict[str, list] = {}
        with contextlib.suppress(ValueError):  # the last line says it beside the field
            axes = self.axes_of(values)
        of_axes = sweep_problems(self.view, self.ctx.max_cells)(values)
        if of_axes or not values.get("pictures"):
            return self.tab.problems(self.placed(values, axes)) | of_axes
        return self.problems_of_pictures(self.placed(values, axes), values["pictures"])

    def problems_of_pictures(self, placed: dict, paths: list[str]) -> dict[str, str]:
        """The same where several pictures are swept: what is wrong with one stands beside their field."""
        for name, path in sweeping.by_name(paths).items():
            found = self.tab.problems(self.tab.at_picture(placed, path))
            if wrong := found.pop("image", ""):
                return found | {"pictures": f"{name}: {wrong}"}
            if any(found.values()):
                return found
        return {}

    # --- handlers -----------------------------------------------------------------------------------------

    def say_outlook(self, **values) -> str:
        """The number of cells, and the time they would take where that is known."""
        try:
            axes, asking = self.axes_of(values), {name: values.get(name) for name in self.asking}
            if problems := sweep_problems(self.view, self.ctx.max_cells)(asking):
                return note(next(iter(problems.values())), "problem")
        except (ValueError, OSError):
            return ""  # the field itself says what is wrong when the sweep is started
        try:
            ready = self.ctx.ready(values["models"], self.view.part)
            if ready and not any(self.problems(values).values()):
                return self.outlook_of(self.asked(values, axes), axes)
        except (ValueError, OSError):
            pass  # as above: until everything is there the cells are only counted
        count = math.prod(map(len, axes.values())) * max(1, len(values.get("pictures") or ()))
        return note(sweeping.Outlook(count).words)

    def outlook_of(self, asked: dict[str, Request], axes: dict[str, list]) -> str:
        """The outlook as HTML, or why there is no room for so many cells."""
        try:
            sweeping.check_room(asked, axes)
        except ValueError as error:
            return note(str(error), "problem")
        return note(sweeping.outlook(self.ctx, self.view, asked, axes).words)

    @guarded("status", "ended")
    def run(self, request: gr.Request, **values):
        """Stream a sweep; what it returns stands in ABOUT_SWEEP."""
        x, axes = values["x"], self.axes_of(values)
        with self.ctx.stops.running(request.session_hash) as stop:
            asked = self.asked(values, axes)
            sweeping.check_room(asked, axes)
            yield {
                self.status: bar(0, 1, "Starting the sweep"),
                self.grid: grid(self.view, sweeping.all_axes(asked, axes), x, []),
                self.chart: "",
                self.cells: [],
                self.downloads: gr.update(visible=False),
                self.picked.body: gr.update(visible=False),
            }
            drawn, state = 0, None
            for state in sweeping.run(self.ctx, self.view, asked, x, axes, stop):
                updates = {self.status: status(state)}
                if len(state.shown) > drawn:
                    drawn = len(state.shown)
                    updates |= self.progress(state)
                yield updates
            yield self.finished(asked, state) | {self.ended: time.monotonic_ns()}

    def progress(self, state: sweeping.Sweeping) -> dict:
        """Updates for the cells that have come."""
        view = self.view
        found = sweeping.curves(view, state.axes, state.x, state.shown)
        marked = view.suggest(state.x, found) if len(state.shown) == state.total else None
        titles = tuple(score.title for score in view.scores.values())
        chart = charts.scores(view.labels[state.x], found, titles, marked) if len(found) > 1 else ""
        return {
            self.grid: grid(view, state.axes, state.x, state.shown, marked),
            self.chart: chart,
            self.cells: list(state.shown),
        }

    def finished(self, asked: dict[str, Request], state: sweeping.Sweeping) -> dict:
        """The last update of a sweep, stopped or complete: downloads for what there is."""
        if not state.shown:
            return {self.status: note("Stopped before the first cell.")}
        lines = [score_lines(self.view, one) for one in state.shown]
        sheet, archive = sweeping.files(asked, state, lines)
        words = f"{len(state.shown)} of {state.total} cells" if state.stopped else f"{state.total} cells"
        words += f", {state.refused} refused by the safety checker" if state.refused else ""
        words += ", stopped; what came is kept." if state.stopped else ". Click one to look closer."
        return self.progress(state) | {
            self.status: note(words, "done"),
            self.sheet: sheet,
            self.archive: archive,
            self.downloads: gr.update(visible=True),
        }

    @guarded("status", "ended")
    def best(self, request: gr.Request, *, seeds: int = 8, **values):
        """Edit with several seeds from the set one on and rank them by CLIP score and likeness."""
        asked = self.tab.asked(values)
        with self.ctx.stops.running(request.session_hash) as stop:
            step = None
            for step in engine.fit(asked):
                words = f"Preparing, step {step.done} of {step.total}"
                yield {self.status: bar(step.done, step.total, words)}
                if stop.is_set() and step.done < step.total:
                    words = note("Stopped while preparing.")
                    yield {self.status: words, self.ended: time.monotonic_ns()}
                    return
            fitted = step.value
            cells = []
            for step, cells in sweeping.best(self.ctx, self.view, asked, fitted, int(seeds), stop):  # noqa: B007
                yield {self.status: bar(step.done, step.total, f"Trying {int(seeds)} seeds")}
            yield self.ranked(asked, cells, stopped=step.done < step.total) | {
                self.ended: time.monotonic_ns()
            }

    def ranked(self, asked: Request, cells: list[dict], stopped: bool) -> dict:
        """The last update of a search for the best seed, stopped or complete."""
        words = "Stopped before the first seeds were done."
        downloads = {self.downloads: gr.update(visible=bool(cells))}
        if cells:
            words = f"{len(cells)} seeds, best first. Click one to look closer."
            words = f"Stopped; what came is kept: {words}" if stopped else words
            lines = [score_lines(self.view, one) for one in cells]
            sheet, archive = sweeping.files_of_ranking(self.ctx, asked, cells, lines)
            downloads |= {self.sheet: sheet, self.archive: archive}
        return downloads | {
            self.status: note(words, "done"),
            self.grid: ranking(self.view, cells),
            self.chart: "",
            self.cells: cells,
            self.picked.body: gr.update(visible=False),
        }
