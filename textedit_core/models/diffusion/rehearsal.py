"""How much memory a step of a diffusion model takes, found by going through it with tensors without data.

A network on PyTorch's "meta" device computes shapes and no numbers. What its tensors would occupy is added
up as they come and go, so that the peak of any UNet, size, precision and way of training is known in about a
second, and before anything is computed. Of what kernels take for themselves the second copy of a
convolution's input is counted, as those of the CPU make it; cuDNN may take more where it is free.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from textedit_core.models.diffusion import tuning
from textedit_core.models.diffusion.condition import Condition
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.latent_model import LatentModel

CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.conv2d.default)
DRAW = 0  # the seed of low-rank weights, which have no numbers here


@dataclasses.dataclass(frozen=True)
class Training:
    """What one step of an optimisation takes, in bytes.

    activations: the peak beside all weights, gradients among it.  trained: the float32 weights that are
    trained and their two moments, without the weights that are there anyway.  values: of `trained`, the
    weights alone.
    """

    activations: int
    trained: int
    values: int


class Peak(TorchDispatchMode):
    """Counts the bytes of the tensors made inside the block: those alive now, and the most at once.

    The weights of `network`, of which views are taken inside, were there before.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.now = self.most = 0
        self._before = [one.untyped_storage() for one in (*network.parameters(), *network.buffers())]
        self._alive: set[int] = {one._cdata for one in self._before}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, Tensor):
                self._add(one.untyped_storage())
        if func in CONVOLUTIONS:  # its kernels take the input once more, in an order that suits them
            self.most = max(self.most, self.now + args[0].numel() * args[0].element_size())
        return made

    def _add(self, storage: Any) -> None:
        name = storage._cdata
        if name in self._alive:
            return
        size = storage.nbytes()
        self._alive.add(name)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._remove, name, size)

    def _remove(self, name: int, size: int) -> None:
        self._alive.discard(name)
        self.now -= size


def _remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which goes through a network once for each way of asking."""

    @functools.wraps(function)
    def asked(model: Any, *how: Any) -> Any:
        known = _KNOWN.setdefault(model.unet, {})
        if (function.__name__, *how) not in known:
            known[function.__name__, *how] = function(model, *how)
        return known[function.__name__, *how]

    return asked


_KNOWN: weakref.WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Any]] = weakref.WeakKeyDictionary()


@_remembered
def sampling(model: LatentModel, rows: int, latent: tuple[int, int]) -> int:
    """The peak in bytes beside the weights of one UNet call of `rows` rows on latents of this (h, w)."""
    rehearsed = _without_data(model)
    with torch.no_grad(), _light_attention(), Peak(rehearsed.unet) as peak:
        _call(rehearsed, rows, latent)
    return peak.most


@_remembered
def training(
    model: LatentDiffusion, latent: tuple[int, int], tune: str, lora_rank: int, checkpointing: bool
) -> Training:
    """One step of an optimisation: of the tokens with tune "none", else of weights, as `tuning.trainable`."""
    draw = torch.Generator().manual_seed(DRAW)
    copied = tuning.trainable(_without_data(model), tune, lora_rank, checkpointing, draw)
    values = sum(one.numel() * 4 for one in copied.parameters)
    copied.model.unet.to(model.dtype)  # autocast computes in it
    with torch.enable_grad(), _light_attention(), Peak(copied.model.unet) as peak:
        predicted, tokens = _call(copied.model, 1, latent, optimised=tune == "none")
        loss = F.mse_loss(predicted.float(), torch.zeros_like(predicted, dtype=torch.float32))
        torch.autograd.grad(loss, copied.parameters or [tokens])
    return Training(peak.most, 3 * values, values)


@_remembered
def decoding(model: LatentModel, rows: int, latent: tuple[int, int]) -> int:
    """The peak in bytes beside the weights of decoding `rows` latents of this (h, w) at once."""
    vae = _meta(model.vae)
    z = _empty(rows, model.vae.config.latent_channels, *latent, dtype=vae.decoder.conv_in.weight.dtype)
    with torch.no_grad(), _light_attention(), Peak(vae) as peak:
        vae.decode(z)
    return peak.most


def _call(model: Any, rows: int, latent: tuple[int, int], optimised: bool = False) -> tuple[Tensor, Tensor]:
    """One UNet call on empty latents -> the noise and the float32 tokens."""
    config = model.unet.config
    tokens = _empty(rows, tokens_read(model), config.cross_attention_dim).requires_grad_(optimised)
    pooled = None
    if config.addition_embed_type == "text_time":
        pooled = _empty(
            rows, config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        )
    z = _empty(rows, model.vae.config.latent_channels, *latent)
    seen = _empty(rows, config.in_channels, *latent)
    return model.predicted(z, 1, seen, Condition(tokens, pooled)), tokens


def tokens_read(model: Any) -> int:
    """How many tokens the UNet reads."""
    return model.tokenizer.model_max_length if isinstance(model, LatentDiffusion) else 1


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _without_data(model: Any) -> Any:
    """The same model with a UNet of the same shapes that holds no numbers."""
    return dataclasses.replace(model, unet=_meta(model.unet), offload=None, fingerprint=None)


def _meta(network: Any) -> Any:
    """A copy of a network on the meta device; the network itself is not touched."""
    replaced: dict[int, Any] = {id(one): one.to("meta") for one in network.buffers()}
    for one in network.parameters():
        replaced[id(one)] = nn.Parameter(one.detach().to("meta"), requires_grad=False)
    return copy.deepcopy(network, replaced)


class _Attention(torch.autograd.Function):
    """Attention as its kernels do it: it keeps queries, keys, values and result, and no map."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return tuple(torch.empty_like(one) for one in ctx.saved_tensors[:3])


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor:
    return _Attention.apply(q, k, v)


@contextmanager
def _light_attention() -> Iterator[None]:
    """The meta device would hold the maps of attention, which the kernels of CPU and CUDA do not."""
    light: Callable[..., Tensor] = _attention
    with mock.patch.object(F, "scaled_dot_product_attention", light):
        yield
