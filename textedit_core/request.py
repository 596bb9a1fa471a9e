"""A request: one picture to be made, with all that it depends on; and the one way in which it is made.

The page makes a request of its widgets, the command line of its flags, Compare and the bench one for each
method, a notebook by hand:

    models = zoo.load("toon")
    asked = request("imagic", models, {"image": picture, "prompt": "a happy person"}, {"eta": 0.8})
    result = last(run(asked))
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from textedit_core import cache as caches
from textedit_core import details, images, large, masks, method
from textedit_core.costs import Cost, Costs
from textedit_core.device import on_device
from textedit_core.knobs import BoundKnob, knobs
from textedit_core.method import Input, Method
from textedit_core.methods import projection
from textedit_core.models import zoo
from textedit_core.models.additions import WEIGHTS
from textedit_core.models.diffusion import upscaler_tuning
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.style import latents
from textedit_core.models.style.latents import Latent
from textedit_core.record import Record, image_sha
from textedit_core.steps import Step

MULTIPLE = 8  # pixels, of which both sides of a picture are multiples that is worked on at its own aspect
# The stages, in their order.
PROJECTING, FITTING, EDITING, TUNING, FINISHING = "projection", "fit", "edit", "upscaler", "finish"
# The settings of a picked and of a projected latent, by their names in a record and on the command line.
SAMPLE = {f"latent_{name}": knob for name, knob in knobs(latents.from_seed).items()}
PROJECTION = {f"projection_{name}": knob for name, knob in knobs(projection.fit).items()}


@dataclass(frozen=True)
class Sample:
    """A latent named by a seed: sampled in W and truncated towards the mean."""

    seed: int = 0
    truncation: float = 0.7


@dataclass(frozen=True, eq=False)
class Projected:
    """The latent that rebuilds a picture (1,3,S,S), S the generator's size, to be found by projection.

    settings: a value for every knob of `projection.fit`, by its name there.  fetch: whether the encoder, CLIP
    and the identity network, which it can do without, are fetched from the hub where they are not here.
    """

    image: Tensor
    settings: Mapping[str, Any]
    fetch: bool = True

    def call(self, models: zoo.Models) -> Call:
        """The projection by these models."""
        parts = (optional_part(models, one, self.fetch) for one in ("encoder", "clip", "identity"))
        return Call(projection.fit, (models.generator, *parts, self.image), self.settings)


class Call(NamedTuple):
    """A call of a method's `fit` or `edit`, or of a projection, and its key in a cache.

    settings: the function's knobs, by its own names for them.
    """

    function: Any
    arguments: tuple[Any, ...]
    settings: Mapping[str, Any]

    def key(self) -> str:
        """Its key in a cache."""
        return caches.key(self.function, self.arguments, dict(self.settings))

    def cached(self, cache: caches.Cache) -> Iterator[Step[Any]]:
        """Its steps, or one finished step from the cache."""
        return caches.lookup_or_run(cache, self.key(), self.steps)

    def steps(self) -> Iterator[Step[Any]]:
        """Its steps, computed where the heavy work is done."""
        return on_device(*self)


@dataclass(frozen=True, eq=False)
class Request:
    """All that one picture depends on, and nothing else: equal requests give equal pictures.

    inputs: the value of every input of the method, by name: parts of the models (None for one that only the
    fit takes, where nothing is fitted), pictures (1,3,H,W) in [-1,1], masks (1,1,H,W), texts; a latent as a
    `Latent`, or as a `Sample` or `Projected` that becomes one when it is needed.
    settings: a value for every knob by its name in `Method.knobs`, and for the weight of every LoRA that is
    added to the models, which have it so.  fitted: a value to use instead of making
    a fit: one that comes with the models, or that was picked; else None.  picture: the source as it was
    opened, None where a latent was picked.  resize: how pictures were made square, "crop" or "pad",
    or "native".
    prompts: the texts a person gave, by name.  notes: further facts for the record.
    """

    method: Method
    models: zoo.Models
    inputs: Mapping[str, Any]
    settings: Mapping[str, Any]
    fitted: Any = None
    picture: Image.Image | None = None
    resize: images.Fit = "crop"
    prompts: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def at(self, **settings: Any) -> Request:
        """The same request with other knobs or texts. ValueError for a wrong name or value."""
        texts = {name: settings[name] for name in self.method.texts if name in settings}
        checked = self.method.checked({name: settings[name] for name in settings if name not in texts})
        changed = replace(self.with_texts(texts), settings={**self.settings, **checked})
        weights = {name: value for name, value in checked.items() if name in self.method.weights}
        models = _at_weights(self.models, weights)
        if models is self.models:
            return changed
        kinds = {one.name: one.kind for one in self.method.inputs.values()}
        parts = {name: models.diffusion for name, kind in kinds.items() if kind == "diffusion"}
        return replace(changed, models=models, inputs={**changed.inputs, **parts})

    def with_texts(self, texts: Mapping[str, str]) -> Request:
        """The same request with other texts, by the names of the inputs.

        ValueError for one that what is fitted was made for.
        """
        if self.fitted is not None and (
            given := [name for name in texts if name in self.method.fit_arguments]
        ):
            raise ValueError(f"{', '.join(given)}: what is fitted was made for this text; it cannot change.")
        return (
            replace(self, inputs={**self.inputs, **texts}, prompts={**self.prompts, **texts})
            if texts
            else self
        )

    @property
    def has_fit(self) -> bool:
        """Whether a fit is to be made before the edit."""
        return self.method.fit is not None and self.fitted is None

    @property
    def recorded(self) -> dict[str, Any]:
        """The settings that the picture depends on: without those of the fit where there is none to make, and
        of what is done with a finished edit where nothing is."""
        names = (*(self.method.fit_knobs if self.has_fit else ()), *self.method.edit_knobs)
        weights = {name: self.settings[name] for name in self.method.weights if name in self.settings}
        return {name: self.settings[name] for name in names} | weights | self.finishing

    @cached_property
    def record(self) -> Record:
        """The record of its result."""
        facts: dict[str, Any] = {}
        chosen = self.inputs[self.method.latent.name] if self.method.latent else None
        if isinstance(chosen, Sample):
            facts = {"latent_seed": chosen.seed, "latent_truncation": chosen.truncation}
        elif isinstance(chosen, Projected):
            facts = {f"projection_{name}": value for name, value in chosen.settings.items()}
        elif isinstance(chosen, Latent):
            facts = {"latent_sha": chosen.fingerprint}
        return Record(
            method=self.method.name,
            models=self.models.name,
            prompts=dict(self.prompts),
            knobs={**self.recorded, **facts, **self.notes},
            image=image_sha(self.picture) if self.picture else "",
            resize=self.resize,
        )

    def projection_call(self) -> Call | None:
        """The projection that finds its latent; None where it has one."""
        chosen = self.inputs[self.method.latent.name] if self.method.latent else None
        return chosen.call(self.models) if isinstance(chosen, Projected) else None

    def with_latent(self, latent: Latent | None) -> Request:
        """The same request with this latent. Without one, a `Sample` is replaced by its latent."""
        if self.method.latent is None:
            return self
        name = self.method.latent.name
        if latent is None and isinstance(chosen := self.inputs[name], Sample):
            latent = latents.from_seed(self.models.generator, seed=chosen.seed, truncation=chosen.truncation)
        return self if latent is None else replace(self, inputs={**self.inputs, name: latent})

    def fit_call(self) -> Call:
        """The fit. The latent must have been found."""
        how = self.method
        assert how.fit is not None
        arguments = tuple(self.inputs[name] for name in how.fit_arguments)
        return Call(how.fit, arguments, how.split(self.settings)[0])

    def edit_call(self, fitted: Any = None) -> Call:
        """The edit after a fit. The latent must have been found."""
        how, known = self.method, {**self.inputs, self.method.fitted: fitted}
        arguments = tuple(known[name] for name in how.edit_arguments)
        return Call(how.edit, arguments, how.split(self.settings)[1])

    @property
    def finishing(self) -> dict[str, Any]:
        """The settings of what is done with a finished edit; {} where it is shown as it is."""
        chosen = {name: self.settings[name] for name in self.method.finish_knobs}
        unused: tuple[str, ...] = () if chosen["upscale"] == "diffusion" else large.OF_DIFFUSION
        if not chosen.get("upscaler_tuning_steps"):
            unused += large.OF_TUNING
        chosen = {name: value for name, value in chosen.items() if name not in unused}
        return chosen if chosen["upscale"] != "none" or chosen.get("keep_details") else {}

    def rebuild_call(self, fitted: Any = None) -> Call:
        """What the models make of the source unedited, at their own size. The latent must have been found."""
        how = self.method
        if how.rebuild is not None:
            return Call(how.rebuild, (self.inputs["model"], fitted), {})
        if how.latent is not None:
            return Call(large.rendered, (self.models.generator, self.inputs[how.latent.name]), {})
        return Call(large.autoencoded, (self.inputs["model"], self.inputs["image"]), {})

    @property
    def tunes_upscaler(self) -> bool:
        """Whether the upscaler learns the source before it draws."""
        return "upscaler_tuning_steps" in self.finishing

    def tuning_call(self, edit: Tensor) -> Call:
        """What the upscaler learns of the source, for edits of this size (1,3,h,w)."""
        height, width = (
            round(side * self._scale(*edit.shape[-2:]) / large.SCALE) for side in edit.shape[-2:]
        )
        own = self.own_picture
        left, top, right, bottom = self.seen(own.shape[3], own.shape[2])
        multiple = self.models.upscaler.multiple
        sides = (large.SCALE * (side - side % multiple) for side in (height, width))
        seen = details.resized(own[..., top:bottom, left:right], tuple(sides))
        finishing = self.finishing
        arguments = self.models.upscaler, seen, self.prompts["prompt"], finishing["upscaler_noise"]
        return Call(upscaler_tuning.tune, arguments, {name: finishing[name] for name in large.OF_TUNING})

    def finish_call(self, edit: Tensor, rec: Tensor | None, tuned: Any = None) -> Call:
        """What is done with an edit (1,3,h,w).

        rec: of `rebuild_call`, needed where details are kept.  tuned: of `tuning_call`, where there is one.
        """
        own = self.own_picture if rec is not None else None
        box = None if own is None else self.seen(own.shape[3], own.shape[2])
        enlarger = optional_part(self.models, "enlarger", fetch=False)
        scale = self._scale(*edit.shape[-2:])
        drawing: tuple[Any, ...] = ()
        if self.finishing.get("upscale") == "diffusion":
            seed = self.settings.get("seed", 0)
            drawing = self.models.upscaler, self.prompts.get("prompt", ""), seed, tuned
        settings = {name: value for name, value in self.finishing.items() if name in large.OF_FINISH}
        return Call(large.finish, (edit, rec, own, box, enlarger, scale, *drawing), settings)

    @property
    def own_picture(self) -> Tensor:
        """The source at its own size, (1,3,H,W) in [-1,1]. ValueError where a latent was picked."""
        if self.picture is not None:
            return images.native_tensor(self.picture)
        if "image" not in self.inputs:
            raise ValueError(_NO_DETAILS)
        return self.inputs["image"].cpu()

    @property
    def shown_size(self) -> tuple[int, int]:
        """Height and width of its picture, in pixels."""
        side = self.models.generator.size if self.method.latent else 0
        height, width = self.inputs["image"].shape[-2:] if "image" in self.inputs else (side, side)
        scale = self._scale(height, width) if self.settings["upscale"] != "none" else 1.0
        height, width = round(height * scale), round(width * scale)
        if not self.settings.get("keep_details") or self.picture is None:
            return height, width
        _, top, _, bottom = self.seen(self.picture.width, self.picture.height)
        times = max(1.0, height / (bottom - top)) if scale > 1 else 1.0
        return round(self.picture.height * times), round(self.picture.width * times)

    def seen(self, width: int, height: int) -> masks.Box:
        """The part of its picture of this size that the models see."""
        image = self.inputs.get("image")
        shape = (1, 1) if image is None else (image.shape[2], image.shape[3])
        return details.box_of(width, height, self.resize, shape=shape)

    def _scale(self, height: int, width: int) -> float:
        """How many times the side an edit becomes by `upscale`: one at its own size no larger than others."""
        if not self.method.any_size:
            return large.SCALE
        return max(1.0, min(large.SCALE, large.SCALE * _model_size(self.inputs) / max(height, width)))


@dataclass(frozen=True, eq=False)
class Result:
    """A finished picture.

    image: (1,3,H,W) in [-1,1].  fitted: what the fit made, None without one.  costs: seconds and UNet rows of
    each stage, and whether it came from the cache.  located: the request with its latent found.
    unfinished: the edit at the models' own size, where `image` is what was made of it; else None.
    known_source: what `source` is, for a caller that has it, so that it is not rendered again.
    """

    image: Tensor
    request: Request
    fitted: Any = None
    costs: Mapping[str, Cost] = field(default_factory=dict)
    located: Request | None = None
    unfinished: Tensor | None = None
    known_source: Tensor | None = None

    @cached_property
    def source(self) -> Tensor | None:
        """What it was made of, as by `source_of`; the image of a latent is rendered when first asked for."""
        return source_of(self.located or self.request) if self.known_source is None else self.known_source

    @property
    def edited(self) -> Tensor:
        """The edit as the method made it, (1,3,h,w) like `source`: what is measured."""
        return self.image if self.unfinished is None else self.unfinished

    @cached_property
    def source_shown(self) -> Tensor | None:
        """The source in the frame and at the size of `image`, to stand beside it; None where `source` is."""
        if self.unfinished is None or self.source is None:
            return self.source
        asked, size = self.request, (self.image.shape[2], self.image.shape[3])
        if asked.settings.get("keep_details"):
            return details.resized(asked.own_picture, size)
        if asked.picture is not None and asked.method.latent is None and not asked.method.any_size:
            return images.square_tensor(asked.picture, size[0], asked.resize)
        return details.resized(self.source, size)

    @cached_property
    def latent(self) -> Latent:
        """The latent after the edit, of which `image` is made, to be saved or edited further.

        Raises ValueError for a method that edits no latent.
        """
        how, found = self.request.method, self.located or self.request
        if how.edited_latent is None:
            raise ValueError(f"{how.name} edits no latent: there is none to keep.")
        call = found.edit_call(self.fitted)
        return how.edited_latent(*call.arguments, **call.settings)

    @property
    def record(self) -> Record:
        """What it depends on, for its PNG."""
        return self.request.record

    @property
    def seconds(self) -> float:
        """The seconds of all stages together."""
        return sum(cost.seconds for cost in self.costs.values())

    @property
    def rows(self) -> int | None:
        """UNet rows of all stages; None where no UNet is at work."""
        counted = [cost.rows for cost in self.costs.values() if cost.rows is not None]
        return sum(counted) if counted else None


# --- making a request -------------------------------------------------------------------------------------


def request(
    asked: Method | str,
    models: zoo.Models,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    *,
    resize: images.Fit = "crop",
    swept: Collection[str] = (),
    fetch: bool = True,
    notes: Mapping[str, Any] | None = None,
) -> Request:
    """A request made of what a person gave: checked, and everything else filled in.

    asked: the method, or the name of its file in methods/.
    inputs: what the person gives, by the names of the method's inputs: a picture or mask as a PIL image, made
    square by `resize` ("crop" or "pad"; "native" keeps its aspect for a model of texts, see
    `images.native_size`; at its native size for a method of any size), or as a tensor of the right size;
    texts; a latent as `Latent`, `Sample` or `Projected`, or as a picture to project with the models' preset.
    A fitted value may be given too, under the name of the edit's parameter; then no fit is made.
    models: of a method that does not use the text-to-image model, what is added to that is left out.
    settings: values by knob; others are the models' preset, else the paper's default.  swept: knobs that a
    sweep will set.  fetch: whether parts that may be missing are fetched from the hub.  notes: further facts
    for the record.

    Where the models come with the fitted value (a relevance, a mapper for this prompt), it is used instead of
    a fit, unless a setting of the fit is given or swept. ValueError, a sentence that names the input or the
    knob, for every mistake.
    """
    how = method.load(asked) if isinstance(asked, str) else asked
    typed = how.checked(settings or {})
    weights = {name: typed.pop(name) for name in how.weights if name in typed}
    models = _at_weights(models, weights) if how.weights else models.base or models
    defaults = {name: knob.default for name, knob in how.knobs.items()}
    chosen = defaults | preset(models, how.name, how.knobs) | typed
    if models.additions is not None:
        chosen |= models.additions.weights
    prompts = {name: inputs[name] for name in how.texts if inputs.get(name) is not None}
    fitted = inputs.get(how.fitted) if how.fitted else None
    if fitted is None and how.fitted in zoo.PRETRAINED and not {*typed, *swept} & {*how.fit_knobs}:
        fitted = models.pretrained(how.fitted, prompts.get("prompt", ""))
    given = _parts(how, models, fitted is not None, fetch)
    if resize == "native" and how.any_size:
        resize = "crop"  # the picture is native anyway, and its exemplar a square
    size = _native_size(given, inputs.get("image")) if resize == "native" else _model_size(given)
    for one in how.inputs.values():
        if one.kind in method.GIVEN:
            value = inputs.get(one.name)
            if how.any_size and one.kind == "mask" and isinstance(value, Image.Image):
                value = _over(value, inputs.get("image"))
            given[one.name] = _given(one, how, models, value, size, resize, fetch)
    opened = _opened(how, inputs, given)
    if chosen["upscale"] == "diffusion":
        _check_upscaler(models, fetch)
        if chosen.get("upscaler_tuning_steps"):
            _check_tuning(given, prompts, opened)
    if chosen.get("keep_details") and how.latent and opened is None:
        if typed.get("keep_details"):
            raise ValueError(_NO_DETAILS)
        chosen["keep_details"] = 0.0  # the preset's is for pictures
    return Request(how, models, given, chosen, fitted, opened, resize, prompts, notes or {})


def _opened(how: Method, inputs: Mapping[str, Any], given: Mapping[str, Any]) -> Image.Image | None:
    """The person's own picture, that is edited or projected; None where a latent is picked."""
    name = how.latent.name if how.latent else "image"
    if isinstance(picture := inputs.get(name), Image.Image):
        return picture
    made = given.get(name)
    return images.to_pil(made.image)[0] if isinstance(made, Projected) else None


