"""Channel relevance: what is kept below a layer changes nothing, and costs less; zero rows; resuming."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from tests.models.golden import small_generator
from textedit_core.methods import styleclip_directions
from textedit_core.methods.styleclip_directions import fit as measure
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.models.style.layers import ModulatedConv
from textedit_core.models.style.models import StyleGenerator, digest
from textedit_core.models.style.relevance import PINNINGS, as_saved, convolutions, multiply_adds
from textedit_core.models.style.relevance_files import measured_relevance, write_relevance
from textedit_core.models.style.stylegan2 import Generator
from textedit_core.steps import last

FEW = {"samples": 2, "count": 50, "seed": 3}


def saved_and_resized(images, size):
    """In 8 bits, cut off, and resized by Pillow itself; in [-1,1]."""
    saved = (127.5 * images + 127.5).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    seen = [np.array(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in saved]
    return torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2).to(images.dtype) / 127.5 - 1


def plain(generator, clip, found, pinning, samples=2, seed=3):
    """Section 4b, word for word: two whole renders for every channel and code."""
    z = torch.randn(1000, generator.style_dim, generator=torch.Generator().manual_seed(seed))[:samples]
    w = generator.network.truncate(generator.network.map(z.to(generator.dtype)), 0.7, generator.latent_avg)
    codes = latents.join_channels(generator.styles(generator.network.widen(w)))
    center, swings = found.mean.to(codes), 5 * found.std.to(codes)
    rows = []
    for channel in latents.editable_channels(generator).nonzero()[:, 0].tolist():
        mean, swing, own = center[channel], swings[channel], codes.clone()
        features = []
        for sign in (1, -1):
            codes[:, channel] = (own[:, channel] if pinning == "none" else mean) + sign * swing
            image = generator.render(latents.split_channels(codes, generator))
            features.append(clip.image_features(as_saved(image, clip.size)))
        rows.append(F.normalize(F.normalize(features[0] - features[1], dim=1).mean(dim=0), dim=0))
        codes = own
        if pinning == "cumulative":
            codes[:, channel] = mean
    return torch.stack(rows)


@pytest.mark.parametrize(("side", "size"), [(16, 32), (64, 64), (100, 32), (256, 224)])
def test_images_reach_clip_as_pillow_resizes_them(side, size):
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, expected = as_saved(image, size), saved_and_resized(image, size)
    assert found.shape == expected.shape
    off = ((found - expected).abs() * 127.5).round()
    assert off.max() <= 1 and off.mean() < 1e-3  # Pillow's weights have 22 bits


@pytest.fixture(scope="module")
def generator():
    """Sixteen pixels, 26 channels, float64, so that rounding pushes no pixel over the edge of its 8 bits."""
    return StyleGenerator(small_generator(), "small")


@pytest.fixture(scope="module")
def clip(tiny):
    loaded = zoo.load(tiny.name).clip
    return replace(loaded, model=copy.deepcopy(loaded.model).double())


@pytest.fixture(scope="module")
def found(generator, clip):
    return last(measure(generator, clip, **FEW))


@pytest.mark.parametrize("pinning", PINNINGS)
@torch.no_grad()
def test_it_equals_whole_renders(generator, clip, pinning):
    found = last(measure(generator, clip, pinning=pinning, **FEW))
    expected = plain(generator, clip, found, pinning)
    torch.testing.assert_close(found.relevance, expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_images_equal_whole_renders_to_the_bit(generator, clip):
    """Layer by layer, the same sizes of batch: what is kept is what would be computed again."""
    network, latent = generator.network, latents.from_seed(generator, seed=[1, 2, 3])
    codes = latent.to_s_codes(generator)
    for index in (2, 5, 6):
        state = network.start(3)
        for below in range(index):
            state = network.advance(state, below, codes[below])
        for _ in range(2):
            after = state
            for place in range(index, len(codes)):
                after = network.advance(after, place, codes[place])
            assert torch.equal(after[1], network.synthesize(codes))


def test_rows_are_unit_vectors_in_float32_for_every_channel(generator, clip, found):
    assert found.relevance.shape == (int(latents.editable_channels(generator).sum()), 24)
    assert found.measured == len(found.relevance)
    torch.testing.assert_close(found.relevance.norm(dim=1), torch.ones(len(found.relevance)))
    assert (found.generator, found.clip) == (digest(generator.network), digest(clip.model))


def test_statistics_are_those_of_all_codes(generator, clip):
    """1,500 codes: more than one batch, and not a whole number of them."""
    steps = measure(generator, clip, samples=1, count=1500, seed=1)
    found = next(step.value for step in steps if step.value is not None)
    draw = torch.Generator().manual_seed(1)
    z = torch.cat([torch.randn(1000, generator.style_dim, generator=draw) for _ in range(2)])[:1500]
    with torch.no_grad():
        w = generator.network.truncate(
            generator.network.map(z.to(generator.dtype)), 0.7, generator.latent_avg
        )
        flat = latents.join_channels(generator.styles(generator.network.widen(w))).double()
    torch.testing.assert_close(found.mean, flat.mean(dim=0).float())
    torch.testing.assert_close(found.std, flat.std(dim=0, correction=0).float())


def test_the_convolutions_are_counted_and_about_half(generator, clip):
    """In images that pass a convolution, in calls, as both images of a channel go together, and in work."""
    seen = {"images": 0, "calls": 0, "work": 0}
    work = dict(zip((layer.name for layer in generator.layers), multiply_adds(generator), strict=True))
    work = {generator.network.get_submodule(name).conv: one for name, one in work.items()}
    convs = [module for module in generator.network.modules() if isinstance(module, ModulatedConv)]

    def count(module, arguments):
        seen["images"] += len(arguments[0])
        seen["calls"] += 1
        seen["work"] += len(arguments[0]) * work[module]

    hooks = [conv.register_forward_pre_hook(count) for conv in convs]
    last(measure(generator, clip, **FEW, codes_at_once=2))
    for hook in hooks:
        hook.remove()
    ours, least, whole = convolutions(generator, 2)
    assert seen["images"] == ours > least
    channels = int(latents.editable_channels(generator).sum())
    assert whole == channels * 2 * 2 * len(generator.layers)
    assert ours / whole < 0.7
    ours, least, whole = convolutions(generator, 2, multiply_adds(generator))
    assert seen["work"] == ours and least < ours < whole
    assert seen["calls"] / (channels * 2 * len(generator.layers)) < 0.36


def test_a_channel_that_changes_nothing_has_a_zero_row(generator, clip):
    quieter = replace(generator, network=quiet(generator.network))
    found = last(measure(quieter, clip, **FEW))
    assert torch.equal(found.relevance[3], torch.zeros(24))
    assert found.relevance[2].norm() > 0.99
    assert not found.relevance.isnan().any()


def quiet(network):
    """A copy whose first layer does not read its fourth channel."""
    network = copy.deepcopy(network)
    network.conv1.conv.weight[:, :, 3] = 0
    return network


def test_it_can_be_stopped_and_go_on(generator, clip, found):
    steps = measure(generator, clip, **FEW)
    for step in steps:
        if step.value is not None and step.value.measured == 12:
            break
    steps.close()
    assert step.value.relevance[12:].abs().sum() == 0
    assert torch.equal(step.value.relevance[:12], found.relevance[:12])
    rest = list(measure(generator, clip, **FEW, start=step.value))
    assert torch.equal(rest[-1].value.relevance, found.relevance)
    whole = list(measure(generator, clip, **FEW))
    assert len(rest) < len(whole) and rest[-1].total == whole[-1].total
    assert [step.done for step in whole] == list(range(1, whole[-1].total + 1))


def test_the_share_at_64_pixels_with_layers_of_one_width():
    with torch.device("meta"):
        network = Generator(64, channels={4: 256, 8: 256, 16: 256, 32: 256, 64: 256})
    ours, _, whole = convolutions(StyleGenerator(network, ""), 100)
    assert 0.55 < ours / whole < 0.57
    assert ours / whole / 2 < 0.3  # of the calls, as both images of a channel go together


def test_the_share_of_the_published_generator():
    """What the channels of its first, cheap layers change is most of the work: little can be shared."""
    with torch.device("meta"):
        published = StyleGenerator(Generator(1024), "")
    ours, least, whole = convolutions(published, 100)
    assert (round(ours / whole, 2), round(least / whole, 2)) == (0.67, 0.63)
    ours, least, whole = convolutions(published, 100, multiply_adds(published))
    assert (round(ours / whole, 2), round(least / whole, 2)) == (0.89, 0.85)


@torch.no_grad()
def test_the_multiply_adds_are_those_of_the_convolutions(generator):
    """As torch counts them, in a render of one image, less the filters."""
    seen = []
    convs = [generator.network.get_submodule(layer.name).conv for layer in generator.layers]
    hooks = [
        conv.register_forward_hook(lambda conv, given, out: seen.append((conv, given[0].shape)))
        for conv in convs
    ]
    latents.from_seed(generator, seed=0).image(generator)
    for hook in hooks:
        hook.remove()
    counted = []
    for conv, shape in seen:
        apply = F.conv2d if conv.blur is None else F.conv_transpose2d
        weight = conv.weight[0] if conv.blur is None else conv.weight[0].transpose(0, 1)
        place = {"padding": weight.shape[-1] // 2} if conv.blur is None else {"stride": 2}
        with FlopCounterMode(display=False) as counter:
            apply(torch.zeros(shape, dtype=weight.dtype), weight, **place)
        counted.append(counter.get_total_flops() // 2)
    assert counted == multiply_adds(generator)


def test_what_cannot_be_is_told(generator, clip, found):
    with pytest.raises(ValueError, match="Pinning: 'all' is none of cumulative, channel, none"):
        next(measure(generator, clip, pinning="all"))
    other = replace(found, clip="another")
    with pytest.raises(ValueError, match="another generator or CLIP"):
        last(measure(generator, clip, **FEW, start=other))


WHOLE = {"measured_by": "covariance", "images": 12, "count": 50, "seed": 3, "codes_at_once": 5}


@torch.no_grad()
def test_the_covariance_is_that_of_all_channels_with_what_clip_sees(generator, clip):
    steps = list(measure(generator, clip, **WHOLE))
    found = steps[-1].value
    assert [step.done for step in steps] == [1, 2, 3, 4] and not any(step.value for step in steps[:-1])
    z = torch.randn(1000, generator.style_dim, generator=torch.Generator().manual_seed(3))[:12]
    w = generator.network.truncate(generator.network.map(z.to(generator.dtype)), 0.7, generator.latent_avg)
    codes = generator.styles(generator.network.widen(w))
    features = clip.image_features(as_saved(generator.render(codes), clip.size)).float()
    standard = latents.join_channels(codes).float().cpu() / found.std
    rows = torch.stack([torch.cov(torch.stack([*features.T, s]), correction=0)[-1, :-1] for s in standard.T])
    expected = rows / rows.norm(dim=1).max()
    torch.testing.assert_close(found.relevance, expected, rtol=1e-3, atol=1e-4)
    assert found.measured == len(found.relevance) == sum(generator.channel_counts)
    assert found.channels(generator).all()


@torch.no_grad()
def test_a_covariance_moves_torgb_too_and_the_published_relevance_never(generator, clip, found):
    whole = last(measure(generator, clip, **WHOLE))
    rgb = ~latents.editable_channels(generator)
    for relevance, moved in ((whole, True), (found, False)):
        towards = F.normalize(torch.ones(relevance.relevance.shape[1]), dim=0)
        change = styleclip_directions.direction(generator, relevance, towards, 0.0)
        assert bool(change.offset[rgb].any()) == moved
    assert next(iter(measure(generator, clip, **WHOLE, start=whole))).value is whole, "nothing to go on with"


def test_a_covariance_is_kept_in_a_file_and_found_again(generator, clip, tmp_path):
    whole = last(measure(generator, clip, **WHOLE))
    write_relevance(whole, tmp_path / "some.relevance.safetensors", {"seed": 3})
    read, settings = measured_relevance(tmp_path / "some.relevance.safetensors", generator, whole.clip)
    assert torch.equal(read.relevance, whole.relevance) and read.measured == whole.measured
    assert settings == {"seed": 3}
    with pytest.raises(ValueError, match="belongs to another generator"):
        short = replace(whole, measured=whole.measured - 1)
        write_relevance(short, tmp_path / "short.relevance.safetensors", {})
        measured_relevance(tmp_path / "short.relevance.safetensors", generator, whole.clip)
