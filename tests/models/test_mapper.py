"""The mapper networks: published numbers, names and slices, and reading their checkpoints."""

import pytest
import torch

from tests.models.golden import fill_by_rule, random, small_generator
from textedit_core.models.style.mapper import LevelsMapper, SingleMapper, StyleSpaceMapper, load_mapper
from textedit_core.models.style.stylegan2 import load_generator


def test_the_numbers_of_the_reference_implementation():
    network = fill_by_rule(LevelsMapper(), lambda key, wave: 100 * wave if "weight" in key else wave)
    x = torch.cos(0.37 * torch.arange(18 * 512, dtype=torch.float64)).view(1, 18, 512)
    y = network(x)
    assert y.mean().item() == pytest.approx(0.034238533, abs=1e-9)
    expected = [[-0.016118307, -0.024392869, -0.025897382], [-0.014917131, -0.024881934, -0.026548695]]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(y[0, [0, 17], :3], expected, rtol=0, atol=1e-9)


def test_names_and_shapes_of_the_published_mappers():
    with torch.device("meta"):
        levels, single = LevelsMapper().state_dict(), SingleMapper().state_dict()
        codes = StyleSpaceMapper({0: 512, 24: 32}).state_dict()
    layers = [f"mapping.{i}.{kind}" for i in range(1, 5) for kind in ("weight", "bias")]
    names = {f"{level}_mapping.{layer}" for level in ("course", "medium", "fine") for layer in layers}
    assert set(levels) == names
    assert set(single) == {f"mapping.{layer}" for layer in layers}
    assert set(codes) == {f"mapper_{index}.{layer}" for index in (0, 24) for layer in layers}
    assert levels["fine_mapping.mapping.4.weight"].shape == (512, 512)
    assert codes["mapper_24.mapping.1.bias"].shape == (32,)


def test_a_level_that_is_left_out_changes_nothing_and_the_others_as_before():
    network = LevelsMapper(style_dim=6).double()
    x = random(2, 10, 6)
    full = network(x)
    for levels, rows in [(("course", "medium"), slice(0, 8)), (("fine",), slice(8, 10))]:
        some = LevelsMapper(levels, style_dim=6).double()
        some.load_state_dict(
            {key: value for key, value in network.state_dict().items() if key in some.state_dict()}
        )
        expected = torch.zeros_like(x)
        expected[:, rows] = full[:, rows]
        assert torch.equal(some(x), expected)
        assert expected.abs().sum() > 0
    with pytest.raises(ValueError, match="coarse"):
        LevelsMapper(("coarse",))


def test_codes_are_normalised_over_the_layers_of_a_level_as_the_published_mappers_need():
    network = LevelsMapper(style_dim=6).double()
    x = random(1, 10, 6)
    scaled = x * torch.arange(1.0, 7.0, dtype=torch.float64)
    torch.testing.assert_close(network(scaled), network(x))
    changed = x.clone()
    changed[:, 3] += 1
    moved = (network(changed) - network(x)).abs().sum(dim=-1)[0] > 1e-9
    assert moved.tolist() == [True] * 4 + [False] * 6


def test_a_generator_with_fewer_layers_has_no_fine_level():
    assert LevelsMapper(style_dim=6)(torch.ones(1, 8, 6)).shape == (1, 8, 6)


def test_the_style_space_mapper_leaves_to_rgb_alone():
    generator = small_generator()
    layers = generator.layers
    s_codes = generator.styles(random(2, 6, 7))
    network = StyleSpaceMapper({i: layer.channels for i, layer in enumerate(layers) if not layer.is_rgb})
    changes = network.double()(s_codes)
    assert [tuple(change.shape) for change in changes] == [(2, layer.channels) for layer in layers]
    assert [bool(change.any()) for change in changes] == [not layer.is_rgb for layer in layers]


@pytest.mark.parametrize(
    "network",
    [
        LevelsMapper(style_dim=5),
        LevelsMapper(("course", "medium"), style_dim=5),
        SingleMapper(5),
        StyleSpaceMapper({0: 6, 2: 5, 10: 4}),
    ],
    ids=["levels", "no fine", "single", "style space"],
)
def test_a_checkpoint_says_itself_what_it_is(network, tmp_path):
    state = {f"mapper.{key}": value for key, value in network.state_dict().items()}
    decoder = small_generator().float().state_dict()
    state |= {f"decoder.{key}": value for key, value in decoder.items()}
    torch.save({"state_dict": state, "opts": {"no_fine_mapper": False}}, tmp_path / "mapper.pt")
    loaded = load_mapper(tmp_path / "mapper.pt")
    assert type(loaded) is type(network)
    ours, theirs = loaded.state_dict(), network.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert load_generator(tmp_path / "mapper.pt").size == 16
    assert load_mapper(theirs).state_dict().keys() == theirs.keys()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda state: state.pop("course_mapping.mapping.3.bias"), "missing .*course_mapping.mapping.3.bias"),
        (lambda state: state.update({"course_mapping.extra": torch.zeros(1)}), "unexpected .*extra"),
        (lambda state: state.update({"other.mapping.1.bias": torch.zeros(1)}), "not those of a StyleCLIP"),
        (lambda state: state.clear(), "not those of a StyleCLIP"),
    ],
)
def test_what_is_wrong_is_said_by_name(damage, said):
    state = LevelsMapper(style_dim=5).state_dict()
    damage(state)
    with pytest.raises(ValueError, match=said):
        load_mapper(state)
