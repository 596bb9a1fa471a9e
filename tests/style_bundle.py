"""The StyleCLIP part of the tiny bundle: generator, encoder, identity, a mapper, relevance, a flow."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from textedit_core.models.style.encoders import E4e
from textedit_core.models.style.flows import FlowNetwork
from textedit_core.models.style.identity import IRSE50
from textedit_core.models.style.mapper import LevelsMapper
from textedit_core.models.style.models import digest
from textedit_core.models.style.stylegan2 import Generator

WIDTH = 16
GENERATOR = {"style_dim": WIDTH, "n_mlp": 2, "channels": {"4": 8, "8": 8, "16": 6, "32": 4}}
ENCODER = {"style_dim": WIDTH, "depths": [1, 1, 1, 1], "widths": [4, 4, 8, 8], "input_size": 32}
IDENTITY = {"size": 16, "depths": [1, 1, 1, 1], "widths": [4, 4, 8, 8], "dim": 12}
MAPPER = "a smiling man"
FLOW = {"style_dim": WIDTH, "width": 12, "layers": 2}
ATTRIBUTES = [
    {"name": "smiling", "neutral": "a man", "prompt": "a smiling man"},
    {"name": "red hat", "neutral": "a man", "prompt": "a man in a red hat", "first": 2, "last": 4},
]


def write_tiny_style(folder: Path, size: int, clip: nn.Module) -> None:
    """Write generator/, encoder/, identity/, mappers/, relevance/ and flow/ into a bundle with this CLIP.

    Random, drawn from the global generator. Large enough weights that codes, noise and features matter.
    """
    of_generator, of_encoder = GENERATOR | {"size": size}, ENCODER | {"size": size}
    channels = {int(side): width for side, width in GENERATOR["channels"].items()}
    generator = Generator(**of_generator | {"channels": channels})
    encoder, identity = E4e(**of_encoder), IRSE50(**IDENTITY)
    for network in (generator, encoder, identity):
        network.requires_grad_(False)
        for name, weight in network.named_parameters():
            if name.endswith(("noise.weight", "activate.bias", "to_rgb1.bias")):
                weight.normal_(std=0.1)
    average = torch.randn(WIDTH) * 0.2
    _save(folder / "generator", of_generator, generator.state_dict() | {"latent_avg": average})
    wide = average.expand(generator.n_latent, -1)
    _save(folder / "encoder", of_encoder, encoder.state_dict() | {"latent_avg": wide})
    _save(folder / "identity", IDENTITY, identity.state_dict())
    mapper = LevelsMapper(style_dim=WIDTH).state_dict()
    _write(folder / "mappers" / "smiling.safetensors", mapper, {"prompt": MAPPER})
    generator.latent_avg = average[None].half().float()
    known = {"generator": digest(generator), "clip": digest(clip)}
    _save(folder / "relevance", known, relevance(generator, clip.config.projection_dim))
    flow = FlowNetwork(attributes=len(ATTRIBUTES), **FLOW).state_dict()
    _save(folder / "flow", FLOW | known | {"attributes": ATTRIBUTES}, flow)


def relevance(generator: Generator, width: int) -> dict[str, Tensor]:
    """Unit rows by chance, and the statistics of 200 codes."""
    with torch.no_grad():
        w = generator.map(torch.randn(200, generator.style_dim))
        codes = torch.cat(generator.styles(generator.widen(w)), dim=1)
    rows = sum(layer.channels for layer in generator.layers if not layer.is_rgb)
    found = nn.functional.normalize(torch.randn(rows, width), dim=1)
    return {"relevance": found, "mean": codes.mean(dim=0), "std": codes.std(dim=0)}


def _save(folder: Path, config: dict, tensors: dict[str, Tensor]) -> None:
    _write(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {key: one.half() if one.is_floating_point() else one for key, one in tensors.items()}
    save_file({key: one.contiguous() for key, one in half.items()}, path, metadata)