def _parts(how: Method, models: zoo.Models, is_fitted: bool, fetch: bool) -> dict[str, Any]:
    """The parts of the models that the method takes, by the names of its inputs; None for what only a fit
    takes where `is_fitted`."""
    unused = set(how.fit_arguments) - set(how.edit_arguments) if is_fitted else ()
    given: dict[str, Any] = {}
    for one in how.inputs.values():
        if one.kind in method.GIVEN:
            continue
        if one.name in unused:
            given[one.name] = None
        elif one.required:
            given[one.name] = getattr(models, one.kind)
        else:
            given[one.name] = optional_part(models, one.kind, fetch)
    return given


def _check_upscaler(models: zoo.Models, fetch: bool) -> None:
    """ValueError, before any work, for models without an upscaler, or with one to be fetched first."""
    source = models.source("upscaler")
    if not fetch and not source.is_local():
        raise ValueError(
            f"Upscale: {source.repo} ({source.gigabytes():.2g} GB, {source.license}) is not on this machine; "
            "an edit on the command line with --upscale diffusion fetches it."
        )


def _check_tuning(given: Mapping[str, Any], prompts: Mapping[str, str], picture: Image.Image | None) -> None:
    """ValueError where there is nothing larger than the edit to learn from, or no text to learn it under."""
    if "prompt" not in prompts:
        raise ValueError(
            "Upscaler tuning steps: this method has no prompt to learn your picture under; set 0."
        )
    side = large.SCALE * _model_size(given)
    if picture is None or min(picture.size) < side / 2:
        size = "it is a latent" if picture is None else f"yours has {picture.width} x {picture.height} pixels"
        raise ValueError(
            f"Upscaler tuning steps: the upscaler learns from a picture of about {side} x {side} pixels, and "
            f"{size}; add a larger one, or set 0."
        )


