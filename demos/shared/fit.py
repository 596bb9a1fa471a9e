"""The Prepare panel: the button, Stop, what the fit is doing, and the loss of each of its stages."""

import gradio as gr

from demos.context import duration
from demos.shared import charts, fitting
from demos.shared.common import Ask
from demos.shared.fitting import Fitting
from demos.shared.marks import bar, note


class FitPanel:
    """`show(run)` gives the updates for a fit under way; `about` says what it is for: "this image ...".

    told: the key of the fit that the sentence speaks of, or nothing for the invitation.
    planned: {knob: (value before a Stop, value after it)}.
    """

    def __init__(self, method: str, about: str, invitation: str) -> None:
        self.about, self.told, self.planned = about, gr.State(""), gr.State({})
        self.invitation = note(f"{invitation} Edit does it for you if you skip it.")
        with gr.Row(elem_classes="run"):
            self.button = gr.Button("1  Prepare", scale=3, min_width=140)
            self.stop = gr.Button("Stop", variant="stop", scale=1, min_width=70)
        self.status = gr.HTML(
            self.invitation,
            label="Preparation status",
            elem_id=f"{method}-prepare-status",
        )
        self.losses = gr.HTML(label="Losses")

    def show(self, run: Fitting) -> dict:
        """Updates for the sentence and the curves."""
        return {self.status: self.words(run), self.losses: charts.losses(run.curves)}

    def follow(self, key: str, told: str, ask: Ask | None) -> dict:
        """Updates where another preparation may be asked for: `ask`, or None, and its key; `told` as above.

        What a run has said of its own end stays; else the cache is asked.
        """
        if key and key == told:
            return {self.told: key}
        run = fitting.known(ask) if ask else None
        if run is None:
            return {self.status: self.invitation, self.losses: "", self.told: ""}
        return self.show(run) | {self.told: key}

    def words(self, run: Fitting) -> str:
        """What a fit is doing, or has done, in one sentence."""
        step = run.step
        if run.stopped and not run.kept:
            at = f"Stopped at step {step.done} of {step.total}."
            return note(f"{at} An unfinished preparation is of no use, so none of it is kept.")
        if run.stopped:
            pairs = zip(run.done, run.stages, strict=True)
            did = " and ".join(f"{done} {stage.name}" for done, stage in pairs)
            return note(
                f"Stopped after {did} steps. They are kept, and the step counts say so: press Edit.", "done"
            )
        if run.cached:
            return note(f"Prepared for {self.about}, from the cache.", "done")
        if step.done == step.total:
            return note(f"Prepared for {self.about}, {run.seconds:.1f} s.", "done")
        left = run.seconds / max(step.done, 1) * (step.total - step.done)
        doing = f"{run.stage.doing}, step {step.done} of {step.total}, about {duration(left)} left"
        return bar(step.done, step.total, doing)
