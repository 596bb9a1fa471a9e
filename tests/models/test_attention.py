"""The attention processor against diffusers' own, what a control can do, and that nothing stays behind."""

import copy

import pytest
import torch
from torch import nn

from textedit_core.models.diffusion.attention import Control, attention_control, grid


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.diffusion


@pytest.fixture(scope="module")
def texts(model):
    return model.encode_text(["a red hat", "smiling man", ""])


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class Maps(Control):
    """Wants the maps of some rows, remembers what it saw, and leaves them."""

    def __init__(self, rows: slice):
        self.rows, self.seen = rows, []

    def map_rows(self, place):
        return self.rows

    def edit_maps(self, maps, place):
        self.seen.append((place, maps))
        return maps


class Share(Control):
    """Row 2 uses the queries and keys of row 0 in self-attention."""

    def source_rows(self, place):
        return torch.tensor([0, 1, 0])


def controlled(model, control, z, texts, t=500):
    with attention_control(model.unet, control, z.shape[-2:]):
        return model.eps(z, t, texts)


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (6, 4), (7, 5)])
@pytest.mark.parametrize("rows", [None, slice(0, 3), slice(1, None), slice(1, 2)])
def test_a_control_that_changes_nothing_is_the_default_processor(model, texts, size, rows):
    z = noise(3, 4, *size)
    expected = model.eps(z, 500, texts)
    control = Control() if rows is None else Maps(rows)
    torch.testing.assert_close(controlled(model, control, z, texts), expected, rtol=1e-4, atol=1e-5)


def test_a_control_sees_every_cross_attention_layer_once(model, texts):
    control = Maps(slice(1, None))
    controlled(model, control, noise(3, 4, 8, 12), texts)
    names = sorted(f"{place.name}.processor" for place, _ in control.seen)
    assert names == sorted(name for name in model.unet.attn_processors if ".attn2." in name)
    assert {(place.height, place.width, place.side) for place, _ in control.seen} == {(8, 12, 8), (4, 6, 4)}
    for place, maps in control.seen:
        assert maps.shape[0] == 2 and maps.shape[2:] == (place.height * place.width, 32)
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:3]))


def test_edited_maps_change_their_rows_alone(model, texts):
    class First(Maps):
        def edit_maps(self, maps, place):
            return maps.flip(-1)

    z = noise(3, 4, 8, 8)
    expected, found = model.eps(z, 500, texts), controlled(model, First(slice(1, 2)), z, texts)
    torch.testing.assert_close(found[::2], expected[::2], rtol=1e-4, atol=1e-5)
    assert (found[1] - expected[1]).abs().max() > 0.01


def test_shared_queries_and_keys_are_the_source_map_on_own_values(model):
    """One self-attention layer against softmax(Q_s K_s^T / sqrt d) V_t written out."""
    unet = model.unet
    name = next(name for name in unet.attn_processors if ".attn1." in name).removesuffix(".processor")
    layer = unet.get_submodule(name)
    x = noise(3, 64, layer.to_q.in_features)
    q, k, v = (
        part(x).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for part in (layer.to_q, layer.to_k, layer.to_v)
    )
    maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    expected = layer.to_out[0]((maps[[0, 1, 0]] @ v).transpose(1, 2).flatten(-2))
    with attention_control(unet, Share(), (8, 8)):
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_no_map_of_self_attention_is_ever_held(model, texts):
    """The largest tensor of a call stays far below queries x queries."""
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            sizes.extend(
                one.numel()
                for one in (out if isinstance(out, tuple) else (out,))
                if isinstance(one, torch.Tensor)
            )
            return out

    class Both(Share, Maps):
        pass

    z = noise(3, 4, 32, 32)
    with Watch():
        controlled(model, Both(slice(1, None)), z, texts)
    heads = model.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.heads
    assert max(sizes) <= 3 * heads * (32 * 32) ** 2 / 4, "a quarter of one map of every row"


