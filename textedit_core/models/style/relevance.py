"""What each StyleSpace channel does to CLIP's image features, measured (arXiv 2103.17249, section 6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style.models import Relevance, StyleGenerator, digest
from textedit_core.models.style.stylegan2 import State
from textedit_core.steps import Step

PINNINGS = ("cumulative", "channel", "none")
STATISTICS_ROWS = 1000  # codes at once; the draws do not depend on anything else


@torch.no_grad()
def measure(
    generator: StyleGenerator,
    clip: Clip,
    *,
    samples: int = 100,
    count: int = 100_000,
    truncation: float = 0.7,
    amplitude: float = 5.0,
    pinning: str = "cumulative",
    batch_size: int = 8,
    seed: int = 0,
    start: Relevance | None = None,
) -> Iterator[Step[Relevance]]:
    """Measure the direction in CLIP's space that each channel moves an image in; the defaults are published.

    First the mean and deviation of each channel over `count` random codes. Then for each channel and each of
    `samples` codes two images, the channel at its mean -+ `amplitude` deviations, and the difference of their
    unit features; the row is the mean of the unit differences, itself a unit vector, or zeros for a channel
    that changes nothing. What comes before a channel's layer is computed once for all of its channels.

    pinning: "cumulative" leaves the channels before this one at their means, as the published program does,
    by an oversight that the published files share; "channel" holds this one channel alone; "none" moves it
    around its own value, as the paper says.
    batch_size: codes at once.  start: an earlier value of the same settings, to go on from.

    One Step for each thousand codes, then one for each channel and batch; the value grows by a layer at a
    time. Raises ValueError for an unknown pinning, or a start of another generator or CLIP.
    """
    if pinning not in PINNINGS:
        raise ValueError(f"Pinning: {pinning!r} is none of {', '.join(PINNINGS)}.")
    places = [index for index, layer in enumerate(generator.layers) if not layer.is_rgb]
    count, batches = max(count, samples), -(-samples // batch_size)
    total = -(-count // STATISTICS_ROWS)
    total, done = total + batches * sum(generator.layers[index].channels for index in places), 0
    for surveyed in _survey(generator, samples, count, truncation, seed):
        codes, mean, std = surveyed
        done += 1
        yield Step(done, total, start)
    found = _begun(generator, clip, mean, std, start)
    means, stds = (one.to(codes[0]).split([code.shape[1] for code in codes]) for one in (mean, std))
    at = 0
    for index in places:
        end = at + generator.layers[index].channels
        if end <= found.measured:
            done += batches * (end - at)
        else:
            sums = torch.zeros(end - at, found.relevance.shape[1])
            swing = amplitude * stds[index]
            for channel, images in _pairs(generator, codes, index, means, swing, pinning, batch_size):
                plus, minus = clip.image_features(_eight_bits(images, clip.size)).cpu().chunk(2)
                sums[channel] += F.normalize(plus - minus, dim=-1).sum(dim=0)
                done += 1
                if done < total:
                    yield Step(done, total, found)
            rows = found.relevance.clone()
            rows[at:end] = F.normalize(sums, dim=-1)
            found = replace(found, relevance=rows, measured=end)
        at = end
    yield Step(total, total, found)


def convolutions(
    generator: StyleGenerator, samples: int, costs: Sequence[int] | None = None
) -> tuple[int, int, int]:
    """How many images pass a convolution: in `measure`, at the least, and in whole renders.

    costs: what one image costs in each layer, such as `multiply_adds`; 1 in all of them unless given.
    Whole renders are two for each code and channel. What lies below a channel's layer need not be done again.
    In that layer a change of one channel is a convolution of that channel alone, next to nothing; all layers
    after it see other activations in every channel, and are the least that is exact. `measure` convolves in
    the layer itself too: 0.60 to 0.67 of whole renders for the published sizes, in images.
    """
    costs = [1] * len(generator.layers) if costs is None else costs
    ours = least = plain = 0
    for index, layer in enumerate(generator.layers):
        if not layer.is_rgb:
            pairs, after = 2 * samples * layer.channels, sum(costs[index + 1 :])
            ours += samples * sum(costs[:index]) + pairs * (costs[index] + after)
            least += pairs * after
            plain += pairs * sum(costs)
    return ours, least, plain


def multiply_adds(generator: StyleGenerator) -> list[int]:
    """Of each layer's convolution for one image; filters and what is done pixel by pixel are left out."""
    found = []
    for layer in generator.layers:
        conv = generator.network.get_submodule(layer.name).conv
        side = layer.size if conv.blur is None else layer.size // 2
        found.append(conv.weight.numel() * side * side)
    return found


