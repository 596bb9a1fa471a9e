"""Models by name: what each needs and where it comes from; a folder and the hub are loaded alike."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from textedit_core.models import additions, checkpoint, hub
from textedit_core.models.additions import Addition, Additions
from textedit_core.models.diffusion import (
    diffusion_files,
    families,
    precision,
    published,
    single_file,
    textual_inversion,
)
from textedit_core.models.diffusion import memory as levels
from textedit_core.models.diffusion.ddim import Schedule
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.paint_by_example import CHANNELS, PaintByExample
from textedit_core.models.diffusion.placing import placed
from textedit_core.models.diffusion.safety import SafetyChecker
from textedit_core.models.diffusion.upscaler import WEIGHTS as UPSCALER_WEIGHTS
from textedit_core.models.diffusion.upscaler import Upscaler
from textedit_core.models.diffusion.upscaler import load as load_upscaler
from textedit_core.models.enlarger import Enlarger, load_enlarger
from textedit_core.models.familiarity import Familiarity, load_familiarity
from textedit_core.models.parts import model_part, own_part
from textedit_core.models.source import NO_OBJECT, Source
from textedit_core.models.style.files import PRETRAINED, PUBLISHED, StyleModels, file_sources, folder_sources
from textedit_core.models.style.naming import ENDINGS, is_generator

BUNDLES = Path(__file__).parents[1] / "weights"
EXAMPLE_WEIGHTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "image_encoder/model")

HUB_TITLES = {"sd": "Stable Diffusion 1.5"}
HUB_FAMILIES = {"sd": families.TITLES[768]}
HUB = {
    "sd": {
        "diffusion": Source(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            weights=diffusion_files.WEIGHTS,
            size_gb=4.3,
            license="CreativeML Open RAIL-M",
        ),
        "clip": Source(
            "openai/clip-vit-base-patch32",
            weights=("model",),
            bin=True,
            size_gb=0.6,
            license="MIT",
        ),
        "paint_by_example": Source(
            "Fantasy-Studio/Paint-by-Example",
            weights=EXAMPLE_WEIGHTS,
            bin=True,
            size_gb=5.2,
            license="CreativeML Open RAIL-M",
        ),
        "upscaler": Source(
            "stabilityai/stable-diffusion-x4-upscaler",
            weights=UPSCALER_WEIGHTS,
            bin=True,
            size_gb=3.5,
            license="CreativeML Open RAIL++-M",
        ),
        **PUBLISHED,
    }
}
# What `describe` tells of unless parts are named; the others are fetched when they are used.
DEFAULT_PARTS = ("diffusion", "clip")
CARD = "README.md"  # of a repository: the model card
NAMES = ("toon", *HUB)
__all__ = ["HUB", "NAMES", "PRETRAINED", "Models", "describe", "fetching", "folder_of", "load"]


@dataclass(frozen=True, eq=False)
class Models(StyleModels):
    """The models of one name. Each part is loaded, from disk or the hub, when it is first asked for.

    presets: method -> knob values that suit these models.  vocabulary: the words that they were trained on,
    () where that is not known.  checker: the safety checker that sees results before they are shown, or None.
    memory: how much the diffusion models may take: "fast", "balanced" or "low" (see `diffusion.memory`), or
    "auto" for what suits the device's free memory when they are loaded.
    """

    name: str
    sources: Mapping[str, Source]
    device: torch.device
    dtype: torch.dtype
    manifest: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()
    license: str = ""
    checker: SafetyChecker | None = None
    memory: str = "auto"
    base: Models | None = None
    additions: Additions | None = None

    @own_part
    def diffusion(self) -> LatentDiffusion:
        """The text-to-image model, with what is added. Raises ValueError where it is missing, incomplete or
        not reachable, and where a file that is added does not fit it."""
        if self.base is not None and self.additions is not None:
            return self.additions.apply(self.base.diffusion)
        return placed(diffusion_files.load(self.source("diffusion"), self.dtype), self.device, self.memory)

    @model_part
    def paint_by_example(self) -> PaintByExample:
        """The model that fills a hole after an example picture; its autoencoder may be the diffusion part's.

        Raises ValueError where it is missing, incomplete or not reachable.
        """
        from diffusers import AutoencoderKL, UNet2DConditionModel

        from textedit_core.models.diffusion.exemplar import ExemplarEncoder

        source = self.source("paint_by_example")
        of_vae = source if EXAMPLE_WEIGHTS[1] in source.weights else self.source("diffusion")
        images = source.json("feature_extractor/preprocessor_config.json")
        files = "-".join(dict.fromkeys([source.fingerprint(), of_vae.fingerprint()]))
        model = PaintByExample(
            unet=source.network(UNet2DConditionModel, "unet", self.dtype).to(
                memory_format=torch.channels_last  # the same numbers, sooner
            ),
            vae=of_vae.network(AutoencoderKL, "vae", self.dtype),
            encoder=source.network(ExemplarEncoder, "image_encoder", self.dtype),
            exemplar_mean=torch.tensor(images["image_mean"]),
            exemplar_std=torch.tensor(images["image_std"]),
            schedule=Schedule.from_config(source.json("scheduler/scheduler_config.json")),
            fingerprint=f"{files}-{self.dtype}",
        )
        return placed(model, self.device, self.memory)

    @model_part
    def familiarity(self) -> Familiarity:
        """What tells pictures unlike those they were trained on. Raises ValueError where it is missing."""
        return load_familiarity(self.source("familiarity"), self.device)

    @model_part
    def enlarger(self) -> Enlarger:
        """What shows results at a larger size. Raises ValueError where it is missing or incomplete."""
        return load_enlarger(self.source("enlarger"), self.device, self.dtype)

    @model_part
    def upscaler(self) -> Upscaler:
        """What draws results at four times the side, by diffusion. Raises ValueError as `diffusion`."""
        own, beside = self.source("upscaler"), self.sources.get("diffusion")
        return load_upscaler(own, self.device, self.dtype, beside)

    def with_memory(self, level: str) -> Models:
        """The same models at another level of memory; what is loaded stays loaded. Raises ValueError."""
        if self.base is not None and self.additions is not None:
            return self.base.with_memory(level).adding(self.additions.items)
        changed = replace(self, memory=level if level == "auto" else levels.check(level))
        for name, part in vars(self).items():
            if name in ("diffusion", "paint_by_example"):
                vars(changed)[name] = placed(part, self.device, level)
            elif name in self.sources:
                vars(changed)[name] = part
        return changed

    def adding(self, items: Sequence[Addition]) -> Models:
        """The same models with these files added to their text-to-image part; with none, these themselves.

        The files are looked for now, and read when that part is used. Raises ValueError, one sentence, for
        models without that part, and for a file that is not there.
        """
        plain = self.base or self
        if not items:
            return plain
        plain.source("diffusion")
        return plain._with(Additions(items))

    def at_weights(self, weights: Mapping[str, float]) -> Models:
        """The same with other weights of the LoRAs, by the names of their knobs in `additions.WEIGHTS`."""
        if self.additions is None or self.base is None or self.additions.weights.items() >= weights.items():
            return self
        return self.base._with(self.additions.at(weights))

    def _with(self, added: Additions) -> Models:
        """These models with additions; the last few are remembered, for a sweep asks for each again."""
        name = additions.joined(self.name, added.items)
        made = self._made.get((name, added.stamp))
        if made is None:
            made = replace(self, name=name, base=self, additions=added)
            while len(self._made) >= 4:
                self._made.pop(next(iter(self._made)), None)
            self._made[name, added.stamp] = made
        return made

    @property
    def remembered(self) -> tuple[Models, ...]:
        """These models with additions, as far as they are remembered; the name of each gives it again."""
        return tuple(self._made.values())

    @cached_property
    def _made(self) -> dict[tuple[str, tuple[Any, ...]], Models]:
        return {}

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """The prompt's words that the models were not trained on, each with up to three like it."""
        if self.additions is not None:
            prompt = textual_inversion.without(self.additions.words, prompt)
        known = {word for entry in self.vocabulary for word in _words(entry)}
        if not known:
            return {}
        unknown = [word for word in _words(prompt) if word not in known]
        return {word: difflib.get_close_matches(word, known, 3) for word in unknown}


