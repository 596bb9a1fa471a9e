"""Texts, values and axes that nobody should send, each by its number, and what may be answered to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EMOJI = "👩‍👩‍👧‍👦"
BLANK = ("", " ", "\n\t \r\n")
TEXTS = (
    "red " * 40,
    "red " * 4000,
    "x" * 100_000,
    "\u202e" * 60,
    EMOJI * 40,
    "' OR 1=1; DROP TABLE users; -- " * 8,
    "%s%n%x{0}{prompt}" * 20,
    "<script>alert('x')</script>" * 10,
    "../" * 60 + "etc/passwd",
    "ｆｕｌｌｗｉｄｔｈ　" * 20,
    "\u0301" * 200,
    "漢字" * 100,
    "\x00\x01\x02" * 60,
    "[" * 50_000,
    "hat=nan",
    "hat=" + "9" * 5000,
    "=" * 300,
    "a\n" * 300,
)
NUMBERS = (
    "abc",
    "",
    "nan",
    "Infinity",
    "1; ls",
    "0x10",
    -1e9,
    1e308,
    1e12,
    10**30,
    10**400,
    True,
    None,
    [1, 2],
    {"a": 1},
    {"a": ["x" * 500] * 50},
)
CHOICES = (
    "abc",
    5,
    True,
    [1],
    {"a": 1},
    None,
    "x" * 5000,
    "<script>",
    "../../etc/passwd",
    "~root/x",
    "a\x00b",
)
SWITCHES = ("abc", "true", 5, None, [1], {"a": 1}, 1e308)
BOXES = ("abc", 5, None, [], [[1]], [None], {"a": 1}, ["nobody"], ["sdedit", "x" * 5000], True)
FILES = (5, True, "abc", "/etc/passwd", [], [1], {}, {"path": 5}, {"path": "/etc/passwd"})
AXES = (
    "1-1e9",
    "0-1e9 [3]",
    "0-1e999 [3]",
    "nan",
    "inf, -inf",
    "0:1:10000",
    "0-1 [10000]",
    "0-1 [" + "9" * 5000 + "]",
    "0-2147483647",
    "1\r2",
    '"',
    "9" * 200_000,
    "1" * 19_000 + "x",
    "1, " * 6000,
    "a, b, c",
    "<script>",
    "\x00",
    "",
    ",,,",
)
KINDS = {
    "Slider": NUMBERS,
    "Number": NUMBERS,
    "Dropdown": CHOICES,
    "Radio": CHOICES,
    "Checkbox": SWITCHES,
    "Checkboxgroup": BOXES,
    "Image": FILES,
    "Imageeditor": FILES,
    "File": FILES,
    "Textbox": BLANK + TEXTS,
}
# Fields that count with others alone, which a plain ask leaves as they are.
UNUSED = ("face", "channel")
PROMPTS = ("prompt", "source_prompt", "target", "neutral", "train_prompt")  # where any short text is fine
OPTIONAL = (
    "word_weights",
    "word_steps",
    "blend_words",
    "subtract_words",
    "layers",
    "templates",
    "accepted",
    "files",
)


@dataclass(frozen=True)
class Wrong:
    """One strange request: its endpoint, the strange field, all that differs from a plain ask.

    answers: what may come of it, "sentence" or "edit".  names: how the sentence may call the field.
    """

    api: str
    field: str
    asked: dict
    answers: tuple[str, ...]
    names: tuple[str, ...]


def strange(number: int, endpoints: list[tuple[str, dict[str, str]]], seed: int = 0) -> Wrong:
    """The strange request of this number: the endpoints in turn, texts and other fields in turn.

    endpoints: (name, {field: kind of its widget}).
    """
    api, fields = endpoints[number % len(endpoints)]
    turn, rng = number // len(endpoints), np.random.default_rng([seed, number])
    if "x_values" in fields and turn % 3 == 0:
        return axis(api, fields, rng)
    texts = [name for name, kind in fields.items() if kind == "Textbox" and name[1:] != "_values"]
    others = [name for name, kind in fields.items() if kind in KINDS and name not in texts]
    several = (texts or others) if turn % 2 else (others or texts)
    field = several[int(rng.integers(len(several)))]
    if field[1:] == "_values":
        return axis(api, fields, rng)
    values = KINDS[fields[field]]
    value = values[int(rng.integers(len(values)))]
    asked = {field: value} | beside(api, field)
    return Wrong(api, field, asked, answers(api, field, value), names(field))


def axis(api: str, fields: dict[str, str], rng: np.random.Generator) -> Wrong:
    """A sweep over values that are none, or over 10,000 cells."""
    field = ("x_values", "y_values", "z_values")[int(rng.integers(3))]
    numeric = [name for name, kind in fields.items() if kind == "Slider" and name not in ("steps", "seeds")]
    apart = ("projection", "latent", "exemplar", "mask", "keep_details")
    free = [name for name in numeric if not name.startswith(apart)]
    knob = free[int(rng.integers(len(free)))]
    known = ("steps", "alpha", "eta", "strength", "beta", "coarse")
    other = next(name for name in known if name in fields and name != knob)
    if rng.integers(5) == 0:
        many = {"x": knob, "x_values": "1-2 [100]", "y": "seed" if "seed" in fields else other}
        many["y_values"] = "0-99"
        return Wrong(api, "x_values", many, ("sentence",), ("x_values", "y_values"))
    value = AXES[int(rng.integers(len(AXES)))]
    asked = {"x": knob, "y": ""}
    if field != "x_values":
        asked = {"x": other, "x_values": "1", "y": "", field[0]: knob}
    fine = ("sentence", "edit") if value.startswith("1, 1") else ("sentence",)  # one value, many times
    return Wrong(api, field, asked | {field: value}, fine, (field,))


def beside(api: str, field: str) -> dict:
    """What must be asked too, so that the field counts."""
    if api.startswith("styleclip") and field in ("image", "sizing"):
        return {"origin": "picture"}
    if api == "compare" and field in ("mask", "exemplar"):
        return {"methods": ["paint_by_example"]}
    return {"y": "", "y_values": "", "z": ""} if api.endswith("_sweep") and field == "x" else {}


def answers(api: str, field: str, value: object) -> tuple[str, ...]:
    """What may be answered: an edit too where the value is odd but right, or counts as none."""
    sentence, both, edit = ("sentence",), ("sentence", "edit"), ("edit",)
    if field in PROMPTS:
        optional = api == "compare" and field == "source_prompt"  # which not every method asks for
        return (
            both if (value not in BLANK and len(value) < 1000) or (value in BLANK and optional) else sentence
        )
    if field in OPTIONAL:
        return edit if value in BLANK else sentence
    if field == "models":
        return both if value is None else sentence
    if field in ("pictures", "latent_file"):  # what is no list of files is read as none
        return both
    if field in UNUSED or (field == "region_text" and value in BLANK):
        return both
    return sentence


def names(field: str) -> tuple[str, ...]:
    """How a sentence may call a field."""
    known = {
        "templates": ("templates", "prompt"),  # they are one sentence in the end
        "mapper": ("mapper",),
        "models": ("model",),
        "files": ("file",),
        "weight": ("weight", "best of"),
        "subtract_words": ("subtract_words", "blend_words"),
    }
    return known.get(field, (field,))
