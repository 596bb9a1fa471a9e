"""The sweep panel: any knob on X, another on Y, cells streamed into a grid, scores, downloads."""

import contextlib
from dataclasses import asdict

import gradio as gr

from demos.context import MODEL_LANE, STOP_LANE, Context
from demos.shared import charts, fitting, knobs, sweeping
from demos.shared.cells import grid, ranking, status, sweep_problems
from demos.shared.cellview import CellView
from demos.shared.checks import guarded, validator
from demos.shared.common import Ask
from demos.shared.events import ended, follow
from demos.shared.marks import EVERY_CLICK, HIDDEN, SELECT_JS, UNQUEUED, bar, note
from demos.shared.sent import as_sent
from textedit_core.knobs import BoundKnob, Knob

SEEDS = BoundKnob("seeds", int, 8, Knob(2, 16, 1, label="Seeds to try"))
INVITATION = "Cells appear here as they come, each with its scores."
HELP = "0, 0.5, 1 or 0-1 [5] for five values from 0 to 1"
ABOUT_SWEEP = """Sweep one or two knobs. `x` and `y` name knobs (y may be empty), values are texts.

Streams the grid; at the end returns status, grid and scores as HTML, the contact sheet as PNG and
a ZIP of the cells (PNG with settings) with sweep.json. Cells made before come from the cache."""