def load(
    name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, memory: str = "auto"
) -> Models:
    """The models of a name as `plain` has them, with the files that the name adds: see `additions`.

    Raises ValueError as `plain`, and for an addition that is not there.
    """
    name, added = additions.split(name)
    return plain(name, device, dtype, memory).adding(added)


def plain(
    name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, memory: str = "auto"
) -> Models:
    """The models of a name in NAMES, of a folder laid out like a bundle or a Stable Diffusion repository, of
    a single .safetensors or .ckpt file, of a file that holds a StyleGAN2 generator, or of any Stable
    Diffusion repository of the hub, owner/name.

    No weight is fetched or read before a part is used; `describe` says what that will take. Of a repository
    that is not in the hub's cache, its list of files and two configurations of a kilobyte are asked for.
    device: "cpu", "cuda", "mps", or "auto" for the best there is.  dtype: of the diffusion models, float16 on
    an accelerator and float32 on a CPU unless given.  memory: "fast", "balanced", "low" or "auto", see
    `Models`.
    Raises ValueError for a name that is neither, for what is no text-to-image model, for a repository that
    cannot be reached within three seconds, and for a device that is not there.
    """
    place = _device(device)
    shared: dict[str, Any] = {"device": place, "dtype": dtype or precision.automatic(place)}
    shared["memory"] = memory if memory == "auto" else levels.check(memory)
    if file := _generator_file(name):
        return Models(str(name), _file_sources(file), **shared)
    if repo := _repository(name):
        sources = {"diffusion": _of_hub(repo)}
        license, presets = sources["diffusion"].license, families.presets(repo)
        return Models(repo, sources, presets=presets, license=license, **shared)
    if single_file.is_file(name):
        path = Path(name).expanduser()
        single_file.family_of(single_file.shapes_of(path), str(path))
        told = checkpoint.header(path) if path.suffix == ".safetensors" else {}
        license = told.get("modelspec.license", "")
        sources = {"diffusion": Source(str(path.parent), "", (path.name,), license=license)}
        presets = families.presets(path.stem)
        return Models(str(name), sources, presets=presets, license=license, **shared)
    folder = folder_of(name)
    if folder is None:
        sources = HUB[str(name)]
        return Models(str(name), sources, license=_licenses(sources), **shared)
    manifest = _json(folder / "manifest.json")
    words = folder / "vocabulary.txt"
    return Models(
        name=str(name),
        sources=_folder_sources(folder, manifest),
        manifest=manifest,
        presets=_json(folder / "presets.json") or families.presets(folder.name),
        vocabulary=tuple(words.read_text(encoding="utf-8").splitlines()) if words.is_file() else (),
        license=manifest.get("license") or _card_license(folder / CARD),
        **shared,
    )


