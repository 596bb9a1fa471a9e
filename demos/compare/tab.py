"""The Compare tab: one picture and prompt through several methods; then any two pictures side by side."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gradio as gr

from demos.compare import comparison, export, runs
from demos.compare.asking import KNOBS, Asking
from demos.compare.contenders import offered
from demos.compare.pair import LANE, SOURCE, Pair
from demos.context import MODEL_LANE, STOP_LANE, Context
from demos.shared import knobs
from demos.shared.checks import guarded, sentence, validator
from demos.shared.events import ended, follow
from demos.shared.leave_out import may_leave_out
from demos.shared.marks import EVERY_CLICK, HIDDEN, QUIET, SELECT_JS, UNQUEUED, bar, note
from demos.shared.mask import canvas
from demos.shared.panel import BuiltTab, MethodPanel
from demos.shared.results import invitation
from demos.shared.runbar import RunBar
from textedit_core import request as engine
from textedit_core.knobs import BoundKnob, Knob

NAME, METHOD = "Compare", "compare"
FIRST_STEPS = (
    "Pick an example, or add a picture with its source prompt.",
    "Write the prompt and tick the methods.",
    "Press Compare: a row appears as each method ends.",
)

DOING = {engine.PROJECTING: "projecting", engine.FITTING: "preparing", engine.EDITING: "editing",
         engine.TUNING: "tuning the upscaler", engine.FINISHING: "enlarging"}  # fmt: skip
WEIGHING = (
    "weighs CLIP similarity against CLIP direction (without a source prompt the CLIP score), each from the "
    "worst row (0) to the best (1)"
)
BEST_OF = "Best of: 0 is faithful to the source, 1 to the prompt"
WEIGHT = BoundKnob("weight", float, 0.5, Knob(0, 1, 0.05, label=BEST_OF, help=WEIGHING))


def build(ctx: Context, models: gr.Dropdown) -> "CompareTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return CompareTab(ctx, models)


class CompareTab(BuiltTab, MethodPanel):
    """Asking on the left; the table, its best row and A beside B on the right. Recall opens it for SDEdit."""

    title, tab_id, result = "SDEdit", METHOD, None
    left_out = "its source image: add that again"
    memory_hint = "Tick fewer methods, or leave Imagic and null-text out."

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        self.ctx, self.models, self.panels = ctx, models, {"sdedit": self}
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=320, elem_classes="asking"):
                self.asking = Asking(ctx, models)
                self.draw_run()
            with gr.Column(scale=2, min_width=320):
                self.draw_answer()

    # --- drawing ------------------------------------------------------------------------------------------

    def draw_run(self) -> None:
        """Compare, Stop and the line below them."""
        self.bar = RunBar(METHOD, "Compare", f"{METHOD}-run", status_label="Compare status")
        self.button, self.status = self.bar.button, self.bar.status

    def draw_answer(self) -> None:
        """Where a mask is painted, the table and who is best at a weight, then A beside B."""
        self.asking.draw_painting()
        self.rows = gr.State([])
        self.empty = gr.HTML(invitation(FIRST_STEPS), label="Invitation")
        self.table = gr.HTML(js_on_load=SELECT_JS, label="Methods compared", elem_id=f"{METHOD}-table")
        with gr.Column(visible=False) as self.best_of:
            self.weight = knobs.control(WEIGHT, elem_id=f"{METHOD}-weight")
            self.best = gr.HTML(label="Best of", elem_id=f"{METHOD}-best")
        self.download = gr.DownloadButton(
            "Download pictures, sheet and table (ZIP)",
            size="sm",
            visible=False,
            elem_id=f"{METHOD}-download",
        )
        self.pair = Pair(METHOD, self.rows)
        self.ended = gr.State(0)

    # --- wiring -------------------------------------------------------------------------------------------

    def connect(self, panels: dict[str, MethodPanel]) -> None:
        """Wire the tab; what is pinned in the panels of the others can be A or B here."""
        self.pair.offer_pins(panels)
        self.pair.wire()
        self.asking.wire()
        event = self.wire_run()
        # At the end of a comparison too: the weight may have been moved while it ran.
        moved = [self.weight.change, ended(self.ended, event)]
        rank = UNQUEUED | {"api_name": "compare_rank", "api_visibility": "public"}
        follow(moved, self.rank, [self.weight, self.rows], [self.table, self.best], **rank)
        chosen = [self.pair.a, *self.pair.states]
        self.table.select(self.show_row, chosen, self.pair.outputs, **EVERY_CLICK, **LANE)

    def wire_run(self):
        """Compare in the model's lane, and Stop; returns the event of the first."""
        inputs = {**self.asking.fields, "models": self.models, "weight": self.weight}
        clear = [self.button.click, self.asking.prompt.text.submit]
        cleared = gr.on(clear, None, None, self.status, js="() => ''", **HIDDEN)
        event = cleared.then(
            may_leave_out(self.compare, inputs),
            inputs_kwargs=inputs,
            outputs=[
                self.status,
                self.table,
                self.best,
                self.best_of,
                self.empty,
                self.rows,
                self.asking.painting,
                self.download,
                self.ended,
            ],
            validator=validator(
                self.ctx,
                list(inputs),
                self.asking.problems,
                knobs.problems(KNOBS | {"weight": WEIGHT}),
                part=None,
            ),
            api_name=METHOD,
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL_LANE,
        )
        event.success(self.show_best, [self.weight, *self.pair.states], self.pair.outputs, **HIDDEN, **LANE)
        asked = {"api_name": f"{METHOD}_stop", **QUIET, **STOP_LANE}
        self.bar.wire_stop(self.ctx.stops, [event], **asked)
        return event

    @property
    def restore_outputs(self) -> list:
        """What Recall of an SDEdit picture sets."""
        return self.asking.restore_outputs

    def restore(self, about) -> list:
        """Updates for `restore_outputs` from a record."""
        return self.asking.restore(about)

    @property
    def source_outputs(self) -> list:
        """What "Use as source" sets: the picture, and the canvas of the mask."""
        return [self.asking.source.image, self.asking.mask]

    def with_source(self, path: str) -> dict:
        """Updates that make this picture the source; nothing is painted on it."""
        return {self.asking.source.image: path, self.asking.mask: canvas(path)}

    # --- handlers -----------------------------------------------------------------------------------------

    @guarded("status", "ended")
    def compare(self, request: gr.Request, *, weight: float, **values):
        """Run each ticked method on one picture, one after the other, with the same prompt and seed.

        `source_prompt` is what the source shows, `prompt` what the edits are to show, `methods` the names of
        the rows.
        `mask` and `exemplar`, picture files, are for paint_by_example alone: the mask white where it is to be
        repainted. Each method has the presets of the models; what was computed before is taken from
        the cache. Returns the status, the table and who is best, as HTML, and a ZIP with the pictures, a
        sheet of them and the table as CSV and LaTeX; /compare_pair gives two of the pictures.
        """
        ticked = [one for one in offered(self.ctx, values["models"]) if one.name in values["methods"]]
        rows, folder = [], self.ctx.folder()
        # The table comes where the canvas was.
        yield {self.asking.painting: gr.update(open=False), self.download: gr.update(visible=False)}
        with self.ctx.stops.running(request.session_hash) as stop:
            for number, one in enumerate(ticked):
                left = [other.title for other in ticked[number:]]
                yield self.show(rows, weight, left)
                row = yield from self.run(one, values, folder, stop, (number, len(ticked)))
                if row is not None:
                    rows.append(row)
                if stop.is_set():
                    break
        words = f"{len(rows)} of {len(ticked)} methods are done."
        if unable := sum(bool(row["problem"]) for row in rows):
            words += f" {unable} could not run: the table says why."
        said = f"Stopped. {words}" if len(rows) < len(ticked) else words
        yield (
            self.show(rows, weight)
            | {self.status: note(said, "done")}
            | self.offer(rows, weight, folder, values)
        )

    def offer(self, rows: list, weight: float, folder: Path, values: dict) -> dict:
        """Updates with the download of the rows, the best at this weight first."""
        if not rows:
            return {}
        ordered = comparison.ordered(rows, runs.ranked(rows, weight))
        title = " → ".join(filter(None, (values["source_prompt"], values["prompt"])))
        return {self.download: gr.update(value=export.write(ordered, folder, title), visible=True)}

    def run(self, one, values: dict, folder, stop, place: tuple[int, int]) -> Iterator[dict]:
        """Yield the status at each step of a method; returns its row, or None once stopped."""
        try:
            with closing(engine.run(one.request(self.ctx, values))) as steps:
                for step in steps:
                    where = f"{DOING[step.stage]}, step {step.done} of {step.total}"
                    words = f"{one.title}, {place[0] + 1} of {place[1]}: {where}"
                    done = place[0] + step.done / max(1, step.total)
                    yield {self.status: bar(round(1000 * done), 1000 * place[1], words)}
                    if stop.is_set() and step.done < step.total:
                        return None
            return runs.row_of(one, step.value, values, folder)
        except (ValueError, RuntimeError, MemoryError) as error:  # one method must not end the others
            return runs.failed(one, sentence(error, self.memory_hint))

    def show(self, rows: list, weight: float, waiting: list[str] = ()) -> dict:
        """Updates with the rows so far."""
        return {
            self.table: comparison.board(rows, runs.ranked(rows, weight), waiting),
            self.best: self.say_best(rows, weight),
            self.best_of: gr.update(visible=len(runs.ranked(rows, weight)) > 1),
            self.empty: gr.update(visible=not rows and not waiting),
            self.rows: list(rows),
        }

    def show_best(self, weight: float, rows: list, *others: list) -> dict:
        """The best row, else the last that worked, as B beside the source."""
        names = [row["name"] for row, _ in runs.ranked(rows, weight)]
        names += [row["name"] for row in rows[::-1] if not row["problem"]]
        candidates = self.pair.candidates(rows, *others)
        return self.pair.show(candidates, SOURCE, names[0]) if names else {self.pair.a: gr.skip()}

    def say_best(self, rows: list, weight: float) -> str:
        """Who is best at a weight, as HTML."""
        ranked = runs.ranked(rows, weight)
        if len(ranked) < 2:
            return ""
        (first, value), (second, behind) = ranked[:2]
        words = f"{first['title']} ({value:.2f}), then {second['title']} ({behind:.2f})."
        return note(f"Best at this weight: {words}", "done")

    def rank(self, weight: float, rows: list) -> tuple[str, str]:
        """Order the rows of the last comparison anew; nothing is computed again.

        `weight` from 0, the source alone counts, to 1, the text alone. Returns the table and who is best."""
        try:
            WEIGHT.check(weight)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False, title="Not done") from None
        return comparison.board(rows, runs.ranked(rows, weight)), self.say_best(rows, weight)

    def show_row(self, chosen: gr.EventData, a: str | None, rows: list, *others: list) -> dict:
        """Show the clicked row as B."""
        name = rows[int(chosen._data["index"])]["name"]
        return self.pair.show(self.pair.candidates(rows, *others), a, name)
