"""What the page adds to StyleCLIP's mapper: the mappers there are, and the training of a new one."""

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Annotated, Any

from torch import Tensor

from demos.context import Context, log
from demos.shared.knobs import KnobGroup
from demos.shared.view import Axes, MethodView
from demos.styleclip import latents as styleclip
from textedit_core.cache import Cache, Entry, key
from textedit_core.device import on_device, value_elsewhere
from textedit_core.knobs import Knob
from textedit_core.methods import styleclip_mapper as mapping
from textedit_core.models.style import latents
from textedit_core.models.style.models import StyleMapper
from textedit_core.request import Request, optional_part
from textedit_core.steps import last

TRAINING = KnobGroup.of(mapping.fit, "train_")
TRAINED = re.compile("trained-([0-9a-f]{64})")  # how one that was trained here is named
SAVE_EVERY, PREVIEW_EVERY = 20.0, 4.0  # seconds
PREVIEW_SEEDS = [0, 1, 2, 3]
MOST_NAMED = 3  # files that cannot be read, each with its reason


def folder() -> Path:
    """The folder of the mappers that were trained here: below TEXTEDIT_HOME, if that is set."""
    home = os.environ.get("TEXTEDIT_HOME") or Path.home() / ".cache" / "textedit-studio"
    return Path(home) / "mappers"


@dataclass(frozen=True)
class TrainedMapper:
    """A mapper that was trained here: its name, prompt, settings, steps done, and for which generator."""

    name: str
    prompt: str
    settings: dict
    steps: int
    generator: str

    @property
    def label(self) -> str:
        return f"{self.prompt} (trained here, {self.steps:,} of {self.settings['steps']:,} steps)"


