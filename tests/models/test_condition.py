"""Conditions: mixed, batched and cut alike in their tokens and their pooled part."""

import pytest
import torch

from textedit_core.cache import Cache, Entry
from textedit_core.models.diffusion.condition import Condition


def drawn(rows: int, pooled: bool, seed: int = 0) -> Condition:
    draw = torch.Generator().manual_seed(seed)
    tokens, vectors = torch.randn(rows, 5, 3, generator=draw), torch.randn(rows, 4, generator=draw)
    return Condition(tokens, vectors if pooled else None)


def parts(one: Condition) -> list[torch.Tensor]:
    return [one.tokens] if one.pooled is None else [one.tokens, one.pooled]


@pytest.mark.parametrize("pooled", [False, True])
def test_rows_cat_and_expand_go_together(pooled):
    three = drawn(3, pooled)
    assert len(three) == 3 and len(three.split()) == 3
    first, *rest = three.split()
    for found, wanted in zip(parts(first.cat(*rest)), parts(three), strict=True):
        assert torch.equal(found, wanted)
    for found, wanted in zip(parts(three.rows(torch.tensor([2, 0]))), parts(three), strict=True):
        assert torch.equal(found, wanted[[2, 0]])
    for found, wanted in zip(parts(first.expand(4)), parts(three), strict=True):
        assert len(found) == 4 and (found == wanted[:1]).all()
        assert found.untyped_storage().data_ptr() == wanted.untyped_storage().data_ptr(), "without a copy"
    assert [len(one) for one in parts(three.expand(3))] == [3] * (1 + pooled)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_mix_goes_from_the_one_to_the_other_and_beyond(pooled):
    one, other = drawn(1, pooled, 1), drawn(1, pooled, 2)
    mixed = one.mix(other, [0.0, 1.0, 1.5])
    for found, start, end in zip(parts(mixed), parts(one), parts(other), strict=True):
        assert torch.equal(found[:1], start) and torch.equal(found[1:2], end)
        torch.testing.assert_close(found[2:], 1.5 * end - 0.5 * start)
    assert torch.equal(one.mix(other, 1.0).tokens, other.tokens)


def test_one_with_a_pooled_part_does_not_go_with_one_without():
    for join in (Condition.cat, lambda one, other: one.mix(other, 0.5)):
        with pytest.raises(ValueError, match="one without cannot be"):
            join(drawn(1, True), drawn(1, False))
        with pytest.raises(ValueError, match="one without cannot be"):
            join(drawn(1, False), drawn(1, True))


def test_it_changes_its_type_but_not_what_it_came_from():
    one = drawn(2, True)
    half = one.to(dtype=torch.float16)
    assert {part.dtype for part in parts(half)} == {torch.float16}
    assert {part.dtype for part in parts(one)} == {torch.float32}
    copy = one.clone()
    copy.tokens.zero_(), copy.pooled.zero_()
    assert all(bool(part.any()) for part in parts(one))


def test_the_fingerprint_follows_every_value():
    one = drawn(1, True)
    moved, pushed = one.clone(), one.clone()
    moved.tokens[0, 0, 0] += 1e-3
    pushed.pooled[0, 0] += 1e-3
    prints = {each.fingerprint for each in (one, moved, pushed, Condition(one.tokens), one.rows(slice(0, 0)))}
    assert len(prints) == 5
    assert one.clone().fingerprint == one.fingerprint


@pytest.mark.parametrize("pooled", [False, True])
def test_it_is_stored_on_disk_and_read_back(tmp_path, pooled):
    one = drawn(2, pooled)
    Cache(folder=tmp_path).put("ab" * 32, Entry(one, 1))
    found = Cache(folder=tmp_path).get("ab" * 32).value
    assert type(found) is Condition and found.fingerprint == one.fingerprint
