"""Train StyleFlow's flow for the toon generator, and measure its edits by the attribute classifier."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from textedit_core.methods import styleflow
from textedit_core.models.clip import Clip
from textedit_core.models.style.flows import Attribute, Flow, FlowNetwork, read_attributes
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator, digest
from textedit_core.noise import noise
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.world import ATTRIBUTES
from textedit_core.training.loop import Budget, Randomness, train

log = logging.getLogger(__name__)

SHAPE = {"width": 128, "layers": 3}
SAMPLES, SAMPLE_SEED = 10_000, 2_008_02401
LEAST_TRUNCATION = 0.5  # of the samples, up to 1: a person's latent may be truncated, and projections are
BATCH, LEARNING_RATE, SOLVER_STEPS = 128, 1e-3, 4
# Deviation of the noise that is added to codes. The toon codes lie near few points of W, where a density has
# no bound; with noise it has one.
JITTER = 0.1
# The same of what CLIP reads. An edit asks for 1, where few samples are: a flow that tells .6 from .7 apart,
# as one does that learns for long without it, goes wrong beyond them, and more strength shows less.
READ_JITTER = 0.1
CHUNK = 100
SCORED, SCORED_STEPS = 60, 8  # latents, and steps of rk4
NEUTRAL = "a person"
# Name -> the text that has it, and the value of the toon world that this asks for. No two are of one
# attribute of that world, so that each can be had with any other.
TAUGHT = {
    "surprised": ("a surprised person", "mood", "surprised"),
    "curly hair": ("a person with curly hair", "top", "curly"),
    "sunglasses": ("a person with sunglasses", "glasses", "sunglasses"),
    "long beard": ("a person with a long beard", "beard", "long beard"),
    "pink hair": ("a person with pink hair", "hair_color", "pink"),
    "red clothes": ("a person in red clothes", "clothes_color", "red"),
    "dark skin": ("a person with dark skin", "skin", "dark"),
    "tilted left": ("a person tilted left", "pose", "tilted left"),
}
FACTS = "flow.json"


def attributes() -> tuple[Attribute, ...]:
    """What the flow is conditioned on."""
    return tuple(Attribute(name, NEUTRAL, prompt) for name, (prompt, *_) in TAUGHT.items())


def build(style_dim: int) -> FlowNetwork:
    return FlowNetwork(style_dim, len(TAUGHT), **SHAPE)


def fit(
    generator: StyleGenerator, clip: Clip, folder: Path, budget: Budget, seed: int, device: str
) -> FlowNetwork:
    """Maximise the density of codes given the attributes that CLIP reads from their images (section 3.2).

    The probe of the divergence is drawn anew for each batch, and is one for a solve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = digests(generator, clip)
    codes, read = (one.to(device) for one in samples(generator, clip, folder / "samples.pt", known))
    network = build(generator.style_dim).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)

    def loss_of_batch(network: FlowNetwork, randomness: Randomness) -> dict[str, Tensor]:
        rows = torch.from_numpy(randomness.numpy.integers(len(codes), size=BATCH)).to(device)
        grain, probe = torch.randn(2, BATCH, codes.shape[1], generator=randomness.torch, device=device)
        lot = torch.randn(BATCH, read.shape[1], generator=randomness.torch, device=device)
        given = codes[rows] + JITTER * grain, read[rows] + READ_JITTER * lot
        z, volume = network.density(*given, probe, "rk4", SOLVER_STEPS)
        density = -z.square().sum(dim=1) / 2 + volume
        return {"loss": -density.mean() / codes.shape[1], "time": network.root_time.detach().square()}

    found = train(folder, network, optimizer, loss_of_batch, budget, seed=seed, device=device)
    (folder / FACTS).write_text(json.dumps(known))
    return found


@torch.no_grad()
def samples(
    generator: StyleGenerator, clip: Clip, path: Path, known: dict[str, str]
) -> tuple[Tensor, Tensor]:
    """Codes (N,D), and what CLIP reads in their images (N,A); kept in a file for these networks."""
    facts = known | {"attributes": [asdict(one) for one in attributes()], "count": SAMPLES}
    if path.exists():
        held = torch.load(path, weights_only=True)
        if held["facts"] == facts:
            return held["codes"], held["read"]
    log.info("flow: drawing %d samples", SAMPLES)
    z = noise((SAMPLES, generator.style_dim), SAMPLE_SEED)
    lot = torch.rand(SAMPLES, 1, generator=torch.Generator().manual_seed(SAMPLE_SEED))
    share = LEAST_TRUNCATION + (1 - LEAST_TRUNCATION) * lot
    codes, read = [], []
    for part, amount in zip(z.split(CHUNK), share.split(CHUNK), strict=True):
        w = torch.lerp(generator.latent_avg, generator.network.map(part.to(generator.device)),
                       amount.to(generator.device))  # fmt: skip
        image = generator.render(generator.styles(generator.network.widen(w)))
        codes.append(w.cpu())
        read.append(read_attributes(clip, image, attributes()).cpu())
    found = torch.cat(codes), torch.cat(read)
    torch.save({"facts": facts, "codes": found[0], "read": found[1]}, path)
    return found


def digests(generator: StyleGenerator, clip: Clip) -> dict[str, str]:
    """Which networks a flow belongs to."""
    return {"generator": digest(generator.network), "clip": digest(clip.model)}


def adopt(found: Flow, folder: Path) -> None:
    """Note with which networks a flow that comes from a bundle was trained."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).write_text(json.dumps({"generator": found.generator, "clip": found.clip}))


def is_of(folder: Path, generator: StyleGenerator, clip: Clip) -> bool:
    """Whether the flow of a training folder was trained with these networks."""
    path = folder / FACTS
    return path.exists() and json.loads(path.read_text()) == digests(generator, clip)


def config(network: FlowNetwork, generator: str, clip: str) -> dict[str, Any]:
    """config.json of a bundle's flow. generator, clip: their digests."""
    told = [asdict(one) for one in attributes()]
    shape = {"style_dim": network.style_dim, **SHAPE}
    return {**shape, "attributes": told, "generator": generator, "clip": clip}


@torch.no_grad()
def scores(
    flow: Flow, generator: StyleGenerator, clip: Clip, reader: AttributeClassifier, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Per attribute of TAUGHT, at strength 1, on samples that do not yet show it.

    asked: share that reads as asked afterwards.  kept: share of the other attributes that read as before.
    """
    w = generator.network.map(noise((SCORED, generator.style_dim), seed))
    source = Latent(generator.network.widen(w))
    before, found = reader.read(source.image(generator).clamp(-1, 1)), {}
    for name, (_, attribute, value) in TAUGHT.items():
        column, wanted = list(ATTRIBUTES).index(attribute), ATTRIBUTES[attribute].index(value)
        given = generator, clip, flow, source, "", name
        way: dict[str, Any] = {"solver": "rk4", "steps": SCORED_STEPS, "tolerance": 1e-5}
        edited = styleflow.edited_latent(*given, 1.0, 0, 17, "", **way)
        after = reader.read(edited.image(generator).clamp(-1, 1))
        rows, others = before[:, column] != wanted, torch.arange(before.shape[1]) != column
        found[name] = {
            "asked": float((after[rows, column] == wanted).float().mean()),
            "kept": float((after == before)[rows][:, others].float().mean()),
        }
    return found
