"""What StyleCLIP's techniques share: the latent they start from, by seed or by projection, and pictures."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from demos.context import Context
from demos.shared.knobs import KnobGroup
from demos.shared.pictures import thumbnail
from demos.shared.present import save
from demos.shared.uploads import opened
from demos.shared.view import MethodView, from_widgets
from textedit_core import cache, images
from textedit_core.knobs import BoundKnob, Knob
from textedit_core.large import rendered
from textedit_core.methods import projection
from textedit_core.models.style import latents
from textedit_core.models.style.alignment_of_faces import (
    Square,
    aligned,
    put_back,
    square_of_points,
)
from textedit_core.models.style.latent_files import read_latent, write_latent
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator
from textedit_core.request import PROJECTION as PROJECTION_KNOBS
from textedit_core.request import SAMPLE as SAMPLE_KNOBS
from textedit_core.request import Projected, Request, Result, Sample, optional_part, projected
from textedit_core.steps import last

LATENT, PHOTOGRAPH = "latent", "photograph"  # what an edit offers beside its pictures
PART = "generator"  # the part of the models that every technique needs
OPTIONAL_PARTS = ("clip", "encoder", "identity")  # used where the models have them
SAMPLING = KnobGroup("latent_", SAMPLE_KNOBS)
PROJECTION = KnobGroup("projection_", PROJECTION_KNOBS)
WHICH = BoundKnob(
    "latent_index", int, 0, Knob(0, 99_999, 1, label="Which of several", help="latents in the file, from 0")
)
SAMPLE, PICTURE, FILE = "sample", "picture", "file"
GALLERY, AT_ONCE = 12, 4
SMALL = 256  # pixels; images up to this side fit in memory by the dozen
OWN = "Own picture"  # as its field is called


def sample(generator: StyleGenerator, values: Mapping[str, Any]) -> Tensor:
    """The image (1,3,S,S) of the seed and truncation that the widgets hold."""
    return last(cache.cached(rendered, generator, latents.from_seed(generator, **SAMPLING.arguments(values))))


def image_of(ctx: Context, values: Mapping[str, Any]) -> Tensor:
    """The image (1,3,S,S) of the latent in the file that the widgets hold."""
    return last(cache.cached(rendered, ctx.models(values["models"]).generator, from_file(ctx, values)))


def to_project(ctx: Context, values: Mapping[str, Any]) -> Projected:
    """The picture that the widgets hold, to be projected; ValueError, a sentence, for one that cannot be."""
    models, picture = ctx.models(values["models"]), own_picture(ctx, values)
    resize = values.get("sizing", "crop")
    return projected(models, picture, resize, PROJECTION.arguments(values), fetch=False)


def own_picture(ctx: Context, values: Mapping[str, Any]) -> Image.Image:
    """The picture that the widgets hold, or the face in it, upright, as large as the generator draws."""
    photo, square = opened(values["image"], OWN), face_in(values)
    return aligned(photo, square, ctx.models(values["models"]).generator.size) if square else photo


def face_in(values: Mapping[str, Any]) -> Square | None:
    """Where the face is that was marked in the own picture, None where none was.

    ValueError for points that are none.
    """
    points = (values.get("face") or "").strip()
    return square_of_points(points) if points else None


def from_file(ctx: Context, values: Mapping[str, Any]) -> Latent:
    """The latent in the file that the widgets hold; ValueError, a sentence with no path of this machine."""
    files = values.get("latent_file") or []
    if len(files) != 1:
        raise ValueError("Latent: add one file, .pt or .npy.")
    generator, index = ctx.models(values["models"]).generator, WHICH.check(values.get("latent_index", 0))
    try:
        return read_latent(files[0], generator, index)
    except ValueError as error:
        raise ValueError(str(error).replace(str(Path(files[0]).parent) + os.sep, "")) from None


def projected_already(ctx: Context, values: Mapping[str, Any]) -> projection.Projection | None:
    """The projection of the picture that the widgets hold, if the cache has it."""
    entry = cache.default.get(to_project(ctx, values).call(ctx.models(values["models"])).key())
    return entry.value if entry else None


def asked(view: MethodView, ctx: Context, values: Mapping[str, Any], **more: Any) -> Request:
    """The request of a technique on the latent that the widgets name; `more` as in `from_widgets`."""
    own, inputs, notes = values["origin"] == PICTURE, more.pop("inputs", {}), more.pop("notes", {})
    if values["origin"] == FILE:
        latent, notes = from_file(ctx, values), notes | {"latent_file": Path(values["latent_file"][0]).name}
    elif own:
        latent = to_project(ctx, values)
        notes = notes | ({"face_points": values["face"].strip()} if face_in(values) else {})
    else:
        latent = Sample(**SAMPLING.arguments(values))
    if not own:
        values = {**values, "keep_details": 0.0}  # that is for a picture of the person's
    resize = values.get("sizing", "crop") if own else "crop"
    more |= {"inputs": {"latent": latent, **inputs}, "resize": resize, "notes": notes}
    made = from_widgets(view, ctx, values, **more)
    return replace(made, picture=own_picture(ctx, values)) if own else made


def facts_in(knobs_of_record: Mapping[str, Any]) -> dict:
    """Where the latent of a record is from, as values of the widgets that ask for it."""
    file = "latent_sha" in knobs_of_record
    origin = {"origin": SAMPLE if "latent_seed" in knobs_of_record else FILE if file else PICTURE}
    face = {"face": str(knobs_of_record.get("face_points", "")), "latent_index": 0}
    return origin | face | SAMPLING.checked(knobs_of_record) | PROJECTION.checked(knobs_of_record)


def pictures(result: Result) -> dict[str, Tensor]:
    """The image of the latent, which every edit stands beside."""
    return {"source": result.source}


def captions(result: Result) -> dict[str, str]:
    """Where the source is from, and whether the edit shows the same person."""
    about, identity = result.record.knobs, optional_part(result.request.models, "identity", fetch=False)
    seed = about.get("latent_seed")
    own = "your latent" if "latent_sha" in about else "projection of your picture"
    origin = own if seed is None else f"seed {seed}"
    if identity is None:
        return {"source": origin}
    return {
        "source": origin,
        "edit": f"identity {identity.similarity(result.edited, result.source).item():.2f}",
    }


def batch(request: Request) -> int:
    """How many cells of a sweep are rendered at once."""
    return 32 if request.models.generator.size <= SMALL else AT_ONCE


def layer_problem(models: Any, values: Mapping[str, Any]) -> str:
    """Why the layers of W+ from `first_layer` to `last_layer` cannot be edited; "" where they can."""
    first, rows = values["first_layer"], models.generator.n_latent
    if first >= rows:
        return f"First layer: choose less; these models have the layers 0 to {rows - 1}."
    return "First layer: choose no more than the last layer." * (first > values["last_layer"])


SHARED = {
    "reader": asked,
    "pictures": pictures,
    "captions": captions,
    "batch": batch,
    "part": PART,
    "memory_hint": "Sweep fewer values at once, or use models with a smaller generator.",
}


def more_files(result: Result, values: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write the edited latent, and the photograph with the edited face where one was cut out of it.

    values: of the widgets.  Returns the paths by name.
    """
    found = {LATENT: str(folder / "latent.pt")}
    write_latent(result.latent, found[LATENT])
    square = face_in(values) if values["origin"] == PICTURE else None
    if square:
        photo = images.native_tensor(opened(values["image"], OWN))
        whole = put_back(photo, result.image, result.source, square)
        found[PHOTOGRAPH] = save(whole, folder, "photograph", result.record)
    return found


def gallery(ctx: Context, models: str, first: int, truncation: float) -> Iterator[list[str]]:
    """The thumbnails so far of the samples of `GALLERY` seeds from `first` on."""
    generator, found = ctx.models(models).generator, []
    for begin in range(first, first + GALLERY, AT_ONCE):
        seeds = list(range(begin, begin + AT_ONCE))
        made = last(
            cache.cached(rendered, generator, latents.from_seed(generator, seed=seeds, truncation=truncation))
        )
        found += [thumbnail(made[row : row + 1]) for row in range(len(seeds))]
        yield found