def _survey(
    generator: StyleGenerator, samples: int, count: int, truncation: float, seed: int
) -> Iterator[tuple[list[Tensor], Tensor, Tensor]]:
    """The S codes of the first samples, and mean and deviation (M,) of all codes so far, every thousand."""
    network, draw = generator.network, torch.Generator().manual_seed(seed)
    first: list[Tensor] = []
    seen, mean, squares = 0, 0.0, 0.0
    while seen < count:
        rows = min(STATISTICS_ROWS, count - seen)
        z = torch.randn(STATISTICS_ROWS, generator.style_dim, generator=draw)[:rows]
        w = network.map(z.to(generator.device, generator.dtype))
        codes = generator.styles(network.widen(network.truncate(w, truncation, generator.latent_avg)))
        if seen < samples:
            taken = [code[: samples - seen] for code in codes]
            first = [torch.cat(pair) for pair in zip(first, taken, strict=True)] if first else taken
        flat = torch.cat(codes, dim=1).double()
        shift, seen = flat.mean(dim=0) - mean, seen + rows
        mean = mean + shift * rows / seen
        squares = squares + (flat - flat.mean(dim=0)).square().sum(dim=0)
        squares = squares + shift.square() * rows * (seen - rows) / seen
        yield first, mean.float().cpu(), (squares / seen).sqrt().float().cpu()


def _begun(
    generator: StyleGenerator, clip: Clip, mean: Tensor, std: Tensor, start: Relevance | None
) -> Relevance:
    """An empty measurement, or the one to go on from."""
    digests = digest(generator.network), digest(clip.model)
    channels = sum(layer.channels for layer in generator.layers if not layer.is_rgb)
    if start is None:
        return Relevance(torch.zeros(channels, clip.model.config.projection_dim), mean, std, 0, *digests)
    if (start.generator, start.clip) != digests:
        raise ValueError("The relevance to go on from was measured with another generator or CLIP.")
    return start


def _pairs(
    generator: StyleGenerator,
    codes: list[Tensor],
    index: int,
    means: tuple[Tensor, ...],
    swing: Tensor,
    pinning: str,
    batch_size: int,
) -> Iterator[tuple[int, Tensor]]:
    """For each batch of codes and each channel of a layer, the images (2b,3,H,W) with it up, then down."""
    for begin in range(0, len(codes[0]), batch_size):
        part = [code[begin : begin + batch_size] for code in codes]
        state, above = _below(generator, part, index, means, pinning), list(map(_twice, part[index + 1 :]))
        rows, own = len(part[0]), _twice(part[index])
        for channel in range(own.shape[1]):
            centre = part[index][:, channel] if pinning == "none" else means[index][channel]
            moved = own.clone()
            moved[:rows, channel] = centre + swing[channel]
            moved[rows:, channel] = centre - swing[channel]
            after = state
            for place, code in enumerate([moved, *above], start=index):
                after = generator.network.advance(after, place, code)
            yield channel, after[1]
            if pinning == "cumulative":
                own[:, channel] = means[index][channel]


def _below(
    generator: StyleGenerator, codes: list[Tensor], index: int, means: tuple[Tensor, ...], pinning: str
) -> State:
    """What the layer `index` sees, twice: for the channel up and down."""
    state = generator.network.start(len(codes[0]))
    for below in range(index):
        pinned = pinning == "cumulative" and not generator.layers[below].is_rgb
        code = means[below].expand_as(codes[below]) if pinned else codes[below]
        state = generator.network.advance(state, below, code)
    x, image = state
    return _twice(x), None if image is None else _twice(image)


def _eight_bits(images: Tensor, size: int) -> Tensor:
    """Square images as CLIP sees them after they were saved in 8 bits, (B,3,size,size) in [-1,1].

    As published: cut off rather than rounded, then resized by Pillow, which does one axis after the other and
    rounds each to 8 bits.
    """
    images = (127.5 * images + 127.5).clamp(0, 255).floor()
    for shape in ((images.shape[2], size), (size, size)):
        if tuple(images.shape[2:]) != shape:
            images = F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False)
            images = (images.clamp(0, 255) + 0.5).floor()
    return images / 127.5 - 1


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])
