"""What the page adds to a method: one `MethodView` for each, beside the engine's `Method` of the same name.

How a new tab is made:

1. A file makes a `MethodView`: the name of the method's file in textedit_core/methods, the `Axes` that stand
   in the sweep panel at first, and what is its own: the `stages` of its fit, what is kept when that is
   stopped, the `pictures` beside a result, its scores, an axis value to suggest, a ranking of seeds. All but
   the first two have a default.
2. Its `reader` turns the values of the widgets, one dict by name ("models", the fields of the tab, the
   knobs), into a `Request` of the engine. `from_widgets` does so where the inputs of the method are a source
   image and texts, each in a field of its name. A ValueError is the one sentence that a person reads.
3. Another file has a class of shared.tab.Tab with `view`, `draw_asking` (widgets from the top down), `fields`
   (its inputs that are no knobs, by name), `texts` (the prompts that Recall fills in) and `problems` (field:
   sentence). Prepare, Edit, Stop, Recall, the result panel and the sweep panel are wired by Tab. An edit that
   shows more than one picture overrides `finish`.
4. The module offers NAME, METHOD and `build(ctx, models)`, and stands in TABS in demos/app.py.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from demos.context import Context
from demos.shared.uploads import opened
from textedit_core import cache, method, metrics
from textedit_core.costs import Cost
from textedit_core.knobs import BoundKnob
from textedit_core.large import autoencoded
from textedit_core.method import Method
from textedit_core.request import Request, Result, optional_part, request
from textedit_core.steps import Step, last

AT_ONCE = 8_000_000  # pixels of all pictures in a batch that keep their own size
MOST_WEIGHTS = 2  # of LoRAs, in the menus of the axes


@dataclass(frozen=True)
class Axes:
    """What stands in the sweep panel at first: three knobs, their values as typed; y and z may be empty."""

    x: str
    x_values: str
    y: str = ""
    y_values: str = ""
    z: str = ""
    z_values: str = ""


@dataclass(frozen=True)
class Stage:
    """A part of a fit: its name, what is being done in words, its planned steps.

    losses: its losses in the fitted value, for the chart; None for a part that has none.
    """

    name: str
    doing: str
    steps: int
    losses: Callable[[Any], tuple[float, ...]] | None = None


@dataclass(frozen=True)
class Score:
    """How a score is shown: as the axis of a chart, in a sentence, and below a picture."""

    title: str
    sentence: str
    short: str


CLIP_SCORES = {
    "clip": Score("CLIP score to the prompt", "CLIP score {:.1f}", "CLIP {:.1f}"),
    "similarity": Score("similarity to the source", "similarity to the source {:.2f}", "similarity {:.2f}"),
}


def clip_scores(result: Result) -> dict[str, float] | None:
    """CLIP score to the prompt and CLIP similarity to the source; None without a prompt or a CLIP at hand."""
    clip, prompt = optional_part(result.request.models, "clip", fetch=False), prompt_of(result.request)
    if clip is None or not prompt:
        return None
    return {
        "clip": float(metrics.clip_score(clip, result.edited, prompt)),
        "similarity": float(metrics.clip_similarity(clip, result.edited, result.source)),
    }


def prompt_of(asked: Request) -> str:
    """The text that the result is to show: the last of the prompts, "" where there is none."""
    return next(reversed(asked.prompts.values()), "")


def source_and_autoencoder(result: Result) -> dict[str, Tensor]:
    """The pictures that most results stand beside: the source, and what the autoencoder makes of it."""
    rebuilt = last(cache.cached(autoencoded, result.request.models.diffusion, result.source))
    return {"source": result.source, "reconstruction": rebuilt}


def fit_of(result: Result) -> Any:
    """What the fit of a result made; that of a cell of a sweep is in the cache."""
    return result.fitted or last(result.request.fit_call().cached(cache.default))


def keep_stopped(asked: Request, step: Step, fitted: Any, done: dict[str, Any]) -> dict[str, Any]:
    """Store what a fit made up to a step as the whole fit at the settings `done`; returns those."""
    cache.default.put(asked.at(**done).fit_call().key(), cache.Entry(fitted, step.done, step.loss))
    return done


def batch_at_own_size(asked: Request) -> int:
    """How many cells of a sweep are computed at once where a picture is worked on at its own size."""
    return max(1, min(8, AT_ONCE // asked.inputs["image"][0, 0].numel()))


def from_widgets(view: "MethodView", ctx: Context, values: Mapping[str, Any], **more: Any) -> Request:
    """The request of a method whose inputs are the source image and texts, each in a field of its name.

    more: other arguments of `textedit_core.request.request`, `inputs` that are given otherwise among them.
    """
    kinds = {name: one.kind for name, one in view.method.inputs.items()}
    given = {name: values[name].strip() for name, kind in kinds.items() if kind == "text" and name in values}
    given |= more.pop("inputs", {})
    if "image" in kinds and "image" not in given:
        given["image"] = opened(values["image"])
    settings = more.pop("settings", None) or {one: values[one] for one in view.knobs if one in values}
    options = {"resize": values.get("sizing", "crop"), "fetch": False} | more
    return request(view.method, ctx.models(values["models"]), given, settings, **options)


@dataclass(frozen=True, eq=False)
class MethodView:
    """What the page adds to a method; the top of this file says how a tab is made of one.

    fits: whether the page offers the fit before an edit; else the models bring its value, or the person picks
    it.  reader(view, ctx, values): makes the request of the widgets.
    offers: axes to offer under a button each, from the values of the tab's fields.
    stages(settings): the parts of the fit.  keep(request, step): store a fit stopped at this step and return
    the values of the knobs in `keeps` under which it is a finished one.  pictures(result): (1,3,H,W) each,
    what it stands beside, "source" among them.  captions(result): lines under those and under "edit".
    score(result): values for `scores`, or None.  suggest(x, points): the value of the axis x to point out,
    from (x, first score, second score) at each; or None.  rank(request, fitted, seeds): steps with the ranked
    results so far, each with `seed` and `image`.  edit_steps(settings): steps of one edit.
    part: the part of the models that is loaded first.  headline: the knobs named under a pin.
    batch(request): how many cells of a sweep are computed at once.
    """

    name: str
    axes: Axes
    fits: bool = True
    reader: Callable[["MethodView", Context, Mapping[str, Any]], Request] = from_widgets
    offers: Mapping[str, Callable[[dict], Axes]] = field(default_factory=dict)
    stages: Callable[[Mapping[str, Any]], tuple[Stage, ...]] = lambda settings: ()
    keep: Callable[[Request, Step], dict] | None = None
    keeps: tuple[str, ...] = ()
    pictures: Callable[[Result], dict[str, Tensor]] = source_and_autoencoder
    captions: Callable[[Result], dict[str, str]] = lambda result: {}
    score: Callable[[Result], dict[str, float] | None] = clip_scores
    scores: Mapping[str, Score] = field(default_factory=lambda: CLIP_SCORES)
    suggest: Callable[[str, list[tuple]], float | None] = lambda x, points: None
    rank: Callable[[Request, Any, int], Iterator[Step]] | None = None
    edit_steps: Callable[[Mapping[str, Any]], int] = lambda settings: settings.get("steps", 1)
    part: str = "diffusion"
    headline: tuple[str, ...] = ("seed",)
    memory_hint: str = "Sweep fewer cells at once."
    batch: Callable[[Request], int] = lambda request: 8

    @property
    def method(self) -> Method:
        """The engine's method of this name."""
        return method.load(self.name)

    @property
    def takes_pictures(self) -> bool:
        """Whether a sweep may go over several pictures: not where each would need a mask of its own."""
        kinds = {one.kind for one in self.method.inputs.values()}
        return "mask" not in kinds and bool(kinds & {"image", "latent"})

    @property
    def has_fit(self) -> bool:
        return self.fits and self.method.fit is not None

    @property
    def knobs(self) -> dict[str, BoundKnob]:
        """The knobs that have a widget, by name; those of the fit first, those that all methods have last."""
        known = self.method.knobs
        names = (*self.edit_knobs, *self.finish_knobs)
        return dict(known) if self.has_fit else {name: known[name] for name in names}

    @property
    def edit_knobs(self) -> tuple[str, ...]:
        return self.method.edit_knobs

    @property
    def finish_knobs(self) -> tuple[str, ...]:
        return self.method.finish_knobs

    @property
    def fit_knobs(self) -> tuple[str, ...]:
        return tuple(self.method.fit_knobs) if self.has_fit else ()

    @property
    def labels(self) -> dict[str, str]:
        """Knob names and how the menus call them; those of the edit first, they cost least."""
        known = self.knobs
        names = (*self.edit_knobs, *self.finish_knobs, *self.fit_knobs)
        more = self.weights | dict(self.method.text_axes)
        return {name: known[name].label for name in names} | {name: one.label for name, one in more.items()}

    @property
    def weights(self) -> dict[str, BoundKnob]:
        """The weights of the first LoRAs that are added to the models: axes of sweeps, and no widgets."""
        return dict(list(self.method.weights.items())[:MOST_WEIGHTS])

    @property
    def sweepable(self) -> dict[str, BoundKnob]:
        """All that an axis of a sweep may be."""
        return self.knobs | self.weights | dict(self.method.text_axes)

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The knobs among the values of the widgets, checked; the others at their defaults."""
        return {name: bound.check(values.get(name, bound.default)) for name, bound in self.knobs.items()}

    def reset(self, settings: dict, unused: Collection[str], presets: Mapping[str, Any]) -> dict[str, Any]:
        """Checked settings, those of knobs without use at the preset or default.

        So a widget that is hidden asks for no new fit, and a sweep takes the values that suit its cells.
        """
        known = self.knobs
        return settings | {name: known[name].check(presets.get(name, known[name].default)) for name in unused}

    def read(self, ctx: Context, values: Mapping[str, Any]) -> Request:
        """The request that the widgets make; ValueError, a sentence, for what cannot be used."""
        return self.reader(self, ctx, values)

    def words(self, scores: Mapping[str, float] | None, cost: Cost) -> str:
        """One line under a result: its scores, and what the edit has cost."""
        parts = [score.sentence.format(scores[key]) for key, score in self.scores.items()] if scores else []
        time = f"{cost.seconds:.1f} s" if cost.seconds >= 0.05 else "less than 0.1 s"
        return ", ".join([*parts, "from the cache" if cost.cached else time])
