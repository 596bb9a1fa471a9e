"""Measuring what StyleSpace channels do to CLIP's features: one by one (arXiv 2103.17249, section 6.2), or by
their covariance with the features over random images, which is ours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models.clip import Clip
from textedit_core.models.style import latents
from textedit_core.models.style.models import Relevance, StyleGenerator, digest
from textedit_core.models.style.stylegan2 import State

PINNINGS = ("cumulative", "channel", "none")
CODES_AT_ONCE = 1000  # mapped at once; the samples do not depend on how many are asked for


@dataclass(frozen=True, eq=False)
class SampledCodes:
    """S codes of random samples, and the statistics of more of them.

    s_codes: one (N,C) per layer, of the first N samples.  mean, std: (M,) float32, on the CPU, of every
    channel of all samples.
    """

    s_codes: list[Tensor]
    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Perturbation:
    """How a channel is moved: to its mean -+ `amplitude` deviations, or around its own value.

    pinning: "cumulative" leaves the channels before this one at their means, as the published program does,
    by an oversight that the published files share; "channel" sets this channel alone to its mean first;
    "none" moves it around its own value, as the paper says.  batch_size: codes rendered at once.
    Raises ValueError for any other pinning.
    """

    amplitude: float = 5.0
    pinning: str = "cumulative"
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.pinning not in PINNINGS:
            raise ValueError(f"Pinning: {self.pinning!r} is none of {', '.join(PINNINGS)}.")


def sample_s_codes(
    generator: StyleGenerator, samples: int, count: int, truncation: float, seed: int
) -> Iterator[SampledCodes]:
    """The S codes of the first `samples` of `count` samples and their statistics so far, every thousand."""
    network, draw = generator.network, torch.Generator().manual_seed(seed)
    first: list[Tensor] = []
    moments = latents.RunningMoments()
    while moments.count < count:
        rows = min(CODES_AT_ONCE, count - moments.count)
        z = torch.randn(CODES_AT_ONCE, generator.style_dim, generator=draw)[:rows]
        w = network.map(z.to(generator.device, generator.dtype))
        codes = generator.styles(network.widen(network.truncate(w, truncation, generator.latent_avg)))
        if moments.count < samples:
            taken = [code[: samples - moments.count] for code in codes]
            first = [torch.cat(pair) for pair in zip(first, taken, strict=True)] if first else taken
        moments.add(latents.join_channels(codes))
        yield SampledCodes(first, moments.mean.float().cpu(), moments.deviation.float().cpu())


def begin(generator: StyleGenerator, clip: Clip, sampled: SampledCodes, start: Relevance | None) -> Relevance:
    """A relevance of which nothing is measured, or `start`.

    Raises ValueError for a start that was measured with another generator or CLIP.
    """
    digests = digest(generator.network), digest(clip.model)
    if start is None:
        rows = torch.zeros(int(latents.editable_channels(generator).sum()), clip.model.config.projection_dim)
        return Relevance(rows, sampled.mean, sampled.std, 0, *digests)
    if (start.generator, start.clip) != digests:
        raise ValueError("The relevance to go on from was measured with another generator or CLIP.")
    return start


def measure_layers(
    generator: StyleGenerator,
    clip: Clip,
    sampled: SampledCodes,
    perturbation: Perturbation,
    found: Relevance,
) -> Iterator[Relevance]:
    """Measure the layers that `found` lacks: its value so far after each channel of each batch of codes.

    A row of the relevance is the mean over the codes of the unit differences of the unit CLIP features of the
    image with the channel up and with it down; itself a unit vector, or zeros for a channel that changes
    nothing. The rows of a layer are added together, with its last channel. Gradients are to be off.
    """
    batches, at = -(-len(sampled.s_codes[0]) // perturbation.batch_size), 0
    for index, layer in enumerate(generator.layers):
        if layer.is_rgb:
            continue
        end = at + layer.channels
        if end > found.measured:
            sums, left = torch.zeros(layer.channels, found.relevance.shape[1]), batches * layer.channels
            for channel, images in perturbed_images(generator, sampled, index, perturbation):
                up, down = clip.image_features(as_saved(images, clip.size)).cpu().chunk(2)
                sums[channel] += F.normalize(up - down, dim=-1).sum(dim=0)
                left -= 1
                if not left:
                    rows = found.relevance.clone()
                    rows[at:end] = F.normalize(sums, dim=-1)
                    found = replace(found, relevance=rows, measured=end)
                yield found
        at = end


def measure_covariance(
    generator: StyleGenerator, clip: Clip, sampled: SampledCodes, batch_size: int
) -> Iterator[Relevance | None]:
    """The covariance of every channel, ToRGB's too, with CLIP's image features: None for a batch, then all.

    R_c = mean over the codes of (s_c - mean s_c) / std_c (f - mean f), f the unit features of the image; all
    rows are then divided by the length of the longest, so that a channel's relevance to a text is in [-1,1].
    Where a generator spreads what a word means over many channels, each of them alone does next to nothing;
    together they vary as the images do. Gradients are to be off.
    """
    codes, features = latents.join_channels(sampled.s_codes).cpu(), []
    for some in zip(*(code.split(batch_size) for code in sampled.s_codes), strict=True):
        seen = as_saved(generator.render(list(some)), clip.size)
        features.append(clip.image_features(seen).float().cpu())
        if sum(map(len, features)) < len(codes):
            yield None
    f = torch.cat(features)
    standard = (codes.float() - codes.float().mean(dim=0)) / sampled.std.clamp(min=torch.finfo().eps)
    rows = standard.T @ (f - f.mean(dim=0)) / len(f)
    longest = rows.norm(dim=1).max().clamp(min=torch.finfo().tiny)
    digests = digest(generator.network), digest(clip.model)
    yield Relevance(rows / longest, sampled.mean, sampled.std, len(rows), *digests)


def perturbed_images(
    generator: StyleGenerator, sampled: SampledCodes, index: int, perturbation: Perturbation
) -> Iterator[tuple[int, Tensor]]:
    """For each batch of codes and each channel of a layer, the images (2b,3,H,W) with it up, then down.

    What the generator computes before the layer is computed once for all of its channels.
    """
    codes, pinning = sampled.s_codes, perturbation.pinning
    means = latents.split_channels(sampled.mean.to(codes[0]), generator)
    swing = perturbation.amplitude * latents.split_channels(sampled.std.to(codes[0]), generator)[index]
    for first in range(0, len(codes[0]), perturbation.batch_size):
        part = [code[first : first + perturbation.batch_size] for code in codes]
        state, after = _before(generator, part, index, means, pinning), list(map(_twice, part[index + 1 :]))
        rows, own = len(part[0]), _twice(part[index])
        for channel in range(own.shape[1]):
            centre = part[index][:, channel] if pinning == "none" else means[index][channel]
            moved = own.clone()
            moved[:rows, channel] = centre + swing[channel]
            moved[rows:, channel] = centre - swing[channel]
            reached = state
            for place, code in enumerate([moved, *after], start=index):
                reached = generator.network.advance(reached, place, code)
            image = reached[1]
            assert image is not None  # a ToRGB comes after every layer
            yield channel, image
            if pinning == "cumulative":
                own[:, channel] = means[index][channel]


def convolutions(
    generator: StyleGenerator, samples: int, costs: Sequence[int] | None = None
) -> tuple[int, int, int]:
    """How many images pass a convolution: in `measure_layers`, at the least, and in whole renders.

    costs: what one image costs in each layer, such as `multiply_adds`; 1 in all of them unless given.
    Whole renders are two for each code and channel. The layers before a channel's own need not be computed
    again. In its own layer a change of one channel is a convolution of that channel alone, next to nothing;
    the layers after it have other activations in every channel, and are the least that is exact.
    `measure_layers` convolves in the layer itself too: 0.60 to 0.67 of whole renders for the published sizes,
    in images.
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
    """Of each layer's convolution for one image, without filters and pixelwise operations."""
    found = []
    for layer in generator.layers:
        conv = generator.network.layer_named(layer.name).conv
        side = layer.size if conv.blur is None else layer.size // 2
        found.append(conv.weight.numel() * side * side)
    return found


