"""What the page adds to StyleCLIP's global directions: the channels changed, beta by count, chained edits."""

import json
import math

from torch import Tensor

from demos.context import Context
from demos.shared.checks import text_problem
from demos.shared.view import Axes, MethodView
from demos.styleclip import latents as styleclip
from textedit_core.methods import styleclip_directions as directions
from textedit_core.methods.styleclip_directions import DirectionEdit, read_chain, write_chain
from textedit_core.request import Result, located

RELEVANCE = "relevance"
STORED = ("alpha", "beta", "layers")  # the knobs that an accepted edit keeps


def towards(clip, values: dict):
    """The direction from the neutral text to the prompt in CLIP's space."""
    return directions.text_direction(clip, values["neutral"], values["prompt"], values["templates"])


def problems(ctx: Context, values: dict) -> dict[str, str]:
    """The sentence for each text or knob that leaves nothing to do; CLIP, generator, relevance are there."""
    models, found = ctx.models(values["models"]), {}
    empty = {
        "neutral": "Write what the picture shows now, such as 'a face'.",
        "prompt": "Write what it is to show, such as 'a smiling face'.",
    }
    found = {name: text_problem(models.clip.tokenizer, values[name], words) for name, words in empty.items()}
    for name, reader in (
        ("templates", directions.read_templates),
        ("accepted", read_chain),
        ("layers", lambda text: directions.read_layers(text, models.generator)),
    ):
        try:
            reader(values[name])
        except ValueError as error:
            found[name] = str(error)
    if any(found.values()):
        return found
    if values["neutral"].split() == values["prompt"].split():
        return {"prompt": "Both texts are the same: say in the prompt what is to change."}
    try:
        return beta_problem(models, values)
    except ValueError as error:  # a text that is too long in a template
        return {"prompt": str(error)}


def beta_problem(models, values: dict) -> dict[str, str]:
    """The sentence for a beta that leaves no channel."""
    highest = models.relevance.scores(towards(models.clip, values)).abs().max().item()
    if values["beta"] <= highest:
        return {}
    said = f"No channel is left at β {values['beta']:g}: the most relevant one has {highest:.3f}."
    return {"beta": f"{said} Choose less."}


def beta_for(ctx: Context, values: dict, channels: float | None) -> float:
    """The beta that leaves `channels` channels, in four digits; ValueError, a sentence, for a bad count."""
    models = ctx.models(values["models"])
    if channels is None or channels != int(channels):
        raise ValueError("Channels: write a whole number, such as 20.")
    exact = directions.beta_for(models.relevance, towards(models.clip, values), int(channels))
    return math.floor(exact * 10_000) / 10_000


def touched(result: Result) -> dict:
    """How many channels of which layers the edit changes, for the chart, and of how many."""
    inputs, settings = result.request.inputs, result.request.settings
    generator, relevance = inputs["generator"], result.request.fitted
    named = directions.text_direction(
        inputs["clip"], inputs["neutral"], inputs["prompt"], settings["templates"]
    )
    found = directions.direction(generator, relevance, named, settings["beta"], settings["layers"])
    rows = [
        (f"{index}", layer.size, count)
        for index, (layer, count) in enumerate(zip(generator.layers, found.counts, strict=True))
        if not layer.is_rgb or relevance.channels(generator).all()
    ]
    return {"layers": rows, "of": len(relevance.relevance)}


def pictures(result: Result) -> dict[str, Tensor]:
    """The source, and where edits have been accepted the picture with those alone."""
    asked, chain = result.request, read_chain(result.request.settings["accepted"])
    found = styleclip.pictures(result)
    if chain:
        generator, clip, latent = (
            asked.inputs["generator"],
            asked.inputs["clip"],
            located(asked).inputs["latent"],
        )
        templates = asked.settings["templates"]
        done = directions.chained_latent(generator, clip, asked.fitted, latent, chain, templates)
        found["accepted"] = done.image(generator)
    return found


def accept(result: dict) -> str:
    """The chain with a shown result's edit at its end."""
    about = json.loads(result["record"])
    made, texts = about["knobs"], about["prompts"]
    new = DirectionEdit(texts["neutral"], texts["prompt"], **{name: made[name] for name in STORED})
    return write_chain([*read_chain(made["accepted"]), new])


def undo(accepted: str) -> tuple[str, DirectionEdit | None]:
    """The chain without its last edit, and that edit; None where there is none."""
    chain = read_chain(accepted)
    return write_chain(chain[:-1]), chain[-1] if chain else None


VIEW = MethodView(
    "styleclip_directions",
    Axes("alpha", "-4, 0, 4, 8, 12", "beta", "0.05-0.2 [5]"),
    fits=False,
    offers={
        "α × β": lambda values: Axes("alpha", "-4, 0, 4, 8, 12", "beta", "0.05-0.2 [5]"),
        "α row": lambda values: Axes("alpha", "-6-12 [7]"),
    },
    headline=("alpha", "beta"),
    **styleclip.SHARED | {"pictures": pictures},
)