def optional_part(models: zoo.Models, part: str, fetch: bool = True) -> Any:
    """A part of the models that a method can do without; None where they have none.

    fetch: whether it is fetched from the hub where it is not on this machine; else that is None too.
    """
    if part not in vars(models):  # where a cached property keeps what has been loaded
        source = models.sources.get(part)
        if source is None or not (fetch or source.is_local()):
            return None
    return getattr(models, part)


def preset(models: zoo.Models, name: str, known: Mapping[str, BoundKnob]) -> dict[str, Any]:
    """The values that the models' presets.json has for a method's knobs; ValueError for one that is wrong.

    name: of the method's file.  known: its knobs.
    """
    found = models.presets.get(name, {})
    unknown = ", ".join(sorted(set(found) - set(known)))
    if unknown:
        raise ValueError(f"presets.json of {models.name}: '{name}' has no knob called {unknown}.")
    return {knob: known[knob].check(value) for knob, value in found.items()}


def projected(
    models: zoo.Models,
    picture: Image.Image,
    resize: images.Fit = "crop",
    settings: Mapping[str, Any] | None = None,
    fetch: bool = True,
) -> Projected:
    """A picture to be projected; settings by the knobs of `projection.fit`, else by the models' preset."""
    known = knobs(projection.fit)
    chosen = {name: known[name].check(value) for name, value in (settings or {}).items()}
    image = images.square_tensor(picture, models.generator.size, resize).to(models.device)
    return Projected(image, preset_of_projection(models) | chosen, fetch)


