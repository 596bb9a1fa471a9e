"""A job: a method with its models, inputs and settings, put together from what a command line says."""

import importlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from textedit_core.cache import Cache, cached
from textedit_core.images import as_mask, as_tensor, open_image, open_mask, to_mask, to_tensor
from textedit_core.knobs import BoundKnob, divide, knobs, method_knobs, positionals
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.record import Record, image_sha
from textedit_core.steps import Step, last

# The kinds of input a person gives; every other kind is a part of the models, or the latent.
INPUTS = {"image": "path of a picture", "mask": "path of a picture, white = change here", "text": "a text"}
# What a person gives for a generator's latent: the knobs of a sample, or else a picture.
LATENT = {f"latent_{name}": knob for name, knob in knobs(latents.from_seed).items()}
LATENT_IMAGE = "path of a picture to project, instead of a seed"
# How pictures are read that stay as large as they are.
WHOLE = {"image": as_tensor, "mask": as_mask}
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Job:
    """What was asked, ready to run. `fit` is None, too, where the models bring what it would make.

    `given` holds every positional argument by name: `arguments` are those of the fit (of the edit, where
    there is no fit), in order, and `texts` those that only the edit after a fit takes, a latent among them.
    `settings` holds a value for every knob, named as by `knobs.method_knobs`.
    """

    edit: Callable
    fit: Callable | None
    given: dict[str, Any]
    settings: dict[str, Any]
    record: Record
    cache: Cache

    @property
    def arguments(self) -> tuple:
        return tuple(self.given[name] for name in positionals(self.fit or self.edit))

    @property
    def texts(self) -> dict[str, Any]:
        first = positionals(self.fit or self.edit)
        return {name: value for name, value in self.given.items() if name not in first}

    @property
    def fit_settings(self) -> dict[str, Any]:
        return divide(self.settings, self.edit, self.fit)[0]

    @property
    def edit_settings(self) -> dict[str, Any]:
        return divide(self.settings, self.edit, self.fit)[1]


def functions(method: str) -> tuple[Callable, Callable | None]:
    """The `edit` of a method, by its file name, and its `fit` or None; ValueError if it only prepares."""
    module = importlib.import_module(f"textedit_core.methods.{method}")
    if not hasattr(module, "edit"):
        raise ValueError(f"'{method}' prepares an image and does not edit it; choose another method.")
    return module.edit, getattr(module, "fit", None)


def inputs(edit: Callable, fit: Callable | None = None) -> dict[str, tuple[str, Any]]:
    """What a method takes by position, as {name: (kind, default)}, the default maybe `REQUIRED`.

    A kind is one of `INPUTS`, "latent" or a part of `zoo.Models`; the default is None for a part or a latent
    that may be missing. After a fit these are the fit's, and the texts and the latent that `edit` alone
    takes. ValueError for a parameter of any other type.
    """
    own = inspect.signature(fit or edit).parameters
    later = inspect.signature(edit).parameters if fit else {}
    texts = {
        name: one
        for name, one in later.items()
        if name not in own and (one.annotation in (str, "str") or _names(one.annotation, "Latent"))
    }
    found = {}
    for name, one in [*own.items(), *texts.items()]:
        if one.kind != one.KEYWORD_ONLY:
            kind = _kind(name, one.annotation)
            optional = kind not in INPUTS and _names(one.annotation, "None")
            found[name] = kind, None if optional else one.default
    return found


def _names(annotation: Any, wanted: str) -> bool:
    """Whether an annotation, `A | B` or one type, has a type of this name in it."""
    words = getattr(annotation, "__name__", str(annotation)).split("|")
    return wanted in [word.strip().rpartition(".")[2] for word in words]


def _kind(name: str, annotation: Any) -> str:
    if name == "model":
        return _part_of(annotation)
    if isinstance(getattr(zoo.Models, name, None), cached_property | property):
        return name
    if annotation in (str, "str"):
        return "text"
    if _names(annotation, "Latent"):
        return "latent"
    if getattr(annotation, "__name__", str(annotation)).rpartition(".")[2] == "Tensor":
        return "mask" if name == "mask" else "image"
    raise ValueError(f"This method takes a '{name}', which no flag can give; use it from the app.")


def _part_of(annotation: Any) -> str:
    """The part of the models that has this type; the diffusion model where none has."""
    members = {name: one for kind in zoo.Models.__mro__ for name, one in vars(kind).items()}
    for name, one in members.items():
        made = one.func.__annotations__.get("return") if isinstance(one, cached_property) else None
        if made is not None and _names(annotation, getattr(made, "__name__", str(made))):
            return name
    return "diffusion"


