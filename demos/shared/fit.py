"""A fit under way, and what shows it: Prepare, what is being done, the losses."""

from dataclasses import dataclass, field, replace

import gradio as gr

from demos.context import Context, duration
from demos.shared import charts
from demos.shared.marks import bar, note
from demos.shared.view import MethodView, Stage
from textedit_core.cache import Entry
from textedit_core.costs import Cost
from textedit_core.request import Request
from textedit_core.steps import Step


def pace_of(view: MethodView, stage: Stage) -> str:
    """The name under which the pace of a stage is remembered."""
    return f"{view.name} {stage.name}"


@dataclass
class FitProgress:
    """A fit under way: its latest step, the losses so far, and where it ended.

    seconds: of the work so far, in each stage by its name.  kept: the knobs that say what of a stopped fit
    is kept, with their values.
    """

    stages: tuple[Stage, ...]
    step: Step | None = None
    cached: bool = False
    stopped: bool = False
    kept: dict = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def finished(cls, view: MethodView, asked: Request, entry: Entry) -> "FitProgress":
        """A fit that was found in the cache."""
        step = Step(entry.total, entry.total, entry.value, entry.loss)
        return cls(view.stages(asked.settings), step, cached=True)

    def of_kept(self, planned: tuple[Stage, ...], kept: dict) -> "FitProgress":
        """The same, told as what is kept of a longer fit that was stopped."""
        return replace(self, stages=planned, stopped=True, kept=kept)

    def take(self, step: Step, cost: Cost) -> None:
        """Go on to the next step; `cost`: of the whole fit up to it."""
        name = self.stage.name
        self.cached = cost.cached
        self.seconds[name] = self.seconds.get(name, 0.0) + cost.seconds - sum(self.seconds.values())
        self.step = step
        if step.loss is not None:
            self.losses.setdefault(name, []).append(step.loss)

    @property
    def ended(self) -> bool:
        return self.stopped or (self.step is not None and self.step.done == self.step.total)

    @property
    def done(self) -> list[int]:
        """Steps done in each stage."""
        found, left = [], self.step.done if self.step else 0
        for stage in self.stages:
            found.append(min(left, stage.steps))
            left -= found[-1]
        return found

    @property
    def stage(self) -> Stage:
        """The stage under way, at the end the last one."""
        pairs = zip(self.stages, self.done, strict=True)
        return next((stage for stage, done in pairs if done < stage.steps), self.stages[-1])

    @property
    def curves(self) -> list[tuple[str, tuple[float, ...], int]]:
        """Name, losses so far and planned steps of each stage that has losses, for the chart."""
        drawn, fitted = [stage for stage in self.stages if stage.losses], self.step and self.step.value
        names = [f"{i} {stage.name}" if len(drawn) > 1 else stage.name for i, stage in enumerate(drawn, 1)]
        losses = [s.losses(fitted) if fitted is not None else self.losses.get(s.name, ()) for s in drawn]
        return list(zip(names, losses, (stage.steps for stage in drawn), strict=True))

    def remember_pace(self, ctx: Context, view: MethodView, models: str) -> None:
        """Learn from a finished fit how long its stages take."""
        if not self.cached:
            for stage in self.stages:
                seconds = self.seconds.get(stage.name, 0.0)
                ctx.pace.observe(models, pace_of(view, stage), stage.steps, seconds)


class FitPanel:
    """`show(progress)` gives the updates for a fit; `about` says what it is for: "this image ...".

    It draws the button; the run bar draws `status`, and the result panel `losses`.

    shown_key: the key of the fit that the sentence speaks of, or "" for the invitation.
    unfinished: what is kept of a fit that was stopped, {} for none: "key", that of the whole fit, "kept", the
    values of the knobs under which it is a finished one, and "made", the key of that one.
    """

    def __init__(self, method: str, about: str, invitation: str) -> None:
        self.about, self.shown_key, self.unfinished = about, gr.State(""), gr.State({})
        self.invitation = note(f"{invitation} Edit does it for you if you skip it.")
        self.button = gr.Button("Prepare only", size="sm", elem_id=f"{method}-prepare")
        self.status = gr.HTML(
            self.invitation,
            label="Preparation status",
            elem_id=f"{method}-prepare-status",
            elem_classes="fit-status",
            render=False,
        )
        self.losses = gr.HTML(label="Losses", render=False)

    def show(self, progress: FitProgress) -> dict:
        """Updates for the sentence and the curves."""
        return {self.status: self.words(progress), self.losses: charts.losses(progress.curves)}

    def invite(self) -> dict:
        """Updates where nothing has been prepared for what is asked now."""
        return {self.status: self.invitation, self.losses: "", self.shown_key: ""}

    def words(self, progress: FitProgress) -> str:
        """What a fit is doing, or has done, in one sentence."""
        step, seconds = progress.step, sum(progress.seconds.values())
        if progress.stopped and not progress.kept:
            at = f"Stopped at step {step.done} of {step.total}."
            return note(f"{at} An unfinished preparation is of no use, so none of it is kept.")
        if progress.stopped:
            pairs = zip(progress.done, progress.stages, strict=True)
            did = " and ".join(f"{done} of {stage.steps} {stage.name}" for done, stage in pairs)
            return note(f"Kept {did} steps. Edit uses them.", "done")
        if progress.cached:
            return note(f"Prepared for {self.about}, from the cache.", "done")
        if step.done == step.total:
            return note(f"Prepared for {self.about}, {seconds:.1f} s.", "done")
        left = seconds / max(step.done, 1) * (step.total - step.done)
        doing = f"{progress.stage.doing}, step {step.done} of {step.total}, about {duration(left)} left"
        return bar(step.done, step.total, doing)
