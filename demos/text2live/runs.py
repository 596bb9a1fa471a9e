"""What the page adds to Text2LIVE: what a stopped fit keeps, the layer beside a result and on its way."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from demos.context import Context
from demos.shared.checks import text_problem
from demos.shared.view import Axes, MethodView, Stage, batch_at_own_size, fit_of, keep_stopped
from textedit_core.methods.text2live import Layer
from textedit_core.request import Request, Result
from textedit_core.steps import Step

TEXTS = {
    "source_prompt": "Write the source prompt: what does the picture show now?",
    "prompt": "Write the prompt: what should the edited picture show?",
}


def stages(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The one part of a fit."""
    planned = min(settings["stop_after"] or settings["steps"], settings["steps"])
    return (Stage("layer", "Learning the layer", planned, lambda fitted: fitted.losses),)


def keep(asked: Request, step: Step[Layer]) -> dict:
    """Store a stopped fit in the cache as what it is: the same fit, asked to stop after these steps."""
    assert step.value is not None  # every step has a layer
    return keep_stopped(asked, step, step.value, {"stop_after": step.done})


def opacity(layer: Layer) -> Tensor:
    """The opacity of a layer as a picture (1,3,h,w): white where it covers the source."""
    return layer.opacity.expand(-1, 3, -1, -1) * 2 - 1


def pictures(result: Result) -> dict[str, Tensor]:
    """The source, the layer over green, and where it covers the source."""
    layer = fit_of(result)
    return {"source": result.source, "layer": layer.over_green(), "opacity": opacity(layer)}


def live(layer: Layer) -> Tensor:
    """A layer over green, its opacity, and the picture under it, side by side, (1,3,h,3w)."""
    return torch.cat([layer.over_green(), opacity(layer), layer.composed_small()], dim=-1)


def problems(ctx: Context, values: dict) -> dict[str, str]:
    """The sentence for each text that is empty, or too long for CLIP, which must be in memory."""
    if not ctx.loaded(values["models"], "clip"):
        return {}  # the field of the models says why
    tokenizer = ctx.models(values["models"]).clip.tokenizer
    named = {"layer_text": "layer text", "region_text": "region text"}
    found = {name: text_problem(tokenizer, values[name], empty, "prompt") for name, empty in TEXTS.items()}
    return found | {
        name: text_problem(tokenizer, values[name], "", kind)
        for name, kind in named.items()
        if isinstance(values.get(name), str)
    }


STRENGTHS = Axes("strength", "0-1 [5]")  # of one layer, learnt once
VIEW = MethodView(
    "text2live",
    STRENGTHS,
    offers={
        "Strength": lambda values: STRENGTHS,
        "Structure × sparsity": lambda values: Axes("structure_weight", "0, 2, 4", "sparsity_weight", "3, 6"),
        "Seeds": lambda values: Axes("seed", "0-3"),
    },
    stages=stages,
    keep=keep,
    keeps=("stop_after",),
    pictures=pictures,
    edit_steps=lambda settings: 1,
    part="clip",
    headline=("strength", "seed"),
    memory_hint="Choose a smaller layer side, fewer views or fewer channels, or sweep fewer cells at once.",
    batch=batch_at_own_size,
)
