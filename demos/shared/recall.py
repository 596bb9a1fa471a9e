"""Recall: a PNG that the studio saved sets the page to the settings of its picture."""

import gradio as gr

from demos.context import Context
from demos.shared.marks import QUIET, note
from demos.shared.panel import MethodPanel
from textedit_core import record


class Recall:
    """A drop zone. Tabs are found by the record's method; what cannot be restored is said."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.file = gr.File(
            label="Recall: drop a PNG made here",
            file_types=[".png"],
            height=56,
            elem_id="recall",
            type="filepath",
        )
        self.status = gr.HTML(label="Recall status", elem_id="recall-status")

    def wire(self, tabs: gr.Tabs, models: gr.Dropdown, panels: dict[str, MethodPanel]) -> None:
        """Set the panel of the picture's method; `panels` has them by the name of the method."""
        # Each once: panels may share widgets.
        known = panels.values()
        outputs = list(
            dict.fromkeys(one for panel in known for one in [*panel.restore_outputs, *panel.axis_outputs])
        )

        def recall(file: str | None):
            """Read the settings in a PNG made here. Returns a sentence, the models and every widget."""
            if not file:
                return [gr.skip()] * (3 + len(outputs))
            try:
                about = record.read_png(file)
                if about.method not in panels:
                    raise ValueError(f"Recall: this page has no tab for the method '{about.method}'.")
                panel = panels[about.method]
                chosen = dict(zip(panel.restore_outputs, panel.restore(about), strict=True))
                chosen |= panel.restore_axes(record.read_axes(file))
                updates = [chosen.get(one, gr.skip()) for one in outputs]
            except ValueError as error:
                words = f"Recall: {str(error).removeprefix('Recall: ')}"  # a knob names itself alone
                return [note(words, "problem"), gr.skip(), gr.skip(), *([gr.skip()] * len(outputs))]
            return [
                note(self.words(about, panel.left_out), "done"),
                gr.update(selected=panel.tab_id),
                self.known_models(about.models),
                *updates,
            ]

        self.file.change(
            recall,
            self.file,
            [self.status, tabs, models, *outputs],
            api_name="recall",
            **QUIET,
        )

    def known_models(self, name: str):
        """The picker set to the record's models, where this host has them."""
        try:
            self.ctx.check_allowed(name)
            self.ctx.zoo.describe(name)
        except (ValueError, OSError):
            return gr.skip()
        return name

    def words(self, about: record.Record, left_out: str) -> str:
        """What was restored, and what was not."""
        here = self.known_models(about.models) == about.models
        missing = "" if here else f" Its models ({about.models}) are not on this machine."
        return f"Settings restored.{missing} A PNG does not carry {left_out}."
