"""What a benchmark runs: contestants, read from what a person types, and a key for each piece of work."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textedit_core.axes import Axis, parse_axis
from textedit_core.bench import lines
from textedit_core.bench.item import Item
from textedit_core.cache import Cache
from textedit_core.images import Fit
from textedit_core.knobs import BoundKnob
from textedit_core.method import GIVEN, Method, load
from textedit_core.metrics.extras import Distance
from textedit_core.models import zoo
from textedit_core.request import preset

MEASURING = ("clip", "identity")  # what measures the results, where it is there
PROJECTING = ("encoder", "clip", "identity")  # what helps to find a picture's latent, where it is there
PICTURES = ("image", "mask", "exemplar", "answer", "changed")  # of an item
SOURCE_TEXTS = ("source_prompt", "neutral")  # names for what a picture shows now
WORDS = {"image": "a picture", "mask": "a mask", "exemplar": "an exemplar", "text": "a text"}


@dataclass(frozen=True)
class Contestant:
    """A method with its settings: one row of the report, or one a cell where it has axes.

    label: as it was typed.  settings: every knob by its name in `Method.knobs`.  typed: those a person
    set, which an item's own settings never replace.
    """

    label: str
    method: str
    settings: Mapping[str, Any]
    typed: frozenset[str] = frozenset()
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def loaded(self) -> Method:
        """The method itself."""
        return load(self.method)

    def settings_for(self, item: Item) -> dict[str, Any]:
        """The settings, with those of the item for knobs that nobody typed and no axis has."""
        return dict(self.settings) | self.own_of(item)

    def own_of(self, item: Item) -> dict[str, Any]:
        """The item's own settings that apply to this contestant, by name."""
        known = self.loaded.knobs
        return {name: known[name].check(value) for name, value in item.knobs.items()
                if name in known and name not in self.typed and name not in self.axes}  # fmt: skip

    def texts_for(self, item: Item) -> dict[str, str]:
        """The item's texts by parameter name, "" for one it lacks.

        A method that takes a text of the source beside its `prompt` gets the item's caption and target; one
        that takes a `prompt` alone gets the item's prompt.
        """
        names, after = self.loaded.texts, item.target or item.prompt
        meant = dict.fromkeys(SOURCE_TEXTS, item.caption)
        meant["prompt"] = after if set(SOURCE_TEXTS) & set(names) else item.prompt or after
        return {name: meant.get(name, "") for name in names}

    def lacks(self, item: Item) -> str:
        """Why this method cannot edit the item, such as "needs a mask"; "" where it can."""
        texts = self.texts_for(item)
        for one in self.loaded.inputs.values():
            if one.kind not in WORDS or not one.required:
                continue
            if one.kind == "text" and not texts[one.name]:
                return f"needs a text for its {one.name.replace('_', ' ')}"
            if one.kind != "text" and picture_of(item, one.name) is None:
                return f"needs {WORDS[one.name if one.name in WORDS else one.kind]}"
        return ""


def picture_of(item: Item, name: str) -> Any:
    """The item's picture for a parameter of this name; every name but mask and exemplar is the source."""
    return getattr(item, name if name in ("mask", "exemplar") else "image")


def read_contestants(
    methods: str,
    models: zoo.Models,
    flags: Mapping[str, str] | None = None,
    sweeps: Sequence[str] = (),
    seed: int | None = None,
) -> list[Contestant]:
    """ "sdedit,prompt_to_prompt:inversion=npi:steps=25" as contestants, in that order.

    Settings after a colon are of that contestant; `flags` {knob: text} and the axes `sweeps` (NAME=VALUES) go
    to every method that has the knob; below them are the models' presets and the defaults. `seed`, where
    given, is the `seed` of all that have one. ValueError, a sentence, for an unknown method, knob or value.
    """
    written = [
        part.strip() for part in next(csv.reader([methods], skipinitialspace=True), []) if part.strip()
    ]
    if not written:
        raise ValueError("--methods: name at least one, such as sdedit or prompt_to_prompt:inversion=direct.")
    for label in written:
        if written.count(label) > 1:
            raise ValueError(f"--methods: '{label}' is there twice.")
    flags, used, found = dict(flags or {}), set(), []
    for label in written:
        name, *settings = label.split(":")
        known = _knobs_of(name)
        typed = {knob: known[knob].parse(text) for knob, text in flags.items() if knob in known}
        typed |= dict(_setting(text, known, name) for text in settings)
        axes = [parse_axis(text, known) for text in sweeps if _axis_name(text) in known]
        used |= set(typed) | {axis.name for axis in axes}
        base = {one: bound.default for one, bound in known.items()} | _preset(models, name, known)
        if seed is not None and "seed" in known:
            base["seed"] = known["seed"].check(seed)
            # It counts as typed where the edit has it: a seed of the fit alone is no reason to make a fit
            # that the models come with.
            typed = ({"seed": base["seed"]} if "seed" in load(name).edit_knobs else {}) | typed
        found.append(Contestant(label, name, base | typed, frozenset(typed), _distinct(axes)))
    for name in [*flags, *map(_axis_name, sweeps)]:
        if name not in used:
            raise ValueError(
                f"None of {', '.join(written)} has a knob called '{name}'; see edit METHOD --help."
            )
    return found