def about_of(name: str) -> TrainedMapper | None:
    """What is known of a mapper that was trained here; None for a name that is none of theirs."""
    if not TRAINED.fullmatch(name or ""):
        return None
    try:
        return TrainedMapper(name=name, **json.loads((folder() / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def save(about: TrainedMapper, mapper: StyleMapper) -> None:
    """Write a mapper with all that its training needs to go on; a full disk is logged, and stops nothing."""
    number = TRAINED.fullmatch(about.name)[1]
    Cache(items=1, folder=folder()).put(number, Entry(mapper, about.steps, (mapper.losses or (0.0,))[-1]))
    plain = {name: value for name, value in vars(about).items() if name != "name"}
    try:
        handle, temporary = tempfile.mkstemp(dir=folder(), suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(plain, file)
        os.replace(temporary, folder() / f"{about.name}.json")
    except OSError as error:
        log.warning("This mapper is not kept on disk: %s", error)


def load(name: str) -> StyleMapper | None:
    """The mapper of this name that was trained here, or None."""
    found = TRAINED.fullmatch(name or "")
    entry = Cache(items=1, folder=folder()).get(found[1]) if found else None
    return entry.value if entry else None


def choices(ctx: Context, models_name: str, own: list[str] = ()) -> list[tuple[str, str]]:
    """(label, name) of the mappers of these models and of those trained here for their generator.

    On a host with strangers only those of this page, `own`, are listed.
    """
    try:
        models = ctx.models(models_name)
        if not ctx.ready(models_name, styleclip.PART) or styleclip.PART not in models.sources:
            return []
        found = [(mapper.prompt, name) for name, mapper in models.mappers.items()]
        generator = models.generator.fingerprint
    except (ValueError, OSError):
        return []  # `list_problem` says why
    names = sorted(path.stem for path in folder().glob("trained-*.json")) if ctx.folders else own
    shown = [one for one in map(about_of, names) if one and one.generator == generator]
    return found + [(one.label, one.name) for one in shown]


def list_problem(ctx: Context, models_name: str, listed: list) -> str:
    """What is to be said below the list of `choices`: which files cannot be read, or that there are none."""
    try:
        models = ctx.models(models_name)
        unread = models.unread_mappers if ctx.ready(models_name, styleclip.PART) else {}
    except (ValueError, OSError) as error:
        return str(error)
    if unread:
        told, more = list(unread.values())[:MOST_NAMED], len(unread) - MOST_NAMED
        told += [f"{more} more of its files cannot be read."] if more > 0 else []
        return " ".join([*told, *(["The mappers of the list can be used."] if listed else [])])
    return "" if listed else "These models bring no mapper: train one below."


def chosen(models: Any, name: str | None) -> StyleMapper:
    """The mapper of a name; ValueError, a sentence, where there is none."""
    found = (models.mappers.get(name) or load(name)) if isinstance(name, str) else None
    if found is None:
        raise ValueError("Mapper: pick one of the list, or train one below.")
    return found


def read(view: MethodView, ctx: Context, values: Mapping[str, Any]) -> Request:
    """The request that the widgets make, with the mapper that was picked; ValueError where there is none."""
    mapper, about = chosen(ctx.models(values["models"]), values["mapper"]), about_of(values["mapper"])
    notes = {"mapper": values["mapper"]}
    if about:
        notes |= {f"train_{name}": value for name, value in about.settings.items()}
        notes["train_steps_done"] = about.steps
    inputs = {"mapper": mapper, "prompt": mapper.prompt}
    return styleclip.asked(view, ctx, values, inputs=inputs, notes=notes)


# --- training ---------------------------------------------------------------------------------------------

Minutes = Annotated[
    float,
    Knob(0.1, 240, 0.1, label="Minutes at most", help="others wait meanwhile; Train goes on from there"),
]


def time_is_over(seconds: float, *, train_minutes: Minutes = 10.0) -> bool:
    """Whether a press of Train has had its minutes."""
    return seconds > 60 * train_minutes


LIMIT = KnobGroup.of(time_is_over)


@dataclass
class Training:
    """A training under way: the mapper, its steps before this press of Train, seconds, and the losses.

    previews: (before, after) of a few samples as small pictures.  stopped: it has ended early; late: because
    its minutes were over.
    """

    about: TrainedMapper
    before: int = 0
    seconds: float = 0.0
    losses: tuple[float, ...] = ()
    previews: tuple[tuple[str, str], ...] = ()
    stopped: bool = False
    late: bool = False

    @property
    def left(self) -> float:
        """Seconds still to go."""
        done = self.about.steps - self.before
        return self.seconds / max(done, 1) * (self.about.settings["steps"] - self.about.steps)


def training_presets(presets: dict) -> dict:
    """The presets of the training by its own names: one that the edit has too is "fit_NAME" in the file."""
    return {name.removeprefix("fit_"): value for name, value in presets.items() if name not in VIEW.knobs}


def job(ctx: Context, values: dict) -> tuple[TrainedMapper, tuple, dict]:
    """What is to be trained: the mapper, and the arguments and settings of the fit.

    Its name depends on all settings but the steps: with more of them an old training goes on.
    """
    models, prompt = ctx.models(values["models"]), values["train_prompt"].strip()
    args = models.generator, models.clip, optional_part(models, "identity", fetch=False), prompt
    settings = TRAINING.arguments(values)
    name = f"trained-{key(mapping.fit, args, settings | {'steps': 1})}"
    done = found.steps if (found := about_of(name)) else 0
    return TrainedMapper(name, prompt, settings, done, models.generator.fingerprint), args, settings


def train(ctx: Context, values: dict, stop: Event) -> Iterator[Training]:
    """Train, or go on where it was left; kept every few seconds, on `stop`, and when the page goes away.

    After "train_minutes" of `values` it ends as on `stop`: nobody else can use the models meanwhile. On
    ZeroGPU it ends before its share of the GPU does.
    """
    about, args, settings = job(ctx, values)
    limit, share = LIMIT.arguments(values), 0.8 * (ctx.gpu_seconds or math.inf)
    begun = load(about.name)
    if begun and begun.steps >= settings["steps"]:
        yield Training(about, about.steps, losses=begun.losses, previews=previews(args[0], begun))
        return
    state = Training(replace(about, steps=begun.steps if begun else 0), begun.steps if begun else 0)
    generator, clock = args[0], time.monotonic()
    saved = previewed = clock
    latest = None
    try:
        for step in on_device(mapping.fit, args, settings | {"start": begun}):
            now = time.monotonic()
            state.seconds, state.late = now - clock, time_is_over(now - clock, **limit) or now - clock > share
            stopped = (stop.is_set() or state.late) and step.done < step.total
            if (stopped or now - min(saved, previewed) > PREVIEW_EVERY) and value_elsewhere(step):
                continue  # the mapper comes with a later step
            if step.value is None:
                continue
            latest = step.value
            state.about, state.losses = replace(about, steps=latest.steps), latest.losses
            state.stopped = stopped
            ended = state.stopped or step.done == step.total
            if now - previewed > PREVIEW_EVERY or ended or not state.previews:
                state.previews, previewed = previews(generator, latest), now
            if now - saved > SAVE_EVERY:
                save(state.about, copied(latest))
                saved = now
            yield state
            if state.stopped:
                return
    finally:
        if latest is not None:
            save(state.about, copied(latest))


def copied(mapper: StyleMapper) -> StyleMapper:
    """A copy of a mapper: that of a training under way changes with the next step."""
    weights, optimizer = (
        {n: w.clone() for n, w in one.items()} for one in (mapper.weights, mapper.optimizer)
    )
    return replace(mapper, weights=weights, optimizer=optimizer)


def previews(generator, mapper: StyleMapper) -> tuple[tuple[str, str], ...]:
    """A few samples before and after a mapper, as small pictures."""
    latent = latents.from_seed(generator, seed=PREVIEW_SEEDS, truncation=0.7)
    before, after = latent.image(generator), last(mapping.edit(generator, mapper, latent))
    return tuple(
        (styleclip.thumbnail(a), styleclip.thumbnail(b))
        for a, b in zip(rows(before), rows(after), strict=True)
    )


def rows(images: Tensor) -> list[Tensor]:
    """(B,3,H,W) -> B images (1,3,H,W)."""
    return list(images.split(1))


VIEW = MethodView(
    "styleclip_mapper",
    Axes("strength", "-0.1-0.2 [7]"),
    fits=False,
    offers={
        "Strength": lambda values: Axes("strength", "-0.1-0.2 [7]"),
        "Levels": lambda values: Axes("coarse", "true, false", "medium", "true, false"),
    },
    headline=("strength",),
    **styleclip.SHARED | {"reader": read},
)
