"""What the page adds to the methods beside StyleCLIP: which knobs a technique uses, what it has found."""

from collections.abc import Mapping
from typing import Any

import torch

from demos.context import Context
from demos.shared.checks import text_problem
from demos.shared.view import Axes, MethodView, Stage
from demos.styleclip import latents as styleclip
from textedit_core.methods import latent_directions as directions
from textedit_core.models.style import latents
from textedit_core.models.style.directions import CODES_AT_ONCE, Channels
from textedit_core.models.style.interfacegan import IMAGES_AT_ONCE
from textedit_core.request import Request, Result, optional_part

GANSPACE, INTERFACEGAN, STYLESPACE = "ganspace", "interfacegan", "stylespace"
LAYERS = ("first_layer", "last_layer")
USED_BY_SOME = {  # the knobs that not every technique uses, and the texts
    GANSPACE: ("component", *LAYERS),
    INTERFACEGAN: ("neutral", "prompt", *LAYERS, "share"),
    STYLESPACE: ("neutral", "prompt", "channel"),
}
KNOBS_USED_BY_SOME = ("component", "channel", *LAYERS, "share")
DOING = {
    GANSPACE: "Drawing codes",
    INTERFACEGAN: "Looking at samples",
    STYLESPACE: "Drawing codes",
}


def used(technique: str, name: str) -> bool:
    """Whether a technique uses a knob or text that is not used by all."""
    return name in USED_BY_SOME.get(technique, ())


def read(view: MethodView, ctx: Context, values: Mapping[str, Any]) -> Request:
    """The request that the widgets make: texts only for a technique that uses them."""
    chosen = view.settings(values)
    unused = [name for name in KNOBS_USED_BY_SOME if not used(chosen["technique"], name)]
    settings = view.reset(chosen, unused, ctx.presets(values["models"], view.name))
    without = () if used(chosen["technique"], "prompt") else ("neutral", "prompt")
    given = {name: value for name, value in values.items() if name not in without}
    return styleclip.asked(view, ctx, given, settings=settings)


def problems(ctx: Context, values: dict) -> dict[str, str]:
    """The sentence for each text or knob that leaves nothing to do; the generator is there."""
    models, technique = ctx.models(values["models"]), values["technique"]
    if used(technique, "first_layer") and (wrong := styleclip.layer_problem(models, values)):
        return {"first_layer": wrong}
    if technique == GANSPACE:
        dim = models.generator.style_dim
        wrong = f"Component: choose at most {dim}; these models have no more." * (values["component"] > dim)
        return {"component": wrong}
    return _of_texts(models, values)


def _of_texts(models, values: dict) -> dict[str, str]:
    """The same for a technique that uses texts."""
    if values["technique"] == STYLESPACE:
        try:
            directions.find_channel(models.generator, _any_ranking(models.generator), values["channel"])
        except ValueError as error:
            return {"channel": str(error)}
        if ":" in values["channel"]:
            return {}
        if optional_part(models, "relevance", fetch=False) is None:
            return {"channel": "These models have no relevance to rank channels by: name one, as 9:32."}
    if optional_part(models, "clip", fetch=False) is None:
        return {"technique": "These models have no CLIP on this machine: choose ganspace."}
    empty = {
        "neutral": "Write what the picture shows now, such as 'a person'.",
        "prompt": "Write what it is to show, such as 'a surprised person'.",
    }
    found = {name: text_problem(models.clip.tokenizer, values[name], words) for name, words in empty.items()}
    if not any(found.values()) and values["neutral"].split() == values["prompt"].split():
        found["prompt"] = "Both texts are the same: say in the prompt what is to change."
    return found


def _any_ranking(generator) -> Channels:
    """A ranking of all channels, so that the text of a channel can be checked before a fit."""
    count = int(latents.editable_channels(generator).sum())
    return Channels(torch.zeros(0), torch.arange(count), torch.ones(count))


def stages(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    """One stage, as many steps as the fit has."""
    technique = settings["technique"]
    steps = -(-settings["samples"] // (IMAGES_AT_ONCE if technique == INTERFACEGAN else CODES_AT_ONCE))
    return (Stage(f"{technique} samples", DOING[technique], steps),)


def words(result: Result) -> str:
    """The direction of the edit, in one sentence."""
    chosen, generator, fitted = result.request.settings, result.request.inputs["generator"], result.fitted
    if isinstance(fitted, Channels):
        layer, number, sign = directions.find_channel(generator, fitted, chosen["channel"])
        way = "down" if sign < 0 else "up"
        return f"Channel {number} of layer {layer} ({generator.layers[layer].name}), turned {way}."
    if chosen["technique"] == GANSPACE:
        variances = fitted.deviations.square()
        part = variances[chosen["component"] - 1] / variances.sum()
        return (
            f"Component {chosen['component']} of {len(variances)}: {100 * part:.1f} % of the variance of W."
        )
    return f"Across the boundary found from {chosen['samples']:,} samples."


VIEW = MethodView(
    "latent_directions",
    Axes("strength", "-6-6 [7]"),
    offers={
        "Strength": lambda values: Axes("strength", "-6-6 [7]"),
        "Techniques": lambda values: Axes(
            "strength", "-6-6 [5]", "technique", f"{INTERFACEGAN}, {STYLESPACE}, {GANSPACE}"
        ),
    },
    stages=stages,
    headline=("technique", "strength"),
    edit_steps=lambda settings: 1,
    **styleclip.SHARED | {"reader": read},
)
