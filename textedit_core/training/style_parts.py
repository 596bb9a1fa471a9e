"""StyleCLIP's models in a toon training: their training, their share of a bundle, their scores."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from textedit_core.models import zoo
from textedit_core.models.style.encoders import E4e
from textedit_core.models.style.identity import IRSE50
from textedit_core.models.style.stylegan2 import Generator
from textedit_core.noise import noise
from textedit_core.toon import latent_world
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.portraits import Portraits, World, held_out_portraits
from textedit_core.training import (
    bundle,
    encoder,
    evaluate,
    flow,
    generator,
    identity,
    mapping,
    ranks,
    style_edits,
)
from textedit_core.training import style_scores as scores
from textedit_core.training.generator import Growing
from textedit_core.training.loop import Budget
from textedit_core.training.shared import Common, Training

PARTS = ("mapping", "generator", "encoder", "identity", "relevance", "mappers", "flow")
WITHOUT_PORTRAITS = ("relevance", "mappers", "flow")  # those that learn from the other networks alone
PREVIEWS = 12
GROWN = 10**6  # portraits: a generator from a bundle has done with small images


class StyleParts(Training):
    """What a Studio does for the parts of PARTS; a bundle holds those of them that are trained.

    They learn from the closed world: a code holds one value of each attribute, and no colour between two. The
    encoder alone learns to find the open one too, which it meets by mixed codes.
    """

    world: World = "closed"  # that the training portraits are of

    @property
    @abstractmethod
    def closed_portraits(self) -> Portraits:
        """The training portraits of the closed world."""

    def train_style(self, part: str, **common: Unpack[Common]) -> None:
        """Train one of PARTS.

        The generator needs the mapping, the encoder the generator; relevance, mappers and flow need CLIP and
        generator, the mappers the identity network too, as the bundle will hold them, and are of no use with
        others.
        """
        if part == "mapping":
            mapping.fit(**common)
        elif part == "generator":
            adopted = self._has("generator") and not self._has("mapping")
            style = self.generator().style if adopted else self.mapping()
            generator.fit(self.closed_portraits, style, self.size, on_save=self._preview_style, **common)
        elif part == "encoder":
            more = self.portraits if self.world == "open" else None
            encoder.fit(self.closed_portraits, self.generator(), open_portraits=more, **common)
        elif part == "identity":
            identity.fit(self.closed_portraits, **common)
        elif not ranks.rank():  # one process is enough
            self._train_edits(part, **common)

    def _train_edits(self, part: str, folder: Path, budget: Budget, seed: int, device: str) -> None:
        models = self._style_models()
        if part == "relevance":
            style_edits.fit_relevance(models.generator, models.clip, folder)
        elif part == "flow":
            flow.fit(models.generator, models.clip, folder, budget, seed, device)
        else:
            parts = models.generator, models.clip, models.identity
            style_edits.fit_mappers(*parts, folder, budget, seed)

    def mapping(self) -> nn.Sequential:
        return self._load("mapping", mapping.Contest()).network()

    def generator(self) -> Generator:
        """The synthesis network, with the mapping of this folder: it may have been trained on since.

        A generator from a bundle brings its own.
        """
        growing = generator.Growing(generator.build(self.size, mapping.Contest().network()))
        network = self._load("generator", growing).network
        if self._has("mapping"):
            network.style.load_state_dict(self.mapping().state_dict())
        return network

    def encoder(self) -> E4e:
        return self._load("encoder", encoder.build(self.size))

    def identity(self) -> IRSE50:
        return self._load("identity", identity.Recognition()).network

    def write_style(self, folder: Path) -> None:
        """The folders of a bundle that StyleCLIP reads, as far as they are trained."""
        if not self._has("generator"):
            return
        network = self.generator()
        average = network.latent_avg
        assert average is not None  # `generator.build` sets it
        tensors = network.state_dict() | {"latent_avg": average[0]}
        bundle.write_network(folder / "generator", generator.config(self.size), tensors)
        if self._has("encoder"):
            reader = self.encoder()
            tensors = reader.state_dict() | {"latent_avg": reader.latent_avg}
            bundle.write_network(folder / "encoder", {"size": self.size, **encoder.SHAPE}, tensors)
        if self._has("identity"):
            bundle.write_network(folder / "identity", identity.SHAPE, self.identity().state_dict())

    def write_style_edits(self, folder: Path) -> None:
        """The relevance and the flow, if they are of these very networks, and the mappers, beside the rest of
        a bundle."""
        models = zoo.load(folder)
        found = style_edits.load_relevance(self.out / "relevance")
        if found and style_edits.is_of(found, models.generator, models.clip):
            tensors = {"relevance": found.relevance, "mean": found.mean, "std": found.std}
            config = {"generator": found.generator, "clip": found.clip} | asdict(style_edits.RELEVANCE)
            bundle.write_network(folder / "relevance", config, tensors)
        if self._has("flow") and flow.is_of(self.out / "flow", models.generator, models.clip):
            network = self._load("flow", flow.build(models.generator.style_dim))
            config = flow.config(network, **flow.digests(models.generator, models.clip))
            bundle.write_network(folder / "flow", config, network.state_dict())
        for name in style_edits.PROMPTS:
            if mapper := style_edits.load_mapper(self.out / "mappers", name):
                bundle.write_mapper(folder / "mappers" / f"{name}.safetensors", mapper.weights, mapper.prompt)

    def adopt_style_edits(self, models: zoo.Models) -> None:
        """Keep the relevance, the mappers and of which networks the flow is, where this folder has none yet.

        ValueError, a sentence, for a mapper that cannot be read: it would be trained anew.
        """
        if unread := models.unread_mappers:
            raise ValueError(next(iter(unread.values())))
        for name, mapper in models.mappers.items():
            if style_edits.load_mapper(self.out / "mappers", name) is None:
                style_edits.save_mapper(mapper, self.out / "mappers", name)
        if "flow" in models.sources and not (self.out / "flow" / flow.FACTS).exists():
            flow.adopt(models.flow, self.out / "flow")
        if "relevance" in models.sources and style_edits.load_relevance(self.out / "relevance") is None:
            style_edits.save_relevance(models.relevance, self.out / "relevance")

    def _style_models(self) -> zoo.Models:
        """Generator, encoder, identity network and CLIP as a bundle would hold them, in OUT/style_models."""
        folder = self.out / "style_models"
        self.write_style(folder)
        bundle.write_clip(folder / "clip", self.tokenizer, self.clip())
        return zoo.load(folder, self.device)

    def _has(self, *parts: str) -> bool:
        return all((self.out / part / "state.pt").exists() for part in parts)

    @torch.no_grad()
    def _preview_style(self, growing: Growing, step: int) -> None:
        """Held-out portraits, what the generator makes of a z that names each, and samples of any z."""
        network, side = growing.network, growing.side()
        portraits = held_out_portraits(PREVIEWS, self.size, self.out / "data")
        z = latent_world.draw(torch.from_numpy(portraits.values).long(), torch.Generator().manual_seed(0))
        w = network.map(torch.cat([z, noise((PREVIEWS, z.shape[1]), 0)]))
        drawn = generator.drawn_at(network, network.widen(w), side)[-1].clamp(-1, 1)
        drawn = F.interpolate(drawn, (self.size, self.size))
        images = torch.cat([portraits.batch(np.arange(PREVIEWS)), drawn])
        evaluate.save_grid(images, PREVIEWS, self.out / "samples" / f"generator-{step:07d}.png")


def adoptable(models: zoo.Models) -> dict[str, nn.Module]:
    """Part -> the module to go on training, for those of PARTS that a bundle holds."""
    parts: dict[str, nn.Module] = {}
    if "generator" in models.sources:
        parts["generator"] = generator.Growing(models.generator.network, seen=GROWN)
    if "encoder" in models.sources:
        parts["encoder"] = models.encoder.network
    if "identity" in models.sources:
        parts["identity"] = identity.Recognition(models.identity.network)
    if "flow" in models.sources and models.flow.names == tuple(flow.TAUGHT):
        parts["flow"] = models.flow.network
    return parts


def measure(
    models: zoo.Models, reader: AttributeClassifier, portraits: Portraits, world: World = "closed"
) -> dict[str, Any]:
    """The scores of what the bundle holds of PARTS, for its manifest.

    On portraits of the open world only how near the encoder comes to them: no code names them.
    """
    found: dict[str, Any] = {}
    if {"generator", "encoder"} <= set(models.sources):
        parts = models.encoder.network, models.generator.network
        found["encoder"] = scores.encoder_scores(*parts, reader, portraits)
    if world == "open":
        return found
    if "generator" in models.sources:
        found["generator"] = scores.generator_scores(models.generator.network, reader, portraits)
    if "identity" in models.sources:
        found["identity"] = scores.identity_scores(models.identity.network, portraits)
    if "mappers" in models.sources:
        found["mappers"] = style_edits.mapper_scores(models.mappers, models.generator, reader)
    if "flow" in models.sources and "clip" in models.sources:
        found["flow"] = flow.scores(models.flow, models.generator, models.clip, reader)
    return found