def preset_of_projection(models: zoo.Models) -> dict[str, Any]:
    """A value for every knob of `projection.fit`: the models' preset, else the default."""
    known = knobs(projection.fit)
    return {name: knob.default for name, knob in known.items()} | preset(models, "projection", known)


def _at_weights(models: zoo.Models, weights: Mapping[str, float]) -> zoo.Models:
    """The models with these weights of their LoRAs. ValueError, a sentence, for one that they do not have."""
    if not weights:
        return models
    known = models.additions.weights if models.additions is not None else {}
    for name in weights:
        if name not in known:
            has = f"{len(known)} LoRA{'s' * (len(known) != 1)}" if known else "no LoRA"
            raise ValueError(
                f"{WEIGHTS[name].label}: {has} is added to the models; add one, as in "
                f"{(models.base or models).name} + style.safetensors."
            )
    return models.at_weights(weights)


def _model_size(given: Mapping[str, Any]) -> int:
    """The side of the square pictures that the method's model works on, in pixels, of CLIP where that is the
    only one; 0 without a model."""
    for known in ("model", "generator", "clip"):
        if given.get(known) is not None:
            return given[known].size
    return 0


def _native_size(given: Mapping[str, Any], picture: Any) -> int | tuple[int, int]:
    """The (width, height) at which a model of texts works on this picture; of others the side of a square."""
    model = given.get("model")
    if not isinstance(model, LatentDiffusion) or not isinstance(picture, Image.Image):
        return _model_size(given)
    multiple = max(MULTIPLE, model.latent_scale)
    return images.native_size(picture.size, model.size, multiple, images.BUCKETS if model.has_buckets else ())


