"""Paint by Example's runs: how its widgets are read, the pictures beside a result, how it is scored."""

from PIL import Image
from torch import Tensor

from demos.context import Context
from demos.shared import common, painting
from demos.shared.common import Ask, Axes, Method, Scale
from demos.shared.painting import CROP, TOOLS
from textedit_core import images, metrics, record
from textedit_core.methods import paint_by_example

PART = "paint_by_example"
LAMBDAS = "1, 2, 3, 5, 7.5, 10"
AT_ONCE = 8_000_000  # pixels of all pictures in a batch
SCALES = {
    "exemplar": Scale("CLIP score of region and exemplar", "region and exemplar {:.1f}", "exemplar {:.1f}"),
    "similarity": common.CLIP_SCALES["similarity"],
}


def read(ctx: Context, values: dict) -> Ask:
    """Widgets -> Ask; ValueError, a sentence, for what cannot be used."""
    models = ctx.models(values["models"])
    model = models.paint_by_example
    picture = images.open_image(values["image"], "Source image")
    source, mask = images.as_tensor(picture), painting.mask_of(values, picture.size, picture.size)
    exemplar = painting.exemplar_of(values, model.exemplar_size)
    seen = {"mask": images.mask_to_pil(mask)[0], "exemplar": exemplar}
    return Ask(
        METHOD,
        values["models"],
        models,
        (model, source, mask, images.as_tensor(exemplar)),
        METHOD.settings(values),
        picture=picture,
        source=source,
        sizing="",
        more=TOOLS.checked(values)
        | CROP.checked(values)
        | {f"{name}_sha256": record.image_sha(one)[:16] for name, one in seen.items()},
    )


def hole(ask: Ask) -> Tensor:
    """Where the picture is repainted, (1,1,H,W)."""
    return painting.grown(ask.args[2], ask.settings["grow"])


def pictures(ask: Ask) -> dict[str, Image.Image]:
    """The source, what of it is left to the model, and the exemplar as it is seen."""
    masked = images.to_pil(ask.source * (1 - hole(ask)))[0]
    return {"source": ask.picture, "masked": masked, "exemplar": images.to_pil(ask.args[3])[0]}


def score(ask: Ask, edited: Tensor) -> dict[str, float] | None:
    """How alike region and exemplar are, and the whole and the source; None where CLIP is not here."""
    clip = common.optional_part(ask.models, "clip")
    if clip is None:
        return None
    alike = metrics.exemplar_score(clip, edited, ask.args[3].to(edited.device), hole(ask).to(edited.device))
    similarity = metrics.clip_similarity(clip, edited, ask.source.to(edited.device))
    return {"exemplar": float(alike), "similarity": float(similarity)}


def batch(ask: Ask) -> int:
    """How many cells of a sweep are computed at once: a picture is worked on at its own size."""
    return max(1, min(8, AT_ONCE // ask.source[0, 0].numel()))


def edit_steps(settings: dict) -> int:
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


METHOD = Method(
    paint_by_example,
    read,
    seeds({}),
    sweeps={"λ row": row, "λ × seeds": seeds, "Structure × λ": structures},
    pictures=pictures,
    score=score,
    scales=SCALES,
    edit_steps=edit_steps,
    part=PART,
    batch=batch,
    headline=("guidance_scale", "seed"),
    memory_hint="Sweep fewer values at once, or use a smaller picture.",
)
