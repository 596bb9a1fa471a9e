"""The methods of a comparison: each as its own tab runs it, and what it needs of the shared fields.

A contender is asked with the presets of the models, or the paper's defaults, as its tab is at first: so what
has been computed in one of them is found in the cache by the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from demos.context import Context
from demos.imagic import runs as imagic
from demos.inversion import runs as prompt_to_prompt
from demos.paint_by_example import runs as paint_by_example
from demos.shared import painting
from demos.shared.knobs import KnobGroup
from demos.shared.view import Axes, MethodView
from demos.styleclip import directions as styleclip_directions
from demos.styleclip import latents as styleclip
from demos.text2live import runs as text2live
from textedit_core import large
from textedit_core.methods import sdedit
from textedit_core.request import Request

SHARED = ("image", "sizing", "models", "mask", "exemplar")  # fields that go to a method as they are
SDEDIT = MethodView("sdedit", Axes("strength", "0.3-0.9 [4]", "seed", "0, 1"))
SEED = SDEDIT.knobs["seed"]
SDEDIT_KNOBS = KnobGroup.of(sdedit.edit, "sdedit_", ("seed",))
LARGE = KnobGroup.of(large.finish)  # of all methods that have them


@dataclass(frozen=True, eq=False)
class Contender:
    """A method with its settings, as a row of the table.

    name: in the API.  texts: its prompts by name, and the field that each is taken from.  parts: of the
    models, without which it cannot run.  fixed: knobs that make it this row and no other.
    problem(ctx, values): the sentence for settings that leave it nothing to do, or "".
    """

    name: str
    title: str
    view: MethodView
    texts: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ("diffusion",)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    problem: Callable[[Context, dict[str, Any]], str] = lambda ctx, values: ""

    @property
    def is_painted(self) -> bool:
        """Whether it needs mask and exemplar."""
        return "mask" in self.view.method.inputs

    @property
    def is_projected(self) -> bool:
        """Whether it edits the projection of the picture."""
        return self.view.method.latent is not None

    def values(self, ctx: Context, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields and knobs of its own tab, from the fields of the comparison."""
        known = self.view.knobs
        typed = {name: given.get(f"{self.name}_{name}") for name in known}
        return {
            **{name: given[name] for name in SHARED},
            **ctx.presets(given["models"], self.view.name),
            **{name: given[name] for name in ("seed", *LARGE.knobs) if name in known and name in given},
            **{name: value for name, value in typed.items() if value is not None},
            **{name: " ".join((given[source] or "").split()) for name, source in self.texts.items()},
            **(self.projecting(ctx, given) if self.is_projected else {}),
            **self.fixed,
        }

    def projecting(self, ctx: Context, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the latent picker says where it starts from a picture, of which a generator draws a square."""
        presets = ctx.presets(given["models"], "projection")
        sizing = "crop" if given["sizing"] == "native" else given["sizing"]
        return styleclip.PROJECTION.values(presets) | {"origin": styleclip.PICTURE, "sizing": sizing}

    def request(self, ctx: Context, given: Mapping[str, Any]) -> Request:
        """What it is asked of the fields of the comparison. ValueError, a sentence, for what it cannot do."""
        values = self.values(ctx, given)
        if wrong := self.problem(ctx, values):
            raise ValueError(wrong)
        return self.view.read(ctx, values)


def beta_problem(ctx: Context, values: dict[str, Any]) -> str:
    """The sentence for a beta of the presets that leaves no channel between these texts."""
    view = styleclip_directions.VIEW
    known = {name: knob.default for name, knob in view.knobs.items()} | values
    wrong = styleclip_directions.beta_problem(ctx.models(values["models"]), known).get("beta", "")
    return wrong and f"{wrong.removesuffix(' Choose less.')} Choose less on the StyleCLIP tab."


def inverted(kind: str) -> Contender:
    """Prompt-to-Prompt after one kind of inversion."""
    title = {"direct": "direct", "null_text": "null-text", "npi": "NPI", "ddim": "DDIM"}[kind]
    both = {"source_prompt": "source_prompt", "prompt": "prompt"}
    view, fixed = prompt_to_prompt.VIEW, {"inversion": kind}
    return Contender(f"p2p_{kind}", f"P2P, {title} inversion", view, both, fixed=fixed)


CONTENDERS = (
    Contender("sdedit", "SDEdit", SDEDIT, {"prompt": "prompt"}),
    Contender("imagic", "Imagic", imagic.VIEW, {"prompt": "prompt"}),
    Contender(
        "text2live",
        "Text2LIVE",
        text2live.VIEW,
        {"source_prompt": "source_prompt", "prompt": "prompt"},
        ("clip",),
    ),
    *(inverted(kind) for kind in prompt_to_prompt.VIEW.knobs["inversion"].knob.choices),
    Contender(
        "styleclip_directions",
        "StyleCLIP directions",
        styleclip_directions.VIEW,
        {"neutral": "source_prompt", "prompt": "prompt"},
        ("generator", "clip", "relevance"),
        problem=beta_problem,
    ),
    Contender(
        "paint_by_example",
        "Paint by Example",
        paint_by_example.VIEW,
        parts=(painting.PART,),
    ),
)
BY_NAME = {one.name: one for one in CONTENDERS}


def offered(ctx: Context, models: str) -> list[Contender]:
    """The contenders whose parts the models called `models` have; none for an unknown name."""
    try:
        sources = ctx.models(models).sources
    except (ValueError, OSError):
        return []
    return [one for one in CONTENDERS if all(part in sources for part in one.parts)]