def _over(mask: Image.Image, picture: Any) -> Image.Image:
    """A mask as large as the picture that it is of. ValueError for one of another shape."""
    if picture is None:
        return mask
    size = picture.size if isinstance(picture, Image.Image) else (picture.shape[3], picture.shape[2])
    return images.mask_at(images.open_mask(mask), size)


def _given(
    one: Input,
    how: Method,
    models: zoo.Models,
    value: Any,
    size: int | tuple[int, int],
    resize: images.Fit,
    fetch: bool,
) -> Any:
    """What a person gave for an input as the method takes it, its default for nothing."""
    if value is None:
        if one.required:
            raise ValueError(f"{one.name}: {how.name} needs {_WANTED[one.kind]}.")
        return one.default
    if one.kind == "text":
        if not isinstance(value, str):
            raise ValueError(f"{one.name}: {how.name} needs a text, not a {type(value).__name__}.")
        return value
    if one.kind == "latent":
        return projected(models, value, resize, fetch=fetch) if isinstance(value, Image.Image) else value
    if not isinstance(value, Image.Image):
        return value.to(models.device)
    if how.any_size and one.name in ("image", "mask"):
        whole = images.native_mask if one.kind == "mask" else images.native_tensor
        return whole(value).to(models.device)
    if isinstance(size, tuple):
        sized = images.sized_mask if one.kind == "mask" else images.sized_tensor
        return sized(value, size).to(models.device)
    square = images.square_mask if one.kind == "mask" else images.square_tensor
    return square(value, size, resize).to(models.device)