def describe(name: str | Path, *parts: str) -> dict[str, Any]:
    """What the named parts of models need (diffusion and clip unless given); asks what `load` asks.

    Nothing is fetched. Returns {"name", "title", "family", "license", "local", "size_gb", "fetch_gb",
    "parts"}, each part {"part", "repo", "size_gb", "license", "local", "fetched"}. `family` is "" where none
    is known by name. A part is "local" where its files are on this machine, and would be "fetched" where they
    are not and it is no folder, for a folder that lacks files cannot be completed. `fetch_gb` is what would
    still be fetched. Raises ValueError as `load`.
    """
    models = load(name)
    without = models.base or models
    chosen = parts or [part for part in DEFAULT_PARTS if part in models.sources] or models.sources
    found: list[dict[str, Any]] = [
        {
            "part": part,
            "repo": source.repo,
            "size_gb": round(source.gigabytes(), 3),
            "license": source.license or models.license,
            "local": source.is_local(),
        }
        for part, source in models.sources.items()
        if part in chosen
    ]
    if models.additions is not None and "diffusion" in chosen:
        found += map(_of_addition, models.additions.items, models.additions.sources)
    for one in found:
        one["fetched"] = not one["local"] and not Path(one["repo"]).exists()
    return {
        "name": models.name,
        "title": HUB_TITLES.get(without.name) or models.manifest.get("name") or _title(without),
        "family": ""
        if "diffusion" not in without.sources
        else HUB_FAMILIES.get(without.name) or _family(without),
        "license": models.license,
        "local": all(part["local"] for part in found),
        "size_gb": round(sum(part["size_gb"] for part in found), 3),
        "fetch_gb": round(sum(part["size_gb"] for part in found if part["fetched"]), 3),
        "parts": found,
    }


def _of_addition(item: additions.Addition, source: Source) -> dict[str, Any]:
    local = source.is_local()
    return {
        "part": "addition",
        "repo": item.place,
        "size_gb": round(source.gigabytes(), 3),
        "license": source.license,
        "local": local,
    }


def fetching(name: str | Path, *parts: str) -> list[str]:
    """What using these parts of models will fetch, a line each: repository, family, size, licence.

    Empty for what is on this machine, whole or not. Asks and raises as `load`.
    """
    about = describe(name, *parts)
    lines = [
        f"fetching {_named(part['repo'], about['title'])}, {part['size_gb']:.2g} GB, licence "
        f"{part['license'] or 'not given'}"
        for part in about["parts"]
        if part["fetched"]
    ]
    file = additions.split(name)[0]
    if single_file.is_file(file):
        tokenizer = single_file.tokenizer_source(file)
        if tokenizer.folder is None and not tokenizer.is_local():
            lines.append(f"fetching the tokenizer of {tokenizer.repo}, 2 MB, licence {tokenizer.license}")
    return lines


