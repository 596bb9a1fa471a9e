"""Generators in the .pkl files of NVIDIA's stylegan2-ada-pytorch, read without executing the pickle.

Such a file pickles its networks whole, with their source code, and to load it is to run that code. Here it is
described (`inert_pickle`) and only what is known to be a tensor is read. A tensor's bytes in it are a torch
file of their own, which torch reads as numbers alone. What the networks compute is taken to be as published:
an architecture with other tensors is refused, a changed source code is not seen.

The two layouts hold the same numbers (arXiv 1912.04958). Ours multiplies a convolution's weight by
1 / sqrt(C k^2) before it demodulates, theirs does not: the 1e-8 in the demodulation counts differently, which
changes no image that can be seen. Their networks clamp activations to 256 in half precision; ours do not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textedit_core.models.inert_pickle import Made, Name, describe
from textedit_core.models.style.naming import PERSISTENT
from textedit_core.models.style.stylegan2 import Generator, load_generator

MODULES = 10_000  # at most, in one network
ADVICE = (
    "load it where you trust it and save its G_ema as rosinality's stylegan2-pytorch does, whose "
    "convert_weight.py converts the files of NVIDIA's TensorFlow code"
)
_DICTIONARIES = (Name("collections", "OrderedDict"), Name("dnnlib.util", "EasyDict"))


def load_nvidia(path: str | Path) -> Generator:
    """The generator G_ema of a .pkl file, frozen, as `load_generator` reads one; nothing in it is executed.

    Raises ValueError, a sentence, for anything but an unconditional StyleGAN2 generator that
    stylegan2-ada-pytorch has saved: those of its TensorFlow predecessors and of StyleGAN3 are refused.
    """
    try:
        with Path(path).open("rb") as file:
            tensors = _tensors(_generator_in(describe(file)))
        state, average = converted(tensors)
    except OSError as error:
        raise ValueError(f"The generator in {path} could not be read: {error.strerror or error}.") from error
    except Exception as error:  # a hostile file can hold anything in any place
        reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(
            f"The generator in {path} could not be read without executing it ({reason}): {ADVICE}."
        ) from error
    return load_generator({"g_ema": state, "latent_avg": average}, f"the generator in {path}")


def converted(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """The tensors of NVIDIA's network, by name -> our state dict, and the mean w (D,).

    Raises ValueError for a name that no unconditional StyleGAN2 of the architecture "skip" has.
    """
    state: dict[str, Tensor] = {}
    average = None
    for name, tensor in tensors.items():
        if name == "mapping.w_avg":
            average = tensor
        elif found := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name):
            state[f"style.{int(found[1]) + 1}.{found[2]}"] = tensor
        elif name == "synthesis.b4.const":
            state["input.input"] = tensor[None]
        elif found := re.fullmatch(r"synthesis\.b(\d+)\.(?:(conv0|conv1|torgb)\.)?(.+)", name):
            state |= _of_layer(int(found[1]), found[2] or "", found[3], tensor)
        else:
            raise ValueError(f"it has a {name}, which no unconditional StyleGAN2 has")
    if average is None:
        raise ValueError("it has no mapping.w_avg")
    return state, average


def _of_layer(side: int, layer: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The tensor of a layer of a block, of its side in pixels, under our name; {} for one not needed."""
    block = side.bit_length() - 4  # of 8 pixels 0, of 4 pixels -1
    known: dict[str, tuple[str, tuple[int, ...]]] = {}
    if layer == "":
        if name != "resample_filter":
            raise ValueError(f"its block of {side} pixels has a {name}")
        return {} if block < 0 else {f"to_rgbs.{block}.upsample.kernel": 4 * tensor}
    if layer == "torgb":
        ours = "to_rgb1" if block < 0 else f"to_rgbs.{block}"
        known["bias"] = ("bias", (1, 3, 1, 1))
    else:
        convolution = 2 * block + (layer == "conv1")
        ours = "conv1" if block < 0 else f"convs.{convolution}"
        known |= {"bias": ("activate.bias", (-1,)), "noise_strength": ("noise.weight", (1,))}
        if name == "noise_const":
            return {f"noises.noise_{convolution + 1}": tensor[None, None]}
        if name == "resample_filter":
            return {f"{ours}.conv.blur.kernel": 4 * tensor} if layer == "conv0" else {}
    known["weight"] = ("conv.weight", (1, *tensor.shape))
    for part in ("weight", "bias"):
        known[f"affine.{part}"] = (f"conv.modulation.{part}", tuple(tensor.shape))
    if name not in known:
        raise ValueError(f"its layer {layer} of {side} pixels has a {name}")
    place, shape = known[name]
    return {f"{ours}.{place}": tensor.reshape(shape)}


