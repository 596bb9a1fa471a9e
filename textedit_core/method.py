"""A method for whoever calls it: its inputs by kind, its knobs, its fit and its edit.

A method is a file in methods/ with a function `edit`, and a function `fit` where something expensive is done
once. What the page, the command line, sweeps, Compare and the bench need to know of it is read here, once,
from the signatures of the two.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from textedit_core import large
from textedit_core.knobs import BoundKnob, Knob, knobs, method_knobs, positionals
from textedit_core.models import zoo
from textedit_core.models.additions import WEIGHTS
from textedit_core.steps import Step

# The kinds of input that a person gives; every other kind is a part of the models.
GIVEN = ("image", "mask", "text", "latent")
REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Input:
    """One input of a method.

    name: of the parameter.  kind: one of `GIVEN`, or the part of `zoo.Models` that it is.  default: of the
    parameter, `REQUIRED` where it has none; None for a part or a latent that may be missing.
    """

    name: str
    kind: str
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is REQUIRED


@dataclass(frozen=True, eq=False)
class Method:
    """A method, read from its functions.

    name: of its file in methods/.  edit, fit: its functions; fit is None where nothing is done once.
    inputs: by name, those of the fit first, then those that only the edit takes.  knobs: every setting by
    name, those of the fit first, then the edit's; a knob that both have is `fit_NAME` for the fit. The last
    ones are the same for every method: what is done with a finished edit (`large.finish`).  fitted: the
    parameter of `edit` that takes what the fit makes, "" without a fit.  edited_latent: from the arguments of
    `edit` to the `Latent` that it renders; None where no latent is edited.  rebuild: from the model and the
    fitted value to the source as an edit of nothing would draw it; None where that is the autoencoder's
    picture, or the latent's.
    """

    name: str
    edit: Callable[..., Iterator[Step[Any]]]
    fit: Callable[..., Iterator[Step[Any]]] | None
    inputs: Mapping[str, Input]
    knobs: Mapping[str, BoundKnob]
    fitted: str
    edited_latent: Callable[..., Any] | None = None
    rebuild: Callable[..., Iterator[Step[Any]]] | None = None

    @cached_property
    def weights(self) -> Mapping[str, BoundKnob]:
        """The weights of LoRAs that may be added to the models, as knobs: of every method that works on the
        text-to-image model, and in no signature."""
        return WEIGHTS if any(one.kind == "diffusion" for one in self.inputs.values()) else {}

    @cached_property
    def sweepable(self) -> Mapping[str, BoundKnob]:
        """The knobs and the weights of LoRAs, by name."""
        return {**self.knobs, **self.weights}

    @cached_property
    def text_axes(self) -> Mapping[str, BoundKnob]:
        """The texts by name, as axes of a sweep: whole texts, or words that replace the first of them."""
        help = (
            "the first value is replaced in the text by each; where it is not in it, values are whole texts"
        )
        return {name: BoundKnob(name, str, "", Knob(help=help)) for name in self.texts}

    @cached_property
    def axes(self) -> Mapping[str, BoundKnob]:
        """All that an axis of a sweep may be: the knobs, the weights of LoRAs, and the texts."""
        return {**self.sweepable, **self.text_axes}

    @cached_property
    def batched(self) -> tuple[str, ...]:
        """The knobs of the edit that take a list, one value for each row of a batch."""
        return getattr(self.edit, "batched", ())

    @cached_property
    def any_size(self) -> bool:
        """Whether the edit takes its picture and mask at their native size, instead of square."""
        return getattr(self.edit, "any_size", False)

    @cached_property
    def edit_knobs(self) -> tuple[str, ...]:
        """The names of the settings of the edit."""
        return tuple(knobs(self.edit))

    @cached_property
    def fit_knobs(self) -> Mapping[str, str]:
        """The names of the settings of the fit, as in `knobs`, and what the fit calls each."""
        own = tuple(knobs(self.fit)) if self.fit else ()
        return {f"fit_{name}" if name in self.edit_knobs else name: name for name in own}

    @cached_property
    def finish_knobs(self) -> tuple[str, ...]:
        """The names of the settings of what is done with a finished edit."""
        return tuple(name for name in large.KNOBS if name in self.knobs)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The names of the inputs that are texts."""
        return tuple(one.name for one in self.inputs.values() if one.kind == "text")

    @cached_property
    def latent(self) -> Input | None:
        """The input that is a generator's latent, if the method has one."""
        return next((one for one in self.inputs.values() if one.kind == "latent"), None)

    @cached_property
    def fit_arguments(self) -> tuple[str, ...]:
        """The names of the inputs that the fit takes, in its order; none without a fit."""
        return tuple(positionals(self.fit)) if self.fit else ()

    @cached_property
    def edit_arguments(self) -> tuple[str, ...]:
        """The names of what the edit takes by position, in its order: inputs, and `fitted`."""
        return tuple(positionals(self.edit))

    def split(self, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Settings by their names in `knobs` -> the keyword arguments of the fit, and those of the edit."""
        for_fit = {own: settings[name] for name, own in self.fit_knobs.items() if name in settings}
        return for_fit, {name: settings[name] for name in self.edit_knobs if name in settings}

    def checked(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings by their names in `sweepable`, each as its knob's type.

        ValueError, a sentence, for a knob that the method does not have and for a value that does not fit.
        """
        for name in settings:
            if name not in self.sweepable:
                raise ValueError(f"{self.name} has no knob called '{name}'; it has {', '.join(self.knobs)}.")
        return {name: self.sweepable[name].check(value) for name, value in settings.items()}


def names() -> tuple[str, ...]:
    """The names of all files in methods/, in alphabetical order; nothing is imported."""
    return tuple(sorted(path.stem for path in (Path(__file__).parent / "methods").glob("[a-z]*.py")))


def editing() -> tuple[str, ...]:
    """Those of `names` that edit, and do not only prepare an image; nothing is imported."""
    folder = Path(__file__).parent / "methods"
    return tuple(name for name in names() if "\ndef edit(" in (folder / f"{name}.py").read_text("utf-8"))


def unknown(name: str) -> ValueError:
    """The mistake of naming a method that there is not: what was meant, perhaps, and what there is."""
    known = editing()
    alike = difflib.get_close_matches(name, known, 3)
    meant = f"did you mean {' or '.join(alike)}? There are" if alike else "use one of"
    return ValueError(f"There is no method called '{name}'; {meant} {', '.join(known)}.")


def load(name: str) -> Method:
    """The method of a file in methods/. ValueError, a sentence, for an unknown name or a missing edit."""
    try:
        module = importlib.import_module(f"textedit_core.methods.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"textedit_core.methods.{name}":
            raise
        raise unknown(name) from None
    if not hasattr(module, "edit"):
        raise ValueError(f"'{name}' prepares an image and does not edit it; choose another method.")
    others = (getattr(module, other, None) for other in ("fit", "edited_latent", "rebuild"))
    return read(name, module.edit, *others)


@lru_cache(maxsize=256)
def read(
    name: str,
    edit: Callable[..., Any],
    fit: Callable[..., Any] | None = None,
    edited_latent: Callable[..., Any] | None = None,
    rebuild: Callable[..., Any] | None = None,
) -> Method:
    """A method of this name with these functions.

    Raises ValueError for a parameter of a type that nobody can give, and TypeError unless exactly one
    parameter of the edit is left for what the fit makes.
    """
    own = inspect.signature(fit or edit).parameters
    later = inspect.signature(edit).parameters if fit else {}
    for_edit = {key: one for key, one in later.items() if key not in own and _is_given_later(one.annotation)}
    inputs = {}
    for key, one in [*own.items(), *for_edit.items()]:
        if one.kind != one.KEYWORD_ONLY:
            kind = _kind(key, one.annotation)
            may_be_missing = kind not in ("image", "mask", "text") and _mentions(one.annotation, "None")
            inputs[key] = Input(key, kind, None if may_be_missing else one.default)
    left = [key for key in positionals(edit) if key not in inputs] if fit else []
    if fit and len(left) != 1:
        raise TypeError(f"{edit.__qualname__} needs {left}, where one is left for the fitted value.")
    settings = method_knobs(edit, fit) | _finishing(edit)
    return Method(name, edit, fit, inputs, settings, (left or [""])[0], edited_latent, rebuild)


def _finishing(edit: Callable[..., Any]) -> dict[str, BoundKnob]:
    """The knobs of what is done with a finished edit. TypeError where the edit has one of that name.

    An edit at the picture's own size keeps its details by itself.
    """
    if own := set(large.KNOBS) & set(knobs(edit)):
        raise TypeError(f"{edit.__qualname__}: {', '.join(own)} is the name of a knob that all edits have.")
    unused = ("keep_details",) if getattr(edit, "any_size", False) else ()
    return {name: knob for name, knob in large.KNOBS.items() if name not in unused}


def _is_given_later(annotation: Any) -> bool:
    """Whether a parameter that only the edit has is an input, and not what the fit makes."""
    return annotation in (str, "str") or _mentions(annotation, "Latent")


def _mentions(annotation: Any, wanted: str) -> bool:
    """Whether an annotation, `A | B` or one type, has a type of this name in it."""
    if annotation is None or isinstance(annotation, type):
        return wanted == ("None" if annotation in (None, type(None)) else annotation.__name__)
    return wanted in [part.strip().rpartition(".")[2] for part in str(annotation).split("|")]


def _kind(name: str, annotation: Any) -> str:
    if name == "model":
        return _part_of(annotation)
    if isinstance(getattr(zoo.Models, name, None), cached_property | property):
        return name
    if annotation in (str, "str"):
        return "text"
    if _mentions(annotation, "Latent"):
        return "latent"
    if getattr(annotation, "__name__", str(annotation)).rpartition(".")[2] == "Tensor":
        return "mask" if name == "mask" else "image"
    raise ValueError(f"This method takes a '{name}', which no flag can give; use it from Python.")


def _part_of(annotation: Any) -> str:
    """The part of the models that has this type; the diffusion model where none has."""
    members = {name: one for kind in zoo.Models.__mro__ for name, one in vars(kind).items()}
    for name, one in members.items():
        made = one.func.__annotations__.get("return") if isinstance(one, cached_property) else None
        if made is not None and _mentions(annotation, getattr(made, "__name__", str(made))):
            return name
    return "diffusion"
