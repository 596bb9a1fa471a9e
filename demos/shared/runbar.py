"""The run bar of a tab: its button, Stop, and what is being done; always in view, as style.css places it.

The place in the queue and the field that a mistake is in are written into it by page/page.js.
"""

import time

import gradio as gr

from demos.context import Stops
from demos.shared.marks import HIDDEN, note

NOTHING_LEFT = "Stopped: nothing of yours runs or waits now."


class RunBar:
    """`button` starts, `stop` ends, `status` says how it goes; `lines` are drawn above the status.

    previews: whether there is a switch, `watching`, for the picture of each step.
    """

    def __init__(
        self,
        name: str,
        label: str,
        elem_id: str,
        lines: tuple[gr.HTML, ...] = (),
        previews: bool = False,
        status_label: str = "Edit status",
    ) -> None:
        with gr.Column(elem_classes="runbar", elem_id=f"{name}-runbar"):
            with gr.Row(elem_classes="run"):
                self.button = gr.Button(label, variant="primary", scale=3, min_width=110, elem_id=elem_id)
                self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=70)
                if previews:
                    self.watching = gr.Checkbox(
                        True,
                        label="Steps",
                        container=False,
                        min_width=70,
                        elem_id=f"{name}-watching",
                        elem_classes="watching",
                    )
            for line in lines:
                line.render()
            self.status = gr.HTML(label=status_label, elem_id=f"{name}-status")

    def wire_stop(self, stops: Stops, runs: list, **options) -> None:
        """Stop ends the run of this page, which keeps what it has; one that still waits is dropped."""
        wire_stop(self.stop, stops, runs, self.status, **options)


def wire_stop(button: gr.Button, stops: Stops, runs: list, status: gr.HTML | None = None, **options) -> None:
    """A press of a Stop button: the run of this page ends by itself after the step in hand.

    Where none has begun, those of `runs` that wait in the queue leave it, and `status` says so.  options: of
    the press.
    """
    dropped = gr.State(0)
    outputs = [dropped, *([status] if status else [])]

    def pressed(request: gr.Request):
        """End the run of this session after the step in hand; what has been done is kept and usable."""
        if stops.ask(request.session_hash):
            return gr.skip()
        return {dropped: time.monotonic_ns(), **({status: note(NOTHING_LEFT)} if status else {})}

    button.click(pressed, None, outputs, **options)
    # A change, because gradio never calls what cancels and is chained to an event by .then.
    dropped.change(None, cancels=runs, **HIDDEN)
