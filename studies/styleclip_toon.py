"""python -m studies.styleclip_toon --out DIR: StyleCLIP and its comparators on the same latents.

60 latents by seed (--limit), six texts: the optimizer, the mapper of the text, global directions at several
alphas and betas, InterFaceGAN, StyleSpace and StyleFlow at several strengths, TediGAN, with the models'
presets. Every picture is read by the attribute classifier and compared with its source. DIR/edits-*.jsonl
gets a line per technique and text, the means over latents; a stopped run goes on. DIR/table.md gets the means
over texts, DIR/*.png sources and edits of the first latents.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from studies import sharded

NEUTRAL = "a person"
STRENGTHS = {"interfacegan": (1.0, 2.0, 4.0, 6.0), "stylespace": (2.0, 5.0, 10.0, 20.0)}
ALPHAS, BETAS = (1.0, 2.0, 3.0, 4.0, 6.0), (0.0, 0.1, 0.2, 0.3)
MEASURES = ("asked", "kept", "clip_direction", "identity", "seconds")
SHOWN = 10


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=60)
    parser.add_argument("--texts", type=int, default=6, help="how many of the six texts")
    parser.add_argument("--only", nargs="+", choices=TECHNIQUES, default=TECHNIQUES, help="techniques")
    options = sharded.begin(parser, arguments)
    run(options)
    text = table(sharded.read_rows(options.out))
    (options.out / "table.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")


def run(options: argparse.Namespace) -> None:
    """Do what no earlier run has done: a technique and a text on all latents is an edit of `sharded`'s."""
    from textedit_core.models import zoo
    from textedit_core.models.style import latents
    from textedit_core.training.style_edits import PROMPTS

    models = zoo.load(options.models)
    classifier = sharded.classifier_of(models, models.generator.size)
    latent = latents.from_seed(models.generator, seed=list(range(options.limit)), truncation=1.0)
    texts = list(PROMPTS)[: options.texts]
    sharded.run(
        options,
        [
            (technique, name, text) if technique in options.only and name in texts else None
            for technique, (name, text) in itertools.product(TECHNIQUES, PROMPTS.items())
        ],
        tell=lambda edit: {"technique": edit[0], "text": edit[1]},
        study=lambda edit: study(models, classifier, latent, *edit, options.out),
    )


def study(models, classifier, latent, technique: str, name: str, text: tuple, out: Path) -> list[dict]:
    """The means over all latents for every setting; out/TECHNIQUE-NAME.png shows the first of each."""
    import torch

    from textedit_core.training.evaluate import save_grid

    source = latent.image(models.generator).clamp(-1, 1)
    rows, shown = [], [source[:SHOWN]]
    for setting, pictures, seconds in TECHNIQUES[technique](models, latent, text[0]):
        scores = score(models, classifier, source, pictures, text)
        rows.append({"setting": setting, "seconds": seconds} | scores)
        shown.append(pictures[:SHOWN])
    save_grid(torch.cat(shown), min(SHOWN, len(source)), out / f"{technique}-{name}.png")
    return rows


def directions(models, latent, prompt: str) -> Iterator[tuple]:
    """(setting, pictures, seconds an edit) at every alpha and beta, and at the preset's."""
    from textedit_core.method import load
    from textedit_core.methods import styleclip_directions as method

    preset = load("styleclip_directions").split(models.presets.get("styleclip_directions", {}))[1]
    grid = [{"alpha": alpha, "beta": beta} for beta in BETAS for alpha in ALPHAS]
    for knobs in [preset, *grid]:
        towards = method.text_direction(models.clip, NEUTRAL, prompt)
        beta = knobs.get("beta", 0.15)
        channels = method.direction(models.generator, models.relevance, towards, beta).count
        pictures, seconds = timed(
            lambda knobs=knobs: method.edit(
                models.generator, models.clip, models.relevance, latent, NEUTRAL, prompt, **knobs
            ),
            len(latent),
        )
        name = f"alpha {knobs.get('alpha', 4.1):g}, beta {beta:g}"
        yield f"{name}, the preset" if knobs is preset else f"{name} ({channels} channels)", pictures, seconds


def mapper(models, latent, prompt: str) -> Iterator[tuple]:
    """(setting, pictures, seconds an edit) with the bundle's mapper of this text; nothing without one."""
    from textedit_core.methods import styleclip_mapper as method

    if trained := models.pretrained("mapper", prompt):
        for strength in (0.05, 0.1, 0.15):
            pictures, seconds = timed(
                lambda strength=strength: method.edit(models.generator, trained, latent, strength=strength),
                len(latent),
            )
            yield f"strength {strength:g}", pictures, seconds


def optimizer(changes: dict, models, latent, prompt: str) -> Iterator[tuple]:
    """(setting, pictures, seconds an edit): the preset with changes, one latent after the other."""
    import torch

    from textedit_core.method import load
    from textedit_core.methods import styleclip_optimizer as method
    from textedit_core.models.style.latents import Latent
    from textedit_core.steps import last

    preset = load("styleclip_optimizer").split(models.presets.get("styleclip_optimizer", {}))[0]
    begun, pictures = time.process_time(), []
    for row in latent.w_plus.split(1):
        given = models.generator, models.clip, models.identity, Latent(row), prompt
        pictures.append(last(method.edit(models.generator, last(method.fit(*given, **preset | changes)))))
    seconds = (time.process_time() - begun) / len(latent)
    name = ", ".join(f"{knob} {value}" for knob, value in changes.items())
    yield name or "the preset", torch.cat(pictures).clamp(-1, 1), seconds


