"""What the page adds to StyleFlow: the attributes of the models' flow, what was accepted, what CLIP reads."""

from collections.abc import Mapping
from typing import Any

import torch

from demos.context import Context
from demos.shared.knobs import settings_of
from demos.shared.view import Axes, MethodView
from demos.styleclip import latents as styleclip
from textedit_core.methods.styleflow import MOST, read_accepted, read_amounts, write_amounts
from textedit_core.models.style.flows import Flow, read_attributes
from textedit_core.request import Result

PART = "flow"
SLIDERS = 8  # attributes with a slider; those of a flow with more are written in words


def names(ctx: Context, models: str) -> list[str]:
    """The names of the attributes of these models' flow that have a slider; none where there is no flow."""
    try:
        return [one.name for one in ctx.models(models).flow_attributes][:SLIDERS]
    except (ValueError, OSError):
        return []


def problems(ctx: Context, values: Mapping[str, Any]) -> dict[str, str]:
    """The sentence for attributes, accepted edits and layers that cannot be used; the parts are there."""
    models, found = ctx.models(values["models"]), {}
    for name, reader in (("attributes", read_amounts), ("accepted", read_accepted)):
        try:
            reader(models.flow, values[name])
        except ValueError as error:
            found[name] = str(error)
    if not found and not values["attributes"].strip() and not values["accepted"].strip():
        found["attributes"] = "Nothing is to change yet: move the slider of an attribute."
    if wrong := styleclip.layer_problem(models, values):
        found["first_layer"] = wrong
    return found


def accept(flow: Flow, shown: Mapping[str, Any]) -> str:
    """The accepted edits with that of a shown result at their end."""
    made = settings_of(shown)
    amounts = read_amounts(flow, made["attributes"])
    # An amount of the chain has a strength of 1.
    new = {name: max(-MOST, min(MOST, made["strength"] * amount)) for name, amount in amounts.items()}
    return "; ".join(filter(None, [made["accepted"].strip(), write_amounts(new)]))


def undo(accepted: str) -> tuple[str, str]:
    """The accepted edits without the last, and that one; "" where there is none."""
    *rest, last = [one.strip() for one in accepted.split(";") if one.strip()] or [""]
    return "; ".join(rest), last


@torch.no_grad()
def words(result: Result) -> str:
    """How far CLIP reads the attributes that were changed, before and after."""
    inputs, flow = result.request.inputs, result.request.inputs["flow"]
    chosen = result.request.settings
    changed = dict.fromkeys(read_amounts(flow, chosen["attributes"]))
    for amounts in read_accepted(flow, chosen["accepted"]):
        changed |= dict.fromkeys(amounts)
    before, after = (
        read_attributes(inputs["clip"], image, flow.attributes)[0].tolist()
        for image in (result.source, result.edited)
    )
    told = [f"{name} {before[k]:.2f} → {after[k]:.2f}" for name in changed for k in [flow.index(name)]]
    return f"CLIP reads {', '.join(told)}."


VIEW = MethodView(
    "styleflow",
    Axes("strength", "0-2 [5]"),
    offers={"Strength": lambda values: Axes("strength", "-2-2 [5]")},
    headline=("attributes", "strength"),
    edit_steps=lambda settings: 1,
    **styleclip.SHARED,
)
