"""A comparison under way: a row per method with its costs and scores, the best of them, how two differ."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demos.compare.contenders import Contender
from demos.shared import safety
from demos.shared.present import save, save_plain
from textedit_core import metrics
from textedit_core.request import Projected, Result, optional_part

SOURCE = "similarity"  # what the ranking weighs against how well the prompt is met
# Under which CLIP direction a picture did not change, by models; measured by `python -m studies.unchanged`.
UNCHANGED_BELOW = {"toon": 0.2}


def row_of(one: Contender, result: Result, given: dict, folder: Path) -> dict[str, Any]:
    """Write the picture with its settings, measure it, and say what it has cost. ValueError if refused.

    What starts from the projection of the picture is measured against the picture itself.
    """
    asked = result.request
    safety.check(asked.models, result.image)
    latent = asked.inputs[asked.method.latent.name] if asked.method.latent else None
    source = latent.image if isinstance(latent, Projected) else result.source
    texts = (" ".join((given[name] or "").split()) for name in ("source_prompt", "prompt"))
    scores = measure(asked.models, source, result.edited, *texts)
    return {
        "name": one.name,
        "title": one.title,
        "edit": save(result.image, folder, one.name, result.record),
        "source": save_plain(source if result.unfinished is None else result.source_shown, folder, "source"),
        "record": result.record.to_json(),
        "scores": scores,
        "unchanged": is_unchanged(asked.models, scores),
        "seconds": result.seconds,
        "rows": result.rows,
        "computed": sum(not cost.cached for cost in result.costs.values()),
        "reused": sum(cost.cached for cost in result.costs.values()),
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
        optional_part(models, "clip", fetch=False),
        optional_part(models, "identity", fetch=False),
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


def is_unchanged(models: Any, scores: dict[str, float | None]) -> bool:
    """Whether a picture did not change as the prompts did, by CLIP's direction (`metrics.clip_direction`).

    Of models that were not measured only a direction away from the prompt counts.
    """
    least = UNCHANGED_BELOW.get(models.name, 0.0)
    return scores["direction"] is not None and scores["direction"] < least


def text_score(rows: Sequence[dict]) -> str:
    """The score that says how well the prompt is met: the direction where all have it, else the CLIP score.

    A picture that nobody edited can have a high CLIP score, but no direction.
    """
    return "direction" if all(row["scores"].get("direction") is not None for row in rows) else "clip"


def ranked(rows: list[dict], weight: float) -> list[tuple[dict, float]]:
    """The rows that have both scores with their value in 0..1, best first; last those that did not change.

    weight: 1 counts only how well the prompt is met (`text_score`), 0 only the similarity to the source. Each
    is stretched so that the worst row has 0 and the best 1, since their units have nothing to do with one
    another: a value is a place among these rows, and another row can change it.
    """
    scored = [row for row in rows if not row["problem"] and row["scores"]["clip"] is not None]
    columns = [_stretched([row["scores"][name] for row in scored]) for name in (text_score(scored), SOURCE)]
    values = [weight * text + (1 - weight) * source for text, source in zip(*columns, strict=True)]
    pairs = zip(scored, values, strict=True)
    return sorted(pairs, key=lambda pair: (pair[0].get("unchanged", False), -pair[1]))


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
