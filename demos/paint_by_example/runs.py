"""What the page adds to Paint by Example: mask and exemplar, the pictures beside a result, its scores."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from demos.context import Context
from demos.shared import painting
from demos.shared.painting import CROP, PART, TOOLS
from demos.shared.uploads import opened
from demos.shared.view import CLIP_SCORES, Axes, MethodView, Score, batch_at_own_size, from_widgets
from textedit_core import images, metrics, record
from textedit_core.request import Request, Result, optional_part

LAMBDAS = "1, 2, 3, 5, 7.5, 10"
SCORES = {
    "exemplar": Score("CLIP score of region and exemplar", "region and exemplar {:.1f}", "exemplar {:.1f}"),
    "similarity": CLIP_SCORES["similarity"],
}


def read(view: MethodView, ctx: Context, values: Mapping[str, Any]) -> Request:
    """The request that the widgets make; ValueError, a sentence, for what cannot be used."""
    picture = opened(values["image"])
    mask = painting.mask_of(values, picture.size, picture.size)
    exemplar = painting.exemplar_of(values, ctx.models(values["models"]).paint_by_example.exemplar_size)
    seen = {"mask": images.mask_to_pil(mask)[0], "exemplar": exemplar}
    digests = {f"{name}_sha256": record.image_sha(one)[:16] for name, one in seen.items()}
    inputs = {"image": picture, "mask": mask, "exemplar": images.native_tensor(exemplar)}
    notes = TOOLS.checked(values) | CROP.checked(values) | digests
    return from_widgets(view, ctx, values, inputs=inputs, notes=notes)


def hole(asked: Request) -> Tensor:
    """Where the picture is repainted, (1,1,H,W)."""
    return painting.grown(asked.inputs["mask"], asked.settings["grow"])


def pictures(result: Result) -> dict[str, Tensor]:
    """The source, what of it is left to the model, and the exemplar as it is seen."""
    masked = result.source * (1 - hole(result.request))
    return {"source": result.source, "masked": masked, "exemplar": result.request.inputs["exemplar"]}


def score(result: Result) -> dict[str, float] | None:
    """How alike region and exemplar are, and the whole and the source; None where CLIP is not here."""
    asked, clip = result.request, optional_part(result.request.models, "clip", fetch=False)
    if clip is None:
        return None
    alike = metrics.exemplar_score(clip, result.edited, asked.inputs["exemplar"], hole(asked))
    similarity = metrics.clip_similarity(clip, result.edited, result.source)
    return {"exemplar": float(alike), "similarity": float(similarity)}


def edit_steps(settings: Mapping[str, Any]) -> int:
    """Steps of one edit; plms calls the UNet once more."""
    return settings["steps"] + (settings["sampler"] == "plms")


def row(values: dict) -> Axes:
    """One row: several lambdas on the same noise."""
    return Axes("guidance_scale", LAMBDAS)


def seeds(values: dict) -> Axes:
    """Lambdas, and a few seeds below one another."""
    return Axes("guidance_scale", LAMBDAS, "seed", "0, 1")


def structures(values: dict) -> Axes:
    """How much of the source's layout is kept, against lambda."""
    return Axes("structure", "0-0.9 [4]", "guidance_scale", "2, 5")


VIEW = MethodView(
    "paint_by_example",
    seeds({}),
    reader=read,
    offers={"λ row": row, "λ × seeds": seeds, "Structure × λ": structures},
    pictures=pictures,
    score=score,
    scores=SCORES,
    edit_steps=edit_steps,
    part=PART,
    batch=batch_at_own_size,
    headline=("guidance_scale", "seed"),
    memory_hint="Sweep fewer values at once, or use a smaller picture.",
)
