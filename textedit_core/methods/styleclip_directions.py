"""StyleCLIP's global directions (arXiv 2103.17249, section 6): what a text means in StyleSpace."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import Knob, Seed, batches, quoted
from textedit_core.models.clip import Clip
from textedit_core.models.style import latents
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import Relevance, StyleGenerator
from textedit_core.models.style.relevance import measure
from textedit_core.steps import Step

TEMPLATES = Path(__file__).with_name("styleclip_templates.txt")
MOST_TEMPLATES, MOST_ACCEPTED = 200, 100  # each line and each edit is a text that CLIP has to read

Alpha = Annotated[float, Knob(-15, 25, 0.1, label="Alpha α", help="how strong; 0 keeps the source")]
Beta = Annotated[float, Knob(0, 1, 0.005, label="Beta β", help="larger: fewer channels, less beside")]
Layers = Annotated[str, Knob(label="Layers", help="S codes that may change, 0-5 8; empty for all")]
Templates = Annotated[
    str, Knob(label="Templates", help="sentences with {} in them, one a line; empty for our own")
]
Pinning = Annotated[
    Literal["cumulative", "channel", "none"],
    Knob(label="Other channels", help="cumulative as published, none as in the paper"),
]


def fit(
    generator: StyleGenerator,
    clip: Clip,
    *,
    samples: Annotated[int, Knob(1, 1000, 1, label="Images a channel", help="each up and down")] = 100,
    count: Annotated[int, Knob(1, 1_000_000, 1000, label="Codes for the statistics")] = 100_000,
    truncation: Annotated[float, Knob(0, 1, 0.05, label="Truncation of the codes")] = 0.7,
    amplitude: Annotated[float, Knob(0.1, 20, 0.1, label="Amplitude", help="in deviations")] = 5.0,
    pinning: Pinning = "cumulative",
    codes_at_once: Annotated[int, Knob(1, 256, 1, label="Codes at once", help="less needs less memory")] = 8,
    seed: Seed = 0,
    start: Relevance | None = None,
) -> Iterator[Step[Relevance]]:
    """Measure once for a generator what each channel does; the defaults are the published ones.

    See `models.relevance.measure`: what is measured, resuming from `start`, and what a step is.
    """
    yield from measure(
        generator,
        clip,
        samples=samples,
        count=count,
        truncation=truncation,
        amplitude=amplitude,
        pinning=pinning,
        batch_size=codes_at_once,
        seed=seed,
        start=start,
    )


@dataclass(frozen=True)
class DirectionEdit:
    """One edit of a chain, as data."""

    neutral: str
    target: str
    alpha: float
    beta: float
    layers: str = ""


@dataclass(frozen=True, eq=False)
class Direction:
    """What to add to the S codes for alpha 1.

    offset: (M,) of all channels, in order.  counts: how many channels of each S code it changes.
    """

    offset: Tensor
    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many channels it changes."""
        return sum(self.counts)


@batches("alpha", "beta")
@torch.no_grad()
def edit(
    generator: StyleGenerator,
    clip: Clip,
    relevance: Relevance,
    latent: Latent,
    neutral: str,
    target: str,
    *,
    alpha: Alpha = 4.1,
    beta: Beta = 0.15,
    layers: Layers = "",
    templates: Templates = "",
    accepted: Annotated[str, Knob(label="Accepted edits", help="what `write_chain` wrote")] = "",
) -> Iterator[Step[Tensor]]:
    """Edit images along the direction from the neutral to the target text, s + alpha ds -> (B,3,H,W).

    ds is r / max |r| times each channel's deviation, r the relevance of a channel to the text where |r| is at
    least beta, and 0 elsewhere and in ToRGB: alpha is the most relevant channel's change in deviations. At
    alpha 0, with beta above all |r|, or from a text to itself the image is the source's.
    accepted: edits made before this one, on the same source.
    Alpha and beta may be lists of B values, for a latent of one image or of B.
    Raises ValueError for an empty text, one that is too long in a template, unreadable templates, layers or
    edits, and for a relevance of another generator or CLIP.
    """
    new = spread(alpha=alpha, beta=beta)
    pairs = [DirectionEdit(neutral, target, a, b, layers) for a, b in zip(*new, strict=True)]
    found = latent.styles(generator)
    for done in read_chain(accepted):
        found = _moved(generator, clip, relevance, found, [done], templates)
    images = generator.render(_moved(generator, clip, relevance, found, pairs, templates))
    yield Step(1, 1, images if len(pairs) == 1 else images.expand(len(pairs), -1, -1, -1))


@torch.no_grad()
def edited_latent(
    generator: StyleGenerator,
    clip: Clip,
    relevance: Relevance,
    latent: Latent,
    edits: Sequence[DirectionEdit],
    templates: str = "",
) -> Latent:
    """The code after a chain of edits, so that other methods can go on from it."""
    found = latent.styles(generator)
    for done in edits:
        found = _moved(generator, clip, relevance, found, [done], templates)
    return Latent(s_codes=tuple(found))


def text_direction(clip: Clip, neutral: str, target: str, templates: str = "") -> Tensor:
    """The unit vector (D,) from one text to the other in CLIP's space, zeros from a text to itself."""
    sentences = read_templates(templates)
    for name, text in (("neutral", neutral), ("target", target)):
        if not text.strip():
            raise ValueError(f"The {name} text is empty: say what the image {_SHOWS[name]}.")
    return F.normalize(clip.concept(target, sentences) - clip.concept(neutral, sentences), dim=0)


