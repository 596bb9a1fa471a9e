"""The sweep panel: any knob on X, another on Y, cells streamed into a grid, scores against the axis, downloads."""

import gradio as gr
from demos.components import charts, knobs
from demos.components.checks import guarded, validator
from demos.components.marks import SELECT_JS, Tile, bar, note, strip, table
from demos.context import MODEL_LANE, Context
from demos.runs import imagic as runs
from demos.runs import imagic_sweep as sweeps

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
INVITATION = "Cells appear here as they come, each with its CLIP score and its likeness to the source."
HELP = "0, 0.5, 1 or 0-1 [5] for five values from 0 to 1"


class SweepPanel:
    """`tab` is the tab object: its `inputs` ask for every run, `send(cell)` gives updates for `send_outputs`."""

    def __init__(self, ctx: Context, tab) -> None:
        self.ctx, self.tab = ctx, tab
        self.cells, self.picked = gr.State([]), gr.State(None)
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
                self.draw_picked()

    def draw_axes(self) -> None:
        """Two axes, the outlook, Run and Stop."""
        choices = [(label, name) for name, label in tab_labels().items()]
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

    def draw_picked(self) -> None:
        """What a click on a cell shows."""
        with gr.Row(visible=False, elem_classes="picked") as self.detail:
            with gr.Column(scale=3, min_width=260):
                self.compare = gr.ImageSlider(
                    label="Source and this cell",
                    format="png",
                    type="filepath",
                    max_height=420,
                    interactive=False,
                    buttons=["fullscreen"],
                )
            with gr.Column(scale=2, min_width=220):
                self.words = gr.HTML()
                self.send = gr.Button("Send to the tab", size="sm")
                self.download = gr.DownloadButton("Download this cell", size="sm")
                with gr.Accordion("Settings of this cell", open=False):
                    self.settings = gr.JSON(show_label=False, label="Settings of this cell", open=True)

    # --- wiring -------------------------------------------------------------------------------------------

    def wire(self, fitted: list) -> None:
        """Outlook on every change and after every run (`fitted`: the tab's own); run and rank in the model's lane; a click shows a cell."""
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
            self.detail,
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
        self.grid.select(
            self.pick,
            self.cells,
            [self.picked, self.detail, self.compare, self.words, self.settings, self.download],
            **QUIET,
        )
        self.send.click(self.tab.send, self.picked, self.tab.send_outputs, **QUIET)

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
        """Sweep one or two knobs of Imagic. `x` and `y` name knobs (y may be empty), values are written as text.

        Streams the grid; at the end returns the status, the grid and the scores as HTML, the contact sheet as PNG
        and a ZIP of the cells (PNG with settings) with sweep.json. Cells made before come from the cache.
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
                self.detail: gr.update(visible=False),
            }
            drawn, state = 0, None
            for state in sweeps.run(self.ctx, ask, x, axes, stop):
                updates = {self.status: sweep_status(state)}
                if len(state.shown) > drawn:
                    drawn = len(state.shown)
                    updates |= self.progress(state, y)
                yield updates
            yield self.finished(ask, state, y)

    def progress(self, state: sweeps.Sweeping, y: str) -> dict:
        """Updates for the cells that have come."""
        found = sweeps.curves(state.axes, state.x, state.shown)
        marked = sweeps.suggestion(state.x, found) if len(state.shown) == state.total else None
        label = tab_labels()[state.x]
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
        """Edit with several seeds from the set one on and rank them, best first, by CLIP score and likeness."""
        ask = runs.read(self.ctx, models, image, sizing, prompt, settings)
        with self.ctx.stops.running(request.session_hash) as stop:
            fit = None
            for fit in runs.prepare(self.ctx, ask, stop):
                yield {self.status: bar(fit.step.done, fit.step.total, "Preparing")}
            if fit.stopped:
                yield {self.status: note("Stopped while preparing; what was learnt is kept.")}
                return
            cells = []
            for step, cells in sweeps.best(self.ctx, ask, fit.step.value, int(seeds), stop):
                yield {self.status: bar(step.done, step.total, f"Trying {int(seeds)} seeds")}
            names = ["best", *(f"{n}." for n in range(2, len(cells) + 1))]
            tiles = [
                Tile(
                    c["edit"],
                    f"Seed {c['coords']['seed']}, {c['words']}",
                    (f"{name} seed {c['coords']['seed']}", scores_line(c)),
                    i,
                )
                for i, (name, c) in enumerate(zip(names, cells, strict=False))
            ]
            words = (
                f"{len(cells)} seeds, best first." if cells else "Stopped before the first seeds were done."
            )
            yield {
                self.status: note(words, "done"),
                self.grid: strip(tiles),
                self.chart: "",
                self.cells: cells,
                self.downloads: gr.update(visible=False),
                self.detail: gr.update(visible=False),
            }

    def pick(self, cells: list, chosen: gr.EventData):
        """Show the clicked cell beside its source."""
        cell = cells[int(chosen._data["index"])]
        place = " · ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in cell["coords"].items()
        )
        return [
            cell,
            gr.update(visible=True),
            (cell["source"], cell["edit"]),
            f"<h4>{place}</h4>" + note(cell["words"]),
            knobs.settings_of(cell),
            gr.update(value=cell["edit"]),
        ]


def tab_labels() -> dict[str, str]:
    """Knob names and how the menus call them; those of the edit first, they cost least."""
    names = [*runs.EDIT, *runs.FIT]
    return {name: runs.KNOBS[name].label for name in names}


def sweep_problems(most: int):
    """For `validator`: the sentences for axes that cannot be swept, by field."""

    def find(values: dict) -> dict[str, str]:
        problems, count = knobs.problems(runs.KNOBS)(values), 1
        if values["x"] == values["y"]:
            problems["y"] = "Choose another knob than X has, or none."
        for axis in ("x", "y"):
            try:
                axes = sweeps.axes_of(values[axis], values[f"{axis}_values"], "", "")
                count *= len(axes.get(values[axis], [0]))
            except ValueError as error:
                problems[f"{axis}_values"] = str(error)
        if count > most:
            problems["x_values"] = (
                f"{count} cells are more than the {most} this host allows; use fewer values."
            )
        return problems

    return find


def sweep_status(state: sweeps.Sweeping) -> str:
    """The bar above the grid."""
    doing = f"preparing, loss {state.loss:.3f}" if state.loss is not None else "editing"
    return bar(len(state.shown), state.total, f"{len(state.shown)} of {state.total} cells, {doing}")


def scores_line(cell: dict) -> str:
    """CLIP score and similarity, short enough for a tile."""
    scores = cell["scores"]
    return f"CLIP {scores['clip']:.1f} · sim {scores['similarity']:.2f}" if scores else ""


def grid(axes: dict[str, list], x: str, y: str, cells: list[dict], marked: float | None = None) -> str:
    """The grid as HTML: both values on each cell, its scores, grey squares for what is still to come."""
    xs, ys = axes[x], axes.get(y, [None])
    tiles = {}
    for index, cell in enumerate(cells):
        place = " · ".join(f"{name} {shown(value)}" for name, value in cell["coords"].items())
        spot = (ys.index(cell["coords"][y]) if y else 0, xs.index(cell["coords"][x]))
        tiles[spot] = Tile(cell["edit"], f"{place}, {cell['words']}", (place, scores_line(cell)), index)
    labels = tab_labels()
    rows = [shown(value) if y else "" for value in ys]
    column = xs.index(marked) if marked is not None else None
    return table([shown(v) for v in xs], rows, tiles, labels[x], labels[y] if y else "", column)


def shown(value) -> str:
    """A knob's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