class SweepPanel:
    """`tab` is a components.tab.Tab, whose inputs, problems, Stop and place for a cell the sweep shares."""

    def __init__(self, ctx: Context, tab) -> None:
        self.ctx, self.tab, self.method = ctx, tab, tab.method
        self.memory_hint = f"Sweep fewer cells. {self.method.memory_hint}"
        self.cells = gr.State([])
        gr.HTML(
            "<h2>Sweep</h2><p class='note'>Everything as set above, over the values of one or two knobs.</p>",
            elem_classes="section",
        )
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=300):
                self.draw_axes()
                if self.method.rank:
                    self.draw_best()
            with gr.Column(scale=2, min_width=300):
                self.status = gr.HTML(note(INVITATION), label="Sweep status", elem_id=self.id("sweep-status"))
                self.grid = gr.HTML(label="Cells", js_on_load=SELECT_JS, elem_id=self.id("sweep-grid"))
                self.chart = gr.HTML(label="Scores")
                with gr.Row(visible=False, elem_classes="actions") as self.downloads:
                    self.sheet = gr.DownloadButton("Download contact sheet", size="sm", min_width=120)
                    self.archive = gr.DownloadButton("Download ZIP of the cells", size="sm", min_width=120)
                self.view = CellView()

    def id(self, name: str) -> str:
        """The id of an element, of which every tab has one."""
        return f"{self.method.name}-{name}"

    def draw_axes(self) -> None:
        """Two axes, the outlook, Run and Stop."""
        first = self.method.axes
        choices = [(label, name) for name, label in self.method.labels.items()]
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
        if self.method.sweeps:
            with gr.Row(elem_classes="offers"):
                self.offers = {name: gr.Button(name, size="sm", min_width=90) for name in self.method.sweeps}
        self.plan = gr.HTML(elem_id=self.id("sweep-plan"))
        with gr.Row(elem_classes="run"):
            label = f"{self.tab.edit_number + 1}  Sweep"
            self.run_button = gr.Button(label, variant="primary", scale=3, min_width=140)
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
        """The widgets of the two axes, by keyword."""
        return {"x": self.x, "x_values": self.x_values, "y": self.y, "y_values": self.y_values}

    def wire(self, fitted: list) -> None:
        """Outlook on every change and after the runs, `fitted` included; runs in the model's lane; clicks."""
        inputs = self.tab.inputs | self.axes
        watched = [w.change for w in inputs.values() if hasattr(w, "change")]
        runs = [self.wire_run(self.run_button, self.run, "sweep", ABOUT_SWEEP, self.axes, self.problems)]
        if self.method.rank:
            about, more = self.best.__doc__, {"seeds": self.seeds}
            find = (self.tab.problems, knobs.problems(self.method.knobs | {"seeds": SEEDS}))
            runs.append(self.wire_run(self.best_button, self.best, "best_of_seeds", about, more, *find))
        changes = [*watched, ended(*fitted, *runs)]
        follow(changes, self.say_outlook, inputs_kwargs=inputs, outputs=self.plan, **UNQUEUED)
        # First the run ends by itself and keeps what it has; then one still waiting in the queue is dropped.
        self.stop_button.click(self.tab.stop, **HIDDEN, **STOP_LANE).then(None, cancels=runs)
        for name, axes_for in self.method.sweeps.items():
            self.wire_offer(self.offers[name], axes_for)
        self.grid.select(self.view.show, self.cells, self.view.outputs, **EVERY_CLICK)
        sent = self.view.send.click(self.tab.send, self.view.picked, self.tab.send_outputs, **HIDDEN)
        sent.then(None, js="() => window.scrollTo({top: 0, behavior: 'smooth'})", **HIDDEN)

    def wire_offer(self, button: gr.Button, axes_for) -> None:
        """A button that sets both axes to what suits the fields."""

        def offer(**values):
            return list(asdict(axes_for(values)).values())

        outputs = list(self.axes.values())
        button.click(offer, inputs_kwargs=self.tab.fields, outputs=outputs, **HIDDEN)

    def wire_run(self, button: gr.Button, handler, name: str, about: str, more: dict, *find):
        """One of the two runs, `more` its inputs beside the tab's; each of `find` judges all inputs."""
        inputs = self.tab.inputs | more
        view = self.view.body
        outputs = [self.status, self.grid, self.chart, self.cells, self.sheet, self.archive]
        return button.click(
            handler,
            inputs_kwargs=inputs,
            outputs=[*outputs, self.downloads, view],
            api_name=f"{self.method.name}_{name}",
            api_description=about,
            validator=validator(self.ctx, list(inputs), *find, part=self.method.part),
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL_LANE,
        )

    # --- what is asked ------------------------------------------------------------------------------------

    def placed(self, values: dict, axes: dict[str, list]) -> dict:
        """The values at the first cell: what a knob on an axis is set to does not matter."""
        return values | {name: found[0] for name, found in axes.items()}

    def problems(self, values: dict) -> dict[str, str]:
        """The sentence for each axis that cannot be swept; else for each field, as the first cell has it."""
        asked = {name: values[name] for name in self.axes}
        with contextlib.suppress(ValueError):  # the last line says it beside the field
            values = self.placed(values, sweeping.axes_of(self.method, **asked))
        return self.tab.problems(values) | sweep_problems(self.method, self.ctx.max_cells)(values)

    # --- handlers -----------------------------------------------------------------------------------------

    def say_outlook(self, *, x, x_values, y, y_values, **values) -> str:
        """The number of cells, and the time they would take where that is known."""
        try:
            axes = sweeping.axes_of(self.method, x, x_values, y, y_values)
            if problems := sweep_problems(self.method, self.ctx.max_cells)(
                {"x": x, "y": y, "x_values": x_values, "y_values": y_values}
            ):
                return note(next(iter(problems.values())), "problem")
        except (ValueError, OSError):
            return ""  # the field itself says what is wrong when the sweep is started
        try:
            values = self.placed(values, axes)
            ready = self.ctx.ready(values["models"], self.method.part)
            if ready and not any(self.tab.problems(values).values()):
                return self.told(self.method.read(self.ctx, values), axes)
        except (ValueError, OSError):
            pass  # as above: until everything is there the cells are only counted
        count = 1
        for found in axes.values():
            count *= len(found)
        return note(sweeping.Outlook(count).words)

    def told(self, ask: Ask, axes: dict[str, list]) -> str:
        """The outlook as HTML, or why there is no room for so many cells."""
        try:
            sweeping.check_room(ask, axes)
        except ValueError as error:
            return note(str(error), "problem")
        return note(sweeping.outlook(self.ctx, ask, axes).words)

    @guarded("status")
    def run(self, request: gr.Request, *, x: str, x_values: str, y: str = "", y_values: str = "", **values):
        """Stream a sweep; what it returns stands in ABOUT_SWEEP."""
        axes = sweeping.axes_of(self.method, x, x_values, y, y_values)
        values = self.placed(values, axes)
        with self.ctx.stops.running(request.session_hash) as stop:
            if not (yield from self.tab.before(values, stop, self.status)):
                return
            ask = self.method.read(self.ctx, values)
            sweeping.check_room(ask, axes)
            yield {
                self.status: bar(0, 1, "Starting the sweep"),
                self.grid: grid(self.method, axes, x, y, []),
                self.chart: "",
                self.cells: [],
                self.downloads: gr.update(visible=False),
                self.view.body: gr.update(visible=False),
            }
            drawn, state = 0, None
            for state in sweeping.run(self.ctx, ask, x, axes, stop):
                updates = {self.status: status(state)}
                if len(state.shown) > drawn:
                    drawn = len(state.shown)
                    updates |= self.progress(state, y)
                yield updates
            yield self.finished(ask, state, y)

    def progress(self, state: sweeping.Sweeping, y: str) -> dict:
        """Updates for the cells that have come."""
        method = self.method
        found = sweeping.curves(method, state.axes, state.x, state.shown)
        marked = method.suggest(state.x, found) if len(state.shown) == state.total else None
        titles = tuple(scale.title for scale in method.scales.values())
        chart = charts.scores(method.labels[state.x], found, titles, marked) if len(found) > 1 else ""
        return {
            self.grid: grid(method, state.axes, state.x, y, state.shown, marked),
            self.chart: chart,
            self.cells: list(state.shown),
        }

    def finished(self, ask: Ask, state: sweeping.Sweeping, y: str) -> dict:
        """The last update of a sweep, stopped or complete: downloads for what there is."""
        if not state.shown:
            return {self.status: note("Stopped before the first cell.")}
        sheet, archive = sweeping.files(ask, state, y)
        words = f"{len(state.shown)} of {state.total} cells" if state.stopped else f"{state.total} cells"
        words += f", {state.refused} refused by the safety checker" if state.refused else ""
        words += ", stopped; what came is kept." if state.stopped else ". Click one to look closer."
        return self.progress(state, y) | {
            self.status: note(words, "done"),
            self.sheet: gr.update(value=sheet),
            self.archive: gr.update(value=archive),
            self.downloads: gr.update(visible=True),
        }

    @guarded("status")
    def best(self, request: gr.Request, *, seeds: int = 8, **values):
        """Edit with several seeds from the set one on and rank them by CLIP score and likeness."""
        ask = self.method.read(self.ctx, values)
        with self.ctx.stops.running(request.session_hash) as stop:
            fitted = None
            if self.method.fit:
                for run in fitting.prepare(self.ctx, ask, stop):
                    step = run.step
                    words = f"Preparing, step {step.done} of {step.total}"
                    yield {self.status: bar(step.done, step.total, words)}
                if run.stopped:
                    yield {self.status: note("Stopped while preparing.")}
                    return
                fitted = run.step.value
            cells = []
            for step, cells in sweeping.best(self.ctx, ask, fitted, int(seeds), stop):  # noqa: B007
                yield {self.status: bar(step.done, step.total, f"Trying {int(seeds)} seeds")}
            words = "Stopped before the first seeds were done."
            if cells:
                words = f"{len(cells)} seeds, best first. Click one to look closer."
                words = f"Stopped; what came is kept: {words}" if step.done < step.total else words
            yield {
                self.status: note(words, "done"),
                self.grid: ranking(self.method, cells),
                self.chart: "",
                self.cells: cells,
                self.downloads: gr.update(visible=False),
                self.view.body: gr.update(visible=False),
            }
