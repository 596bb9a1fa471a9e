"""GANSpace, InterFaceGAN and StyleSpace, which StyleCLIP is compared with: a step along one latent direction.

Three published systems in one file, named by the knob `technique`: GANSpace (arXiv 2004.02546) moves along a
principal component of W, InterFaceGAN (2005.09635) across a linear boundary in W, StyleSpace (2011.12799)
changes one channel of the S codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import Knob, batches, quoted
from textedit_core.models.clip import Clip
from textedit_core.models.style import ganspace, interfacegan, latents, stylespace
from textedit_core.models.style.directions import Channels, WDirections
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import Relevance, StyleGenerator
from textedit_core.steps import Step

Technique = Annotated[
    Literal["ganspace", "interfacegan", "stylespace"],
    Knob(
        label="Technique", help="a principal component of W, a boundary in W between two texts, or a channel"
    ),
]
Samples = Annotated[int, Knob(100, 100_000, 100, label="Samples", help="random codes it is found from")]
SampleSeed = Annotated[int, Knob(0, 2**31 - 1, 1, label="Seed of the samples")]
Share = Annotated[
    float,
    Knob(
        0.005, 0.5, 0.005, label="Share", help="of the samples in each class, those with the clearest scores"
    ),
]
Component = Annotated[
    int, Knob(1, 100, 1, label="Component", help="principal component; 1 has the largest variance")
]
Strength = Annotated[
    float, Knob(-30, 30, 0.1, label="Strength", help="in standard deviations; 0 keeps the source")
]
FirstLayer = Annotated[int, Knob(0, 17, 1, label="First layer", help="of W+ that changes")]
LastLayer = Annotated[
    int, Knob(0, 17, 1, label="Last layer", help="of W+ that changes; 17 is the last there can be")
]
Channel = Annotated[
    str, Knob(label="Channel", help="its rank for the two texts, such as 1, or layer:number, such as 9:32")
]


def fit(
    generator: StyleGenerator,
    clip: Clip | None,
    relevance: Relevance | None,
    neutral: str = "",
    prompt: str = "",
    *,
    technique: Technique = "ganspace",
    samples: Samples = 10_000,
    share: Share = 0.02,
    sample_seed: SampleSeed = 0,
) -> Iterator[Step[WDirections] | Step[Channels]]:
    """Find the directions of a technique, once for a generator or for two texts.

    neutral: what images show.  prompt: what they are to show.
    GANSpace does not use texts, CLIP and relevance; StyleSpace uses them to rank channels, and does without.
    InterFaceGAN renders all samples and separates the `share` that CLIP finds nearest to the prompt from the
    `share` nearest to the neutral text. `models.style` has a file for each: `ganspace`, `interfacegan` and
    `stylespace` say what is found, and what a Step is.
    Raises ValueError for InterFaceGAN without CLIP or one of the texts, or with one text twice.
    """
    if technique == "ganspace":
        yield from ganspace.components(generator, samples=samples, seed=sample_seed)
    elif technique == "stylespace":
        yield from stylespace.channels(
            generator, clip, relevance, neutral, prompt, samples=samples, seed=sample_seed
        )
    elif clip is None:
        raise ValueError("Technique: interfacegan needs a CLIP, which these models do not have.")
    else:
        yield from interfacegan.boundary(
            generator, clip, neutral, prompt, samples=samples, share=share, seed=sample_seed
        )


@batches("component", "strength", "first_layer", "last_layer", "channel")
@torch.no_grad()
def edit(
    generator: StyleGenerator,
    directions: WDirections | Channels,
    latent: Latent,
    *,
    strength: Strength = 3.0,
    component: Component = 1,
    first_layer: FirstLayer = 0,
    last_layer: LastLayer = 17,
    channel: Channel = "1",
) -> Iterator[Step[Tensor]]:
    """Move images along a direction -> (B,3,H,W); at strength 0 they are the source's.

    GANSpace and InterFaceGAN: w + strength deviation v in the rows first_layer to last_layer of W+; v is the
    unit vector of the component (InterFaceGAN has one), the deviation that of the samples along it.
    StyleSpace: s + strength deviation in one channel. A channel given by its rank moves towards the prompt;
    one given as layer:number moves up, may be ToRGB's, and its layer may be a name, as convs.3:32.
    All knobs may be lists of B values, for a latent of one image or of B.
    Raises ValueError for a component, layer or channel that is not there, a first layer after the last, and
    for a rank where no text was given.
    """
    amounts, numbers, firsts, lasts, names = spread(
        strength=strength,
        component=component,
        first_layer=first_layer,
        last_layer=last_layer,
        channel=channel,
    )
    rows = len(amounts)
    latents.check_rows(len(latent), rows)
    if isinstance(directions, Channels):
        codes = _with_channels(generator, directions, latent, names, amounts)
    else:
        bounds = [latents.rows_between(generator, *pair) for pair in zip(firsts, lasts, strict=True)]
        codes = _along(generator, directions, latent, numbers, amounts, bounds)
    images = generator.render(codes)
    yield Step(1, 1, images if rows == 1 else images.expand(rows, -1, -1, -1))


@torch.no_grad()
def edited_latent(
    generator: StyleGenerator,
    directions: WDirections | Channels,
    latent: Latent,
    strength: float | list[float],
    component: int | list[int],
    first_layer: int | list[int],
    last_layer: int | list[int],
    channel: str | list[str],
) -> Latent:
    """The code of what `edit` renders, so that it can be edited further: of W+, of StyleSpace S codes."""
    amounts, numbers, firsts, lasts, names = spread(
        strength=strength,
        component=component,
        first_layer=first_layer,
        last_layer=last_layer,
        channel=channel,
    )
    latents.check_rows(len(latent), len(amounts))
    if isinstance(directions, Channels):
        return Latent(s_codes=tuple(_with_channels(generator, directions, latent, names, amounts)))
    bounds = [latents.rows_between(generator, *pair) for pair in zip(firsts, lasts, strict=True)]
    w_plus = latent.to_w_plus(generator)
    return Latent(w_plus + _offset(generator, directions, numbers, amounts, bounds).to(w_plus))


def find_channel(generator: StyleGenerator, directions: Channels, text: str) -> tuple[int, int, float]:
    """(layer, number in it, 1 or -1 for down) of a channel given as its rank or as layer:number.

    Raises ValueError for any other text.
    """
    layer, colon, number = text.strip().rpartition(":")
    if not colon:
        place, sign = _ranked(directions, text)
        for number_of_layer, count in enumerate(generator.channel_counts):
            if place < count:
                return number_of_layer, place, sign
            place -= count
    names = [one.name for one in generator.layers]
    found = names.index(layer) if layer in names else _whole(layer)
    if found is None or found >= len(names):
        raise ValueError(f"Channel: {quoted(layer)} is no layer from 0 to {len(names) - 1}.")
    channel, most = _whole(number), generator.layers[found].channels
    if channel is None or channel >= most:
        raise ValueError(f"Channel: {quoted(number)} is no channel of layer {found}; it has 0 to {most - 1}.")
    return found, channel, 1.0


def _ranked(directions: Channels, text: str) -> tuple[int, float]:
    """The index among all channels of the channel with a rank, and 1 or -1 for up or down."""
    rank, most = _whole(text.strip()), len(directions.ranked)
    if not most:
        raise ValueError(
            "Channel: without both texts and a relevance no channel has a rank; name one, as 9:32."
        )
    if rank is None or not 1 <= rank <= most:
        raise ValueError(f"Channel: {quoted(text)} is no rank from 1 to {most}, nor a channel such as 9:32.")
    return int(directions.ranked[rank - 1]), float(directions.signs[rank - 1])


def _whole(text: str) -> int | None:
    """The whole number that a text is."""
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _with_channels(
    generator: StyleGenerator,
    directions: Channels,
    latent: Latent,
    names: Sequence[str],
    amounts: Sequence[float],
) -> list[Tensor]:
    """S codes with one channel moved in each row."""
    codes, counts = latent.to_s_codes(generator), generator.channel_counts
    if len(directions.deviations) != sum(counts):
        raise ValueError("The directions belong to another generator: prepare them again.")
    shift = torch.zeros(len(amounts), sum(counts))
    for row, (name, amount) in enumerate(zip(names, amounts, strict=True)):
        layer, number, sign = find_channel(generator, directions, name)
        channel = sum(counts[:layer]) + number
        shift[row, channel] = amount * sign * directions.deviations[channel]
    return latents.shift_channels(generator, codes, shift)


def _along(
    generator: StyleGenerator,
    directions: WDirections,
    latent: Latent,
    numbers: Sequence[int],
    amounts: Sequence[float],
    bounds: Sequence[slice],
) -> list[Tensor]:
    """S codes of W+ codes with some rows moved; those that depend on no such row stay as they are."""
    offset = _offset(generator, directions, numbers, amounts, bounds)
    w_plus, touched = latent.to_w_plus(generator), offset.any(dim=2).any(dim=0)
    before, after = generator.styles(w_plus), generator.styles(w_plus + offset.to(w_plus))
    pairs = zip(generator.layers, before, after, strict=True)
    return [new if touched[layer.w] else old for layer, old, new in pairs]


def _offset(
    generator: StyleGenerator,
    directions: WDirections,
    numbers: Sequence[int],
    amounts: Sequence[float],
    bounds: Sequence[slice],
) -> Tensor:
    """What is added to W+ codes, (B,n,D)."""
    count, dim = directions.vectors.shape
    if dim != generator.style_dim:
        raise ValueError("The directions belong to another generator: prepare them again.")
    if max(numbers) > count:
        raise ValueError(f"Component: {max(numbers)} is not there; this technique has {count}.")
    offset = torch.zeros(len(amounts), generator.n_latent, dim)
    for row, (number, amount, bound) in enumerate(zip(numbers, amounts, bounds, strict=True)):
        offset[row, bound] = amount * directions.deviations[number - 1] * directions.vectors[number - 1]
    return offset
