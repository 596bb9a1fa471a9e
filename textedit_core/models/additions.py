"""What is added to a text-to-image model: LoRA and textual inversion files, named behind the models' name.

    sd + style.safetensors:0.8 + word.pt + owner/name

A number behind a colon is the weight of a LoRA, 1 unless given; a word behind it is the one that a textual
inversion adds to prompts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from textedit_core.knobs import BoundKnob, Knob, quoted
from textedit_core.models import checkpoint, hub
from textedit_core.models.diffusion import lora, textual_inversion
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.lora import Lora
from textedit_core.models.diffusion.textual_inversion import Word
from textedit_core.models.source import Source

JOINT = " + "
SUFFIXES = (".safetensors", ".bin", ".pt")
# The files of a repository that hold what it is about, where a name says no file.
USUAL = ("pytorch_lora_weights.safetensors", "learned_embeds.safetensors", "learned_embeds.bin")
MOST = 8  # LoRAs on one model
_HELP = "how strongly the LoRA acts; 0 is not at all"
_WEIGHT = BoundKnob("lora_weight", float, 1.0, Knob(-5, 5, 0.05, label="LoRA weight", help=_HELP))
# The knobs of the weights of the first, second... LoRA that is added: they are the models', not a method's.
WEIGHTS = {
    name: replace(_WEIGHT, name=name, knob=replace(_WEIGHT.knob, label=label))
    for name, label in [
        ("lora_weight", "LoRA weight"),
        *((f"lora_weight_{k}", f"LoRA weight {k}") for k in range(2, MOST + 1)),
    ]
}


@dataclass(frozen=True)
class Addition:
    """One file to add, as it is named.

    place: the path of a file; or owner/name on the hub, or owner/name/FILE.  weight: of a LoRA.  word: of a
    textual inversion, "" for the one that its file tells.
    """

    place: str
    weight: float = 1.0
    word: str = ""

    def __str__(self) -> str:
        if self.word:
            return f"{self.place}:{self.word}"
        return self.place if self.weight == 1 else f"{self.place}:{self.weight:g}"

    def source(self) -> Source:
        """Where the file is. Asks the hub for the list of a repository that is not in its cache.

        Raises ValueError, one sentence, for a file that is not there.
        """
        path = Path(self.place)
        if _is_there(self.place):
            path = path.expanduser()
            if path.suffix.lower() not in SUFFIXES or not path.is_file():
                raise ValueError(f"{self.place} is no file to add: it must end in {', '.join(SUFFIXES)}.")
            return Source(str(path.parent), "", (path.name,))
        owner, _, rest = self.place.partition("/")
        name, _, file = rest.partition("/")
        repo = f"{owner}/{name}"
        if not hub.is_id(repo) or self.place.startswith((".", "~", "/")) or _is_there(owner):
            raise ValueError(
                f"There is no file {quoted(self.place)} to add: name a .safetensors, .bin or .pt file, or "
                "owner/name of the Hugging Face hub."
            )
        for known in [file] if file else USUAL:
            if (source := Source(repo, "", (known,))).is_local():
                return source
        found = hub.look(repo)
        return Source(
            repo, "", (_chosen(repo, file, found.sizes),), license=found.license, listed=found.sizes
        )


def split(name: str | Path) -> tuple[str, tuple[Addition, ...]]:
    """A name as the models' name and what is added. ValueError, a sentence, for an addition without a name
    or with a weight that is none."""
    text = str(name).strip()
    if JOINT.strip() not in text or JOINT not in f"{text} " or _is_there(text):
        return text, ()
    models, *added = f"{text} ".split(JOINT)
    return models.strip(), tuple(parse(one) for one in added)


def parse(text: str) -> Addition:
    """One addition as it is typed: FILE, FILE:WEIGHT or FILE:WORD. ValueError, a sentence, for a mistake."""
    text = text.strip()
    place, colon, tail = text.rpartition(":")
    if not text:
        raise ValueError("Add: there is no file behind the +; name one, as in sd + style.safetensors:0.8.")
    if not colon or "/" in tail or "\\" in tail or _is_there(text):
        return Addition(text)
    try:
        weight = float(tail)
    except ValueError:
        if place and tail.strip():
            return Addition(place.strip(), word=tail.strip())
        raise ValueError(f"Add: {quoted(text)} is not FILE, FILE:WEIGHT or FILE:WORD.") from None
    if not math.isfinite(weight):
        raise ValueError(f"LoRA weight: {quoted(tail)} is not {_WEIGHT.expected}.")
    return Addition(place.strip(), _WEIGHT.check(weight))


def joined(models: str, added: Sequence[Addition]) -> str:
    """The name of models with these additions, that `split` takes apart."""
    return JOINT.join([models, *map(str, added)])


class Additions:
    """The files that are added to one model, read when they are first needed.

    sources: where each is; finding that may ask the hub, and raises ValueError as `Addition.source`.
    stamp: what tells these files from those that may later stand in their place.
    """

    def __init__(self, items: Sequence[Addition]):
        self.items = tuple(items)
        self.sources = tuple(item.source() for item in self.items)
        self.stamp = tuple(source.fingerprint() for source in self.sources)

    @cached_property
    def read(self) -> tuple[tuple[Lora | Word, str], ...]:
        """What each file holds, and the sha256 of the file. Raises ValueError, one sentence, for a file that
        is damaged, of another kind, or not reachable."""
        found = tuple(_read(item, source) for item, source in zip(self.items, self.sources, strict=True))
        if sum(isinstance(one, Lora) for one, _ in found) > MOST:
            raise ValueError(f"Add: at most {MOST} LoRAs can be added to one model.")
        return found

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are added to prompts."""
        return tuple(one.word for one, _ in self.read if isinstance(one, Word))

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each LoRA, by the name of its knob in `WEIGHTS`."""
        own = [
            item.weight for item, (one, _) in zip(self.items, self.read, strict=True) if isinstance(one, Lora)
        ]
        return dict(zip(WEIGHTS, own, strict=False))

    def at(self, weights: Mapping[str, float]) -> Additions:
        """The same files with other weights, by the names of their knobs."""
        names, items = iter(WEIGHTS), []
        for item, (one, _) in zip(self.items, self.read, strict=True):
            name = next(names) if isinstance(one, Lora) else ""
            items.append(replace(item, weight=weights[name]) if name in weights else item)
        other = object.__new__(Additions)
        other.items, other.sources, other.stamp = tuple(items), self.sources, self.stamp
        other.read = self.read
        return other

    def apply(self, model: LatentDiffusion) -> LatentDiffusion:
        """The model with all of them, which is not changed itself; a LoRA of weight 0 is as if not there.

        Raises ValueError, one sentence, for a file of another family, and then makes nothing.
        """
        words = [one for one, _ in self.read if isinstance(one, Word)]
        pairs = zip(self.items, self.read, strict=True)
        loras = [(one, item.weight) for item, (one, _) in pairs if isinstance(one, Lora)]
        changed = textual_inversion.with_words(model, words) if words else model
        changed = lora.with_loras(changed, loras) if loras else changed
        return changed if changed is model else replace(changed, fingerprint=self._fingerprint(model))

    def _fingerprint(self, model: LatentDiffusion) -> str | None:
        """The model's, and what is added to it."""
        if model.fingerprint is None:
            return None
        parts = [model.fingerprint]
        for item, (one, digest) in zip(self.items, self.read, strict=True):
            if isinstance(one, Word):
                parts.append(f"{digest}:{one.word}")
            elif item.weight:
                parts.append(f"{digest}:{item.weight!r}")
        return "+".join(parts)