def work_left(generator: StyleGenerator, clip: Clip, batches: int, done: int = 0) -> float:
    """What `measure_layers` has to compute after its first `done` steps, for time to be told from it.

    In multiply-adds of one image in each step: those of the generator's convolutions from the step's layer
    on, and about those of CLIP, the numbers of its image tower once for each patch.
    """
    vision = clip.model.config.vision_config
    seen = sum(one.numel() for one in clip.model.vision_model.parameters())
    seen *= (vision.image_size // vision.patch_size) ** 2 + 1
    costs, left, at = multiply_adds(generator), 0, 0
    for index, layer in enumerate(generator.layers):
        if not layer.is_rgb:
            steps = batches * layer.channels
            left += max(0, at + steps - max(done, at)) * (sum(costs[index:]) + seen)
            at += steps
    return float(left)


def _before(
    generator: StyleGenerator, codes: list[Tensor], index: int, means: list[Tensor], pinning: str
) -> State:
    """The input of the layer `index`, twice: for the channel up and down."""
    state = generator.network.start(len(codes[0]))
    for place in range(index):
        pinned = pinning == "cumulative" and not generator.layers[place].is_rgb
        code = means[place].expand_as(codes[place]) if pinned else codes[place]
        state = generator.network.advance(state, place, code)
    x, image = state
    return _twice(x), None if image is None else _twice(image)


def as_saved(images: Tensor, size: int) -> Tensor:
    """Square images (B,3,H,H) as CLIP sees them once saved in 8 bits and resized, (B,3,size,size) in [-1,1].

    As published: truncated to 8 bits rather than rounded, then resized as by Pillow, which resizes one axis
    after the other and rounds to 8 bits after each.
    """
    images = (127.5 * images + 127.5).clamp(0, 255).floor()
    for shape in ((images.shape[2], size), (size, size)):
        if tuple(images.shape[2:]) != shape:
            images = F.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False)
            images = (images.clamp(0, 255) + 0.5).floor()
    return images / 127.5 - 1


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])
