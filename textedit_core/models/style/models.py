"""StyleCLIP's models, frozen: generator, encoder, identity, and what is trained or measured for them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from textedit_core.models.style.encoders import E4e
from textedit_core.models.style.identity import IRSE50, identity_loss, similarity
from textedit_core.models.style.mapper import load_mapper
from textedit_core.models.style.stylegan2 import Generator, StyleLayer


@dataclass(frozen=True, eq=False)
class StyleGenerator:
    """A StyleGAN2 generator, frozen: W+ codes (B,n,D) -> S codes -> images (B,3,H,W), about [-1,1]."""

    network: Generator
    fingerprint: str

    @property
    def size(self) -> int:
        """The side in pixels of its images."""
        return self.network.size

    @property
    def style_dim(self) -> int:
        return self.network.style_dim

    @property
    def n_latent(self) -> int:
        """The number of rows of a W+ code."""
        return self.network.n_latent

    @property
    def layers(self) -> tuple[StyleLayer, ...]:
        """The modulated convolutions, one for each S code, in order."""
        return self.network.layers

    @property
    def channel_counts(self) -> list[int]:
        """The length of each S code, ToRGB's among them; M is their sum."""
        return [layer.channels for layer in self.layers]

    @property
    def device(self) -> torch.device:
        return self.network.input.input.device

    @property
    def dtype(self) -> torch.dtype:
        return self.network.input.input.dtype

    @cached_property
    def latent_avg(self) -> Tensor:
        """The mean w, (1,D), the centre of truncation: the stored one, or that of 4,096 samples."""
        stored = self.network.latent_avg
        with torch.no_grad():
            return self.network.mean_latent() if stored is None else stored

    def styles(self, w_plus: Tensor) -> list[Tensor]:
        """W+ codes (B,n,D) -> S codes, one (B,C) per layer."""
        return self.network.styles(w_plus.to(self.device, self.dtype))

    def render(self, s_codes: Sequence[Tensor]) -> Tensor:
        """S codes -> images (B,3,H,W), with the stored noise."""
        return self.network.synthesize(s_codes)


@dataclass(frozen=True, eq=False)
class StyleEncoder:
    """An e4e encoder, frozen: portraits -> W+ codes of the generator it was trained with."""

    network: E4e
    fingerprint: str

    @property
    def input_size(self) -> int:
        """The side in pixels of the images it reads."""
        return self.network.input_size

    @property
    def latent_avg(self) -> Tensor:
        """(n,D), the code that all of its codes are differences from."""
        return self.network.latent_avg

    @property
    def device(self) -> torch.device:
        return self.network.latent_avg.device

    def encode(self, image: Tensor) -> Tensor:
        """Square images (B,3,H,W) of any size in [-1,1] -> W+ codes (B,n,D)."""
        return self.network.encode(image.to(self.latent_avg))


@dataclass(frozen=True, eq=False)
class FaceIdentity:
    """An IR-SE50 network, frozen: who is in a portrait."""

    network: IRSE50
    fingerprint: str

    @property
    def device(self) -> torch.device:
        return self._weight.device

    @property
    def _weight(self) -> Tensor:
        return self.network.get_parameter("output_layer.3.weight")

    def similarity(self, image: Tensor, source: Tensor) -> Tensor:
        """Cosine of the identities of portraits (B,3,H,W) and their sources (B or 1 rows) -> (B,).

        The gradient reaches `image` alone.
        """
        weight = self._weight
        return similarity(self.network, image.to(weight), source.to(weight))

    def loss(self, image: Tensor, source: Tensor) -> Tensor:
        """Mean of 1 - `similarity`, a scalar: the identity loss of StyleCLIP and e4e."""
        weight = self._weight
        return identity_loss(self.network, image.to(weight), source.to(weight))


@dataclass(frozen=True, eq=False)
class StyleMapper:
    """A mapper network, trained so far.

    weights: its state dict.  prompt: what it edits towards.  steps, losses: of its training, where known.
    optimizer: what the optimiser knows, by the weights' names; empty where training cannot go on.
    """

    weights: dict[str, Tensor]
    prompt: str
    steps: int = 0
    losses: tuple[float, ...] = ()
    optimizer: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def network(self) -> nn.Module:
        """The network itself. ValueError for weights that are not a mapper's."""
        return load_mapper(self.weights, f"the mapper for {self.prompt!r}")

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of prompt, steps, weights and the optimiser's state."""
        found = hashlib.sha256(repr((self.prompt, self.steps)).encode())
        for tensors in (self.weights, self.optimizer):
            _hash_named(found, tensors.items())
        return found.hexdigest()


@dataclass(frozen=True, eq=False)
class Relevance:
    """What each channel of the S codes does to CLIP's image features (section 6 of the paper).

    relevance: (N,D) float32, a row for each channel of the S codes but ToRGB's, in order, or for each of all:
    a unit row or zeros where channels were moved one by one, of any length up to 1 where it is a covariance.
    mean, std: (M,) float32, of every channel of the S codes, ToRGB's among them, in order.
    measured: how many of the rows are known, from the first on; the others are zero.
    generator, clip: `digest` of the networks it was measured with, "" where that is not known.
    """

    relevance: Tensor
    mean: Tensor
    std: Tensor
    measured: int
    generator: str = ""
    clip: str = ""

    @cached_property
    def fingerprint(self) -> str:
        found = hashlib.sha256()
        _hash_named(found, [("mean", self.mean), ("relevance", self.relevance), ("std", self.std)])
        return found.hexdigest()

    def scores(self, direction: Tensor) -> Tensor:
        """How far each channel of the rows moves images along a unit vector (D,) of CLIP: (N,) in [-1,1].

        Raises ValueError for a vector of another CLIP's space.
        """
        if self.relevance.shape[1:] != direction.shape:
            raise ValueError(
                "The relevance was measured with another CLIP: choose models that belong together."
            )
        return self.relevance @ direction.float().cpu()

    def check(self, generator: StyleGenerator) -> None:
        """Raise ValueError for a generator with other channels than those that were measured."""
        self.channels(generator)

    def channels(self, generator: StyleGenerator) -> Tensor:
        """(M,) of bool: which of a generator's channels the rows are of, all or all but ToRGB's.

        Raises ValueError for a generator with other channels than those that were measured.
        """
        every = len(self.relevance) == sum(generator.channel_counts)
        found = torch.cat(
            [torch.full((layer.channels,), every or not layer.is_rgb) for layer in generator.layers]
        )
        if (len(self.relevance), len(self.std)) != (int(found.sum()), len(found)):
            raise ValueError("The relevance was measured with another generator: measure it again.")
        return found


def digest(network: nn.Module) -> str:
    """sha256 of a network's tensors in half precision: the same before and after a bundle is written."""
    found = hashlib.sha256()
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    _hash_named(
        found, [(name, one.half() if one.is_floating_point() else one) for name, one in tensors.items()]
    )
    return found.hexdigest()


def tensor_digest(*tensors: Tensor) -> str:
    """sha256 of tensors: their types, shapes and numbers, in this order."""
    found = hashlib.sha256()
    for tensor in tensors:
        _hash(found, tensor)
    return found.hexdigest()


def _hash_named(found: hashlib._Hash, tensors: Iterable[tuple[str, Tensor]]) -> None:
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        found.update(f"{name} ".encode())
        _hash(found, tensor)


def _hash(found: hashlib._Hash, tensor: Tensor) -> None:
    found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