_NO_DETAILS = (
    "Keep details: there is no picture of yours to keep them from; choose 0, or start from a picture."
)
_WANTED = {
    "image": "a picture",
    "mask": "a mask, white where the picture is to change",
    "text": "a text",
    "latent": "a latent: give a seed, or a picture to project",
}


# --- running it -------------------------------------------------------------------------------------------


def run(asked: Request, cache: caches.Cache | None = None, costs: Costs | None = None) -> Iterator[Step[Any]]:
    """Make the picture: its projection, its fit and its edit, each from the cache where it is known.

    Every step names its stage, "projection", "fit", "edit" or "finish", and counts within it. A step of the
    first two has what is found so far as its value; the value of the last step is the `Result`. Closing the
    iterator stops the work at once.  costs: where seconds and UNet rows are counted.
    """
    costs = costs or Costs(asked.models.device, asked.inputs)
    found, fitted = yield from project_and_fit(asked, cache, costs)
    image, step = yield from _stage(EDITING, found.edit_call(fitted), cache, costs)
    result = yield from _finished(asked, found, fitted, image, cache, costs)
    yield Step(step.total, step.total, result, step.loss, EDITING)


def finish(
    asked: Request,
    fitted: Any,
    edit: Tensor,
    cache: caches.Cache | None = None,
    costs: Costs | None = None,
) -> Iterator[Step[Any]]:
    """What `run` does with a finished edit (1,3,h,w), for a caller that has made it in a batch of its own.

    asked: with its latent found. The value of the last step is the `Result`.
    """
    costs = costs or Costs(asked.models.device, asked.inputs)
    result = yield from _finished(asked, asked, fitted, edit, cache, costs)
    yield Step(1, 1, result, stage=FINISHING)


