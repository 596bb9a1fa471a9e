"""StyleCLIP's models on disk: in a bundle, or the published files; read strictly, as tensors only.

A bundle keeps them in six folders. All weights are safetensors, in half precision where they are floats.

generator/config.json        the arguments of `Generator`: size, style_dim, n_mlp, channels {"4": 64, ...}
generator/model.safetensors  its state dict (the public keys), and latent_avg (style_dim,)
encoder/config.json          the arguments of `E4e`: size, style_dim, depths, widths, input_size
encoder/model.safetensors    its state dict, and latent_avg (n_latent, style_dim)
identity/config.json         the arguments of `IRSE50`: size, depths, widths, dim, dropout
identity/model.safetensors   its state dict
mappers/NAME.safetensors     the state dict of a mapper; the file's metadata has {"prompt": TEXT}
mappers/NAME.pt              the same, as published: read where there is no NAME.safetensors
relevance/config.json        generator, clip: `digest` of the networks it was measured with; more is free
relevance/model.safetensors  relevance (N, D): a row for each channel of the S codes but ToRGB's, in order;
                             mean, std (M,): of every channel of the S codes, ToRGB's among them, in order
flow/config.json             the arguments of `FlowNetwork` (style_dim, width, layers); attributes: a list of
                             `flows.Attribute`; generator, clip: as those of a relevance
flow/model.safetensors       its state dict

A folder may instead hold the published files under their own names: see `PUBLISHED` and
`PUBLISHED_RELEVANCE`. A generator is found under any name, see `naming`; the relevance that is measured for
it here is NAME.relevance.safetensors, where NAME is that of its file without its ending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from textedit_core.building import building
from textedit_core.models.checkpoint import fill, options, read
from textedit_core.models.parts import Parts, model_part
from textedit_core.models.source import Source
from textedit_core.models.style import naming
from textedit_core.models.style.encoders import E4e, load_e4e
from textedit_core.models.style.flows import Attribute, Flow, flow_facts, loaded_flow
from textedit_core.models.style.identity import IRSE50, load_identity
from textedit_core.models.style.mapper import load_mapper
from textedit_core.models.style.models import (
    FaceIdentity,
    Relevance,
    StyleEncoder,
    StyleGenerator,
    StyleMapper,
    digest,
)
from textedit_core.models.style.naming import MARK, PICKLE, RELEVANCE, generator_file, is_generator
from textedit_core.models.style.nvidia import ADVICE, load_nvidia
from textedit_core.models.style.relevance_files import (
    bundled_relevance,
    measured_relevance,
    published_relevance,
)
from textedit_core.models.style.stylegan2 import MADE_HERE, Generator, load_generator

Network = TypeVar("Network", bound=nn.Module)
NVIDIA = "NVIDIA Source Code License-NC"
PUBLISHED = {
    "generator": Source(
        "wmpscc/StyleGene", weights=("stylegan2-ffhq-config-f.pt",), size_gb=0.133, license=NVIDIA
    ),
    "encoder": Source("wmpscc/StyleGene", weights=("e4e_ffhq_encode.pt",), size_gb=1.202, license=NVIDIA),
    "identity": Source(
        "lithiumice/ArcFace_PyTorch",
        weights=("model_ir_se50.pth",),
        size_gb=0.175,
        license="none found, trained on research face data",
    ),
}
PUBLISHED_RELEVANCE = ("fs3.npy", "S_mean_std")  # the rows, and the statistics beside them
ENDINGS = (".pt", ".safetensors")  # of mappers; of two files with one name the last in this order is read
PARTS = ("generator", "encoder", "identity", "relevance", "flow")
PRETRAINED = ("relevance", "mapper")  # what a method's fit makes, and a folder of models may hold


class StyleModels(Parts):
    """The members of `zoo.Models` that StyleCLIP needs; each is loaded when it is first asked for.

    All raise ValueError, one sentence, where the part is missing, incomplete or not reachable.
    """

    @model_part
    def generator(self) -> StyleGenerator:
        return StyleGenerator(*self._style_part("generator", _bundled_generator, _own_generator))

    @model_part
    def encoder(self) -> StyleEncoder:
        return StyleEncoder(*self._style_part("encoder", _bundled_encoder, load_e4e))

    @model_part
    def identity(self) -> FaceIdentity:
        return FaceIdentity(*self._style_part("identity", _bundled_identity, load_identity))

    @property
    def mappers(self) -> dict[str, StyleMapper]:
        """The trained mappers that can be read, by their files' names; empty where there are none."""
        return {name: one for name, one in self._mappers().items() if isinstance(one, StyleMapper)}

    @property
    def unread_mappers(self) -> dict[str, str]:
        """The sentence why not, by file name, for each file of a mapper that cannot be read."""
        return {name: one for name, one in self._mappers().items() if isinstance(one, str)}

    @model_part
    def relevance(self) -> Relevance:
        """What the channels do. ValueError, too, if it was measured with another generator or CLIP."""
        if "relevance" not in self.sources and "generator" in self.sources:
            raise ValueError(
                "The relevance of this generator has not been measured: textedit relevance --models "
                f"{self.name} does so once, and says how long it takes."
            )
        source = self.source("relevance")
        if source.weights == PUBLISHED_RELEVANCE[:1]:
            rows, statistics = map(source.file, PUBLISHED_RELEVANCE)
            return published_relevance(rows, statistics, self.generator)
        if source.weights[0].endswith(RELEVANCE):
            path = source.file(source.weights[0])
            return measured_relevance(path, self.generator, digest(self.clip.model))[0]
        config = source.json("config.json")
        if part := self._foreign(config):
            raise ValueError(
                f"The relevance in {source.repo} was measured with another {part}: measure it again."
            )
        state = read(source.file("model.safetensors"))
        return bundled_relevance(state, self.generator, config["generator"], config["clip"])

    @model_part
    def flow(self) -> Flow:
        """StyleFlow's flow. ValueError, too, if it was trained with another generator or CLIP."""
        source = self.source("flow")
        config = source.json("config.json")
        with building():
            network, facts = loaded_flow(config, read(source.file("model.safetensors")))
        if part := self._foreign(facts):
            raise ValueError(f"The flow in {source.repo} was trained with another {part}: train it again.")
        network = network.eval().requires_grad_(False).to(self.device, torch.float32)
        return Flow(network, **facts, fingerprint=source.fingerprint())

    @property
    def flow_attributes(self) -> tuple[Attribute, ...]:
        """What the flow is conditioned on, known without loading it; empty where there is no flow."""
        if "flow" not in self.sources:
            return ()
        return flow_facts(self.source("flow").json("config.json"))["attributes"]

    def _foreign(self, known: Mapping[str, Any]) -> str:
        """Which of the networks is another than the one of the digest, "" for none."""
        networks = {"generator": self.generator.network, "clip": self.clip.model}
        return next((part for part, one in networks.items() if known.get(part) != digest(one)), "")

    def pretrained(self, name: str, prompt: str) -> Relevance | StyleMapper | None:
        """One of `PRETRAINED`: the relevance, or the mapper for a prompt; None where the models have none.

        ValueError, too, where no mapper is for the prompt but one cannot be read: it may be that one.
        """
        if name == "relevance":
            return self.relevance if "relevance" in self.sources else None
        found = next((one for one in self.mappers.values() if one.prompt == prompt.strip()), None)
        if found is None and (unread := self.unread_mappers):
            raise ValueError(next(iter(unread.values())))
        return found

    def _mappers(self) -> dict[str, StyleMapper | str]:
        """For each file of a mapper what it holds, or why it cannot be read; tried again once it changes."""
        if "mappers" not in self.sources:
            return {}
        source = self.sources["mappers"]
        found: dict[str, StyleMapper | str] = {}
        for name in source.weights:
            path = source.file(name)
            when = path.stat().st_mtime_ns if path.is_file() else 0
            tried, held = self._mapper_files.get(name, (None, ""))
            if isinstance(held, str) and tried != when:
                held = _mapper_or_why(path)
                self._mapper_files[name] = when, held
            found[path.stem] = held
        return found

    @model_part
    def _mapper_files(self) -> dict[str, tuple[int, StyleMapper | str]]:
        """What `_mappers` has read so far, with the time of the file."""
        return {}

    def _style_part(
        self, part: str, bundled: Callable[..., Any], published: Callable[..., Any]
    ) -> tuple[Any, str]:
        """The network of a part, in place, and its fingerprint."""
        source = self.source(part)
        name = source.weights[0]
        with building():
            if "." in name:
                network = published(source.file(name))
            else:
                network = bundled(source.json("config.json"), read(source.file(f"{name}.safetensors")))
        network = network.eval().requires_grad_(False).to(self.device, torch.float32)
        return network, f"{source.fingerprint()}-{torch.float32}"


