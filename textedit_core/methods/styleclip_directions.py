"""StyleCLIP's global directions (arXiv 2103.17249, section 6): a direction in StyleSpace for two texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import Knob, Seed, batches, quoted
from textedit_core.models.clip import Clip
from textedit_core.models.style import directions, latents
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import Relevance, StyleGenerator
from textedit_core.models.style.relevance import (
    CODES_AT_ONCE,
    Perturbation,
    begin,
    measure_covariance,
    measure_layers,
    sample_s_codes,
)
from textedit_core.steps import Step

TEMPLATES = Path(__file__).with_name("styleclip_templates.txt")
MOST_TEMPLATES, MOST_ACCEPTED = 200, 100  # each line and each edit is a text that CLIP has to read

Alpha = Annotated[
    float, Knob(-15, 25, 0.1, label="Alpha α", help="strength, in standard deviations; 0 keeps the source")
]
Beta = Annotated[
    float,
    Knob(0, 1, 0.005, label="Beta β", help="channels less relevant than this stay: larger changes fewer"),
]
Layers = Annotated[str, Knob(label="Layers", help="S codes that may change, such as 0-5 8; empty allows all")]
Templates = Annotated[
    str,
    Knob(label="Templates", help="sentences with {} for the text, one a line; empty uses a built-in list"),
]
Accepted = Annotated[
    str, Knob(label="Accepted edits", help="edits made before this one, as JSON, from `write_chain`")
]
Pinning = Annotated[
    Literal["cumulative", "channel", "none"],
    Knob(
        label="Channels at their mean",
        help="while one is measured: it and all before it, as published; it alone; or none, as in the paper",
    ),
]
Samples = Annotated[int, Knob(1, 1000, 1, label="Images a channel", help="each with it up and with it down")]
MeasuredBy = Annotated[
    Literal["perturbation", "covariance"],
    Knob(
        label="Measured by",
        help="moving one channel at a time, as published; or its covariance with what CLIP sees in random "
        "images, for all channels at once and for ToRGB's too",
    ),
]
Images = Annotated[int, Knob(2, 100_000, 100, label="Images for the covariance")]
Count = Annotated[int, Knob(1, 1_000_000, 1000, label="Samples for the statistics")]
Truncation = Annotated[float, Knob(0, 1, 0.05, label="Truncation of the samples")]
Amplitude = Annotated[
    float, Knob(0.1, 20, 0.1, label="Amplitude", help="how far a channel moves, in standard deviations")
]
CodesAtOnce = Annotated[int, Knob(1, 256, 1, label="Codes at once", help="fewer need less memory")]


@torch.no_grad()
def fit(
    generator: StyleGenerator,
    clip: Clip,
    *,
    samples: Samples = 100,
    count: Count = 100_000,
    truncation: Truncation = 0.7,
    amplitude: Amplitude = 5.0,
    pinning: Pinning = "cumulative",
    codes_at_once: CodesAtOnce = 8,
    measured_by: MeasuredBy = "perturbation",
    images: Images = 2000,
    seed: Seed = 0,
    start: Relevance | None = None,
) -> Iterator[Step[Relevance]]:
    """Measure the direction in CLIP's space that each channel moves an image in; the defaults are published.

    First the mean and deviation of each channel over `count` samples. Then for each channel and each of the
    first `samples` two images, the channel at its mean -+ `amplitude` deviations (`Perturbation` has the
    other ways), and the difference of their CLIP features (`measure_layers`).
    measured_by: "covariance" renders `images` samples instead, and moves nothing (`measure_covariance`).
    start: an earlier value under the same settings, to go on from; a covariance is whole or not there.

    One Step for each thousand samples, then one for each channel and batch, or for each batch of images; the
    value grows by a layer at a time, a covariance is there at the end.
    Raises ValueError for an unknown pinning, or a start of another generator or CLIP.
    """
    if measured_by == "covariance":
        given = generator, clip, images, count, truncation, codes_at_once, seed
        yield from [Step(1, 1, start)] if start else _fit_covariance(*given)
        return
    perturbation, count = Perturbation(amplitude, pinning, codes_at_once), max(count, samples)
    batches_each, channels = -(-samples // codes_at_once), int(latents.editable_channels(generator).sum())
    total, done = -(-count // CODES_AT_ONCE) + batches_each * channels, 0
    for sampled in sample_s_codes(generator, samples, count, truncation, seed):  # noqa: B007, the last is used
        done += 1
        yield Step(done, total, start)
    found = begin(generator, clip, sampled, start)
    done += batches_each * found.measured
    for measured in measure_layers(generator, clip, sampled, perturbation, found):
        found, done = measured, done + 1
        if done < total:
            yield Step(done, total, found)
    yield Step(total, total, found)


def _fit_covariance(
    generator: StyleGenerator,
    clip: Clip,
    images: int,
    count: int,
    truncation: float,
    codes_at_once: int,
    seed: int,
) -> Iterator[Step[Relevance]]:
    """What `fit` does by covariance: Steps of samples, then of batches of images."""
    count = max(count, images)
    sampling, done = -(-count // CODES_AT_ONCE), 0
    total = sampling + -(-images // codes_at_once)
    for sampled in sample_s_codes(generator, images, count, truncation, seed):  # noqa: B007, the last is used
        done += 1
        yield Step(done, total)
    for measured in measure_covariance(generator, clip, sampled, codes_at_once):
        done += 1
        yield Step(done, total, measured)


@dataclass(frozen=True)
class DirectionEdit:
    """One edit of a chain: its two texts, and the knobs of `edit` that shape it."""

    neutral: str
    prompt: str
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
    prompt: str,
    *,
    alpha: Alpha = 4.1,
    beta: Beta = 0.15,
    layers: Layers = "",
    templates: Templates = "",
    accepted: Accepted = "",
) -> Iterator[Step[Tensor]]:
    """Edit images along the direction from the neutral text to the prompt, s + alpha ds -> (B,3,H,W).

    neutral: what the image shows.  prompt: what it is to show.
    ds is r / max |r| times each channel's deviation; r is the relevance of a channel to the texts where |r|
    is at least beta, and 0 elsewhere: alpha is the most relevant channel's change in deviations. ToRGB stays
    as it is unless the relevance was measured for its channels too.
    At alpha 0, with beta above all |r|, or from a text to itself the image is the source's.
    accepted: edits made before this one, on the same source, as `write_chain` writes them.
    Alpha and beta may be lists of B values, for a latent of one image or of B.
    Raises ValueError for an empty text, one that is too long in a template, unreadable templates, layers or
    edits, and for a relevance of another generator or CLIP.
    """
    rows = len(spread(alpha=alpha, beta=beta)[0])
    given = generator, clip, relevance, latent, neutral, prompt
    images = edited_latent(*given, alpha, beta, layers, templates, accepted).image(generator)
    yield Step(1, 1, images if rows == 1 else images.expand(rows, -1, -1, -1))


@torch.no_grad()
def edited_latent(
    generator: StyleGenerator,
    clip: Clip,
    relevance: Relevance,
    latent: Latent,
    neutral: str,
    prompt: str,
    alpha: float | list[float],
    beta: float | list[float],
    layers: str,
    templates: str,
    accepted: str,
) -> Latent:
    """The code that `edit` renders, so that it can be edited further: S codes, of one row or of B."""
    new = spread(alpha=alpha, beta=beta)
    pairs = [DirectionEdit(neutral, prompt, a, b, layers) for a, b in zip(*new, strict=True)]
    before = chained_latent(generator, clip, relevance, latent, read_chain(accepted), templates)
    codes = _moved(generator, clip, relevance, before.to_s_codes(generator), pairs, templates)
    return Latent(s_codes=tuple(codes))


@torch.no_grad()
def chained_latent(
    generator: StyleGenerator,
    clip: Clip,
    relevance: Relevance,
    latent: Latent,
    edits: Sequence[DirectionEdit],
    templates: str = "",
) -> Latent:
    """The code after a chain of edits, so that other methods can go on from it."""
    found = latent.to_s_codes(generator)
    for done in edits:
        found = _moved(generator, clip, relevance, found, [done], templates)
    return Latent(s_codes=tuple(found))


def text_direction(clip: Clip, neutral: str, prompt: str, templates: str = "") -> Tensor:
    """The unit vector (D,) from one text to the other in CLIP's space, zeros from a text to itself.

    Raises ValueError for an empty text, one that is too long in a template, and unreadable templates.
    """
    return directions.text_direction(clip, neutral, prompt, read_templates(templates))


def direction(
    generator: StyleGenerator, relevance: Relevance, towards: Tensor, beta: float, layers: str = ""
) -> Direction:
    """The change of the S codes for a direction (D,) of CLIP's space, and which layers it changes.

    Scores are divided by the largest of all layers, whichever of them `layers` allows.
    """
    allowed, r = read_layers(layers, generator), relevance.scores(towards)
    measured = relevance.channels(generator)
    r = torch.where(r.abs() >= beta, r, 0)
    highest = r.abs().max()
    full = torch.zeros(len(measured))
    full[measured] = r / highest if highest > 0 else r
    parts = enumerate(latents.split_channels(full, generator))
    offset = torch.cat([one if k in allowed else torch.zeros_like(one) for k, one in parts]) * relevance.std
    counts = [int(one.count_nonzero()) for one in latents.split_channels(offset, generator)]
    return Direction(offset, tuple(counts))


def beta_for(relevance: Relevance, towards: Tensor, channels: int) -> float:
    """The largest beta that leaves at least so many channels, for a direction (D,) of CLIP's space.

    Raises ValueError for a count that is not between 1 and the number of channels.
    """
    r = relevance.scores(towards).abs()
    if not 1 <= channels <= len(r):
        raise ValueError(f"Channels: {channels} is not a number from 1 to {len(r)}.")
    return r.topk(channels).values[-1].item()


def read_layers(text: str, generator: StyleGenerator) -> set[int]:
    """The S codes that a text like "0-5 8" names, all for an empty one; ToRGB's change only where measured.

    Raises ValueError for a text of any other form, and for a layer that is not there.
    """
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
    """The sentences of a text, one a line, each with {} for what is described; of a built-in list if empty.

    Raises ValueError for a sentence without {}, and for more than 200.
    """
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
    """The edits that `write_chain` wrote. Raises ValueError for any other text.

    Before version 0.2.0 a chain called the prompt "target"; such chains are read too.
    """
    try:
        listed = json.loads(text or "[]")
        renamed = [{_RENAMED.get(name, name): value for name, value in one.items()} for one in listed]
        found = tuple(DirectionEdit(**one) for one in renamed)
        if not isinstance(listed, list) or not all(map(_is_edit, found)):
            raise TypeError
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            "Accepted edits: the text is not a chain of edits; accept the edits again."
        ) from error
    if len(found) > MOST_ACCEPTED:
        raise ValueError(f"Accepted edits: {len(found)} are too many; use at most {MOST_ACCEPTED}.")
    return found


_RENAMED = {"target": "prompt"}


def _is_edit(one: DirectionEdit) -> bool:
    texts, numbers = (one.neutral, one.prompt, one.layers), (one.alpha, one.beta)
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
    """S codes of one row or B after one edit, or after B, one for each row."""
    offsets: dict[DirectionEdit, Tensor] = {}  # edits that differ in alpha alone have one offset
    for one in edits:
        known = replace(one, alpha=1.0)
        if known not in offsets:
            towards = text_direction(clip, one.neutral, one.prompt, templates)
            offsets[known] = direction(generator, relevance, towards, one.beta, one.layers).offset
    shift = torch.stack([one.alpha * offsets[replace(one, alpha=1.0)] for one in edits])
    return latents.shift_channels(generator, s_codes, shift)