def fit(asked: Request, cache: caches.Cache | None = None, costs: Costs | None = None) -> Iterator[Step[Any]]:
    """The projection and the fit alone, as in `run`; the last value is what the fit made."""
    steps = project_and_fit(asked, cache, costs or Costs(asked.models.device, asked.inputs))
    if asked.has_fit:
        yield from steps
    else:
        yield from (step for step in steps if step.done < step.total)
        yield Step(1, 1, asked.fitted, stage=FITTING)


def located(asked: Request, cache: caches.Cache | None = None) -> Request | None:
    """The request with the `Latent` that a seed names or a projection has found in place of either.

    None where the cache does not have its projection yet.
    """
    store, call = caches.default if cache is None else cache, asked.projection_call()
    entry = store.get(call.key()) if call else None
    if call is not None and entry is None:
        return None
    return asked.with_latent(entry.value.latent if entry else None)


def known_fit(asked: Request, cache: caches.Cache | None = None) -> caches.Entry | None:
    """The finished fit of a request; None where the cache lacks it, or the projection before it."""
    found = located(asked, cache)
    if found is None or not found.has_fit:
        return None
    return (caches.default if cache is None else cache).get(found.fit_call().key())


@torch.no_grad()
def source_of(asked: Request) -> Tensor | None:
    """What the result is compared with: the source picture as the model sees it, or the image of its latent.

    (1,3,H,W) in [-1,1]; None for a latent that is still to be found.
    """
    if "image" in asked.inputs:
        return asked.inputs["image"]
    latent = asked.inputs[asked.method.latent.name] if asked.method.latent else None
    return latent.image(asked.models.generator) if isinstance(latent, Latent) else None


