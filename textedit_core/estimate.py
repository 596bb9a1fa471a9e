"""How much memory a request will take, told before it is run: of what it consists, and which knob helps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from textedit_core.models.diffusion import autoencoder, memory, rehearsal, tuning
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.latent_model import LatentModel
from textedit_core.models.diffusion.placing import networks
from textedit_core.request import Request

GB = 2**30
HEAVY = GB  # what takes less is not spoken of
# A computer's memory holds more than the tensors of a moment, for what small ones leave free stays with the
# process: by whether a step has gradients, as measured at the real sizes (docs/studies.md).
HEAP = {False: 1.25, True: 1.6}
TOKENS_HELD = 3  # maps of a layer that Prompt-to-Prompt holds at once: scores, their softmax, the edited ones


@dataclass(frozen=True)
class Estimate:
    """The most memory a request takes at once, in bytes.

    parts: what that consists of: "weights", "activations", "optimiser" (what is trained, with its moments),
    "attention maps", "kept" (what a fit hands to the edit).  resident: of the weights, what is on the device
    already.  free, total: the device's memory now.  advice: what to set where it does not fit.
    """

    parts: Mapping[str, int]
    resident: int
    free: int
    total: int
    advice: str = ""

    @property
    def peak(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """Whether the device has as much free as is needed beside what is there already."""
        return self.peak - self.resident <= self.free

    @property
    def text(self) -> str:
        """In words, as "about 9.1 GB of 12 GB", and what to set where it does not fit."""
        found = f"about {self.peak / GB:.1f} GB of {self.total / GB:.0f} GB"
        return found if self.fits else f"{found}, of which {self.free / GB:.1f} GB are free. {self.advice}"


def of(asked: Request, rows: int = 1) -> Estimate | None:
    """The estimate for a request that is computed for `rows` rows at once, such as cells of a sweep.

    None for a method without a UNet, and for one that takes next to nothing.
    """
    model = asked.inputs.get("model")
    if not isinstance(model, LatentModel):
        return None
    if memory.bytes_of(networks(model)) < HEAVY // 4:  # its activations are as small
        return None
    found = _estimate(asked, model, rows, model.memory)
    if found.peak < HEAVY:
        return None
    return found if found.fits else _advised(asked, model, rows, found)


def _advised(asked: Request, model: LatentModel, rows: int, found: Estimate) -> Estimate:
    """The same with the advice that makes it fit, the mildest first; else with what comes nearest."""
    tried = list(_changes(asked, model, rows))
    fitting = [(words, one) for words, one in tried if one.fits]
    words, best = fitting[0] if fitting else min(tried, key=lambda pair: pair[1].peak, default=("", found))
    if not words:
        advice = "Nothing here makes it smaller: free some memory, or choose a smaller model."
    elif fitting:
        advice = f"It fits with {words}: about {best.peak / GB:.1f} GB."
    else:
        advice = f"The least is about {best.peak / GB:.1f} GB, with {words}."
    return Estimate(found.parts, found.resident, found.free, found.total, advice)


def _changes(asked: Request, model: LatentModel, rows: int) -> Iterator[tuple[str, Estimate]]:
    """What can be set to take less, in words, and the estimate with it."""
    levels = memory.LEVELS[memory.LEVELS.index(model.memory) :]
    for tune in (asked.settings.get("tune"), "attention", "lora"):
        changed = asked if tune is None else asked.at(tune=tune)
        for level in levels:
            said = [f"Memory at {level}"] * (level != model.memory)
            said += [f"Tuned weights at {tune}"] * (tune != asked.settings.get("tune"))
            if said:
                yield " and ".join(said), _estimate(changed, model, rows, level)
        if tune is None:
            break
    if rows > 1:
        yield "fewer cells at once", _estimate(asked, model, 1, model.memory)


@dataclass
class _Stage:
    """What one stage takes beside the weights."""

    activations: int = 0
    optimiser: int = 0
    maps: int = 0
    kept: int = 0

    @property
    def bytes(self) -> int:
        return self.activations + self.optimiser + self.maps + self.kept


@dataclass
class _Work:
    """A request at a level of memory."""

    asked: Request
    model: LatentModel
    rows: int
    level: str
    latent: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        image = self.asked.inputs.get("image")
        side = self.model.size // self.model.latent_scale
        self.latent = side, side
        if image is not None and not self.asked.method.any_size:
            height, width = (int(one) // self.model.latent_scale for one in image.shape[2:])
            self.latent = height, width

    @property
    def on_heap(self) -> bool:
        """Whether tensors are in the computer's own memory."""
        return self.model.device.type == "cpu"

    def held(self, activations: int, gradients: bool = False) -> int:
        """The bytes that activations occupy, and what they leave unused."""
        return int(activations * HEAP[gradients]) if self.on_heap else activations

    def stages(self) -> Iterator[_Stage]:
        """Every stage of the request."""
        at_once = min(self.rows, autoencoder.DECODE_ROWS if self.level == "fast" else 1)
        kept, name = 0, self.asked.method.name
        if self.asked.has_fit and isinstance(self.model, LatentDiffusion):
            for stage in self.fit(self.model):
                yield stage
                kept = stage.kept  # of the last one: what the fit hands on
        yield _Stage(self.held(rehearsal.decoding(self.model, at_once, self.latent)), kept=kept)
        if name == "prompt_to_prompt":
            shared = 2 if self.asked.settings["keep_to_source"] else 1
            count = shared + 2 * self.rows
            yield _Stage(self.sampled(count), maps=self.maps(1 + self.rows), kept=kept)
        else:
            yield _Stage(self.sampled(1 if self.level == "low" else 2 * self.rows), kept=kept)

    def fit(self, model: LatentDiffusion) -> Iterator[_Stage]:
        """The stages of a fit; those that optimise take the most."""
        chosen = self.asked.settings
        recomputes = bool(chosen.get("gradient_checkpointing")) or self.level != "fast"
        if "tune" in chosen:  # Imagic
            rank, kind = chosen["lora_rank"], chosen["tune"]
            tokens = rehearsal.training(model, self.latent, "none", rank, recomputes)
            yield _Stage(self.held(tokens.activations, True))
            step = rehearsal.training(model, self.latent, kind, rank, recomputes)
            casts = step.values // 2 if model.dtype.itemsize < 4 else 0  # those that autocast makes
            yield _Stage(self.held(step.activations, True) + casts, step.trained)
            changes = 0 if kind == "lora" else step.values // 2  # in half precision
            changed = tuning.merged_count(model) if kind == "lora" else step.values // 4
            yield _Stage(kept=changes + changed * model.dtype.itemsize)  # an edit merges them
        elif chosen.get("inversion") == "null_text":
            step = rehearsal.training(model, self.latent, "none", 1, recomputes)
            of_tokens = 4 * 3 * model.unet.config.cross_attention_dim * 77
            yield _Stage(self.held(step.activations, True), of_tokens)
        else:
            yield _Stage(self.sampled(1))

    def sampled(self, rows: int) -> int:
        return self.held(rehearsal.sampling(self.model, rows, self.latent))

    def maps(self, rows: int) -> int:
        """The maps of the largest layer of cross-attention that are held at once for so many rows."""
        most = 0
        for halved, block in enumerate(self.model.unet.down_blocks):
            height, width = (-(-one // 2**halved) for one in self.latent)
            for one in getattr(block, "attentions", ()):
                most = max(most, one.transformer_blocks[0].attn2.heads * height * width)
        return TOKENS_HELD * rows * most * rehearsal.tokens_read(self.model) * 4


def _estimate(asked: Request, model: LatentModel, rows: int, level: str) -> Estimate:
    """The estimate at a level of memory, whichever the model is at."""
    each = [memory.bytes_of([one]) for one in networks(model)]
    offloads = level == "low" and model.device.type != "cpu"
    worst = max(_Work(asked, model, rows, level).stages(), key=lambda stage: stage.bytes)
    free, total = memory.device_bytes(model.device)
    parts: dict[str, Any] = {
        "weights": max(each) if offloads else sum(each),
        "activations": worst.activations,
        "optimiser": worst.optimiser,
        "attention maps": worst.maps,
        "kept": worst.kept,
    }
    resident = sum(each) if model.offload is None and not offloads else 0
    if offloads and model.offload is None:
        free += sum(each)  # what leaves the device then
    return Estimate(parts, resident, free, total)
