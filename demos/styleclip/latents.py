"""What StyleCLIP's techniques share: the latent they start from, by seed or by projection, and pictures."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from demos.context import Context
from demos.shared import common
from demos.shared.common import Ask, Method, optional_part
from demos.shared.knobs import KnobGroup
from textedit_core import cache, images
from textedit_core.knobs import knobs
from textedit_core.methods import projection
from textedit_core.models.clip import token_count
from textedit_core.models.style import latents
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator
from textedit_core.request import SAMPLE as LATENT
from textedit_core.steps import Step, last

PART = "generator"  # what a tab cannot do without
OPTIONAL_PARTS = ("clip", "encoder", "identity")  # what it uses where the models have it
SAMPLING = KnobGroup("latent_", LATENT)
PROJECTION = KnobGroup.of(projection.fit, "projection_")
SAMPLE, PICTURE = "sample", "picture"
GALLERY, AT_ONCE = 12, 4
THUMBNAIL = 128  # pixels
SMALL = 256  # pixels; up to here a batch is a matter of memory nowhere


@dataclass(frozen=True, eq=False)
class EditOnly(Method):
    """A method whose fit is no part of an edit: it comes with the models, or is a job of its own."""

    @property
    def fit(self) -> None:
        return None


@dataclass(frozen=True, eq=False)
class Start:
    """What is edited: the latent, the image (1,3,S,S) it makes, and what a record says of where it is from.

    picture: the person's own picture, if the latent is its projection.
    """

    latent: Latent
    source: Tensor
    facts: dict = field(default_factory=dict)
    picture: Image.Image | None = None


@torch.no_grad()
def rendered(generator: StyleGenerator, latent: Latent) -> Iterator[Step[Tensor]]:
    """The images of a latent (B,3,H,W)."""
    yield Step(1, 1, latent.image(generator))


def sample(generator: StyleGenerator, values: dict) -> Latent:
    """The latent of the seed and truncation that the widgets hold."""
    return latents.from_seed(generator, **SAMPLING.arguments(values))


def start(ctx: Context, values: dict) -> Start:
    """The latent that the widgets name; ValueError, a sentence, where a picture has not been projected."""
    generator = ctx.models(values["models"]).generator
    if values["origin"] != PICTURE:
        latent, facts = sample(generator, values), SAMPLING.checked(values)
        return Start(latent, last(cache.cached(rendered, generator, latent)), facts)
    found = projected(ctx, values)
    if found is None:
        raise ValueError("Own picture: it has not been projected yet; press Prepare below it.")
    facts = PROJECTION.checked(values)
    return Start(found.latent, found.image, facts, images.open_image(values["image"], "Own picture"))


def projection_settings(ctx: Context, models: str) -> dict:
    """The values of PROJECTION that suit the models called `models`: their presets, or the defaults."""
    return PROJECTION.values(ctx.presets(models, "projection"))


def _projection(ctx: Context, values: dict) -> tuple[tuple, dict]:
    """The arguments of a projection."""
    models = ctx.models(values["models"])
    picture = images.open_image(values["image"], "Own picture")
    tensor = images.to_tensor(picture, models.generator.size, values.get("sizing", "crop"))
    parts = optional_part(models, "encoder"), optional_part(models, "clip"), optional_part(models, "identity")
    return (models.generator, *parts, tensor.to(models.device)), PROJECTION.arguments(values)


def projecting(ctx: Context, values: dict) -> Iterator[Step[projection.Projection]]:
    """Project the own picture, or take that from the cache."""
    args, settings = _projection(ctx, values)
    return cache.cached(projection.fit, *args, **settings)


def projected(ctx: Context, values: dict) -> projection.Projection | None:
    """The projection of the own picture, if the cache has it."""
    entry = cache.default.get(cache.key(projection.fit, *_projection(ctx, values)))
    return entry.value if entry else None


def facts_in(knobs_of_record: dict) -> dict:
    """Where the latent of a record is from, as values of the widgets that ask for it."""
    origin = {"origin": SAMPLE if "latent_seed" in knobs_of_record else PICTURE}
    return origin | SAMPLING.checked(knobs_of_record) | PROJECTION.checked(knobs_of_record)


def asked(method: Method, values: dict, models: Any, begun: Start, args: tuple, **more) -> Ask:
    """The Ask of a technique: `args` as its method takes them, the rest from the latent."""
    facts = begun.facts | more.pop("more", {})
    return Ask(
        method,
        values["models"],
        models,
        args,
        method.settings(values),
        picture=begun.picture,
        source=begun.source,
        sizing=values.get("sizing", "crop") if begun.picture else "crop",
        more=facts,
        **more,
    )


def pictures(ask: Ask) -> dict[str, Image.Image]:
    """The image of the latent, which every edit stands beside."""
    return {"source": images.to_pil(ask.source)[0]}


def captions(ask: Ask, edited: Tensor) -> dict[str, str]:
    """Where the source is from, and whether the edit shows the same person."""
    origin = "projection of your picture" if ask.picture else f"seed {ask.more.get('latent_seed', '')}"
    identity = optional_part(ask.models, "identity")
    if identity is None:
        return {"source": origin}
    return {"source": origin, "edit": f"identity {identity.similarity(edited, ask.source).item():.2f}"}


def score(ask: Ask, edited: Tensor) -> dict[str, float] | None:
    """CLIP's opinion, where there is a goal and using CLIP fetches nothing."""
    known = ask.goal and optional_part(ask.models, "clip") is not None
    return common.clip_scores(ask, edited) if known else None


def batch(ask: Ask) -> int:
    """How many cells of a sweep are rendered at once."""
    return 32 if ask.models.generator.size <= SMALL else AT_ONCE


SHARED = {
    "pictures": pictures,
    "captions": captions,
    "score": score,
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


def thumbnail(image: Tensor) -> str:
    """An image (1,3,H,W) as a small PNG in a data: address."""
    picture, file = images.to_pil(image)[0], io.BytesIO()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


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