def tedigan(models, latent, prompt: str) -> Iterator[tuple]:
    """(setting, pictures, seconds an edit): as published, at the preset, and with the text pulling more."""
    import torch

    from textedit_core.method import load
    from textedit_core.methods import tedigan as method
    from textedit_core.models.style.latents import Latent
    from textedit_core.steps import last

    preset = load("tedigan").split(models.presets.get("tedigan", {}))[0]
    presets = (("the preset", preset),) if preset else ()
    for name, knobs in (("as published", {}), *presets, *TEDIGAN):
        begun, pictures = time.process_time(), []
        for row in latent.w_plus.split(1):
            given = models.generator, models.clip, models.encoder, Latent(row), prompt
            pictures.append(last(method.fit(*given, **knobs)).image)
        seconds = (time.process_time() - begun) / len(latent)
        yield name, torch.cat(pictures).clamp(-1, 1), seconds


def styleflow(models, latent, prompt: str) -> Iterator[tuple]:
    """(setting, pictures, seconds an edit) at several strengths, by the models' flow and preset.

    As in the method, what CLIP reads in the sources is part of the edit. Nothing for a text that the flow was
    not trained for.
    """
    from textedit_core.method import load
    from textedit_core.methods import styleflow as method

    if prompt not in [one.prompt for one in models.flow.attributes]:
        return
    preset = load("styleflow").split(models.presets.get("styleflow", {}))[1]
    given = models.generator, models.clip, models.flow, latent, prompt
    for strength in (0.5, 1.0, 1.5, 2.0):
        knobs = preset | {"strength": strength}
        pictures, seconds = timed(lambda knobs=knobs: method.edit(*given, **knobs), len(latent))
        yield f"strength {strength:g}", pictures, seconds


def comparator(technique: str, models, latent, prompt: str) -> Iterator[tuple]:
    """(setting, pictures, seconds an edit) at several strengths; the fit is the preset's.

    The seconds leave out the fit, which is done once a text.
    """
    from textedit_core.method import load
    from textedit_core.methods import latent_directions as method
    from textedit_core.steps import last

    preset = models.presets.get("latent_directions", {})
    fitting, editing = load("latent_directions").split(preset | {"technique": technique})
    given = models.generator, models.clip, models.relevance, NEUTRAL, prompt
    found = last(method.fit(*given, **fitting))
    for strength in STRENGTHS[technique]:
        knobs = editing | {"strength": strength}
        pictures, seconds = timed(
            lambda knobs=knobs: method.edit(models.generator, found, latent, **knobs), len(latent)
        )
        yield f"strength {strength:g}", pictures, seconds


# TediGAN's published weights are for 1024 pixels and VGG; here the text is also let pull more.
TEDIGAN = tuple(
    (f"CLIP weight {weight}, learning rate {lr}", {"clip_lambda": weight, "lr": lr})
    for weight, lr in ((8.0, 0.01), (8.0, 0.05))
)

# Runs name an edit by its number, so that a new technique comes last.
TECHNIQUES: dict[str, Callable] = {
    "directions": directions,
    "mapper": mapper,
    "optimizer": partial(optimizer, {}),
    "interfacegan": partial(comparator, "interfacegan"),
    "stylespace": partial(comparator, "stylespace"),
    "optimizer_without_views": partial(optimizer, {"views": 0}),
    "optimizer_in_s": partial(optimizer, {"space": "s"}),
    "tedigan": tedigan,
    "styleflow": styleflow,
}


def timed(edit: Callable, count: int) -> tuple:
    """The pictures in [-1,1] of an edit of `count` images, and the processor seconds that one took."""
    from textedit_core.steps import last

    begun = time.process_time()
    pictures = last(edit())
    return pictures.clamp(-1, 1), (time.process_time() - begun) / count


def score(models, classifier, source, pictures, text: tuple[str, str, str]) -> dict[str, float]:
    """Means over the latents whose source does not yet show what is asked for.

    asked: share that reads as asked.  kept: share of the other attributes that read as in the source.
    """
    import torch

    from textedit_core import metrics
    from textedit_core.toon.world import ATTRIBUTES

    prompt, attribute, value = text
    column, wanted = list(ATTRIBUTES).index(attribute), ATTRIBUTES[attribute].index(value)
    before, after = classifier.read(source), classifier.read(pictures)
    rows = before[:, column] != wanted
    others = torch.arange(before.shape[1]) != column
    towards = metrics.clip_direction(models.clip, source, pictures, NEUTRAL, prompt)
    found = {
        "asked": after[rows, column] == wanted,
        "kept": (after == before)[rows][:, others],
        "clip_direction": towards[rows],
        "identity": models.identity.similarity(source, pictures)[rows],
    }
    return {name: values.float().mean().item() for name, values in found.items()}


def table(rows: list[dict]) -> str:
    """The means over texts as Markdown, a line per technique and setting; channel counts are left out."""
    lines = ["| technique | setting | texts | asked | others kept | CLIP direction | identity | seconds |",
             "|" + "---|" * 8]  # fmt: skip
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["technique"], row["setting"].split(" (")[0]), []).append(row)
    for (technique, setting), group in groups.items():
        means = [sum(row[name] for row in group) / len(group) for name in MEASURES]
        cells = " | ".join([*(f"{mean:.2f}" for mean in means[:-1]), f"{means[-1]:.3f}"])
        lines.append(f"| {technique} | {setting} | {len(group)} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
