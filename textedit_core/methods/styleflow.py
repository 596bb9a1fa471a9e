"""StyleFlow (arXiv 2008.02401), which StyleCLIP is compared with: attributes edited along a conditional flow.

A flow between W and a Gaussian is conditioned on attributes. With those that an image has, its code becomes
z; with others, z becomes the code of the edit. `models.style.flows` has the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor

from textedit_core.batch import spread
from textedit_core.knobs import Knob, batches, quoted
from textedit_core.models.clip import Clip
from textedit_core.models.style import latents
from textedit_core.models.style.flows import Flow, Solver, SolverSteps, Tolerance, read_attributes
from textedit_core.models.style.latents import Latent
from textedit_core.models.style.models import StyleGenerator
from textedit_core.steps import Step

MOST = 3.0  # the largest amount, either way

Attributes = Annotated[
    str,
    Knob(
        label="Attributes",
        help="what changes, and how far: sunglasses 1, long beard -0.5; 1 without a number",
    ),
]
Strength = Annotated[
    float,
    Knob(-MOST, MOST, 0.05, label="Strength", help="times the amounts; 0 keeps the source, 1 asks for all"),
]
FirstLayer = Annotated[
    int, Knob(0, 17, 1, label="First layer", help="of W+ that changes, inside the attribute's own band")
]
LastLayer = Annotated[
    int, Knob(0, 17, 1, label="Last layer", help="of W+ that changes; 17 is the last there can be")
]
Accepted = Annotated[
    str,
    Knob(
        label="Accepted edits", help="attributes of the edits before this one, in order, between semicolons"
    ),
]


@batches("attributes", "strength", "first_layer", "last_layer")
@torch.no_grad()
def edit(
    generator: StyleGenerator,
    clip: Clip,
    flow: Flow,
    latent: Latent,
    prompt: str = "",
    *,
    attributes: Attributes = "",
    strength: Strength = 1.0,
    first_layer: FirstLayer = 0,
    last_layer: LastLayer = 17,
    accepted: Accepted = "",
    solver: Solver = "dopri5",
    steps: SolverSteps = 20,
    tolerance: Tolerance = 1e-5,
) -> Iterator[Step[Tensor]]:
    """Edit attributes of images -> (B,3,H,W), about [-1,1] (section 4 of the paper).

    prompt: the text or the name of an attribute of the flow; it changes by 1, beside those that the knob
    names.  attributes: names and amounts. CLIP reads how far the image has each attribute, a in [0,1]; an
    amount s, times `strength`, asks for a + s (1 - a) where s > 0, so that 1 asks for all of it, and for
    a + s a where s < 0, so that -1 asks for none. Beyond that it extrapolates.
    With z = flow(w, a), the code of the edit is the flow's inverse of z at what is asked, in every layer of
    W+; then the layers outside of the bands of the attributes that change, and outside of first_layer to
    last_layer, are the source's again. So strength 0 is the source.
    accepted: edits before this one. Each starts from the result of the one before: what was asked for counts
    as what is there, so that an edit can be taken back, and all else is read anew.
    solver, steps, tolerance: of the flow; dopri5 is published.
    The knobs that take lists may have B values, for a latent of one image or of B.
    Raises ValueError for an attribute that the flow does not have, for none where nothing was accepted, an
    amount that is too large, a layer that is not there or a first layer after the last, and for a flow of
    another generator.
    """
    given = generator, clip, flow, latent, prompt, attributes, strength, first_layer, last_layer
    found = edited_latent(*given, accepted, solver=solver, steps=steps, tolerance=tolerance)
    yield Step(1, 1, found.image(generator))


@torch.no_grad()
def edited_latent(
    generator: StyleGenerator,
    clip: Clip,
    flow: Flow,
    latent: Latent,
    prompt: str,
    attributes: str | list[str],
    strength: float | list[float],
    first_layer: int | list[int],
    last_layer: int | list[int],
    accepted: str,
    *,
    solver: Solver,
    steps: SolverSteps,
    tolerance: Tolerance,
) -> Latent:
    """The W+ code of what `edit` renders, so that it can be edited further."""
    if flow.network.style_dim != generator.style_dim:
        raise ValueError("The flow belongs to another generator: choose models that belong together.")
    texts, amounts, firsts, lasts = spread(
        attributes=attributes, strength=strength, first_layer=first_layer, last_layer=last_layer
    )
    latents.check_rows(len(latent), len(texts))
    chain = read_accepted(flow, accepted)
    asked = [_asked(flow, prompt, *pair) for pair in zip(texts, amounts, strict=True)]
    if not chain and not all(asked):
        raise ValueError(f"Attributes: name one or more of {', '.join(flow.names)}.")
    limits = [latents.rows_between(generator, *pair) for pair in zip(firsts, lasts, strict=True)]
    way, code, known = (solver, steps, tolerance), latent.to_w_plus(generator), None
    for before in chain:
        code, known = _moved(generator, clip, flow, code, known, [before], [slice(None)], way)
    return Latent(_moved(generator, clip, flow, code, known, asked, limits, way)[0])


def read_amounts(flow: Flow, text: str) -> dict[str, float]:
    """Attributes of a flow and how far each is to change: "sunglasses 1, long beard -0.5".

    An amount is 1 where there is none. ValueError, a sentence, for a name that the flow does not have, a name
    that is there twice, and an amount beyond 3.
    """
    found: dict[str, float] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, number = _split(part)
        name = flow.attributes[flow.index(name)].name
        if name in found:
            raise ValueError(f"Attributes: {quoted(name)} is there twice; give it one amount.")
        if not abs(number) <= MOST:
            raise ValueError(f"Attributes: {part} is too far; use amounts from -{MOST:g} to {MOST:g}.")
        found[name] = number
    return found


def read_accepted(flow: Flow, text: str) -> list[dict[str, float]]:
    """The edits before this one, in order. ValueError as `read_amounts`, but named by this knob."""
    try:
        return [found for one in text.split(";") if (found := read_amounts(flow, one))]
    except ValueError as error:
        raise ValueError(str(error).replace("Attributes", "Accepted edits", 1)) from None


def write_amounts(amounts: Mapping[str, float]) -> str:
    """Attributes and their amounts as `read_amounts` reads them; those of 0 are left out."""
    return ", ".join(f"{name} {amount:g}" for name, amount in amounts.items() if amount)


def _split(part: str) -> tuple[str, float]:
    """A name and the number behind it; 1 where there is none."""
    found = re.fullmatch(r"(.*\S)\s+([-+]?(?:\d+\.?\d*|\.\d+))", part)
    return (found[1], float(found[2])) if found else (part, 1.0)


def _asked(flow: Flow, prompt: str, attributes: str, strength: float) -> dict[str, float]:
    """The attributes that an edit changes, and how far."""
    amounts = read_amounts(flow, attributes)
    if prompt := " ".join(prompt.split()):
        by_text = {one.prompt: one.name for one in flow.attributes}
        name = by_text.get(prompt, prompt)
        if name not in flow.names:
            texts = ", ".join(by_text)
            raise ValueError(f"Prompt: this flow has no attribute {quoted(prompt)}; it has {texts}.")
        amounts = {name: 1.0} | amounts
    return {name: strength * amount for name, amount in amounts.items()}


def _moved(
    generator: StyleGenerator,
    clip: Clip,
    flow: Flow,
    code: Tensor,
    known: Tensor | None,
    asked: Sequence[Mapping[str, float]],
    limits: Sequence[slice],
    way: tuple[str, int, float],
) -> tuple[Tensor, Tensor]:
    """W+ codes (B,n,D) after one edit: of one latent with B settings, of B with one, or of B with as many.

    known: what earlier edits have asked for, (B,A), NaN where nothing; returned too, with this edit's.
    """
    image = generator.render(generator.styles(code))
    have = read_attributes(clip, image, flow.attributes).to(code)
    if known is None:
        known = torch.full_like(have, torch.nan)
    have = torch.where(known.isnan(), have, known)
    rows = max(len(code), len(asked))
    if len(asked) < rows:
        asked, limits = [asked[0]] * rows, [limits[0]] * rows
    have, code, known = (one.expand(rows, *one.shape[1:]) for one in (have, code, known))
    wanted, known = have.clone(), known.clone()
    changes = torch.zeros(code.shape[:2], dtype=torch.bool, device=code.device)
    for row, (amounts, limit) in enumerate(zip(asked, limits, strict=True)):
        allowed = range(*limit.indices(code.shape[1]))
        for name, amount in amounts.items():
            place = flow.index(name)
            attribute, now = flow.attributes[place], have[row, place]
            wanted[row, place] = now + amount * ((1 - now).clamp(min=0) if amount > 0 else now)
            if amount:
                known[row, place] = wanted[row, place]
                changes[row, [one for one in allowed if attribute.first <= one <= attribute.last]] = True
    return torch.where(changes[..., None], _through(flow, code, have, wanted, way), code), known


def _through(flow: Flow, code: Tensor, have: Tensor, wanted: Tensor, way: tuple[str, int, float]) -> Tensor:
    """Codes (B,n,D) through the flow with the attributes (B,A) they have, and back with those wanted."""
    same = bool((code == code[:, :1]).all())  # a sample's layers all have one code: it goes through once
    rows = code[:, :1] if same else code
    each = rows.shape[1]
    have, wanted = (one.repeat_interleave(each, dim=0) for one in (have, wanted))
    z = flow.network.to_gaussian(rows.flatten(0, 1), have, *way)
    return flow.network.to_code(z, wanted, *way).view(rows.shape).expand(code.shape)
