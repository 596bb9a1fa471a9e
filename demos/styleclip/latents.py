"""What StyleCLIP's techniques share: the latent they start from, by seed or by projection, and pictures."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from demos.context import Context
from demos.shared.knobs import KnobGroup
from demos.shared.pictures import thumbnail
from demos.shared.view import MethodView, from_widgets, optional_part
from textedit_core import cache, images
from textedit_core.large import rendered
from textedit_core.methods import projection
from textedit_core.models.clip import token_count
from textedit_core.models.style import latents
from textedit_core.models.style.models import StyleGenerator
from textedit_core.request import PROJECTION as PROJECTION_KNOBS
from textedit_core.request import SAMPLE as SAMPLE_KNOBS
from textedit_core.request import Projected, Request, Result, Sample, projected
from textedit_core.steps import last

PART = "generator"  # the part of the models that every technique needs
OPTIONAL_PARTS = ("clip", "encoder", "identity")  # used where the models have them
SAMPLING = KnobGroup("latent_", SAMPLE_KNOBS)
PROJECTION = KnobGroup("projection_", PROJECTION_KNOBS)
SAMPLE, PICTURE = "sample", "picture"
GALLERY, AT_ONCE = 12, 4
SMALL = 256  # pixels; images up to this side fit in memory by the dozen
OWN = "Own picture"  # as its field is called


def sample(generator: StyleGenerator, values: Mapping[str, Any]) -> Tensor:
    """The image (1,3,S,S) of the seed and truncation that the widgets hold."""
    return last(cache.cached(rendered, generator, latents.from_seed(generator, **SAMPLING.arguments(values))))


def to_project(ctx: Context, values: Mapping[str, Any]) -> Projected:
    """The picture that the widgets hold, to be projected; ValueError, a sentence, for one that cannot be."""
    models, picture = ctx.models(values["models"]), images.open_image(values["image"], OWN)
    resize = values.get("sizing", "crop")
    return projected(models, picture, resize, PROJECTION.arguments(values), fetch=False)


def projected_already(ctx: Context, values: Mapping[str, Any]) -> projection.Projection | None:
    """The projection of the picture that the widgets hold, if the cache has it."""
    entry = cache.default.get(to_project(ctx, values).call(ctx.models(values["models"])).key())
    return entry.value if entry else None


def asked(view: MethodView, ctx: Context, values: Mapping[str, Any], **more: Any) -> Request:
    """The request of a technique on the latent that the widgets name; `more` as in `from_widgets`."""
    own, inputs = values["origin"] == PICTURE, more.pop("inputs", {})
    latent = to_project(ctx, values) if own else Sample(**SAMPLING.arguments(values))
    resize = values.get("sizing", "crop") if own else "crop"
    made = from_widgets(view, ctx, values, inputs={"latent": latent, **inputs}, resize=resize, **more)
    return replace(made, picture=images.open_image(values["image"], OWN)) if own else made


def facts_in(knobs_of_record: Mapping[str, Any]) -> dict:
    """Where the latent of a record is from, as values of the widgets that ask for it."""
    origin = {"origin": SAMPLE if "latent_seed" in knobs_of_record else PICTURE}
    return origin | SAMPLING.checked(knobs_of_record) | PROJECTION.checked(knobs_of_record)


def pictures(result: Result) -> dict[str, Tensor]:
    """The image of the latent, which every edit stands beside."""
    return {"source": result.source}


def captions(result: Result) -> dict[str, str]:
    """Where the source is from, and whether the edit shows the same person."""
    about, identity = result.record.knobs, optional_part(result.request.models, "identity")
    seed = about.get("latent_seed")
    origin = "projection of your picture" if seed is None else f"seed {seed}"
    if identity is None:
        return {"source": origin}
    return {
        "source": origin,
        "edit": f"identity {identity.similarity(result.edited, result.source).item():.2f}",
    }


def batch(request: Request) -> int:
    """How many cells of a sweep are rendered at once."""
    return 32 if request.models.generator.size <= SMALL else AT_ONCE


SHARED = {
    "reader": asked,
    "pictures": pictures,
    "captions": captions,
    "batch": batch,
    "part": PART,
    "memory_hint": "Sweep fewer values at once, or use models with a smaller generator.",
}


def text_problem(clip: Any, text: str | None, empty: str) -> str:
    """The sentence for a text that CLIP cannot read, or nothing; `empty` is the one for none at all."""
    if not (text or "").strip():
        return empty
    tokens, most = token_count(clip.tokenizer, text), clip.tokenizer.model_max_length - 2
    return f"This text has {tokens} tokens, the model reads {most}: shorten it." if tokens > most else ""


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