def _generator_in(found: Any) -> Made:
    """The network that a file keeps as "G_ema"."""
    if not isinstance(found, dict) or "G_ema" not in found:
        raise ValueError("it holds no G_ema, as files of stylegan2-ada-pytorch do")
    if not isinstance(found["G_ema"], Made):
        raise ValueError("its G_ema is no network")
    return found["G_ema"]


def _tensors(network: Made) -> dict[str, Tensor]:
    """The parameters and buffers of a network, by name."""
    found: dict[str, Tensor] = {}
    left, count = [("", network)], 0
    while left:
        prefix, module = left.pop()
        count += 1
        if count > MODULES:
            raise ValueError(f"it has more than {MODULES} parts")
        state = _state(module)
        _check_settings(prefix, state)
        for kind in ("_parameters", "_buffers"):
            held = {name: one for name, one in _entries(state.get(kind, {})).items() if one is not None}
            found |= {f"{prefix}{name}": _tensor(one) for name, one in held.items()}
        inner = _entries(state.get("_modules", {}))
        left += [(f"{prefix}{name}.", one) for name, one in inner.items() if one is not None]
    return found


def _check_settings(prefix: str, state: Mapping[str, Any]) -> None:
    """ValueError for a part that computes other things than the published networks, where it says so."""
    linear = prefix.endswith(".affine.") or prefix.endswith(".torgb.")
    published: dict[str, Any] = {"activation": "linear" if linear else "lrelu", "architecture": "skip"}
    if prefix.startswith("mapping.fc"):
        published["bias_gain"] = 0.01
    for name, value in published.items():
        if state.get(name, value) != value:
            raise ValueError(f"its {prefix.rstrip('.')} has the {name} {str(state[name])[:40]}, not {value}")


def _state(module: Any) -> dict[str, Any]:
    """The attributes of a module: of one that carries its source code, or of one of torch's."""
    if isinstance(module, Made):
        is_persistent = isinstance(module.what, Name) and module.what.member == PERSISTENT
        state = _entries(module.arguments[0]).get("state") if is_persistent else module.state
        if isinstance(state, dict):
            return state
    raise ValueError("one of its parts is no network")


def _entries(found: Any) -> dict[str, Any]:
    """A dictionary, or what an ordered or attribute dictionary holds."""
    if isinstance(found, Made) and found.what in _DICTIONARIES:
        return found.entries
    if isinstance(found, dict):
        return found
    raise ValueError("one of its parts is no dictionary")


def _tensor(made: Any) -> Tensor:
    """A tensor in float32, of the arguments that torch would rebuild it with."""
    name = made.what if isinstance(made, Made) else None
    if name == Name("torch._utils", "_rebuild_parameter"):
        return _tensor(made.arguments[0])
    if name != Name("torch._utils", "_rebuild_tensor_v2"):
        raise ValueError("one of its tensors is none")
    storage, offset, size, stride = made.arguments[:4]
    if not isinstance(storage, Made) or storage.what != Name("torch.storage", "_load_from_bytes"):
        raise ValueError("one of its tensors has no numbers")
    kept = torch.load(io.BytesIO(storage.arguments[0]), map_location="cpu", weights_only=True)
    flat = torch.tensor([], dtype=kept.dtype)
    flat.set_(kept)
    found = flat.as_strided(size, stride, offset)  # refused where it would leave the storage
    if found.numel() > flat.numel() or not found.is_floating_point():
        raise ValueError("one of its tensors is not as torch saves it")
    return found.float().contiguous()
