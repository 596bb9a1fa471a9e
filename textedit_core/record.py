"""The settings of a result: as JSON, in the PNG itself, and read back to make the result again."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from textedit_core import __version__

_TEXT_KEY, _AXES_KEY = "textedit", "textedit-axes"
# What the prompts of a method were called before this version, and what they are called now.
RENAMED_IN = "0.2.0"
RENAMED: dict[str, dict[str, str]] = {
    "latent_directions": {"target": "prompt"},
    "prompt_to_prompt": {"prompt": "source_prompt", "target": "prompt"},
    "styleclip_directions": {"target": "prompt"},
}


@dataclass(frozen=True)
class Record:
    """Everything a result depends on, so that it can be made again.

    `method` is the file name in methods/, `models` the name or folder they were loaded from, `prompts` the
    texts by parameter name, `knobs` every knob of the method by name (a float, int, str or bool), and `image`
    the `image_sha` of the source as it was opened, or "" where there is none; `resize` is how it was made
    square, "crop" or "pad", or "native" where it was not.
    """

    method: str
    models: str
    prompts: dict[str, str] = field(default_factory=dict)
    knobs: dict[str, float | int | str | bool] = field(default_factory=dict)
    image: str = ""
    resize: str = "crop"
    version: str = __version__
    app: str = "TextEdit Studio"

    def to_json(self) -> str:
        """The record as one JSON object; ValueError if a knob is not a finite number, text or switch."""
        _check(asdict(self))
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """The record that `to_json` wrote; ValueError, a sentence, for a text that is not a record.

        Fields that this version does not know are left out. A record of an older version gets the names of
        prompts, and the version, of this one.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("Recall: the settings are damaged; use a PNG as this studio saved it.") from None
        if not isinstance(found, dict):
            raise ValueError("Recall: the settings are not a record; use a PNG as this studio saved it.")
        known = {one.name: found[one.name] for one in fields(cls) if one.name in found}
        _check(known)
        return _up_to_date(cls(**known))


def _up_to_date(record: Record) -> Record:
    """The record with its prompts under the names that its method has for them now, and its structure kept in
    the way that was the only one."""
    if "structure" in record.knobs and "structure_by" not in record.knobs:
        record = replace(record, knobs={**record.knobs, "structure_by": "attention"})
    if _numbers(record.version) >= _numbers(RENAMED_IN):
        return record
    names = RENAMED.get(record.method, {})
    prompts = {names.get(name, name): text for name, text in record.prompts.items()}
    return replace(record, prompts=prompts, version=__version__)


def _numbers(version: str) -> tuple[int, ...]:
    """A version as numbers that compare; a part of it that is not a number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def image_sha(image: Image.Image) -> str:
    """A sha256 (64 hex digits) of an image's size and RGB pixels: two files of one picture agree."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + rgb.tobytes()).hexdigest()


def save_png(
    image: Image.Image,
    path: str | os.PathLike[str] | BinaryIO,
    record: Record,
    axes: Mapping[str, str] | None = None,
) -> None:
    """Write `image` as PNG with the record as a text chunk with the key "textedit".

    axes: of the contact sheet of a sweep, {knob: values as `axes.written` has them}, columns first.
    """
    text = PngImagePlugin.PngInfo()
    text.add_text(_TEXT_KEY, record.to_json())
    if axes:
        text.add_text(_AXES_KEY, json.dumps(dict(axes)))
    image.save(path, format="PNG", pnginfo=text)


def read_png(source: str | os.PathLike[str] | bytes) -> Record:
    """The record in a PNG, by path or bytes, without decoding its pixels; ValueError, a sentence, if none."""
    text = _chunks(source).get(_TEXT_KEY)
    if not isinstance(text, str):
        raise ValueError(
            "Recall: this PNG carries no settings; use one that this studio saved "
            "and no other program changed."
        )
    return Record.from_json(text)


def read_axes(source: str | os.PathLike[str] | bytes) -> dict[str, str]:
    """The axes of the contact sheet of a sweep, as `save_png` wrote them; {} of any other PNG.

    ValueError, a sentence, for axes that are not as this studio writes them.
    """
    text = _chunks(source).get(_AXES_KEY)
    try:
        found = {} if text is None else json.loads(text)
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise ValueError("Recall: the axes are not as this studio writes them; use a PNG it saved.")
    return found


def _chunks(source: str | os.PathLike[str] | bytes) -> dict[Any, Any]:
    """The text chunks of a PNG; ValueError, a sentence, for a file that is none."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(file, formats=["PNG"]) as image:
            return dict(image.info)
    except Exception as error:  # a header may break a decoder in any way
        raise ValueError("Recall: this is not a PNG file; use a PNG that this studio saved.") from error


def _check(found: dict[str, Any]) -> None:
    """ValueError unless every field has its type, so that nothing strange in a file reaches a control."""
    for name, value in found.items():
        if name == "prompts":
            fits = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
        elif name == "knobs":
            fits = isinstance(value, dict) and all(map(_is_setting, value.values()))
        else:
            fits = isinstance(value, str)
        if not fits:
            raise ValueError(f"Recall: '{name}' is not as this studio writes it; use a PNG it saved.")
    for name in {"method", "models"} - set(found):
        raise ValueError(f"Recall: the settings lack '{name}'; use a PNG that this studio saved.")


def _is_setting(value: Any) -> bool:
    return isinstance(value, bool | int | str) or (isinstance(value, float) and abs(value) < float("inf"))