_SHOWS = {"neutral": "shows, such as a face", "target": "is to show, such as a smiling face"}


def scores(relevance: Relevance, towards: Tensor) -> Tensor:
    """How much each channel but ToRGB's moves the image along (D,) in CLIP's space: (N,) in [-1,1]."""
    if relevance.relevance.shape[1:] != towards.shape:
        raise ValueError("The relevance was measured with another CLIP: choose models that belong together.")
    return relevance.relevance @ towards.float().cpu()


def direction(
    generator: StyleGenerator, relevance: Relevance, towards: Tensor, beta: float, layers: str = ""
) -> Direction:
    """The change of the S codes for a direction (D,) of CLIP's space, and which layers it touches.

    The largest score counts as 1 also where `layers` leaves its layer out.
    """
    allowed, widths = read_layers(layers, generator), [layer.channels for layer in generator.layers]
    editable = latents.editable(generator)
    r = scores(relevance, towards)
    if (len(r), len(relevance.std)) != (int(editable.sum()), len(editable)):
        raise ValueError("The relevance was measured with another generator: measure it again.")
    r = torch.where(r.abs() >= beta, r, 0)
    highest = r.abs().max()
    full = torch.zeros(len(editable))
    full[editable] = r / highest if highest > 0 else r
    parts = [one if k in allowed else torch.zeros_like(one) for k, one in enumerate(full.split(widths))]
    offset = torch.cat(parts) * relevance.std
    return Direction(offset, tuple(int(one.count_nonzero()) for one in offset.split(widths)))


def beta_for(relevance: Relevance, towards: Tensor, channels: int) -> float:
    """The largest beta that leaves at least so many channels, for a direction (D,) of CLIP's space.

    Raises ValueError for a count that is not between 1 and the number of channels.
    """
    r = scores(relevance, towards).abs()
    if not 1 <= channels <= len(r):
        raise ValueError(f"Channels: {channels} is not a number from 1 to {len(r)}.")
    return r.topk(channels).values[-1].item()


def read_layers(text: str, generator: StyleGenerator) -> set[int]:
    """The S codes that a text like "0-5 8" names, all for an empty one. ToRGB's may be named, and stay."""
    count, found = len(generator.layers), set()
    for word in text.replace(",", " ").split():
        first, dash, end = word.partition("-")
        digits = first.isdecimal() and (end.isdecimal() or not dash) and len(word) < 20
        if not digits or max(int(first), int(end or first)) >= count:
            shown = quoted(word)
            raise ValueError(f"Layers: {shown} is no layer from 0 to {count - 1}, nor a range like 0-5.")
        found |= set(range(int(first), int(end or first) + 1))
    return found if text.strip() else set(range(count))


def read_templates(text: str = "") -> tuple[str, ...]:
    """Sentences with {} for the text, one a line; our own where there are none."""
    lines = [line.strip() for line in (text or TEMPLATES.read_text(encoding="utf-8")).splitlines()]
    found = tuple(line for line in lines if line)
    if not found or not all("{}" in line for line in found):
        raise ValueError("Templates: every line needs {} where the text goes, such as 'a photo of {}'.")
    if len(found) > MOST_TEMPLATES:
        raise ValueError(f"Templates: {len(found)} lines are too many; use at most {MOST_TEMPLATES}.")
    return found


def write_chain(edits: Sequence[DirectionEdit]) -> str:
    """Edits as one line of text, for the knob `accepted`; empty for none."""
    return json.dumps([asdict(one) for one in edits]) if edits else ""


def read_chain(text: str) -> tuple[DirectionEdit, ...]:
    """The edits that `write_chain` wrote. Raises ValueError for any other text."""
    try:
        listed = json.loads(text or "[]")
        found = tuple(DirectionEdit(**one) for one in listed)
        if not isinstance(listed, list) or not all(map(_is_edit, found)):
            raise TypeError
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            "Accepted edits: the text is not a chain of edits; accept the edits again."
        ) from error
    if len(found) > MOST_ACCEPTED:
        raise ValueError(f"Accepted edits: {len(found)} are too many; use at most {MOST_ACCEPTED}.")
    return found


def _is_edit(one: DirectionEdit) -> bool:
    texts, numbers = (one.neutral, one.target, one.layers), (one.alpha, one.beta)
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(number, int | float) and abs(number) <= 1000 for number in numbers
    )


def _moved(
    generator: StyleGenerator,
    clip: Clip,
    relevance: Relevance,
    s_codes: Sequence[Tensor],
    edits: Sequence[DirectionEdit],
    templates: str,
) -> list[Tensor]:
    """S codes of one row or B after one edit or B, each row its own; what none of them touches stays."""
    offsets = {}
    for one in edits:
        known = one.neutral, one.target, one.beta, one.layers
        if known not in offsets:
            towards = text_direction(clip, one.neutral, one.target, templates)
            offsets[known] = direction(generator, relevance, towards, one.beta, one.layers).offset
    change = torch.stack(
        [one.alpha * offsets[one.neutral, one.target, one.beta, one.layers] for one in edits]
    )
    if len(edits) > 1 and len(s_codes[0]) not in (1, len(edits)):
        raise ValueError(
            f"{len(s_codes[0])} latents and {len(edits)} settings make no batch: use one, or as many."
        )
    touched = [bool(part.any()) for part in latents.parted(change, generator)]
    parts = latents.parted(change.to(s_codes[0]), generator)
    return [code + part if new else code for code, part, new in zip(s_codes, parts, touched, strict=True)]
