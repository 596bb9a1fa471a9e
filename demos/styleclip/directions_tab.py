"""StyleCLIP's global directions as a tab: two texts, alpha and beta live, edits that build on one another."""

import gradio as gr

from demos.context import MODEL_LANE
from demos.shared import charts
from demos.shared.checks import guarded
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, note
from demos.shared.prompt import PromptBox
from demos.shared.results import ResultPanel
from demos.styleclip import directions as runs
from demos.styleclip.technique import TechniqueTab
from textedit_core.request import Result

FIRST_STEPS = (
    "Pick a sample above, or project a picture of your own.",
    "Say what it shows now, and what it is to show.",
    "Press Edit, then drag alpha, how far to go, and beta, how much to leave as it is.",
)
NEUTRAL, PROMPT = "a person", "a surprised person"  # so that the sliders move something from the start
EVERY_CHANNEL = 20  # wanted at first: what the paper's program asks for of faces


class DirectionsTab(TechniqueTab):
    """Neutral text and prompt, alpha, beta, and the chain of the edits accepted so far."""

    view, title, needs = runs.VIEW, "Global directions", ("clip", runs.RELEVANCE)
    about_edit = """Edit a latent along the direction from the neutral text to the prompt.

`accepted` has the edits made before this one, as the settings of their result say. Returns the edited picture
(a PNG with its settings as text), the settings as JSON, the scores, the source beside the edit, the source,
what the accepted edits alone make of it, and a chart of the channels that were changed."""

    def draw_asking(self, presets: dict) -> None:
        """Both texts, alpha, beta, the number of channels, Edit, the chain, knobs that are seldom changed."""
        name = self.view.name
        self.neutral, self.prompt = (
            PromptBox(self.ctx, self.models, label, f"{name}-{key}", value=value, lines=1)
            for key, label, value in (
                ("neutral", "Neutral text, what it shows", NEUTRAL),
                ("prompt", "Prompt, what it is to show", PROMPT),
            )
        )
        self.draw_knobs(["alpha", "beta"], presets)
        with gr.Row(elem_classes="channels"):
            self.channels = gr.Number(
                EVERY_CHANNEL,
                label="Channels wanted",
                info="Set β picks the β at which this many change",
                minimum=1,
                precision=0,
                min_width=120,
                elem_id=f"{name}-channels",
            )
            self.fit_beta = gr.Button("Set β", size="sm", min_width=90, elem_id=f"{name}-set-beta")
        with gr.Row(elem_classes="offers"):
            self.accept_button = gr.Button("Accept, and go on from here", size="sm", min_width=170)
            self.undo_button = gr.Button("Undo the last accepted", size="sm", min_width=150)
            self.reset_button = gr.Button("Reset", size="sm", min_width=80, elem_id=f"{name}-reset")
        self.chain = gr.HTML(label="Accepted edits", elem_id=f"{name}-chain")
        with gr.Accordion("More settings", open=False):
            self.draw_knobs(["layers"], presets)
            self.draw_knobs_as(["templates"], lines=3, max_lines=12)
        self.draw_knobs_as(["accepted"], visible="hidden")

    def draw_knobs_as(self, names: list[str], **look) -> None:
        """Text knobs with a look of their own."""
        for name in names:
            knob = self.knobs[name]
            about = {"label": knob.label, "info": knob.knob.help or None}
            self.controls[name] = gr.Textbox(
                knob.default, elem_id=f"{self.view.name}-{name}", **about, **look
            )

    def draw_answer(self) -> ResultPanel:
        """The slider; source, what was accepted and the edit; the channels."""
        pictures = {"source": "Source", "accepted": "Accepted so far", "edit": "Edit"}
        details = ("Channels", lambda: ChannelView(self.view.name))
        return self.panel(FIRST_STEPS, pictures, details, optional=("accepted",))

    # --- what is asked ------------------------------------------------------------------------------------

    @property
    def texts(self) -> dict:
        """Both texts."""
        return {"neutral": self.neutral.text, "prompt": self.prompt.text}

    def own_problems(self, values: dict) -> dict[str, str]:
        """Texts that say nothing, the same twice, and a beta that leaves no channel."""
        return runs.problems(self.ctx, values)

    @property
    def live(self) -> list:
        """Alpha and beta, when their sliders are released."""
        return [self.controls["alpha"].release, self.controls["beta"].release]

    # --- wiring and handlers ------------------------------------------------------------------------------

    def wire_runs(self) -> list:
        """The number of channels and Undo set sliders and edit; Accept and the chain need no models."""
        events = super().wire_runs()
        beta, accepted = self.controls["beta"], self.controls["accepted"]
        asked = self.inputs | {"channels": self.channels}
        redo = {"inputs_kwargs": self.inputs, "outputs": self.run_outputs, "trigger_mode": "always_last"}
        redo |= HIDDEN | MODEL_LANE
        fitted = gr.on(
            [self.fit_beta.click, self.channels.submit],
            self.set_beta,
            inputs_kwargs=asked,
            outputs=[beta, self.edit_status],
            **HIDDEN,
            **MODEL_LANE,
        )
        fitted.success(self.edit, **redo)
        settled = [self.controls[name] for name in runs.STORED]
        written = [accepted, *self.texts.values(), *settled]
        status = [*written, self.edit_status]
        self.accept_button.click(
            self.accept, self.result.shown, [accepted, settled[0], self.edit_status], **HIDDEN
        )
        self.undo_button.click(self.undo, accepted, status, **HIDDEN).success(self.edit, **redo)
        chained = [accepted, self.edit_status]
        self.reset_button.click(self.reset, accepted, chained, **HIDDEN).success(self.edit, **redo)
        follow([accepted.change], self.say_chain, accepted, self.chain, **HIDDEN)
        return events

    @guarded("edit_status")
    def set_beta(self, *, channels: float | None, **values):
        """Beta for the wanted number of channels."""
        problems = {name: words for name, words in self.problems(values).items() if words and name != "beta"}
        if problems:
            raise ValueError(next(iter(problems.values())))
        beta = runs.beta_for(self.ctx, values, channels)
        yield {self.controls["beta"]: beta, self.edit_status: ""}

    @guarded("edit_status")
    def accept(self, shown: dict | None):
        """Put the shown edit at the end of the chain; alpha goes to 0, so that the picture stays."""
        if not shown:
            raise ValueError("There is no edit to accept: press Edit first.")
        words = "Accepted. Write the next prompt, and drag alpha."
        updates = {self.controls["accepted"]: runs.accept(shown), self.controls["alpha"]: 0}
        yield updates | {self.edit_status: note(words, "done")}

    @guarded("edit_status")
    def undo(self, accepted: str):
        """Take the last edit from the chain and put it back on the sliders."""
        rest, last = runs.undo(accepted)
        if last is None:
            raise ValueError("Nothing has been accepted yet.")
        texts = {widget: getattr(last, name) for name, widget in self.texts.items()}
        settled = {self.controls[name]: getattr(last, name) for name in runs.STORED}
        yield {self.controls["accepted"]: rest, self.edit_status: ""} | texts | settled

    @guarded("edit_status")
    def reset(self, accepted: str):
        """Take every edit from the chain; the texts and sliders in hand stay."""
        if not accepted:
            raise ValueError("Nothing has been accepted yet.")
        yield {self.controls["accepted"]: "", self.edit_status: ""}

    def say_chain(self, accepted: str) -> str:
        """The accepted edits, one a line."""
        try:
            chain = runs.read_chain(accepted)
        except ValueError as error:
            return note(str(error), "problem")
        lines = [
            f"{k}. {one.neutral} → {one.prompt}, α {one.alpha:g}, β {one.beta:g}"
            for k, one in enumerate(chain, 1)
        ]
        return "<h4>Accepted so far</h4>" + "".join(map(note, lines)) if lines else ""

    def extras(self, result: Result) -> dict:
        """How many channels of which layers the edit changes."""
        return runs.touched(result)


class ChannelView:
    """How many channels of each layer a result changes, as bars; the result has them as "layers"."""

    def __init__(self, method: str) -> None:
        self.chart = gr.HTML(label="Edited channels", elem_id=f"{method}-bars")

    @property
    def outputs(self) -> list:
        """What `show` updates."""
        return [self.chart]

    def show(self, result: dict) -> dict:
        """Updates for a result; an empty chart for a cell of a sweep, which has no counts."""
        if "layers" not in result:
            return {self.chart: ""}
        rows = [(name, count) for name, _, count in result["layers"]]
        words = f"{sum(count for _, count in rows):,} of {result['of']:,} channels, by layer"
        return {self.chart: charts.bars(words, rows)}
