"""The box for what is added to the models: LoRA and textual inversion files, with weights and words."""

import gradio as gr

from demos.context import Context
from demos.shared.events import follow
from demos.shared.marks import QUIET, UNQUEUED, note
from textedit_core.models import additions

HELP = "One file a line, as style.safetensors:0.8 for its weight, or word.pt:<cat> for its word."


class AddBox:
    """A text of files below the picker, and a button that writes them behind the models' name.

    The picker alone says which models a run takes; the box shows the files that are in it.
    """

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        self.ctx = ctx
        offered = "" if ctx.folders else f" This host offers {', '.join(ctx.allowed)}."
        with gr.Accordion("Add a LoRA or a textual inversion", open=False, elem_id="adding"):
            self.files = gr.Textbox(
                lines=2,
                label="Files",
                info=f"{HELP}{offered}",
                placeholder="a path, owner/name or owner/name/FILE",
                elem_id="adding-files",
            )
            self.button = gr.Button("Use these", size="sm", elem_id="adding-use")
            self.words = gr.HTML(label="About what is added", elem_id="adding-words")
        inputs = [models, self.files]
        self.button.click(self.use, inputs, [models, self.words], api_name="add_to_models", **QUIET)
        follow([models.change], self.look, models, [self.files, self.words], **UNQUEUED)

    def use(self, models: str, files: str | None = None):
        """Put `files`, one a line, behind the name of the models. Returns that name, or a sentence."""
        try:
            plain, _ = additions.split(self.ctx.named(models))
            lines = [line for line in (files or "").splitlines() if line.strip()]
            name = additions.joined(plain, [additions.parse(line) for line in lines])
            self.ctx.models(name)  # looks for the files
        except (ValueError, OSError) as error:
            return gr.skip(), note(str(error), "problem")
        return name, gr.skip()  # it is told as the name changes

    def look(self, models: str):
        """What the models' name adds, a line each, and a sentence about it."""
        try:
            _, added = additions.split(self.ctx.named(models))
        except ValueError as error:
            return gr.skip(), note(str(error), "problem")
        return "\n".join(map(str, added)), self.told(models)

    def told(self, name: str) -> str:
        """Which weights and words are added, as HTML; "" for none, and for what is not fetched yet."""
        try:
            found = self.ctx.models(name).additions
            if found is None or not all(source.is_local() for source in found.sources):
                return ""
            words = [f"the word {word}" for word in found.words]
            weights = [f"a LoRA at {weight:g}" for weight in found.weights.values()]
        except (ValueError, OSError) as error:
            return note(str(error), "problem")
        return note(f"Added: {', '.join(weights + words)}.", "done")