def _read(item: Addition, source: Source) -> tuple[Lora | Word, str]:
    path = source.file(source.weights[0])
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"The weights in {path} could not be read: {error.strerror or error}.") from error
    state = checkpoint.read(path)
    if any(str(name).startswith("model.diffusion_model.") for name in state):
        raise ValueError(f"{item.place} is a whole model and nothing to add: choose it as the models.")
    if lora.is_lora(map(str, state)):
        if item.word:
            raise ValueError(f"{item.place} is a LoRA: its weight is a number, not {quoted(item.word)}.")
        return lora.read(state, item.place, path), digest
    return textual_inversion.read(state, item.place, path.stem, item.word), digest


def _chosen(repo: str, file: str, sizes: Mapping[str, int]) -> str:
    """The file of a repository that is meant. ValueError, one sentence, where that is not clear."""
    if file:
        if file not in sizes:
            raise ValueError(f"{repo} has no file {file}.")
        return file
    usual = [name for name in USUAL if name in sizes]
    able = usual[:1] or [name for name in sizes if name.endswith(".safetensors") and "/" not in name]
    if len(able) != 1:
        several = f"several files, {', '.join(able[:5])}" if able else "no .safetensors file at its top"
        raise ValueError(f"{repo} has {several}: name one, as {repo}/FILE.safetensors.")
    return able[0]


def _is_there(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long for a path, or the home of an unknown user
        return False