def read_mapper(path: Path) -> StyleMapper:
    """A mapper from a bundle's file or from a published checkpoint. ValueError for anything else.

    The prompt is the one in the file, which a checkpoint has as "description", or else the file's name.
    """
    path = Path(path)
    held = read(path)
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            told = (file.metadata() or {}).get("prompt")
    else:
        told = options(held.get("opts")).get("description")
    prompt = told.strip() if isinstance(told, str) else ""
    network = load_mapper(held, f"the mapper in {path}")
    weights = {name: tensor.float() for name, tensor in network.state_dict().items()}
    return StyleMapper(weights, prompt or path.stem.replace("_", " "))


def _mapper_or_why(path: Path) -> StyleMapper | str:
    try:
        return read_mapper(path)
    except ValueError as error:
        return str(error)


def folder_sources(folder: Path, source: Callable[[str, tuple[str, ...]], Source]) -> dict[str, Source]:
    """The parts that a folder has: a bundle's, or published files. `source` is given prefix and weights."""
    parts = {part: source(part, ("model",)) for part in PARTS if (folder / part).is_dir()}
    mappers = {path.stem: path.name for end in ENDINGS for path in (folder / "mappers").glob(f"*{end}")}
    if mappers:
        parts["mappers"] = source("mappers", tuple(mappers[name] for name in sorted(mappers)))
    for part, published in PUBLISHED.items():
        if part not in parts and (folder / published.weights[0]).is_file():
            parts[part] = source("", published.weights)
    if "generator" not in parts and (own := generator_file(folder)):
        parts["generator"] = source("", (own,))
    if "relevance" not in parts and all((folder / name).is_file() for name in PUBLISHED_RELEVANCE):
        parts["relevance"] = source("", PUBLISHED_RELEVANCE[:1])
    if "relevance" not in parts and "generator" in parts:
        parts |= _measured(parts["generator"], source)
    return parts