def parts_of(contestants: Sequence[Contestant], models: zoo.Models) -> list[str]:
    """The parts of the models that the contestants take, each once, without optional ones that are not there.

    A method that takes a latent also takes the parts that project a picture.
    """
    asked: dict[str, None] = {}
    for one in (one for contestant in contestants for one in contestant.loaded.inputs.values()):
        if one.kind == "latent":
            asked |= dict.fromkeys(part for part in PROJECTING if part in models.sources)
        elif one.kind not in GIVEN and (one.default is not None or one.kind in models.sources):
            asked[one.kind] = None
    return list(asked)


def key(item: Item, contestant: Contestant, context: Sequence[str]) -> str:
    """A key, 16 hex digits, of all that the result of a contestant on an item depends on.

    context: what is neither a text of the item nor a setting: the models' fingerprints, how pictures are
    made square, and the `contents` of the item's.
    """
    asked = {
        "item": [item.name, item.prompt, item.caption, item.target, item.group],
        "method": contestant.method,
        "settings": contestant.settings_for(item),
        "axes": {name: list(values) for name, values in contestant.axes.items()},
        "world": list(context),  # under the name that finished benchmarks were keyed with
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def contents(item: Item) -> list[str]:
    """The sha256 of each of the item's picture files, "" for one that cannot be read.

    A picture that is drawn needs none: it follows from the item's name. The list begins with "squashed" where
    the exemplar is.
    """
    found = ["squashed"] * item.squash
    for name in PICTURES:
        if isinstance(path := getattr(item, name), Path):
            try:
                found.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
            except OSError:
                found.append(f"{name} ")
    return found


@dataclass(frozen=True, eq=False)
class Bench:
    """A benchmark: `items` by `contestants`, by these models, pictures made square by `resize`.

    out: the folder of the results.  batch_size: how many cells of a sweep are computed at once.  extras:
    further measures of a result and its source, by name.
    """

    name: str
    items: Sequence[Item]
    contestants: Sequence[Contestant]
    models: zoo.Models
    out: Path
    resize: Fit = "crop"
    batch_size: int = 8
    extras: Mapping[str, Distance] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)  # of fits that serve all items
    _keys: dict[tuple[int, int], str] = field(default_factory=dict)

    def key(self, item: int, contestant: int) -> str:
        """The key of an item and a contestant, by their indices. Loads the models the contestants take."""
        if not self._keys:
            measuring = [part for part in MEASURING if part in self.models.sources]
            seen = [contents(item) for item in self.items]
            for j, one in enumerate(self.contestants):
                parts = sorted({*parts_of([one], self.models), *measuring})
                context = [self.resize, *self.extras, *map(self._fingerprint, parts)]
                for i, asked in enumerate(self.items):
                    self._keys[i, j] = key(asked, one, [*context, *seen[i]])
        return self._keys[item, contestant]

    def records(self) -> list[tuple[Item, Contestant, dict[str, Any] | None]]:
        """Every item with every contestant, in order, with its record; None where it is not done yet."""
        done = lines.read(self.out)
        places = itertools.product(range(len(self.items)), range(len(self.contestants)))
        return [(self.items[i], self.contestants[j], done.get(self.key(i, j))) for i, j in places]

    def _fingerprint(self, part: str) -> str:
        return f"{part} {getattr(getattr(self.models, part), 'fingerprint', '')}"


def _knobs_of(name: str) -> Mapping[str, BoundKnob]:
    """The knobs of a method but those of what is done with a finished edit: edits are measured as made."""
    try:
        how = load(name)
    except ValueError as error:
        raise ValueError(f"--methods: {error}") from None
    return {name: knob for name, knob in how.knobs.items() if name not in how.finish_knobs}


def _preset(models: zoo.Models, name: str, known: Mapping[str, BoundKnob]) -> dict[str, Any]:
    return {knob: value for knob, value in preset(models, name, load(name).knobs).items() if knob in known}


def _setting(text: str, known: Mapping[str, BoundKnob], method: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or name not in known:
        raise ValueError(f"--methods: '{text}' sets no knob of {method}; it has {', '.join(known)}.")
    return name, known[name].parse(value)


def _axis_name(text: str) -> str:
    return text.partition("=")[0].strip().replace("-", "_")


def _distinct(axes: Sequence[Axis]) -> dict[str, tuple[Any, ...]]:
    found = {axis.name: axis.values for axis in axes}
    if len(found) < len(axes):
        raise ValueError("--sweep: a knob is swept twice; give all its values at once.")
    return found
