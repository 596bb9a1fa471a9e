"""Models by name: what each needs and where it comes from; a folder and the hub are loaded alike."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from textedit_core.ddim import Schedule
from textedit_core.models.clip import Clip
from textedit_core.models.latent_diffusion import LatentDiffusion
from textedit_core.models.source import Source

BUNDLES = Path(__file__).parents[1] / "weights"
DIFFUSION_WEIGHTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")

HUB_TITLES = {"sd": "Stable Diffusion 1.5"}
HUB = {
    "sd": {
        "diffusion": Source(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            weights=DIFFUSION_WEIGHTS,
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
    }
}
NAMES = ("toon", *HUB)


@dataclass(frozen=True, eq=False)
class Models:
    """The models of one name. Each part is loaded, from disk or the hub, when it is first asked for.

    presets: method -> knob values that suit these models.  vocabulary: the words they know, () if any.
    """

    name: str
    sources: Mapping[str, Source]
    device: torch.device
    dtype: torch.dtype
    manifest: Mapping = field(default_factory=dict)
    presets: Mapping[str, Mapping] = field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()
    license: str = ""

    @cached_property
    def diffusion(self) -> LatentDiffusion:
        """The text-to-image model. Raises ValueError where it is missing, incomplete or not reachable."""
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        source = self._source("diffusion")
        return LatentDiffusion(
            unet=source.network(UNet2DConditionModel, "unet", self.dtype).to(self.device),
            vae=source.network(AutoencoderKL, "vae", self.dtype).to(self.device),
            text_encoder=source.network(CLIPTextModel, "text_encoder", self.dtype).to(self.device),
            tokenizer=source.read(CLIPTokenizer.from_pretrained, "tokenizer"),
            schedule=Schedule.from_config(source.json("scheduler/scheduler_config.json")),
            fingerprint=f"{source.fingerprint()}-{self.dtype}",
        )

    @cached_property
    def clip(self) -> Clip:
        """The CLIP model that scores. Raises ValueError where it is missing, incomplete or not reachable."""
        from transformers import CLIPModel, CLIPTokenizer

        source = self._source("clip")
        model = source.network(CLIPModel, "", self.dtype).to(self.device)
        images = source.json("preprocessor_config.json")
        return Clip(
            model=model,
            tokenizer=source.read(CLIPTokenizer.from_pretrained),
            size=model.config.vision_config.image_size,
            mean=torch.tensor(images["image_mean"]),
            std=torch.tensor(images["image_std"]),
            fingerprint=f"{source.fingerprint()}-{self.dtype}",
        )

    def unknown_words(self, prompt: str) -> dict[str, list[str]]:
        """The prompt's words that these models never saw, each with up to three known ones like it."""
        known = {word for entry in self.vocabulary for word in _words(entry)}
        if not known:
            return {}
        unknown = [word for word in _words(prompt) if word not in known]
        return {word: difflib.get_close_matches(word, known, 3) for word in unknown}

    def _source(self, part: str) -> Source:
        if part not in self.sources:
            has = ", ".join(self.sources)
            raise ValueError(f"The model {self.name!r} has no {part} part, only {has}: choose another model.")
        return self.sources[part]


def load(name: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> Models:
    """The models of a name in NAMES, or of a folder laid out like a bundle or a Stable Diffusion repository.

    Nothing is fetched and no weight is read before a part is used; `describe` says what that will take.
    device: "cpu", "cuda", "mps", or "auto" for the best there is.  dtype: float32 unless given.
    Raises ValueError for a name that is neither, and for a device that is not there.
    """
    place, precision = _device(device), dtype or torch.float32
    if str(name) in HUB:
        sources = HUB[str(name)]
        return Models(str(name), sources, place, precision, license=_licenses(sources))
    folder = _folder(name)
    manifest = _json(folder / "manifest.json")
    words = folder / "vocabulary.txt"
    return Models(
        name=str(name),
        sources=_folder_sources(folder, manifest),
        device=place,
        dtype=precision,
        manifest=manifest,
        presets=_json(folder / "presets.json"),
        vocabulary=tuple(words.read_text(encoding="utf-8").splitlines()) if words.is_file() else (),
        license=manifest.get("license", ""),
    )


def describe(name: str | Path) -> dict:
    """What a name or folder needs, without touching the network.

    {"name", "title", "license", "local", "size_gb", "fetch_gb", "parts"}; each part is {"part", "repo",
    "size_gb", "license", "local"}. `fetch_gb` is what would still be fetched. Raises ValueError as `load`.
    """
    models = load(name)
    parts = [
        {
            "part": part,
            "repo": source.repo,
            "size_gb": round(source.gigabytes(), 3),
            "license": source.license or models.license,
            "local": source.is_local(),
        }
        for part, source in models.sources.items()
    ]
    return {
        "name": models.name,
        "title": HUB_TITLES.get(models.name) or models.manifest.get("name", models.name),
        "license": models.license,
        "local": all(part["local"] for part in parts),
        "size_gb": round(sum(part["size_gb"] for part in parts), 3),
        "fetch_gb": round(sum(part["size_gb"] for part in parts if not part["local"]), 3),
        "parts": parts,
    }


def _folder(name: str | Path) -> Path:
    folder = BUNDLES / name if str(name) in NAMES else Path(name).expanduser()
    if not folder.is_dir():
        names = ", ".join(NAMES)
        raise ValueError(f"There is no model {str(name)!r}: choose {names}, or the path of a folder.")
    return folder


def _folder_sources(folder: Path, manifest: Mapping) -> dict[str, Source]:
    """The parts that a folder has: those of a bundle, or the one of a Stable Diffusion repository."""
    digests, license = manifest.get("files", {}), manifest.get("license", "")

    def source(prefix: str, weights: tuple[str, ...]) -> Source:
        return Source(str(folder), prefix, weights, license=license, digests=digests)

    if (folder / "unet").is_dir():
        return {"diffusion": source("", DIFFUSION_WEIGHTS)}
    found = {"diffusion": source("diffusion", DIFFUSION_WEIGHTS), "clip": source("clip", ("model",))}
    parts = {part: place for part, place in found.items() if (folder / part).is_dir()}
    if not parts:
        raise ValueError(f"{folder} is no model folder: it has none of diffusion/, clip/ and unet/.")
    return parts


def _licenses(sources: Mapping[str, Source]) -> str:
    return ", ".join(f"{source.license} ({part})" for part, source in sources.items())


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


def _json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