def read_job(
    method: str,
    options: Mapping[str, str | None],
    models: zoo.Models,
    resize: str = "crop",
    cache: Cache | None = None,
    axes: Collection[str] = (),
    watch: Callable[[str, Iterator[Step]], Iterator[Step]] = lambda title, steps: steps,
) -> Job:
    """Put a job together: `options` are texts by parameter name, None where the person gave none.

    A knob is the text given, else the models' preset, else its default. Pictures are opened and made square
    by `resize`, "crop" or "pad"; an edit of `any_size` gets the image and its mask as they are. What the
    models bring is not fitted again, unless a setting of the fit is given or among the `axes` of a sweep. A
    latent is picked, or projected under `watch`.
    ValueError, a sentence naming the flag, for every mistake.
    """
    cache = Cache() if cache is None else cache
    edit, fit = functions(method)
    known, kinds = method_knobs(edit, fit), inputs(edit, fit)
    options = {name: text for name, text in options.items() if text is not None}
    typed = {name: knob.parse(options[name]) for name, knob in known.items() if name in options}
    asked = {name: kind for name, (kind, _) in kinds.items() if kind in INPUTS and name in options}
    texts = {name: options[name] for name, kind in asked.items() if kind == "text"}
    openers = {"image": open_image, "mask": open_mask}
    opened = {
        name: openers[kind](options[name], f"--{name.replace('_', '-')}")
        for name, kind in asked.items()
        if kind in openers
    }
    settings = {name: knob.default for name, knob in known.items()} | presets(models, method, known) | typed
    given = {name: default for name, (_, default) in kinds.items()} | texts
    given |= {
        name: _part(models, kind, default)
        for name, (kind, default) in kinds.items()
        if kind not in INPUTS and kind != "latent"
    }
    for name, picture in opened.items():
        convert = to_mask if asked[name] == "mask" else to_tensor
        side = given["model" if "model" in given else "generator"].size
        if getattr(edit, "any_size", False) and name in WHOLE:
            given[name] = WHOLE[name](picture).to(models.device)
        else:
            given[name] = convert(picture, side, resize).to(models.device)
    brought = _brought(edit, fit, given, models, texts)
    if brought and set(typed) | set(axes) <= set(knobs(edit)):
        fit, given = None, given | brought
        settings = {name: settings[name] for name in knobs(edit)}
    facts = {}
    if latent := next((name for name, (kind, _) in kinds.items() if kind == "latent"), None):
        if picture := options.get("image"):
            opened["image"] = open_image(picture, "--image")
        given[latent], facts = _latent(models, options, opened.get("image"), resize, cache, watch)
        if given[latent] is None and kinds[latent][1] is REQUIRED:
            raise ValueError("--latent-seed: there is no latent; give a seed, or --image to project one.")
    sha = image_sha(opened["image"]) if "image" in opened else ""
    record = Record(method, models.name, texts, settings | facts, sha, resize)
    return Job(edit, fit, given, settings, record, cache)


def _part(models: zoo.Models, kind: str, default: Any) -> Any:
    """A part of the models; None for one that may be missing and is."""
    return None if default is None and kind not in models.sources else getattr(models, kind)


def _brought(
    edit: Callable,
    fit: Callable | None,
    given: Mapping[str, Any],
    models: zoo.Models,
    texts: Mapping[str, str],
) -> dict[str, Any]:
    """What the models bring of what the fit would make, by the name `edit` has for it; empty for nothing."""
    left = set(positionals(edit)) - set(given) if fit else set()
    found = {name: models.pretrained(name, texts.get("prompt", "")) for name in left & set(zoo.PRETRAINED)}
    return {name: value for name, value in found.items() if value is not None}


def _latent(
    models: zoo.Models, options: Mapping[str, str], picture: Any, resize: str, cache: Cache, watch: Callable
) -> tuple[latents.Latent | None, dict[str, float]]:
    """The latent that was asked for, None for none, and what it was picked by, for the record."""
    from textedit_core.methods import projection

    facts = {name: knob.parse(options[name]) for name, knob in LATENT.items() if name in options}
    if picture is not None:
        if facts:
            raise ValueError("--latent-seed: the latent comes from --image already; give one of the two.")
        parts = [_part(models, part, None) for part in ("encoder", "clip", "identity")]
        chosen = presets(models, "projection", knobs(projection.fit))
        steps = cached(
            projection.fit,
            models.generator,
            *parts,
            to_tensor(picture, models.generator.size, resize),
            cache=cache,
            **chosen,
        )
        return last(watch("projection", steps)).latent, {}
    if not facts:
        return None, {}
    facts = {name: facts.get(name, knob.default) for name, knob in LATENT.items()}
    chosen = {name.removeprefix("latent_"): value for name, value in facts.items()}
    return latents.from_seed(models.generator, **chosen), facts


def presets(models: zoo.Models, method: str, known: Mapping[str, BoundKnob]) -> dict[str, Any]:
    """The knob values that suit these models, from their presets.json; ValueError for one that cannot be."""
    found = models.presets.get(method, {})
    unknown = ", ".join(sorted(set(found) - set(known)))
    if unknown:
        raise ValueError(f"presets.json of {models.name}: '{method}' has no knob called {unknown}.")
    return {name: known[name].check(value) for name, value in found.items()}
