"""StyleFlow as a tab: a slider for each attribute of the models' flow, edits that build on one another."""

import gradio as gr

from demos.context import MODEL_LANE
from demos.shared.checks import guarded
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, UNQUEUED, note
from demos.shared.results import ResultPanel
from demos.styleclip import styleflow as runs
from demos.styleclip.technique import TechniqueTab
from textedit_core.request import Result

FIRST_STEPS = (
    "Pick a sample above, or project a picture of your own.",
    "Drag the slider of an attribute: the edit is made when you let it go.",
    "Accept an edit to go on from its result.",
)
# The text of all sliders that are not at 0, and the sliders of a text; names are between commas.
WRITE_JS = """(names, ...amounts) => names.split(', ').map((name, k) => [name, amounts[k]])
  .filter(([name, amount]) => name && amount).map(([name, amount]) => `${name} ${amount}`).join(', ')"""
READ_JS = f"""(names, text) => {{
  const parts = (text || '').split(',').map(part => part.trim().match(/^(.*?)(?:\\s+([-+]?[\\d.]+))?$/));
  const found = new Map(parts.map(part => [part[1], Number(part[2] ?? 1)]));
  return Array.from({{length: {runs.SLIDERS}}}, (_, k) => found.get(names.split(', ')[k]) ?? 0);
}}"""


class StyleflowTab(TechniqueTab):
    """Sliders that write the attributes as a text, the chain of accepted edits, bands, and the solver."""

    view, title, needs = runs.VIEW, "StyleFlow", ("clip", runs.PART)
    about_edit = """Edit attributes of a latent along the models' flow.

`attributes` names them with amounts, as "sunglasses 1, long beard -0.5"; `accepted` has those of the edits
before this one, between semicolons. Returns the edited picture (a PNG with its settings as text), the
settings as JSON, the scores, the source beside the edit, and the source."""

    def draw_asking(self, presets: dict) -> None:
        """The sliders, their text, the chain, and knobs that are seldom changed."""
        name, known = self.view.name, runs.names(self.ctx, self.ctx.default)
        self.names = gr.Textbox(", ".join(known), visible="hidden", elem_id=f"{name}-names")
        self.sliders = [
            gr.Slider(-2, 2, 0, step=0.05, elem_id=f"{name}-amount-{k}", **look)
            for k, look in enumerate(self.slots(known))
        ]
        self.draw_knobs(["attributes", "accepted"], presets)
        with gr.Row(elem_classes="offers"):
            self.accept_button = gr.Button("Accept, and go on from here", size="sm", min_width=170)
            self.undo_button = gr.Button("Undo the last accepted", size="sm", min_width=150)
        with gr.Accordion("More settings", open=False):
            self.draw_knobs(
                ["strength", "first_layer", "last_layer", "solver", "steps", "tolerance"], presets
            )

    @staticmethod
    def slots(names: list[str]) -> list[dict]:
        """How each slider looks, the first with these names; one without an attribute is not shown."""
        named = [{"label": name, "visible": True} for name in names]
        return [*named, *[{"label": "Attribute", "visible": "hidden"}] * (runs.SLIDERS - len(names))]

    def draw_answer(self) -> ResultPanel:
        """The slider, source and edit."""
        return self.panel(FIRST_STEPS, {"source": "Source", "edit": "Edit"}, None)

    # --- what is asked ------------------------------------------------------------------------------------

    def own_problems(self, values: dict) -> dict[str, str]:
        """Attributes that the flow does not have, nothing to change, and layers that are not there."""
        return runs.problems(self.ctx, values)

    @property
    def live(self) -> list:
        """The texts when Enter is pressed, and the strength when its slider is released."""
        texts = [self.controls[name].submit for name in ("attributes", "accepted")]
        return [self.controls["strength"].release, *texts]

    # --- wiring and handlers ------------------------------------------------------------------------------

    @property
    def redo(self) -> dict:
        """The options of an edit that follows another event."""
        last = {"trigger_mode": "always_last"}
        return {"inputs_kwargs": self.inputs, "outputs": self.run_outputs, **last, **HIDDEN, **MODEL_LANE}

    def wire_again(self) -> list:
        """A slider that is let go writes the text, then edits."""
        moved = gr.on(
            [one.release for one in self.sliders],
            None,
            [self.names, *self.sliders],
            self.controls["attributes"],
            js=WRITE_JS,
            **HIDDEN,
        )
        return [moved.then(self.edit, **self.redo)]

    def wire_runs(self) -> list:
        """Accept and Undo move the text to the chain and back; the sliders follow the text."""
        events = super().wire_runs()
        text, chain = (self.controls[name] for name in ("attributes", "accepted"))
        settled = [text, chain, self.edit_status]
        self.accept_button.click(self.accept, [self.models, self.result.shown], settled, **HIDDEN)
        self.undo_button.click(self.undo, chain, settled, **HIDDEN).success(self.edit, **self.redo)
        text.change(None, [self.names, text], self.sliders, js=READ_JS, **HIDDEN)
        return events

    def on_open(self, tab: gr.Tab) -> None:
        """Name the sliders by the attributes of the chosen models."""
        follow([self.models.change], self.name_sliders, self.models, [self.names, *self.sliders], **UNQUEUED)

    def name_sliders(self, models: str) -> list:
        """The names, and a slider for each, at 0."""
        known = runs.names(self.ctx, models)
        return [", ".join(known), *(gr.update(value=0, **look) for look in self.slots(known))]

    @guarded("edit_status")
    def accept(self, models: str, shown: dict | None):
        """Put the shown edit at the end of the chain; the sliders go to 0, so that the picture stays."""
        if not shown:
            raise ValueError("There is no edit to accept: press Edit first.")
        attributes, accepted = (self.controls[name] for name in ("attributes", "accepted"))
        words = "Accepted. Drag another attribute."
        chain = runs.accept(self.ctx.models(models).flow, shown)
        yield {attributes: "", accepted: chain, self.edit_status: note(words, "done")}

    @guarded("edit_status")
    def undo(self, accepted: str):
        """Take the last edit from the chain and put it back on the sliders."""
        rest, last = runs.undo(accepted)
        if not last:
            raise ValueError("Nothing has been accepted yet.")
        attributes, chain = (self.controls[name] for name in ("attributes", "accepted"))
        yield {attributes: last, chain: rest, self.edit_status: ""}

    def summary(self, result: Result) -> str:
        """What CLIP reads of the attributes."""
        return note(runs.words(result), "done")
