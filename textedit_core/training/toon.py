"""The toon training as a whole: which part needs which, what is loaded from where, the final evaluation."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from textedit_core.models import zoo
from textedit_core.toon.captions import vocabulary
from textedit_core.toon.portraits import Portraits, World, held_out_portraits, training_portraits
from textedit_core.training import (
    bundle,
    classifier,
    clip,
    diffusion,
    enlarger,
    evaluate,
    example_parts,
    familiarity,
    latent_reader,
    measures,
    ranks,
    style_parts,
    text,
    upscaler_part,
    vae,
)
from textedit_core.training.loop import Budget, Network, begin_from, load_ema, trained
from textedit_core.training.measures import measure
from textedit_core.training.shared import Common
from textedit_core.training.tokenizer import build_tokenizer

log = logging.getLogger(__name__)

BEGAN = "began_from.txt"  # the bundle that a training began from
HISTORY = "history.json"  # of the bundle that a training began from
PREVIEW_CAPTIONS = 24
MAX_LENGTH = 32
LARGER = enlarger.SHAPE["scale"]


class Studio(style_parts.StyleParts, example_parts.ExampleParts, upscaler_part.UpscalerPart):
    """A toon training in a folder: OUT/PART/state.pt for every part, OUT/data, OUT/tokenizer."""

    large: int = 6_000  # how many of them are drawn at LARGER times the size too
    rate: float = 1.0
    keep_latents: bool = False  # of the autoencoder only the decoder learns
    clock: Callable[[], float] = time.monotonic
    workers: int | None = None

    def __init__(self, out: Path, size: int, scenes: int, seed: int, device: str):
        self.out, self.size, self.scenes, self.seed, self.device = out, size, scenes, seed, device

    @cached_property
    def portraits(self) -> Portraits:
        return training_portraits(self.scenes, self.size, self.out / "data", self.workers, self.world)

    @cached_property
    def closed_portraits(self) -> Portraits:
        if self.world == "closed":
            return self.portraits
        return training_portraits(self.scenes, self.size, self.out / "data", self.workers)

    @cached_property
    def large_portraits(self) -> Portraits:
        """The first of the portraits, drawn LARGER times as large."""
        count = min(self.large, self.scenes)
        return training_portraits(count, LARGER * self.size, self.out / "data", self.workers, self.world)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        folder = self.out / "tokenizer"
        # A saved tokenizer may be this one file. Built anew its numbers would differ: merges that are equally
        # frequent come in any order.
        if (folder / "tokenizer.json").exists():
            return CLIPTokenizer.from_pretrained(folder)
        return build_tokenizer(vocabulary(), folder, MAX_LENGTH)

    def prepare(self, parts: Sequence[str]) -> None:
        """Learn the tokenizer and draw the portraits, if one of these parts needs them, where missing."""
        _ = self.tokenizer
        parts = [part for part in parts if part not in style_parts.WITHOUT_PORTRAITS]
        if not parts:
            return
        if not self.boxed or set(parts) - {example_parts.PART}:
            _ = self.portraits
        elif self._has("vae"):
            self.vae()  # draws them too, where its scaling factor is not known
        if example_parts.PART in parts:
            len(self.examples())

    def train(self, part: str, steps: int, minutes: float | None) -> None:
        """Train one part, or go on with it. The parts it needs must be there (ValueError says which)."""
        budget, folder = Budget(steps, minutes, self.rate, self.clock), self.out / part
        common: Common = {"folder": folder, "budget": budget, "seed": self.seed, "device": self.device}
        if part == "classifier":
            classifier.fit(self.portraits, self.size, **common)
        elif part == "vae":
            large = self.large_portraits if self.world == "open" else None
            more: dict[str, Any] = {"large": large, "keep_latents": self.keep_latents}
            module = vae.fit(self.portraits, self.size, **more, **common)
            if not ranks.rank():
                vae.keep_scaling_factor(module, folder)
        elif part == "text":
            text.fit(self.portraits, self.tokenizer, self._empty_clip().config, **common)
        elif part == "clip":
            start = None if trained(folder) else text.copy_tower(self.text(), self._empty_clip())
            clip.fit(self.portraits, self.tokenizer, self.size, start=start, **common)
        elif part == "enlarger":
            small, large = self.portraits.first(len(self.large_portraits)), self.large_portraits
            enlarger.fit(small, large, self.vae(), **common)
        elif part == upscaler_part.PART:
            self.train_upscaler(**common)
        elif part == "reader":
            latent_reader.fit(self.latents, self.portraits, **common)
        elif part == example_parts.PART:
            self.train_example(**common)
        elif part in style_parts.PARTS:
            self.train_style(part, **common)
        else:
            parts = self.latents, self.clip(), self.tokenizer, self.reader()
            diffusion.fit(self.portraits, *parts, **common, on_save=self._preview)

    def adopt(self, folder: Path) -> None:
        """Go on from the weights of a bundle, in the parts that this folder has not begun to train.

        ValueError for a folder that is no bundle of such a training, or of pictures of another size.
        """
        models = zoo.load(folder)
        if not (history := models.manifest.get("training")):
            raise ValueError(f"--start: '{folder}' does not say how it was trained; give a bundle made here.")
        if (size := models.diffusion.size) != self.size:
            raise ValueError(f"--start: '{folder}' is for pictures of {size} pixels; add --size {size}.")
        parts = {
            "text": text.reading(models.clip.model),
            "vae": models.diffusion.vae,
            "unet": diffusion.TextToLatent(models.diffusion.unet, models.diffusion.text_encoder),
            "clip": clip.LabelledCLIP(models.clip.model),
            **({"enlarger": models.enlarger.network} if "enlarger" in models.sources else {}),
            **bundle.adoptable(folder, self.size),
            **style_parts.adoptable(models),
            **example_parts.adoptable(models),
            **upscaler_part.adoptable(models),
        }
        models.diffusion.tokenizer.save_pretrained(self.out / "tokenizer")
        for part, module in parts.items():
            if part in history and not (self.out / part / "state.pt").exists():
                begin_from(self.out / part, module, **history[part])
                if part == "vae":
                    vae.keep_scaling_factor(module, self.out / part)
                    if self.world == "open":
                        vae.hold(module, self.out / part)
        (self.out / BEGAN).write_text(str(folder.resolve()))
        (self.out / HISTORY).write_text(json.dumps(history))
        self.adopt_style_edits(models)
        for part in (example_parts.PART, upscaler_part.PART):
            self.adopt_known_vae(models, part)
        self.remember("\n".join(models.manifest["command"]))

    def vae(self) -> AutoencoderKL:
        module = self._load("vae", vae.build(self.size))
        if factor := vae.kept_scaling_factor(self.out / "vae"):
            module.register_to_config(scaling_factor=factor)
        else:
            vae.set_scaling_factor(module, self.portraits)
        return module

    def text(self) -> CLIPTextModel:
        return self._load("text", text.ReadingText(self._empty_clip().config)).tower

    @cached_property
    def latents(self) -> torch.Tensor:
        """The latents (N,4,h,w) of the training portraits, kept on disk: encoding takes minutes on a CPU."""
        vae = self.vae().to(self.device)
        mark = sum(float(weight.double().abs().sum()) for weight in vae.state_dict().values())
        path = self.out / "data" / f"latents-{self.world}-{self.scenes}-{self.size}px-{mark:.6f}.npy"
        if ranks.agreed(float(path.exists())):
            return torch.from_numpy(np.load(path))
        z = diffusion.encode_all(self.portraits, vae, self.device)
        if ranks.rank() == 0:
            np.save(path, z.numpy())
        return z

    def reader(self) -> latent_reader.LatentReader | None:
        """What reads attributes from latents; None where it is not trained, and the UNet learns without."""
        if trained(self.out / "reader") is None:
            log.info("no reader of latents in %s: the UNet learns from the square error alone", self.out)
            return None
        return self._load("reader", latent_reader.LatentReader(self.latents.shape[-1])).requires_grad_(False)

    def clip(self) -> CLIPModel:
        return self._load("clip", clip.LabelledCLIP(self._empty_clip())).clip

    def text_to_latent(self) -> diffusion.TextToLatent:
        empty = self._empty_clip()
        width = empty.config.text_config.hidden_size
        module = diffusion.TextToLatent(diffusion.build_unet(width), diffusion.build_text_encoder(empty))
        return self._load("unet", module)

    def classifier(self) -> classifier.AttributeClassifier:
        return self._load("classifier", classifier.AttributeClassifier(self.size))

    def remember(self, command: str) -> None:
        """Keep the commands that trained this folder, for the manifest."""
        with (self.out / "commands.txt").open("a") as file:
            file.write(command + "\n")

    def bundle(self, folder: Path, held_out: int, samples: int, accepted: Sequence[str] = ()) -> None:
        """Write the bundle, then measure it as it was written (float16 on disk, float32 in memory).

        It is written to OUT/candidate and takes the place of `folder` once it has been measured. Where this
        training began from a bundle, that one is measured too, by the same reader; the report says what got
        better and what worse on both held-out sets, and ValueError names the parts that fell on the closed
        one by more than .5 dB or 1 %, but for those `accepted`: `folder` then stays as it was.
        What a person's own pictures are to become is not known: trained on those, it is not measured.
        """
        candidate = self.out / "candidate"
        shutil.rmtree(candidate, ignore_errors=True)
        self._write_parts(candidate)
        history = self.history()
        facts = {
            "size": self.size,
            "command": (self.out / "commands.txt").read_text().splitlines(),
            "seed": self.seed,
            "device": self.device,
            "scenes": self.scenes,
            "training": history,
            "seconds": sum(part["seconds"] for part in history.values()),
        }
        bundle.write_manifest(candidate, **facts, scores={})
        if self.boxed:
            bundle.replace(candidate, folder)
            log.info("the bundle is in %s, not measured", folder)
            return
        data = self.out / "data"
        worlds: tuple[World, ...] = ("closed", "open") if self.world == "open" else ("closed",)
        sets = {world: measures.held_out(world, held_out, self.size, data, self.workers) for world in worlds}
        scores = measure(candidate, sets, samples)
        bundle.write_manifest(candidate, **facts, scores=scores)
        log.info("scores %s", json.dumps(scores))
        self._compare(candidate, scores, sets, samples, accepted)
        bundle.replace(candidate, folder)
        log.info("the bundle is in %s", folder)

    def _write_parts(self, folder: Path) -> None:
        """Everything that this training holds, as the folders of a bundle."""
        both = self.text_to_latent()
        bundle.write_diffusion(folder / "diffusion", self.tokenizer, both.text_encoder, self.vae(), both.unet)
        bundle.write_clip(folder / "clip", self.tokenizer, self.clip())
        if self._has("classifier"):
            bundle.write_classifier(folder / "classifier", self.classifier())
        if self._has("enlarger"):
            tensors = self._load("enlarger", enlarger.build()).state_dict()
            bundle.write_network(folder / "enlarger", enlarger.SHAPE, tensors)
        self.write_style(folder)
        self.write_style_edits(folder)
        self.write_example(folder)
        self.write_upscaler(folder)
        if not self.boxed:
            worlds = [self.portraits, *([self.closed_portraits] if self.world == "open" else [])]
            familiarity.write(folder / "familiarity", zoo.load(folder).clip, worlds)

    def _compare(
        self,
        candidate: Path,
        scores: dict[str, Any],
        sets: Mapping[World, measures.HeldOut],
        samples: int,
        accepted: Sequence[str],
    ) -> None:
        """The report of what got better and worse since the bundle that this training began from."""
        noted = self.out / BEGAN
        if not noted.exists() or not (begun := Path(noted.read_text())).is_dir():
            return
        readers = (candidate / "classifier" / "model.safetensors").read_bytes()
        facts = {
            "bundle": hashlib.sha256((begun / "manifest.json").read_bytes()).hexdigest(),
            "reader": hashlib.sha256(readers).hexdigest(),
            "sets": {world: len(held.small) for world, held in sets.items()},
            "samples": samples,
        }
        before = measures.remembered(
            self.out / "before.json", facts, lambda: measure(begun, sets, samples, candidate)
        )
        figures = measures.beside(before, scores)
        report = "\n".join(figure.line() for figure in figures)
        (self.out / "report.txt").write_text(report + "\n")
        log.info("beside %s:\n%s", begun, report)
        fell = {part: rows for part, rows in measures.fallen(figures).items() if part not in accepted}
        if fell:
            told = "; ".join(
                f"{part} ({', '.join(f'{row.name} {row.before} -> {row.after}' for row in rows)})"
                for part, rows in fell.items()
            )
            raise ValueError(
                f"No bundle is written, for these parts fell on the closed held-out scenes: {told}. Train "
                f"them on, or take them as they are with --accept-worse {','.join(fell)}. The measured "
                f"bundle is in {candidate}."
            )

    def history(self) -> dict[str, dict[str, int]]:
        """{"steps", "seconds"} of every part, of those too that only helped to make a bundle begun from."""
        known = {state.parent.name: trained(state.parent) for state in self.out.glob("*/state.pt")}
        found = self.begun_history() | {part: facts for part, facts in known.items() if facts}
        return dict(sorted(found.items()))

    def begun_history(self) -> dict[str, dict[str, int]]:
        """The same of the bundle that this training began from; {} where it began anew."""
        path = self.out / HISTORY
        return json.loads(path.read_text()) if path.exists() else {}

    def _empty_text_encoder(self) -> CLIPTextModel:
        return diffusion.build_text_encoder(self._empty_clip())

    def _empty_clip(self) -> CLIPModel:
        return clip.build(self.size, len(self.tokenizer), MAX_LENGTH)

    def _load(self, part: str, module: Network) -> Network:
        try:
            return load_ema(self.out / part, module)
        except FileNotFoundError as error:
            raise ValueError(f"The {part} is not trained yet in {self.out}: add it to --only.") from error

    def _preview(self, both: diffusion.TextToLatent, step: int) -> None:
        """A sample grid of held-out captions, as the training goes on."""
        from textedit_core.models.diffusion.ddim import Schedule
        from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion

        schedule = Schedule.from_config(diffusion.build_scheduler().config)
        model = LatentDiffusion(
            both.unet, self._frozen_vae, both.text_encoder, self.tokenizer, schedule, fingerprint=None
        )
        portraits = held_out_portraits(PREVIEW_CAPTIONS, self.size, self.out / "data")
        texts, _ = portraits.captions(np.arange(len(portraits)), np.random.default_rng(0))
        images = torch.cat([portraits.batch(np.arange(12)), evaluate.generate(model, texts, seed=0).cpu()])
        evaluate.save_grid(images, 12, self.out / "samples" / f"{step:07d}.png")
        (self.out / "samples" / "captions.txt").write_text("\n".join(texts))

    @cached_property
    def _frozen_vae(self) -> AutoencoderKL:
        return self.vae().to(self.device)
