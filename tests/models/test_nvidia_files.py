"""Generators in NVIDIA's .pkl files: the same images as by their definition, and nothing is executed."""

import io
import os
import pickle
import sys
from collections import OrderedDict
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from textedit_core.models import zoo
from textedit_core.models.inert_pickle import Made, Name, describe
from textedit_core.models.style.naming import is_generator
from textedit_core.models.style.nvidia import load_nvidia

D, SIDES, WIDTHS = 6, (4, 8, 16), {4: 5, 8: 4, 16: 3}
FILTER = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def new_tensors(seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a small generator under NVIDIA's names and in their shapes."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    found = {"mapping.w_avg": some(D)}
    for layer in range(3):
        found |= {f"mapping.fc{layer}.weight": 100 * some(D, D), f"mapping.fc{layer}.bias": 10 * some(D)}
    for side in SIDES:
        block, width, before = f"synthesis.b{side}", WIDTHS[side], WIDTHS[max(4, side // 2)]
        found[f"{block}.resample_filter"] = FILTER
        if side == 4:
            found[f"{block}.const"] = some(width, 4, 4)
        layers = {} if side == 4 else {"conv0": (before, width)}
        for layer, (inputs, outputs) in {**layers, "conv1": (width, width)}.items():
            found |= {
                f"{block}.{layer}.weight": some(outputs, inputs, 3, 3),
                f"{block}.{layer}.bias": some(outputs),
                f"{block}.{layer}.noise_strength": some(),
                f"{block}.{layer}.noise_const": some(side, side),
                f"{block}.{layer}.resample_filter": FILTER,
                f"{block}.{layer}.affine.weight": some(inputs, D),
                f"{block}.{layer}.affine.bias": 1 + some(inputs),
            }
        found |= {f"{block}.torgb.weight": some(3, width, 1, 1), f"{block}.torgb.bias": some(3)}
        found |= {f"{block}.torgb.affine.weight": some(width, D), f"{block}.torgb.affine.bias": some(width)}
    return found


# --- what such a network computes, by its definition ------------------------------------------------------


def filtered(x: Tensor, before: int, after: int) -> Tensor:
    """Zeros between the samples, padding, and the filter, four times as strong: twice as large an image."""
    rows, channels, height, width = x.shape
    wide = torch.zeros(rows, channels, 2 * height, 2 * width, dtype=x.dtype)
    wide[:, :, ::2, ::2] = x
    wide = F.pad(wide, (before, after, before, after))
    kernel = (4 * FILTER).to(x).expand(channels, 1, 4, 4)
    return F.conv2d(wide, kernel, groups=channels)


def convolved(t: dict[str, Tensor], name: str, x: Tensor, w: Tensor, up: bool) -> Tensor:
    style = w @ t[f"{name}.affine.weight"].T / D**0.5 + t[f"{name}.affine.bias"]
    weight = t[f"{name}.weight"] * style[0, None, :, None, None]
    weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
    # A true convolution, whose kernel is turned round, follows the zeros; a correlation stands elsewhere.
    y = F.conv2d(filtered(x, 3, 2), weight.flip(2, 3)) if up else F.conv2d(x, weight, padding=1)
    y = y + t[f"{name}.noise_const"] * t[f"{name}.noise_strength"]
    return F.leaky_relu(y + t[f"{name}.bias"][:, None, None], 0.2) * 2**0.5


def by_definition(t: dict[str, Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """z (1,D) -> w (1,D) and the image (1,3,S,S)."""
    w = z / (z.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for layer in range(3):
        w = w @ (0.01 * t[f"mapping.fc{layer}.weight"]).T / D**0.5 + 0.01 * t[f"mapping.fc{layer}.bias"]
        w = F.leaky_relu(w, 0.2) * 2**0.5
    x, image = t["synthesis.b4.const"][None], 0.0
    for side in SIDES:
        block = f"synthesis.b{side}"
        x = x if side == 4 else convolved(t, f"{block}.conv0", x, w, up=True)
        x = convolved(t, f"{block}.conv1", x, w, up=False)
        style = w @ t[f"{block}.torgb.affine.weight"].T / D**0.5 + t[f"{block}.torgb.affine.bias"]
        weight = t[f"{block}.torgb.weight"] * style[0, None, :, None, None] / WIDTHS[side] ** 0.5
        colours = F.conv2d(x, weight) + t[f"{block}.torgb.bias"][:, None, None]
        image = colours if side == 4 else filtered(image, 2, 1) + colours
    return w, image


# --- how such a network is pickled ------------------------------------------------------------------------


def _reconstruct_persistent_obj(meta):
    raise AssertionError("code of the file was executed")


class Network:
    """A module that pickles as NVIDIA's do: by a function of theirs, with its source code."""

    def __init__(self, state):
        self.state = state

    def __reduce__(self):
        source = "raise AssertionError('executed')"
        about = {"type": "class", "version": 6, "module_src": source, "class_name": "N", "state": self.state}
        return _reconstruct_persistent_obj, (about,)


@pytest.fixture
def theirs(monkeypatch):
    """Their module, so that pickles can name what is in it."""
    parent, module = ModuleType("torch_utils"), ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setattr(_reconstruct_persistent_obj, "__module__", "torch_utils.persistence")
    monkeypatch.setitem(sys.modules, "torch_utils", parent)
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)


def nested(tensors: dict[str, Tensor], attributes: dict[str, dict], prefix: str = "") -> Network:
    """Modules of tensors by name."""
    own = {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
    inner = dict.fromkeys(name.split(".")[0] for name in own if "." in name)
    here = {name: one for name, one in own.items() if "." not in name}
    kept = {name for name in here if name in ("w_avg", "noise_const", "resample_filter")}
    state = {
        "training": False,
        "_parameters": OrderedDict(
            (name, torch.nn.Parameter(here[name])) for name in here if name not in kept
        ),
        "_buffers": OrderedDict((name, here[name]) for name in kept),
        "_forward_hooks": OrderedDict(),
        "_non_persistent_buffers_set": set(),
        "_modules": OrderedDict((name, nested(tensors, attributes, f"{prefix}{name}.")) for name in inner),
        "_init_kwargs": {"z_dim": D, "synthesis_kwargs": {"num_fp16_res": 4}},
    }
    return Network(state | attributes.get(prefix, {}))


def write(path, tensors, protocol=4, attributes=None, **more) -> None:
    snapshot = {"G": None, "D": None, "G_ema": nested(tensors, attributes or {}), "training_set_kwargs": {}}
    path.write_bytes(pickle.dumps(snapshot | more, protocol=protocol))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_it_draws_what_its_definition_says(theirs, tmp_path, protocol):
    tensors = new_tensors()
    write(tmp_path / "cat.pkl", tensors, protocol)
    for name in ("torch_utils", "torch_utils.persistence"):
        del sys.modules[name]  # their code is not here when a file is read
    network = load_nvidia(tmp_path / "cat.pkl").double()
    assert (network.size, network.style_dim, network.n_latent, len(network.style)) == (16, D, 6, 4)
    assert torch.equal(network.latent_avg, tensors["mapping.w_avg"][None].double())
    z = torch.randn(1, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w, image = by_definition({name: one.double() for name, one in tensors.items()}, z)
    torch.testing.assert_close(network.map(z), w, rtol=0, atol=1e-6)
    torch.testing.assert_close(network(network.widen(w)), image, rtol=1e-6, atol=1e-5)
    assert image.std() > 0.1


def test_it_is_found_by_path_and_in_a_folder(theirs, tmp_path):
    write(tmp_path / "cat.pkl", new_tensors())
    assert is_generator(tmp_path / "cat.pkl")
    for place in (tmp_path, tmp_path / "cat.pkl"):
        models = zoo.load(place)
        assert models.generator.size == 16 and set(models.sources) == {"generator", "clip"}


@pytest.mark.parametrize(
    ("change", "attributes", "says"),
    [
        (lambda t: t.update({"mapping.embed.weight": torch.zeros(1)}), {}, "has a mapping.embed.weight"),
        (lambda t: t.update({"synthesis.input.freqs": torch.zeros(1)}), {}, "has a synthesis.input.freqs"),
        (lambda t: t.update({"synthesis.b8.skip.weight": torch.zeros(1)}), {}, "8 pixels has a skip.weight"),
        (lambda t: t.pop("mapping.w_avg"), {}, "no mapping.w_avg"),
        (lambda t: None, {"synthesis.b8.": {"architecture": "resnet"}}, "the architecture resnet, not skip"),
        (lambda t: None, {"mapping.fc0.": {"bias_gain": 1.0}}, "mapping.fc0 has the bias_gain 1.0, not 0.01"),
        (lambda t: None, {"synthesis.b8.conv0.": {"activation": "relu"}}, "activation relu, not lrelu"),
    ],
)
def test_another_network_is_refused_with_a_way_out(theirs, tmp_path, change, attributes, says):
    tensors = new_tensors()
    change(tensors)
    write(tmp_path / "cat.pkl", tensors, attributes=attributes)
    with pytest.raises(ValueError, match=f"without executing it .*{says}.*convert_weight.py converts"):
        load_nvidia(tmp_path / "cat.pkl")


def test_a_missing_tensor_is_told_by_name(theirs, tmp_path):
    tensors = new_tensors()
    del tensors["synthesis.b8.conv1.bias"]
    write(tmp_path / "cat.pkl", tensors)
    with pytest.raises(ValueError, match=r"cat\.pkl have missing tensors: convs\.1\.activate\.bias"):
        load_nvidia(tmp_path / "cat.pkl")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_executed_wherever_it_stands(theirs, tmp_path):
    sprung, trap = tmp_path / "sprung", Trap(tmp_path / "sprung")
    write(tmp_path / "beside.pkl", new_tensors(), trap=trap)
    assert load_nvidia(tmp_path / "beside.pkl").size == 16, "what is not read does no harm"
    for name, attributes in {
        "buffers": {"": {"_buffers": trap}},
        "tensor": {"": {"_parameters": {"weight": trap}}},
        "module": {"": {"_modules": {"mapping": trap}}},
        "setting": {"synthesis.b8.": {"architecture": trap}},
    }.items():
        write(tmp_path / f"{name}.pkl", new_tensors(), attributes=attributes)
        with pytest.raises(ValueError, match="without executing it"):
            load_nvidia(tmp_path / f"{name}.pkl")
    for name, content in {"top": trap, "network": {"G_ema": trap}, "list": [trap]}.items():
        (tmp_path / f"{name}.pkl").write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match="without executing it"):
            load_nvidia(tmp_path / f"{name}.pkl")
        with pytest.raises(ValueError, match=r"no network that stylegan2-ada-pytorch has saved: load it"):
            zoo.load(tmp_path / f"{name}.pkl")
    assert not sprung.exists()


class Forged:
    """A tensor as torch would rebuild it, of arguments of one's own."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self.arguments


class Bytes:
    """A storage as torch would load it, of bytes of one's own."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.content,)


def test_forged_tensors_are_refused(theirs, tmp_path):
    own, code = torch.zeros(4).untyped_storage(), io.BytesIO()
    torch.save(Trap(tmp_path / "sprung"), code)
    typed = torch.storage.TypedStorage(wrap_storage=own, dtype=torch.float32, _internal=True)
    for number, forged in enumerate(
        [
            Forged(typed, 2, (4,), (1,), False, OrderedDict()),  # beyond its end
            Forged(typed, 0, (10**9, 10**9), (0, 0), False, OrderedDict()),  # far more than there is
            Forged(typed, -1, (4,), (1,), False, OrderedDict()),
            Forged(Bytes(code.getvalue()), 0, (4,), (1,), False, OrderedDict()),
            Forged(Bytes(b"no storage"), 0, (4,), (1,), False, OrderedDict()),
            Forged("text", 0, (4,), (1,), False, OrderedDict()),
        ]
    ):
        path = tmp_path / f"{number}.pkl"
        write(path, new_tensors(), attributes={"": {"_buffers": {"w_avg": forged}}})
        with pytest.raises(ValueError, match="without executing it"):
            load_nvidia(path)
    assert not (tmp_path / "sprung").exists()


def test_damaged_files_and_endless_ones_are_refused(theirs, tmp_path):
    write(tmp_path / "cat.pkl", new_tensors())
    whole = (tmp_path / "cat.pkl").read_bytes()
    for number, content in enumerate([b"", b"text", whole[:1000], whole[:-1], b"\x80\x04.", b"\x80\x04R."]):
        (tmp_path / f"{number}.pkl").write_bytes(content)
        with pytest.raises(ValueError, match="without executing it"):
            load_nvidia(tmp_path / f"{number}.pkl")
    with pytest.raises(ValueError, match="No such file"):
        load_nvidia(tmp_path / "none.pkl")
    loop = Network({"_modules": {}})
    loop.state["_modules"]["again"] = twice = Network({"_modules": {}})
    for _ in range(40):  # each holds the next one twice
        one = Network({"_modules": {}})
        twice.state["_modules"] |= {"a": one, "b": one}
        twice = one
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps({"G_ema": loop}))
    with pytest.raises(ValueError, match="more than 10000 parts"):
        load_nvidia(tmp_path / "loop.pkl")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_is_described_and_not_done(protocol):
    plain = {"a": [1, 2.5, (3, None, True), b"x" * 300, "é"], 7: [[], {}, ()], "big": 10**30}
    assert describe(pickle.dumps(plain, protocol=protocol)) == plain
    shared = [1]
    found = describe(pickle.dumps([shared, shared], protocol=protocol))
    assert found == [[1], [1]] and found[0] is found[1]
    made = describe(pickle.dumps(OrderedDict(a=1), protocol=protocol))
    assert isinstance(made, Made) and made.what == Name("collections", "OrderedDict")
    assert made.entries == {"a": 1}
    assert describe(pickle.dumps(os.getcwd, protocol=protocol)) == Name(os.getcwd.__module__, "getcwd")


def test_what_refers_outside_is_refused():
    for content in (b"Pname\n.", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x82\x01."):
        with pytest.raises(ValueError, match=r"it uses (PERSID|EXT1)"):
            describe(content)
