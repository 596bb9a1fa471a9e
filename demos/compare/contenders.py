"""Who takes part in a comparison: each method as its own tab runs it, and what it needs of the shared fields.

A contender asks with the presets of the models, or the paper's defaults, exactly as its tab does at first: so
what has been computed there is found in the cache here, and the other way round.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from demos.context import Context
from demos.imagic import runs as imagic
from demos.inversion import runs as prompt_to_prompt
from demos.paint_by_example import runs as paint_by_example
from demos.shared import painting
from demos.shared.common import Ask, Axes, Method
from demos.shared.knobs import KnobGroup
from demos.styleclip import directions as styleclip_directions
from demos.styleclip import latents as styleclip
from textedit_core import images
from textedit_core.knobs import knobs
from textedit_core.methods import sdedit
from textedit_core.steps import Step

SHARED = ("image", "sizing", "models", "mask", "exemplar")  # fields that go to a method as they are
SEED = knobs(sdedit.edit)["seed"]
SDEDIT_KNOBS = KnobGroup.of(sdedit.edit, "sdedit_", ("seed",))


def read_sdedit(ctx: Context, values: dict) -> Ask:
    """Widgets -> Ask: a picture and a prompt, as Imagic has them. ValueError as there."""
    return replace(imagic.read(ctx, values), method=SDEDIT, settings=SDEDIT.settings(values))


SDEDIT = Method(sdedit, read_sdedit, Axes("strength", "0.3-0.9 [4]", "seed", "0, 1"))


def read_directions(ctx: Context, values: dict) -> Ask:
    """Widgets -> Ask on the projection, judged against the picture itself.

    ValueError where no channel is left.
    """
    models = ctx.models(values["models"])
    defaults = {name: knob.default for name, knob in styleclip_directions.METHOD.knobs.items()}
    if wrong := styleclip_directions.beta_problem(models, defaults | values).get("beta"):
        raise ValueError(f"{wrong.removesuffix(' Choose less.')} Choose less on the StyleCLIP tab.")
    ask = styleclip_directions.METHOD.read(ctx, values)
    own = images.to_tensor(ask.picture, models.generator.size, ask.sizing)
    return replace(ask, source=own.to(ask.source))


def project(ctx: Context, values: dict) -> tuple[bool, Iterator[Step]]:
    """Whether the picture's projection is in the cache, and the steps that find it."""
    return styleclip.projected(ctx, values) is not None, styleclip.projecting(ctx, values)


@dataclass(frozen=True, eq=False)
class Contender:
    """A method with its settings, as a row of the table.

    name: in the API.  texts: its prompts by name, and the field that each is taken from.  parts: of the
    models, without which it cannot run.  fixed: knobs that make it this row and no other.  painted: whether
    it needs mask and exemplar.  before: makes what `read` needs, and says whether that is cached.
    """

    name: str
    title: str
    method: Method
    texts: dict[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ("diffusion",)
    fixed: dict = field(default_factory=dict)
    painted: bool = False
    before: Callable[[Context, dict], tuple[bool, Iterator[Step]]] | None = None
    own_read: Callable[[Context, dict], Ask] | None = None

    def values(self, ctx: Context, given: dict) -> dict:
        """The fields and knobs of its own tab, from the fields of the comparison."""
        known = self.method.knobs
        typed = {name: given.get(f"{self.name}_{name}") for name in known}
        return {
            **{name: given[name] for name in SHARED},
            **ctx.presets(given["models"], self.method.name),
            **({"seed": given["seed"]} if "seed" in known else {}),
            **{name: value for name, value in typed.items() if value is not None},
            **{name: " ".join((given[source] or "").split()) for name, source in self.texts.items()},
            **(self.projecting(ctx, given["models"]) if self.before else {}),
            **self.fixed,
        }

    def projecting(self, ctx: Context, models: str) -> dict:
        """What the latent picker says where it starts from a picture."""
        return styleclip.projection_settings(ctx, models) | {"origin": styleclip.PICTURE}

    def read(self, ctx: Context, values: dict) -> Ask:
        """The values that `values` made -> Ask."""
        return (self.own_read or self.method.read)(ctx, values)


def inverted(kind: str) -> Contender:
    """Prompt-to-Prompt after one kind of inversion."""
    title = {"direct": "direct", "null_text": "null-text", "npi": "NPI", "ddim": "DDIM"}[kind]
    both = {"source_prompt": "source_prompt", "prompt": "prompt"}
    method, fixed = prompt_to_prompt.METHOD, {"inversion": kind}
    return Contender(f"p2p_{kind}", f"P2P, {title} inversion", method, both, fixed=fixed)


CONTENDERS = (
    Contender("sdedit", "SDEdit", SDEDIT, {"prompt": "prompt"}),
    Contender("imagic", "Imagic", imagic.METHOD, {"prompt": "prompt"}),
    *(inverted(kind) for kind in prompt_to_prompt.METHOD.knobs["inversion"].knob.choices),
    Contender(
        "styleclip_directions",
        "StyleCLIP directions",
        styleclip_directions.METHOD,
        {"neutral": "source_prompt", "target": "prompt"},
        ("generator", "clip", "relevance"),
        before=project,
        own_read=read_directions,
    ),
    Contender(
        "paint_by_example",
        "Paint by Example",
        paint_by_example.METHOD,
        parts=(paint_by_example.PART,),
        painted=True,
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


def painting_values(values: dict) -> dict:
    """What the checks of mask and exemplar look at: the tools of their own tab at the defaults."""
    known = painting.TOOLS.knobs | painting.CROP.knobs | paint_by_example.METHOD.knobs
    return {name: knob.default for name, knob in known.items()} | values
