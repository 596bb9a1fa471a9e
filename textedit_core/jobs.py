"""A job: a method with its models, inputs and settings, put together from what a command line says."""
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from textedit_core.cache import Cache
from textedit_core.images import open_image, open_mask, to_mask, to_tensor
from textedit_core.knobs import BoundKnob, divide, method_knobs, positionals
from textedit_core.models import zoo
from textedit_core.record import Record, image_sha

# The kinds of input a person gives; every other kind is a part of the models.
INPUTS = {"image": "path of a picture", "mask": "path of a picture, white = change here", "text": "a text"}
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Job:
    """What was asked, ready to run.

    `given` holds every positional argument by name: `arguments` are those of the fit (of the edit, where
    there is no fit), in order, and `texts` those that only the edit after a fit takes. `settings` holds a
    value for every knob, named as by `knobs.method_knobs`.
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

    A kind is one of `INPUTS` or a part of `zoo.Models`. After a fit these are the fit's, and the texts that
    `edit` alone takes. ValueError for a parameter of any other type.
    """
    own = inspect.signature(fit or edit).parameters
    later = inspect.signature(edit).parameters if fit else {}
    texts = {name: one for name, one in later.items() if name not in own and one.annotation in (str, "str")}
    return {name: (_kind(name, one.annotation), one.default)
            for name, one in [*own.items(), *texts.items()] if one.kind != one.KEYWORD_ONLY}


def _kind(name: str, annotation: Any) -> str:
    if name == "model":
        return "diffusion"
    if isinstance(getattr(zoo.Models, name, None), cached_property | property):
        return name
    if annotation in (str, "str"):
        return "text"
    if getattr(annotation, "__name__", str(annotation)).rpartition(".")[2] == "Tensor":
        return "mask" if name == "mask" else "image"
    raise ValueError(f"This method takes a '{name}', which no flag can give; use it from the app.")


def read_job(method: str, options: Mapping[str, str | None], models: zoo.Models, resize: str = "crop",
             cache: Cache | None = None) -> Job:
    """Put a job together: `options` are texts by parameter name, None where the person gave none.

    A knob is the text given, else the models' preset, else its default. Pictures are opened and made square
    by `resize`, "crop" or "pad". ValueError, a sentence naming the flag, for every mistake.
    """
    edit, fit = functions(method)
    known, kinds = method_knobs(edit, fit), inputs(edit, fit)
    options = {name: text for name, text in options.items() if text is not None}
    typed = {name: knob.parse(options[name]) for name, knob in known.items() if name in options}
    asked = {name: kind for name, (kind, _) in kinds.items() if kind in INPUTS and name in options}
    texts = {name: options[name] for name, kind in asked.items() if kind == "text"}
    openers = {"image": open_image, "mask": open_mask}
    opened = {name: openers[kind](options[name], f"--{name.replace('_', '-')}")
              for name, kind in asked.items() if kind in openers}
    settings = {name: knob.default for name, knob in known.items()} | presets(models, method, known) | typed
    given = {name: default for name, (_, default) in kinds.items()} | texts
    given |= {name: getattr(models, kind) for name, (kind, _) in kinds.items() if kind not in INPUTS}
    for name, picture in opened.items():
        convert = to_mask if asked[name] == "mask" else to_tensor
        given[name] = convert(picture, given["model"].size, resize).to(models.device)
    sha = image_sha(opened["image"]) if "image" in opened else ""
    record = Record(method, models.name, texts, settings, sha, resize)
    return Job(edit, fit, given, settings, record, Cache() if cache is None else cache)


def presets(models: zoo.Models, method: str, known: Mapping[str, BoundKnob]) -> dict[str, Any]:
    """The knob values that suit these models, from their presets.json; ValueError for one that cannot be."""
    found = models.presets.get(method, {})
    unknown = ", ".join(sorted(set(found) - set(known)))
    if unknown:
        raise ValueError(f"presets.json of {models.name}: '{method}' has no knob called {unknown}.")
    return {name: known[name].check(value) for name, value in found.items()}