def project_and_fit(
    asked: Request, cache: caches.Cache | None, costs: Costs
) -> Generator[Step[Any], None, tuple[Request, Any]]:
    """The steps before the edit; returns the request with its latent found, and the value of the fit."""
    call, latent = asked.projection_call(), None
    if call is not None:
        projection_found, _ = yield from _stage(PROJECTING, call, cache, costs)
        latent = projection_found.latent
    found, fitted = asked.with_latent(latent), asked.fitted
    if found.has_fit:
        fitted, _ = yield from _stage(FITTING, found.fit_call(), cache, costs)
    return found, fitted


def finished(
    found: Request, fitted: Any, edit: Tensor, cache: caches.Cache | None, costs: Costs
) -> Generator[Step[Any], None, Tensor]:
    """The steps after the edit (1,3,h,w) of a request with its latent found, after a fit; returns what is
    shown of it, (1,3,H,W). Without any where the edit is shown as it is."""
    if not found.finishing:
        return edit
    rec = None
    if found.finishing.get("keep_details"):
        rec, _ = yield from _stage(FINISHING, found.rebuild_call(fitted), cache, costs)
    tuned = None
    if found.tunes_upscaler:
        tuned, _ = yield from _stage(TUNING, found.tuning_call(edit), cache, costs)
    image, _ = yield from _stage(FINISHING, found.finish_call(edit, rec, tuned), cache, costs)
    return image


def _finished(
    asked: Request, found: Request, fitted: Any, edit: Tensor, cache: caches.Cache | None, costs: Costs
) -> Generator[Step[Any], None, Result]:
    image = yield from finished(found, fitted, edit, cache, costs)
    unfinished = None if image is edit else edit
    return Result(image, asked, fitted, costs.stages, found, unfinished)


def _stage(
    stage: str, call: Call, cache: caches.Cache | None, costs: Costs
) -> Generator[Step[Any], None, tuple[Any, Step[Any]]]:
    """The steps of a call through the cache, each with the name of its stage, and their costs counted.

    Returns the finished value, and the last step. The last step of an edit, or of what is done with one, is
    not yielded here: its value is not a `Result` yet.
    """
    store, last = caches.default if cache is None else cache, None
    key = call.key()  # made once: it reads every tensor among the arguments
    is_known = store.get(key) is not None
    for step in costs.watch(stage, caches.lookup_or_run(store, key, call.steps), is_known):
        last = step
        if stage not in (EDITING, TUNING, FINISHING):
            yield replace(step, stage=stage)
        elif step.done < step.total:
            yield replace(step, value=None, stage=stage)
    if last is None or last.value is None:
        raise TypeError(f"{call.function.__qualname__} ended without a value.")
    return last.value, last
