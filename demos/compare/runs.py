"""A comparison under way: a row per method with its costs and scores, the best of them, how two differ."""

import json
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demos.compare.contenders import Contender
from demos.context import Context
from demos.shared import common, safety
from demos.shared.common import Ask, optional_part
from textedit_core import cache, images, metrics
from textedit_core.models.diffusion.latent_diffusion import RowCount, count_rows
from textedit_core.steps import Step

TEXT, SOURCE = "clip", "similarity"  # the scores that the ranking weighs against one another


@dataclass(eq=False)
class Meter:
    """Seconds and UNet rows of one row's stages, and how many of them were computed or already there."""

    device: torch.device
    networks: list
    seconds: float = 0.0
    counts: list[RowCount] = field(default_factory=list)
    computed: int = 0
    reused: int = 0

    @property
    def rows(self) -> int | None:
        """UNet rows so far; None where no UNet is at work."""
        return sum(count.rows for count in self.counts) if self.networks else None

    def run(self, doing: str, fn: Any, args: tuple, settings: dict) -> Iterator[tuple[str, Step]]:
        """A stage through the cache: yields what is done and each step, returns the last value."""
        known = cache.default.get(cache.key(fn, args, settings)) is not None
        return (yield from self.watch(doing, known, cache.cached(fn, *args, **settings)))

    def watch(self, doing: str, known: bool, steps: Iterator[Step]) -> Iterator[tuple[str, Step]]:
        """The same for steps that begin in the cache (`known`) or do not."""
        self.computed, self.reused = self.computed + (not known), self.reused + known
        last = None
        while True:
            # A hook lives for one step only: nothing stays patched while the page is drawn. A count is read
            # at the end, for a tuned copy of the UNet goes on counting where it was made.
            with ExitStack() as stack:
                self.counts += [stack.enter_context(count_rows(one)) for one in self.networks]
                start = self.now()
                step = next(steps, None)
                self.seconds += self.now() - start
            if step is None:
                return last
            last = step.value
            yield doing, step

    def now(self) -> float:
        """Seconds on a clock, all work that the device was given done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def row_of(ctx: Context, one: Contender, given: dict, folder: Path) -> Iterator[tuple[str, Step]]:
    """Run a contender: yields what is done and each step, returns its finished row, plain data.

    Raises ValueError, a sentence, for what this method cannot do with the fields.
    """
    models, values = ctx.models(given["models"]), one.values(ctx, given)
    parts = [getattr(models, part) for part in one.parts]
    meter = Meter(models.device, [part for part in parts if hasattr(part, "unet")])
    if one.before:
        yield from meter.watch("projecting", *one.before(ctx, values))
    ask, fitted = one.read(ctx, values), None
    if ask.method.fit:
        fitted = yield from meter.run("preparing", ask.method.fit, ask.args, ask.fit)
    edited = yield from meter.run("editing", ask.method.edit, ask.arguments(fitted), ask.edit)
    return finished(one, ask, edited, given, meter, folder)


def finished(
    one: Contender, ask: Ask, edited: Tensor, given: dict, meter: Meter, folder: Path
) -> dict[str, Any]:
    """Write the picture with its settings, measure it, and say what it has cost. ValueError if refused."""
    safety.check(ask.models, edited)
    about = common.describe(ask)
    before, after = (" ".join((given[name] or "").split()) for name in ("source_prompt", "prompt"))
    shown = images.to_pil(ask.source)[0]
    return {
        "name": one.name,
        "title": one.title,
        "edit": common.save(images.to_pil(edited)[0], folder, one.name, about),
        "source": common.save_plain(shown, folder, "source"),
        "record": about.to_json(),
        "scores": measure(ask.models, ask.source, edited, before, after),
        "seconds": meter.seconds,
        "rows": meter.rows,
        "computed": meter.computed,
        "reused": meter.reused,
        "problem": "",
    }


def failed(one: Contender, sentence: str) -> dict[str, Any]:
    """The row of a method that could not run."""
    return {"name": one.name, "title": one.title, "problem": sentence}


def measure(
    models: Any, source: Tensor, edited: Tensor, source_prompt: str, prompt: str
) -> dict[str, float | None]:
    """Each metric of an edit (1,3,H,W) beside its source; None where models or texts are missing."""
    clip, identity, source = (
        optional_part(models, "clip"),
        optional_part(models, "identity"),
        source.to(edited.device),
    )
    found: dict[str, Tensor | None] = dict.fromkeys(("clip", "direction", "similarity", "identity"))
    if clip is not None:
        if prompt:
            found["clip"] = metrics.clip_score(clip, edited, prompt)
        found["similarity"] = metrics.clip_similarity(clip, edited, source)
        if source_prompt and prompt:
            found["direction"] = metrics.clip_direction(clip, source, edited, source_prompt, prompt)
    if identity is not None:
        with torch.no_grad():
            found["identity"] = identity.similarity(edited, source)
    found |= {"psnr": metrics.psnr(edited, source), "ssim": metrics.ssim(edited, source)}
    return {name: None if value is None else float(value) for name, value in found.items()}


# --- on finished rows alone -------------------------------------------------------------------------------


def ranked(rows: list[dict], weight: float) -> list[tuple[dict, float]]:
    """The rows that have both scores with their value in 0..1, best first.

    weight: 1 counts only the CLIP score to the prompt, 0 only the similarity to the source. Each is stretched
    so that the worst row has 0 and the best 1, since their units have nothing to do with one another: a value
    is a place among these rows, and another row can change it.
    """
    scored = [row for row in rows if not row["problem"] and row["scores"][TEXT] is not None]
    columns = [_stretched([row["scores"][name] for row in scored]) for name in (TEXT, SOURCE)]
    values = [weight * text + (1 - weight) * source for text, source in zip(*columns, strict=True)]
    return sorted(zip(scored, values, strict=True), key=lambda pair: -pair[1])


def _stretched(values: list[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]


def differences(first: str, second: str) -> list[tuple[str, str, str]]:
    """What two records (JSON) disagree in: the setting, its value in each, "–" where one has none."""
    a, b = (_flat(json.loads(record)) for record in (first, second))
    names = list(dict.fromkeys([*a, *b]))
    return [(name, a.get(name, "–"), b.get(name, "–")) for name in names if a.get(name) != b.get(name)]


def _flat(record: dict) -> dict[str, str]:
    """Settings as texts, nested ones by their own name."""
    found = {name: record[name] for name in ("method", "models", "image", "resize")}
    found["image"] = found["image"][:12]
    return {name: _text(value) for name, value in (found | record["prompts"] | record["knobs"]).items()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
