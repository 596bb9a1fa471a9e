"""The preparation of a tab: while it runs, when it was stopped, and when what it was made for has changed."""

from collections.abc import Iterator

import gradio as gr

from demos.context import Context
from demos.shared import fitting
from demos.shared.checks import guarded
from demos.shared.common import Ask, Method
from demos.shared.events import follow
from demos.shared.fit import FitPanel
from demos.shared.fitting import Fitting
from demos.shared.marks import CROWD


class Preparing:
    """The half of components.tab.Tab that has to do with `fit`, its FitPanel; None for a method without."""

    ctx: Context
    method: Method
    models: gr.Dropdown
    controls: dict
    fit: FitPanel | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the models that a preparation takes."""
        return (self.method.part,)

    @property
    def fit_fields(self) -> dict:
        """The inputs that a preparation is made for, by name, beside models and knobs."""
        return self.fields

    @property
    def fit_outputs(self) -> list:
        """What a fit under way may update; Stop sets the knobs it keeps to what was done."""
        if not self.fit:
            return []
        knobs = [self.controls[name] for name in self.method.keeps]
        return [self.fit.status, self.fit.losses, *knobs, self.fit.planned, self.fit.told]

    @property
    def planned(self) -> dict:
        """What Prepare and Edit are asked with too: the values that an earlier Stop has changed."""
        return {"planned": self.fit.planned} if self.fit else {}

    def follow_fit(self) -> None:
        """The panel speaks of what is asked now: after every change of it, and of what a run has told."""
        fields, knobs = self.fit_fields.values(), [self.controls[name] for name in self.method.fit_knobs]
        asked = self.inputs | self.planned
        set_knobs = [self.controls[name] for name in self.method.keeps]
        if set_knobs:
            set_back = {"inputs_kwargs": asked, "outputs": [*set_knobs, self.fit.planned], **CROWD}
            follow([one.change for one in fields], self.set_back, **set_back)
        # One event for all of it: the page sends the next only when the last has answered, so that an answer
        # from before the end of a run never comes after one from behind it.
        follow(
            [one.change for one in (*fields, self.models, *knobs, self.fit.told)],
            self.say_fit,
            inputs_kwargs={**self.inputs, "told": self.fit.told},
            outputs=[self.fit.status, self.fit.losses, self.fit.told],
            **CROWD,
        )
        # Other models bring their presets, and those are what counts from then on.
        follow([self.models.input], lambda: {}, None, self.fit.planned, **CROWD)

    # --- handlers -----------------------------------------------------------------------------------------

    @guarded("fit.status")
    def prepare(self, request: gr.Request, **values):
        """Do the part of the method that is done once for its inputs, and keep it under its content."""
        with self.ctx.stops.running(request.session_hash) as stop:
            if (yield from self.before(values, stop, self.fit.status)):
                ask = self.method.read(self.ctx, values)
                yield from self.fitting(ask, stop, values.get("planned"))

    def fitting(self, ask: Ask, stop, planned: dict | None = None) -> Iterator[dict]:
        """Yield page updates while the fit runs; returns its last state."""
        for run in fitting.prepare(self.ctx, ask, stop):
            ended = run.stopped or run.step.done == run.step.total
            yield self.fit.show(run) | (self.at_end(ask, run, planned or {}) if ended else {})
        return run

    def at_end(self, ask: Ask, run: Fitting, planned: dict) -> dict:
        """Updates at the end of a fit: which one is spoken of, and what a Stop has done to the knobs.

        planned: {knob: (value before a Stop, value after)} of an earlier one.
        """
        updates = {self.fit.told: fitting.key(ask.at(run.kept))}
        changed = {}
        for name, kept in run.kept.items():
            before, after = planned.get(name, (None, None))
            asked = ask.settings[name]
            changed[name] = (before if after == asked else asked, kept)
            updates[self.controls[name]] = kept
        return updates | ({self.fit.planned: changed} if changed else {})

    def set_back(self, *, planned: dict, **values) -> dict:
        """For another image, prompt or latent: the knobs as they were before a Stop, unless set since."""
        back = {name: before for name, (before, kept) in (planned or {}).items() if values[name] == kept}
        return {self.controls[name]: value for name, value in back.items()} | {self.fit.planned: {}}

    def say_fit(self, *, told: str, **values) -> dict:
        """Whether what is asked now has been prepared; `told` is the key of what the panel speaks of."""
        ask = self.fit_ask(values)
        return self.fit.follow(fitting.key(ask) if ask else "", told, ask)

    def fit_ask(self, values: dict) -> Ask | None:
        """What Prepare would be asked with; None while that is not complete, or nothing is in memory."""
        known = values | {name: values[name] or "" for name in self.texts}
        try:
            loaded = all(self.ctx.loaded(values["models"], part) for part in self.parts)
            return self.method.read(self.ctx, known) if loaded and self.pictured(values) else None
        except (ValueError, OSError):
            return None

    def pictured(self, values: dict) -> bool:
        """Whether the picture that a preparation is made for is there."""
        return bool(values["image"])