def _named(repo: str, title: str) -> str:
    """A repository with its family, where the title of the models begins with its name and tells it."""
    return title if title.startswith(repo) else repo


def folder_of(name: str | Path) -> Path | None:
    """The folder of the models of a name in NAMES, or of a path; None for the hub's and for a single file.

    Raises ValueError for a name that is neither.
    """
    name, _ = additions.split(name)
    if name in HUB or _repository(name) or _generator_file(name) or single_file.is_file(name):
        return None
    try:
        folder = BUNDLES / name if str(name) in NAMES else Path(name).expanduser()
        found = folder.is_dir()
    except (OSError, RuntimeError):  # too long for a path, or the home of an unknown user
        found = False
    if not found or not name:
        raise ValueError(_nowhere(str(name)))
    return folder


def _nowhere(name: str) -> str:
    """What to type in place of a name that is none of models, of a file or of a folder."""
    wanted = (
        f"choose {', '.join(NAMES)}, or the path of a folder or of a .safetensors file, or type owner/name, "
        "a repository of the Hugging Face hub."
    )
    if not name:
        return f"Models: there is no name; {wanted}"
    if page := re.match(r"https?://huggingface\.co/([\w.-]+/[\w.-]+)", name):
        return f"Models: {name[:200]} is an address; type {page[1]}."
    if re.match(r"\w+://", name):
        return f"Models: {name[:200]} is an address; fetch the file, and type its path."
    if _is_named_as_weights(name):
        return f"There is no file {name[:200]!r} on this machine."
    return f"There is no model {name[:200]!r}: {wanted}"


def _is_named_as_weights(name: str) -> bool:
    return name.lower().endswith((*single_file.SUFFIXES, *ENDINGS))


def _generator_file(name: str | Path) -> Path | None:
    """The file that a path names, None for any other name and for a file of Stable Diffusion."""
    try:
        file = Path(name).expanduser()
        if str(name) in NAMES or not file.is_file():
            return None
        return None if single_file.is_file(name) and not is_generator(file) else file
    except (OSError, RuntimeError, ValueError):  # as in `folder_of`, or with a null character in it
        return None


def _file_sources(file: Path) -> dict[str, Source]:
    """The parts for a generator's file, with the CLIP of its folder or the one of StyleCLIP."""

    def source(prefix: str, weights: tuple[str, ...]) -> Source:
        return Source(str(file.parent), prefix, weights)

    own = (file.parent / "clip").is_dir()
    return file_sources(file, source) | {"clip": source("clip", ("model",)) if own else HUB["sd"]["clip"]}


def _repository(name: str | Path) -> str | None:
    """The name of a repository of the hub, where this is one and neither a name in NAMES nor a path here."""
    text = str(name).strip()
    if text in NAMES or not hub.is_id(text) or _is_named_as_weights(text) or Path(text).exists():
        return None
    return text


def _of_hub(repo: str) -> Source:
    """The text-to-image part of a repository of the hub: from its cache if it is there, else as it is listed.

    Raises ValueError, one sentence, where it cannot be reached, or is no text-to-image model.
    """
    for weights in (diffusion_files.WEIGHTS_XL, diffusion_files.WEIGHTS):
        source = Source(repo, "", weights, bin=True)
        xl = weights is diffusion_files.WEIGHTS_XL
        if source.is_local() and xl == families.is_xl(source.json("unet/config.json", optional=True)):
            card = source.cached(CARD)  # and not one of two text encoders, of a fetch that was interrupted
            source = replace(source, license=_card_license(card) if card else "")
            break
    else:
        found = hub.look(repo)
        folders = {path.split("/")[0] for path in found.sizes if "/" in path}
        families.check_parts(folders, repo)
        weights = diffusion_files.WEIGHTS_XL if "text_encoder_2" in folders else diffusion_files.WEIGHTS
        source = Source(repo, "", weights, bin=True, license=found.license, listed=found.sizes)
        if CARD in found.sizes:
            source.file(CARD)  # so that the licence is known later, without the hub
    index = source.json("model_index.json", optional=True)
    families.check(source.json("unet/config.json"), repo, index)
    return source


def _title(models: Models) -> str:
    """The family of a text-to-image model, after its name; the name alone where there is none."""
    config = _unet_config(models) if "diffusion" in models.sources else {}
    return f"{models.name} ({families.title(config)})" if config else models.name


def _family(models: Models) -> str:
    """The family of a text-to-image model, "" for one of its own kind."""
    return families.TITLES.get(_unet_config(models).get("cross_attention_dim", 0), "")