def test_the_processors_are_as_before_also_after_an_exception(model, texts):
    before = {name: id(processor) for name, processor in model.unet.attn_processors.items()}

    class Broken(Maps):
        def edit_maps(self, maps, place):
            assert {type(one).__name__ for one in model.unet.attn_processors.values()} == {"_Processor"}
            raise KeyError("inside the UNet")

    with pytest.raises(KeyError, match="inside the UNet"):
        controlled(model, Broken(slice(None)), noise(3, 4, 8, 8), texts)
    assert {name: id(processor) for name, processor in model.unet.attn_processors.items()} == before
    controlled(model, Control(), noise(3, 4, 8, 8), texts)
    assert {name: id(processor) for name, processor in model.unet.attn_processors.items()} == before


def test_a_unet_that_no_prompt_reaches_is_refused():
    class Bare(nn.Module):
        attn_processors = {"mid_block.attentions.0.processor": object()}  # noqa: RUF012

    with pytest.raises(ValueError, match="no attention layer"), attention_control(Bare(), Control(), (8, 8)):
        pass


def test_hooks_on_the_projections_stay_live(model, texts):
    """As low-rank changes do, a hook on to_k reaches the edited maps."""
    z = noise(3, 4, 8, 8)
    layer = model.unet.get_submodule(
        next(name for name in model.unet.attn_processors if ".attn2." in name).removesuffix(".processor")
    )
    plain = controlled(model, Maps(slice(None)), z, texts)
    handle = layer.to_k.register_forward_hook(lambda module, args, out: 3 * out)
    try:
        assert (controlled(model, Maps(slice(None)), z, texts) - plain).abs().max() > 1e-3
    finally:
        handle.remove()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_flows_through_and_maps_stay_float32(model, texts, dtype):
    half, z = model.with_weights(dict(model.unet.named_parameters()), dtype), noise(3, 4, 8, 8)
    control = Maps(slice(1, None))
    found = controlled(half, control, z, texts)
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert all(maps.dtype == torch.float32 for _, maps in control.seen)
    torch.testing.assert_close(found, half.eps(z, 500, texts), rtol=0, atol=0.1)
    torch.testing.assert_close(found, model.eps(z, 500, texts), rtol=0, atol=0.3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_flows_through_and_edits_are_not_rounded(model, texts, dtype):
    class Edit(Maps):
        def edit_maps(self, maps, place):
            self.seen.append((place, maps @ torch.eye(32)))
            return self.seen[-1][1]

    z, control = noise(3, 4, 8, 8), Edit(slice(1, None))
    with torch.autocast("cpu", dtype=dtype):
        found = controlled(model, control, z, texts)
    assert all(maps.dtype == torch.float32 for _, maps in control.seen)
    torch.testing.assert_close(found, model.eps(z, 500, texts), rtol=0, atol=0.3)


def test_large_scores_do_not_overflow_in_half_precision(model, texts):
    """Scores that float16 holds only once they are scaled."""
    unet = copy.deepcopy(model.unet)
    name = next(name for name in unet.attn_processors if ".attn2." in name).removesuffix(".processor")
    layer = unet.get_submodule(name).half()
    x = noise(1, 64, layer.to_q.in_features).half() * 100
    context = (texts.tokens[:1] * 100).half()
    q, k = (
        part.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for part in (layer.to_q(x), layer.to_k(context))
    )
    assert (q @ k.transpose(-1, -2)).isinf().any()
    seen = Maps(slice(None))
    with attention_control(unet, seen, (8, 8)):
        out = layer(x, encoder_hidden_states=context)
    assert out.dtype == torch.float16 and seen.seen[0][1].isfinite().all()


@pytest.mark.parametrize(
    ("queries", "size", "found"),
    [
        (4096, (64, 64), (64, 64)),
        (64, (64, 64), (8, 8)),
        (384, (64, 96), (16, 24)),
        (15, (9, 20), (3, 5)),
        (1, (5, 5), (1, 1)),
    ],
)
def test_the_grid_of_a_layer(queries, size, found):
    assert grid(queries, size) == found


def test_a_grid_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="64 x 64 latents has 100 places"):
        grid(100, (64, 64))