def file_sources(file: Path, source: Callable[[str, tuple[str, ...]], Source]) -> dict[str, Source]:
    """The parts for one generator in a file: of its folder only what belongs to any generator, or to it.

    That is an identity network, and the relevance that was measured for this very file. Raises ValueError for
    a file that holds no generator alone.
    """
    if file.suffix == PICKLE and not is_generator(file):
        raise ValueError(f"{file} is no network that stylegan2-ada-pytorch has saved: {ADVICE}.")
    if file.suffix not in naming.ENDINGS:
        raise ValueError(f"{file} is no file of models: {', '.join(naming.ENDINGS)} are read.")
    if not is_generator(file):
        raise ValueError(
            f"{file} is no StyleGAN2 generator that can be read: its file names no {MARK}, "
            "as checkpoints in the layout of rosinality's stylegan2-pytorch do."
        )
    parts = {"generator": source("", (file.name,))}
    if (file.parent / "identity").is_dir():
        parts["identity"] = source("identity", ("model",))
    elif (file.parent / PUBLISHED["identity"].weights[0]).is_file():
        parts["identity"] = source("", PUBLISHED["identity"].weights)
    return parts | _measured(parts["generator"], source)


def relevance_path(generator: Source) -> Path:
    """The file that keeps the relevance measured for a generator, beside it.

    Raises ValueError for a generator on the hub: its files are in a cache that is the hub's own.
    """
    folder, weights = generator.folder, generator.weights[0]
    if folder is None:
        raise ValueError(
            f"The generator of {generator.repo} lies in the hub's cache: copy its file into a folder of "
            "yours and give the path of that."
        )
    if "." not in weights:  # a bundle's, in a folder of its own
        return folder.parent / f"{folder.name}{RELEVANCE}"
    return folder / f"{Path(weights).stem}{RELEVANCE}"


def _measured(generator: Source, source: Callable[[str, tuple[str, ...]], Source]) -> dict[str, Source]:
    """The relevance that was measured for a generator in a folder, if there is one."""
    path = relevance_path(generator)
    return {"relevance": source("", (path.name,))} if path.is_file() else {}


def _own_generator(path: Path) -> Generator:
    """A generator from a file that is no bundle's."""
    return load_nvidia(path) if path.suffix == PICKLE else load_generator(path)


def _bundled_generator(config: dict[str, Any], state: dict[str, Tensor]) -> Generator:
    channels = {int(side): width for side, width in config.pop("channels", {}).items()} or None
    network = _built(Generator, "generator", config | {"channels": channels})
    average = state.pop("latent_avg", None)
    fill(network, state, "the generator", MADE_HERE)
    if average is not None:
        network.latent_avg = average.reshape(1, -1).float()
    return network


def _bundled_encoder(config: dict[str, Any], state: dict[str, Tensor]) -> E4e:
    network = _built(E4e, "encoder", config)
    average = state.pop("latent_avg", None)
    if average is None:
        raise ValueError(
            "The weights of the encoder have no latent_avg, which its codes are differences from."
        )
    fill(network, state, "the encoder")
    network.latent_avg.copy_(average.expand_as(network.latent_avg))
    return network


def _bundled_identity(config: dict[str, Any], state: dict[str, Tensor]) -> IRSE50:
    network = _built(IRSE50, "identity network", config)
    fill(network, state, "the identity network")
    return network


def _built(cls: type[Network], title: str, config: dict[str, Any]) -> Network:
    try:
        return cls(**config)
    except TypeError as error:
        raise ValueError(f"The config.json of the {title} does not fit: {error}.") from error
