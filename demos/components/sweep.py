"""The sweep panel: any knob on X, another on Y, cells streamed into a grid, scores, downloads."""

import gradio as gr

from demos.components import charts, knobs
from demos.components.cells import grid, labels, ranking, status, sweep_problems
from demos.components.cellview import CellView
from demos.components.checks import guarded, validator
from demos.components.marks import QUIET, SELECT_JS, bar, note
from demos.context import MODEL_LANE, Context
from demos.runs import imagic as runs
from demos.runs import imagic_sweep as sweeps

INVITATION = "Cells appear here as they come, each with its CLIP score and its likeness to the source."
HELP = "0, 0.5, 1 or 0-1 [5] for five values from 0 to 1"


class SweepPanel:
    """`tab` is the tab object: `inputs` ask for a run, `send(cell)` gives updates for `send_outputs`."""

    def __init__(self, ctx: Context, tab) -> None:
        self.ctx, self.tab = ctx, tab
        self.cells = gr.State([])
        gr.HTML(
            "<h2>Sweep</h2><p class='note'>The same image and prompt over the values of one or two knobs; "
            "everything else is as set above.</p>",
            elem_classes="section",
        )
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=300):
                self.draw_axes()
                self.draw_best()
            with gr.Column(scale=2, min_width=300):
                self.status = gr.HTML(note(INVITATION), label="Sweep status", elem_id="sweep-status")
                self.grid = gr.HTML(label="Cells", js_on_load=SELECT_JS, elem_id="sweep-grid")
                self.chart = gr.HTML(label="Scores")
                with gr.Row(visible=False, elem_classes="actions") as self.downloads:
                    self.sheet = gr.DownloadButton("Download contact sheet", size="sm", min_width=120)
                    self.archive = gr.DownloadButton("Download ZIP of the cells", size="sm", min_width=120)
                self.view = CellView()

    def draw_axes(self) -> None:
        """Two axes, the outlook, Run and Stop."""
        choices = [(label, name) for name, label in labels().items()]
        with gr.Row(elem_classes="axis"):
            self.x = gr.Dropdown(choices, value="eta", label="X axis", min_width=120)
            self.x_values = gr.Textbox(
                "0-1.2 [7]", label="X values", info=HELP, min_width=120, elem_id="x-values"
            )
        with gr.Row(elem_classes="axis"):
            self.y = gr.Dropdown([("none", ""), *choices], value="seed", label="Y axis", min_width=120)
            self.y_values = gr.Textbox("0, 1", label="Y values", min_width=120, elem_id="y-values")
        self.plan = gr.HTML(elem_id="sweep-plan")
        with gr.Row(elem_classes="run"):
            self.run_button = gr.Button("3  Sweep", variant="primary", scale=3, min_width=140)
            self.stop_button = gr.Button("Stop", variant="stop", scale=1, min_width=70)

    def draw_best(self) -> None:
        """Best of N seeds."""
        with gr.Accordion("Best of several seeds", open=False):
            gr.HTML(
                note("Edits with the next seeds and ranks them by CLIP score and likeness to the source.")
            )
            self.seeds = gr.Slider(2, 16, value=8, step=1, label="Seeds to try")
            self.best_button = gr.Button("Find the best seed", min_width=140)

    # --- wiring -------------------------------------------------------------------------------------------

    def wire(self, fitted: list) -> None:
        """Outlook on every change and after the runs, `fitted` included; runs in the model's lane; clicks."""
        axes = {"x": self.x, "x_values": self.x_values, "y": self.y, "y_values": self.y_values}
        inputs = self.tab.inputs
        watched = [*axes.values(), *inputs.values()]
        gr.on(
            [w.change for w in watched],
            self.say_outlook,
            inputs_kwargs=inputs | axes,
            outputs=self.plan,
            trigger_mode="always_last",
            **QUIET,
        )
        shown = [
            self.status,
            self.grid,
            self.chart,
            self.cells,
            self.sheet,
            self.archive,
            self.downloads,
            self.view.body,
        ]
        self.swept = self.run_button.click(
            self.run,
            inputs_kwargs=inputs | axes,
            outputs=shown,
            api_name="imagic_sweep",
            validator=validator(self.ctx, list(inputs | axes), sweep_problems(self.ctx.max_cells)),
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL_LANE,
        )
        ranked = self.best_button.click(
            self.best,
            inputs_kwargs=inputs | {"seeds": self.seeds},
            outputs=shown,
            api_name="imagic_best_of_seeds",
            validator=validator(self.ctx, list(inputs | {"seeds": self.seeds}), knobs.problems(runs.KNOBS)),
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL_LANE,
        )
        for event in (*fitted, self.swept, ranked):
            event.then(self.say_outlook, inputs_kwargs=inputs | axes, outputs=self.plan, **QUIET)
        # First the run ends by itself and keeps what it has; then one still waiting in the queue is dropped.
        self.stop_button.click(self.tab.stop, None, None, **QUIET).then(None, cancels=[self.swept, ranked])
        self.grid.select(self.view.show, self.cells, self.view.outputs, **QUIET)
        sent = self.view.send.click(self.tab.send, self.view.picked, self.tab.send_outputs, **QUIET)
        sent.then(None, js="() => window.scrollTo({top: 0, behavior: 'smooth'})", **QUIET)

    # --- handlers -----------------------------------------------------------------------------------------

    def say_outlook(self, *, image, prompt, models, sizing, x, x_values, y, y_values, **settings) -> str:
        """The number of cells, and the time they would take where that is known."""
        try:
            axes = sweeps.axes_of(x, x_values, y, y_values)
            if problems := sweep_problems(self.ctx.max_cells)(
                {"x": x, "y": y, "x_values": x_values, "y_values": y_values}
            ):
                return note(next(iter(problems.values())), "problem")
            count = 1
            for values in axes.values():
                count *= len(values)
            if not image or not (prompt or "").strip() or not self.ctx.ready(models):
                return note(sweeps.Outlook(count, 0, 0, None).words)
            ask = runs.read(self.ctx, models, image, sizing, prompt, settings)
            return note(sweeps.outlook(self.ctx, ask, axes).words)
        except (ValueError, OSError):
            return ""  # the field itself says what is wrong when the sweep is started

    @guarded("status", "Sweep fewer cells, or tune less of the model. " + runs.MEMORY_HINT)
    def run(
        self,
        request: gr.Request,
        *,
        image: str,
        prompt: str,
        models: str,
        sizing: str = "crop",
        x: str = "eta",
        x_values: str = "0-1.2 [7]",
        y: str = "seed",
        y_values: str = "0, 1",
        **settings,
    ):
        """Sweep one or two knobs of Imagic. `x` and `y` name knobs (y may be empty), values are texts.

        Streams the grid; at the end returns status, grid and scores as HTML, the contact sheet as PNG and
        a ZIP of the cells (PNG with settings) with sweep.json. Cells made before come from the cache.
        """
        axes = sweeps.axes_of(x, x_values, y, y_values)
        ask = runs.read(self.ctx, models, image, sizing, prompt, settings)
        with self.ctx.stops.running(request.session_hash) as stop:
            yield {
                self.status: bar(0, 1, "Starting the sweep"),
                self.grid: grid(axes, x, y, []),
                self.chart: "",
                self.cells: [],
                self.downloads: gr.update(visible=False),
                self.view.body: gr.update(visible=False),
            }
            drawn, state = 0, None
            for state in sweeps.run(self.ctx, ask, x, axes, stop):
                updates = {self.status: status(state)}
                if len(state.shown) > drawn:
                    drawn = len(state.shown)
                    updates |= self.progress(state, y)
                yield updates
            yield self.finished(ask, state, y)

    def progress(self, state: sweeps.Sweeping, y: str) -> dict:
        """Updates for the cells that have come."""
        found = sweeps.curves(state.axes, state.x, state.shown)
        marked = sweeps.suggestion(state.x, found) if len(state.shown) == state.total else None
        label = labels()[state.x]
        return {
            self.grid: grid(state.axes, state.x, y, state.shown, marked),
            self.chart: charts.scores(label, *zip(*found, strict=True), marked) if len(found) > 1 else "",
            self.cells: list(state.shown),
        }

    def finished(self, ask: runs.Ask, state: sweeps.Sweeping, y: str) -> dict:
        """The last update of a sweep, stopped or complete: downloads for what there is."""
        if not state.shown:
            return {self.status: note("Stopped before the first cell.")}
        sheet, archive = sweeps.files(ask, state, y)
        words = f"{len(state.shown)} of {state.total} cells" if state.stopped else f"{state.total} cells"
        words += ", stopped; what came is kept." if state.stopped else ". Click one to look closer."
        return self.progress(state, y) | {
            self.status: note(words, "done"),
            self.sheet: gr.update(value=sheet),
            self.archive: gr.update(value=archive),
            self.downloads: gr.update(visible=True),
        }

    @guarded("status", runs.MEMORY_HINT)
    def best(
        self,
        request: gr.Request,
        *,
        image: str,
        prompt: str,
        models: str,
        sizing: str = "crop",
        seeds: int = 8,
        **settings,
    ):
        """Edit with several seeds from the set one on and rank them by CLIP score and likeness."""
        ask = runs.read(self.ctx, models, image, sizing, prompt, settings)
        with self.ctx.stops.running(request.session_hash) as stop:
            fit = None
            for fit in runs.prepare(self.ctx, ask, stop):
                yield {self.status: bar(fit.step.done, fit.step.total, "Preparing")}
            if fit.stopped:
                yield {self.status: note("Stopped while preparing; what was learnt is kept.")}
                return
            cells = []
            for step, cells in sweeps.best(self.ctx, ask, fit.step.value, int(seeds), stop):  # noqa: B007
                yield {self.status: bar(step.done, step.total, f"Trying {int(seeds)} seeds")}
            words = (
                f"{len(cells)} seeds, best first." if cells else "Stopped before the first seeds were done."
            )
            yield {
                self.status: note(words, "done"),
                self.grid: ranking(cells),
                self.chart: "",
                self.cells: cells,
                self.downloads: gr.update(visible=False),
                self.view.body: gr.update(visible=False),
            }
