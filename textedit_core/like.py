"""`--like PNG`: the settings of a saved picture, as the flags that it was, or could have been, made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

FLAG = "--like"
# What a record knows beside knobs and texts, that has a flag: of the latent that was started from.
FACTS = {"latent_seed": "latent_seed", "latent_truncation": "latent_truncation", "face_points": "face"}


def expanded(given: Sequence[str]) -> list[str]:
    """A command line with `--like PNG` replaced by the flags of that picture; those typed go before them.

    given: COMMAND METHOD FLAGS.  The picture and the mask themselves are not in a record: they stay to be
    given. ValueError, a sentence, for a picture without settings, or of another method.
    """
    words = list(given)
    place = next((k for k, word in enumerate(words) if word == FLAG or word.startswith(f"{FLAG}=")), None)
    if place is None:
        return words
    joined = words[place].startswith(f"{FLAG}=")
    if not joined and place + 1 == len(words):
        raise ValueError(f"{FLAG}: name a picture that was saved here.")
    path = words[place].partition("=")[2] if joined else words[place + 1]
    rest = words[:place] + words[place + (1 if joined else 2) :]
    return [*rest[:2], *flags(path, rest[1], rest[0] == "sweep"), *rest[2:]]


def flags(path: str, name: str, sweeps: bool = False) -> list[str]:
    """The flags that make the picture at `path` again by the method `name`, without its source.

    sweeps: whether they are of a sweep, which takes the axes of a contact sheet too.
    """
    from textedit_core.method import load
    from textedit_core.record import read_axes, read_png

    how = load(name)
    try:
        record = read_png(path)
    except ValueError as error:
        raise ValueError(str(error).replace("Recall:", f"{FLAG} {path}:")) from None
    if record.method != how.name:
        raise ValueError(f"{FLAG}: '{path}' was made by {record.method}, not by {how.name}.")
    told: dict[str, Any] = {"models": record.models, "resize": record.resize}
    if sweeps:
        axes = read_axes(path).items()
        told |= {axis: f"{knob}={values}" for axis, (knob, values) in zip("xyz", axes, strict=False)}
    told |= {text: record.prompts[text] for text in how.texts if text in record.prompts}
    told |= {knob: record.knobs[knob] for knob in how.knobs if knob in record.knobs}
    if how.latent:
        told |= {flag: record.knobs[fact] for fact, flag in FACTS.items() if fact in record.knobs}
    return [f"--{flag.replace('_', '-')}={value}" for flag, value in told.items() if value != ""]