def _unet_config(models: Models) -> Mapping[str, Any]:
    """The configuration of the UNet, as far as it is known without fetching; {} where it is not."""
    if single_file.is_file(models.name):
        path = Path(models.name).expanduser()
        return published.CONFIGS[single_file.family_of(single_file.shapes_of(path), str(path))]["unet"]
    try:
        return models.sources["diffusion"].json("unet/config.json", optional=True)
    except ValueError:  # a damaged file is told of when it is loaded
        return {}


def _folder_sources(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Source]:
    """The parts that a folder has: those of a bundle, or the one of a Stable Diffusion repository or of
    Paint by Example's."""
    digests = manifest.get("files", {})
    license = manifest.get("license") or _card_license(folder / CARD)

    def source(prefix: str, weights: tuple[str, ...], bin: bool = False) -> Source:
        return Source(str(folder), prefix, weights, bin, license=license, digests=digests)

    if (folder / "transformer").is_dir():
        families.check_parts([path.name for path in folder.iterdir()], str(folder))
    upscaler = source("upscaler", UPSCALER_WEIGHTS, bin=True)
    if (folder / "unet").is_dir():
        if _is_paint_by_example(folder):
            return {"paint_by_example": source("", EXAMPLE_WEIGHTS, bin=True)}
        found = {"diffusion": _of_texts(folder, source)} | folder_sources(folder, source)
        return found | ({"upscaler": upscaler} if (folder / "upscaler").is_dir() else {})
    own_vae = (folder / "paint_by_example" / "vae").is_dir()
    example = EXAMPLE_WEIGHTS if own_vae else (EXAMPLE_WEIGHTS[0], EXAMPLE_WEIGHTS[2])
    found = {
        "diffusion": _of_texts(folder, source, "diffusion"),
        "clip": source("clip", ("model",)),
        "paint_by_example": source("paint_by_example", example),
        "enlarger": source("enlarger", ("model",)),
        "familiarity": source("familiarity", ("model",)),
        "upscaler": replace(upscaler, weights=_held(folder / "upscaler", UPSCALER_WEIGHTS)),
    }
    parts = {part: place for part, place in found.items() if (folder / part).is_dir()}
    parts |= folder_sources(folder, source)
    if not parts:
        raise ValueError(
            f"{folder} is no model folder: it has none of diffusion/, clip/, generator/ and unet/, and no "
            "file of it holds a StyleGAN2 generator."
        )
    if "clip" not in parts and "generator" in parts and not parts["generator"].prefix:
        parts["clip"] = HUB["sd"]["clip"]  # the one that StyleCLIP is published with
    return parts


def _held(folder: Path, weights: Sequence[str]) -> tuple[str, ...]:
    """Those of a part of a bundle that are not another part's: the first, and all whose folder is there."""
    return tuple(name for name in weights if name == weights[0] or (folder / name).parent.is_dir())


def _is_paint_by_example(folder: Path) -> bool:
    """Whether the UNet of a repository fills holes after an example picture, and not by a text."""
    channels = _json(folder / "unet" / "config.json").get("in_channels", CHANNELS)
    return (folder / "image_encoder").is_dir() and channels == CHANNELS


def _of_texts(folder: Path, source: Callable[..., Source], prefix: str = "") -> Source:
    """The text-to-image part of a folder. Raises ValueError, one sentence, for a UNet of another kind."""
    place = folder / prefix
    families.check(_json(place / "unet" / "config.json"), str(place), _json(place / "model_index.json"))
    xl = (place / "text_encoder_2").is_dir()
    return source(prefix, diffusion_files.WEIGHTS_XL if xl else diffusion_files.WEIGHTS, bin=True)


def _card_license(card: Path) -> str:
    """The licence that the head of a model card tells, as the hub has them; "" for none."""
    try:
        text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    except OSError:
        return ""
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    told = dict(
        re.findall(r"^(license|license_name):\s*[\"']?([^\"'\n#]+)", head[1] if head else "", re.MULTILINE)
    )
    return (told.get("license_name") or told.get("license", "")).strip()


def _licenses(sources: Mapping[str, Source]) -> str:
    return ", ".join(f"{sources[part].license} ({part})" for part in DEFAULT_PARTS)


def _device(name: str) -> torch.device:
    if name == "auto":
        has_mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"There is no device {name!r} on this machine: choose auto or cpu.") from error


def _words(text: str) -> dict[str, None]:
    """The words of a text in lower case, each once, in order."""
    return dict.fromkeys(re.findall(r"[^\W\d_]+", text.lower()))


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not isinstance(found, dict):
            raise ValueError(NO_OBJECT)
        return found
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} could not be read: {error}.") from error
