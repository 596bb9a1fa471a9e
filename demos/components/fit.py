"""The Prepare panel: the button, Stop, what the fit is doing, and the loss of each of its stages."""

import gradio as gr

from demos.components import charts
from demos.components.marks import bar, note
from demos.context import duration


class FitPanel:
    """`show(run)` gives the updates for a fit under way, as runs/imagic.py's Fitting tells it."""

    def __init__(self, first: str = "1  Prepare") -> None:
        with gr.Row(elem_classes="run"):
            self.button = gr.Button(first, scale=3, min_width=140)
            self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=70)
        self.status = gr.HTML(
            note("Learns this image and prompt, once. Edit does it for you if you skip it."),
            label="Preparation status",
            elem_id="prepare-status",
        )
        self.losses = gr.HTML(label="Losses")

    def show(self, run) -> dict:
        """Updates for the sentence and the curves."""
        return {self.status: status(run), self.losses: charts.losses(run.stages)}


def status(run) -> str:
    """What a fit is doing, or has done, in one sentence."""
    step = run.step
    if run.stopped:
        did = " and ".join(f"{done} {name}" for done, name in zip(run.done, run.names, strict=True))
        return note(
            f"Stopped after {did} steps. They are kept, and the step counts say so: press Edit.", "done"
        )
    if run.cached:
        return note("Prepared for this image and prompt, from the cache.", "done")
    if step.done == step.total:
        return note(f"Prepared for this image and prompt, {run.seconds:.1f} s.", "done")
    left = run.seconds / max(step.done, 1) * (step.total - step.done)
    return bar(
        step.done, step.total, f"{run.doing}, step {step.done} of {step.total}, about {duration(left)} left"
    )
