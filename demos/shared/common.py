"""What the runs of every method share: a method as the page sees it, what is asked of it, and its results.

How a new tab is made. One file in runs/ and one in tabs/:

1. runs/NAME.py makes a `Method`: the module in textedit_core/methods with `edit` (and `fit`, if it has one),
   a `read` that turns the values of the widgets into an `Ask`, the `Axes` that stand in the sweep panel at
   first, and what is its own: the `stages` of its fit, what is kept when that is stopped, the `pictures`
   beside a result, its scores, an axis value to suggest, a ranking of seeds. All but the first three have a
   default.
2. `read(ctx, values)` gets one dict of every widget by name: the fields of the tab, "models", and the knobs.
   It opens the pictures (`open_source`), reads the knobs (`method.settings`) and returns the `Ask`. `args`
   are the positional arguments of the fit, or of the edit where there is no fit, the model first: a mask, an
   exemplar or a latent is one of them. `texts` are those that the edit alone takes, by name. A ValueError is
   the one sentence a person reads.
3. tabs/NAME.py has a class of components.tab.Tab with `method`, `draw_asking` (widgets from the top down),
   `fields` (its inputs that are no knobs, by name), `texts` (the prompts Recall fills in) and `problems`
   (field: sentence). Prepare, Edit, Stop, Recall, the result panel and the sweep panel are wired by Tab. An
   edit that shows more than one picture overrides `finish`.
4. The module offers NAME, METHOD and `build(ctx, models)`, and stands in TABS in demos/app.py.

A result, as a sweep's cell too, is plain data: "edit" and "pictures" (paths by key), "captions" (texts by the
same keys), "record" (JSON), "scores", "words"; a cell has its "coords" too. No tensor is kept in a session:
what has been computed is in the cache under its content.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from demos.context import Context
from demos.shared import safety
from textedit_core import cache, images, metrics, record
from textedit_core.knobs import BoundKnob, divide, hand_over, knobs, method_knobs, positionals
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.steps import Step, last


@dataclass(frozen=True)
class Axes:
    """What stands in the sweep panel at first: two knobs and their values as typed; y may be empty."""

    x: str
    x_values: str
    y: str = ""
    y_values: str = ""


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
class Scale:
    """A score as it is shown: the axis of the chart, in a sentence, and on a tile."""

    title: str
    sentence: str
    tile: str


CLIP_SCALES = {
    "clip": Scale("CLIP score to the prompt", "CLIP score {:.1f}", "CLIP {:.1f}"),
    "similarity": Scale("similarity to the source", "similarity to the source {:.2f}", "similarity {:.2f}"),
}


@dataclass(frozen=True)
class Ask:
    """What the widgets say, read once.

    args: the positional arguments of the fit, or of the edit where there is no fit.  texts: those that the
    edit alone takes, by name.  settings: every knob by name.  prompts, more: what else the record keeps,
    texts and numbers.  picture, source: what a result stands beside, as a picture and as (1,3,H,W).
    goal: the text that CLIP scores against.
    """

    method: "Method"
    name: str
    models: Any
    args: tuple
    settings: dict
    prompts: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    picture: Image.Image | None = None
    source: Tensor | None = None
    goal: str = ""
    sizing: str = "crop"
    more: dict = field(default_factory=dict)

    @property
    def fit(self) -> dict:
        """The keyword arguments of the fit."""
        return divide(self.settings, self.method.edit, self.method.fit)[0]

    @property
    def edit(self) -> dict:
        """The keyword arguments of the edit."""
        return divide(self.settings, self.method.edit, self.method.fit)[1]

    @property
    def title(self) -> str:
        """The prompts in one line."""
        return " → ".join(text for text in self.prompts.values() if text)

    def at(self, settings: dict) -> "Ask":
        """The same with other values for some knobs."""
        return replace(self, settings=self.settings | settings)

    def arguments(self, fitted: Any = None) -> tuple:
        """The positional arguments of the edit, after the fit where there is one."""
        if self.method.fit is None:
            return self.args
        given = dict(zip(positionals(self.method.fit), self.args, strict=False)) | self.texts
        return hand_over(self.method.edit, given, fitted)


def optional_part(models: Any, part: str) -> Any:
    """A part of the models; None where they have none, and where using it would fetch it."""
    return getattr(models, part) if part in models.sources and models.sources[part].is_local() else None


def clip_scores(ask: Ask, edited: Tensor) -> dict[str, float] | None:
    """CLIP score to the goal and CLIP similarity to the source; None where there is no CLIP, or not here."""
    clip = optional_part(ask.models, "clip")
    if clip is None:
        return None
    return {
        "clip": float(metrics.clip_score(clip, edited, ask.goal)),
        "similarity": float(metrics.clip_similarity(clip, edited, ask.source)),
    }


@torch.no_grad()
def autoencoder(model: LatentDiffusion, image: Tensor) -> Iterator[Step[Tensor]]:
    """What the autoencoder alone makes of an image (1,3,H,W): no edit can be closer than this."""
    yield Step(1, 1, model.decode(model.encode(image)))


def rebuilt(ask: Ask) -> Image.Image:
    """The source after the autoencoder, from the cache where it can be."""
    return images.to_pil(last(cache.cached(autoencoder, ask.models.diffusion, ask.source)))[0]


def source_and_autoencoder(ask: Ask) -> dict[str, Image.Image]:
    """The pictures that most results stand beside."""
    return {"source": ask.picture, "reconstruction": rebuilt(ask)}


def no_captions(ask: Ask, edited: Tensor) -> dict[str, str]:
    """Nothing under the pictures."""
    return {}


@dataclass(frozen=True, eq=False)
class Method:
    """A method as the page sees it; the top of this file says how a tab is made of one.

    sweeps: axes to offer under a button each, from the values of the tab's fields.
    stages(settings): the parts of the fit.  keep(ask, step): store a fit stopped at this step and return the
    values of the knobs in `keeps` under which it is a finished one.  pictures(ask): what stands beside a
    result, "source" among them.  captions(ask, edited): lines under those and under "edit".
    score(ask, edited): values for `scales`, or None.  suggest(x, points): the value of the axis x to point
    out, from (x, first score, second score) at each; or None.  rank(ask, fitted, seeds): steps with the
    ranked results so far, each with `seed` and `image`.  edit_steps(settings): steps of one edit.
    part: the part of the models that is loaded first.  headline: the knobs named under a pin.
    batch(ask): how many cells of a sweep are computed at once.
    """

    module: ModuleType
    read: Callable[[Context, dict], Ask]
    axes: Axes
    sweeps: dict[str, Callable[[dict], Axes]] = field(default_factory=dict)
    stages: Callable[[dict], tuple[Stage, ...]] = lambda settings: ()
    keep: Callable[[Ask, Step], dict] | None = None
    keeps: tuple[str, ...] = ()
    pictures: Callable[[Ask], dict[str, Image.Image]] = source_and_autoencoder
    captions: Callable[[Ask, Tensor], dict[str, str]] = no_captions
    score: Callable[[Ask, Tensor], dict[str, float] | None] = clip_scores
    scales: dict[str, Scale] = field(default_factory=lambda: CLIP_SCALES)
    suggest: Callable[[str, list[tuple]], float | None] = lambda x, points: None
    rank: Callable[[Ask, Any, int], Iterator[Step]] | None = None
    edit_steps: Callable[[dict], int] = lambda settings: settings.get("steps", 1)
    part: str = "diffusion"
    headline: tuple[str, ...] = ("seed",)
    memory_hint: str = "Sweep fewer cells at once."
    batch: Callable[[Ask], int] = lambda ask: 8

    @property
    def name(self) -> str:
        """The file name in methods/, which records, Recall and the API use."""
        return self.module.__name__.rpartition(".")[2]

    @property
    def edit(self) -> Callable:
        return self.module.edit

    @property
    def fit(self) -> Callable | None:
        return getattr(self.module, "fit", None)

    @property
    def knobs(self) -> dict[str, BoundKnob]:
        """Every knob by name, those of the fit first."""
        return method_knobs(self.edit, self.fit)

    @property
    def edit_knobs(self) -> tuple[str, ...]:
        return tuple(knobs(self.edit))

    @property
    def fit_knobs(self) -> tuple[str, ...]:
        return tuple(name for name in self.knobs if name not in self.edit_knobs)

    @property
    def labels(self) -> dict[str, str]:
        """Knob names and how the menus call them; those of the edit first, they cost least."""
        known = self.knobs
        return {name: known[name].label for name in (*self.edit_knobs, *self.fit_knobs)}

    def settings(self, values: dict) -> dict:
        """The knobs among the values of the widgets, checked; the others at their defaults."""
        return {name: bound.check(values.get(name, bound.default)) for name, bound in self.knobs.items()}

    def words(self, scores: dict[str, float] | None, seconds: float) -> str:
        """One line under a result."""
        parts = [scale.sentence.format(scores[key]) for key, scale in self.scales.items()] if scores else []
        return ", ".join([*parts, f"{seconds:.1f} s" if seconds >= 0.05 else "from the cache"])


def open_source(diffusion: LatentDiffusion, values: dict) -> tuple[Image.Image, Tensor]:
    """The source image as the model sees it, as a picture and as (1,3,H,W); ValueError, a sentence."""
    opened = images.open_image(values["image"], "Source image")
    tensor = images.to_tensor(opened, diffusion.size, values.get("sizing", "crop"))
    return images.to_pil(tensor)[0], tensor


def describe(ask: Ask) -> record.Record:
    """The record of a result."""
    return record.Record(
        method=ask.method.name,
        models=ask.name,
        prompts=ask.prompts,
        knobs=ask.settings | ask.more,
        image=record.image_sha(ask.picture) if ask.picture else "",
        resize=ask.sizing,
    )


def save(picture: Image.Image, folder: Path, name: str, about: record.Record) -> str:
    """Write a PNG that carries its settings; returns its path."""
    path = folder / f"{name}.png"
    record.save_png(picture, path, about)
    return str(path)


def save_plain(picture: Image.Image, folder: Path, name: str) -> str:
    """Write a PNG without settings, a picture that no method made, once in a folder."""
    path = folder / f"{name}-{record.image_sha(picture)[:8]}.png"
    if not path.exists():
        picture.save(path)
    return str(path)


def present(
    ask: Ask, edited: Tensor, folder: Path, name: str = "edit", seconds: float = 0.0, scored: bool = True
) -> dict:
    """Write the pictures of a result, unless it is refused, and say how good it is: data for the page."""
    safety.check(ask.models, edited)
    about = describe(ask)
    scores = ask.method.score(ask, edited) if scored else None
    beside = ask.method.pictures(ask)
    return {
        "edit": save(images.to_pil(edited)[0], folder, name, about),
        "pictures": {key: save_plain(one, folder, key) for key, one in beside.items()},
        "captions": ask.method.captions(ask, edited),
        "record": about.to_json(),
        "scores": scores,
        "words": ask.method.words(scores, seconds),
    }
