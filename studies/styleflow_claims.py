"""python -m studies.styleflow_claims: what StyleFlow's paper says of its edits, one claim after another.

On the latents (--limit, by seed) and texts of `studies.styleclip_toon`, by the models' flow and preset:

* strength: does more strength mean more of what is asked, in what CLIP and the classifier read?
* sequence: after a second edit, is the first still there? Beside InterFaceGAN's two steps in a row.
* back: does an edit that is taken back leave what was there before?
* bands: what do layers outside of some rows of W+ do, where they are put back to the source's?

Prints a Markdown table of each: means over the texts, of the latents that did not show what is asked.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from studies import sharded
from studies.styleclip_toon import NEUTRAL
from textedit_core.method import load
from textedit_core.methods import latent_directions, styleflow
from textedit_core.models import zoo
from textedit_core.models.style import latents
from textedit_core.models.style.flows import read_attributes
from textedit_core.models.style.latents import Latent
from textedit_core.steps import last
from textedit_core.toon.world import ATTRIBUTES
from textedit_core.training.style_edits import PROMPTS

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
STRENGTH, OF_INTERFACEGAN = 1.5, 4.0  # those at which the two make about as many edits
NAMES = tuple(ATTRIBUTES)


@dataclass(frozen=True, eq=False)
class Study:
    """The models, the latents by seed, and what the classifier reads in their images, (B,11)."""

    models: Any
    classifier: Any
    latent: Latent
    before: Tensor
    knobs: dict[str, Any]

    def flowed(self, asked: str, accepted: str = "", **more: Any) -> Latent:
        """The codes after an edit by the flow."""
        given = self.models.generator, self.models.clip, self.models.flow, self.latent, ""
        knobs = {"strength": 1.0, "first_layer": 0, "last_layer": 17} | more
        placed = asked, knobs["strength"], knobs["first_layer"], knobs["last_layer"], accepted
        return styleflow.edited_latent(*given, *placed, **self.knobs)

    def read(self, codes: Latent) -> Tensor:
        """What the classifier reads in the images of codes, (B,11)."""
        return self.classifier.read(codes.image(self.models.generator).clamp(-1, 1))


@dataclass(frozen=True)
class Asked:
    """One of the texts: its attribute of the flow, and what the classifier has to read."""

    name: str
    prompt: str
    column: int
    value: int


def asked_of(models: Any) -> list[Asked]:
    """The texts of the study that the flow has an attribute for."""
    names = {one.prompt: one.name for one in models.flow.attributes}
    return [
        Asked(names[prompt], prompt, NAMES.index(attribute), ATTRIBUTES[attribute].index(value))
        for prompt, attribute, value in PROMPTS.values()
        if prompt in names
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="toon")
    parser.add_argument("--limit", type=int, default=60, help="latents")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    models = zoo.load(options.models)
    classifier = sharded.classifier_of(models, models.generator.size)
    latent = latents.from_seed(models.generator, seed=list(range(options.limit)), truncation=1.0)
    knobs = load("styleflow").split(models.presets.get("styleflow", {}))[1]
    kept = {name: knobs.get(name, default) for name, default in SOLVING.items()}
    before = classifier.read(latent.image(models.generator).clamp(-1, 1))
    study = Study(models, classifier, latent, before, kept)
    for head, lines in CLAIMS.items():
        sys.stdout.write(table(head, lines(study, asked_of(models))) + "\n")
        sys.stdout.flush()


SOLVING = {"solver": "dopri5", "steps": 20, "tolerance": 1e-5}


def table(head: str, rows: Iterable[tuple]) -> str:
    """A Markdown table; numbers to two digits."""
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for row in rows:
        lines.append("| " + " | ".join(one if isinstance(one, str) else f"{one:.2f}" for one in row) + " |")
    return "\n".join(lines) + "\n"


@torch.no_grad()
def by_strength(study: Study, texts: list[Asked]) -> Iterator[tuple]:
    """(strength, attribute as CLIP reads it, asked, others kept, share where CLIP reads less than before)."""
    clip, flow, previous = study.models.clip, study.models.flow, None
    for strength in STRENGTHS:
        found, reading = [], []
        for one in texts:
            codes = study.flowed(one.name, strength=strength)
            image = codes.image(study.models.generator).clamp(-1, 1)
            reading.append(read_attributes(clip, image, flow.attributes)[:, flow.index(one.name)])
            found.append(scores(study, one, study.classifier.read(image)))
        now = torch.stack(reading)
        less = "-" if previous is None else (now < previous - 0.01).float().mean().item()
        previous = now
        yield (f"{strength:g}", now.mean().item(), *means(found), less)


@torch.no_grad()
def in_sequence(study: Study, texts: list[Asked]) -> Iterator[tuple]:
    """(technique, first asked, first still asked after the second, second asked, others kept)."""
    pairs = [(a, b) for a, b in itertools.permutations(texts, 2) if a.column != b.column]
    directions = {one: _boundary(study.models, one.prompt) for one in texts}

    def flow_of(first: Asked, second: Asked) -> tuple[Latent, Latent]:
        amount = f" {STRENGTH:g}"
        accepted = first.name + amount
        return study.flowed(accepted), study.flowed(second.name + amount, accepted)

    def boundary_of(first: Asked, second: Asked) -> tuple[Latent, Latent]:
        once = _stepped(study, directions[first], study.latent)
        return once, _stepped(study, directions[second], once)

    for name, edits in (("StyleFlow", flow_of), ("InterFaceGAN", boundary_of)):
        found = []
        for first, second in pairs:
            once, twice = (study.read(codes) for codes in edits(first, second))
            made = (study.before[:, first.column] != first.value) & (once[:, first.column] == first.value)
            lacked = study.before[:, second.column] != second.value
            others = [k for k in range(len(NAMES)) if k not in (first.column, second.column)]
            found.append(
                (
                    share(made, study.before[:, first.column] != first.value),
                    share(twice[:, first.column] == first.value, made),
                    share(twice[:, second.column] == second.value, lacked),
                    share((twice == study.before)[:, others].float().mean(1), made & lacked),
                )
            )
        yield (name, *means(found))


@torch.no_grad()
def taken_back(study: Study, texts: list[Asked]) -> Iterator[tuple]:
    """(text, asked by the edit, of these back at what was there, others as in the source)."""
    for one in texts:
        accepted = f"{one.name} {STRENGTH:g}"
        there, back = study.read(study.flowed(accepted)), study.read(study.flowed(f"{one.name} -1", accepted))
        lacked = study.before[:, one.column] != one.value
        made = lacked & (there[:, one.column] == one.value)
        others = [k for k in range(len(NAMES)) if k != one.column]
        same = back == study.before
        yield (
            one.prompt, share(made, lacked), share(same[:, one.column], made),
            share(same[:, others].float().mean(1), made),
        )  # fmt: skip


@torch.no_grad()
def by_band(study: Study, texts: list[Asked]) -> Iterator[tuple]:
    """(rows of W+, asked and others kept for each text) where the other rows are the source's."""
    count = study.models.generator.n_latent
    bands = [(0, count - 1), *((first, first + 1) for first in range(0, count - 1, 2))]
    bands += [(0, count // 2 - 1), (count // 2, count - 1)]
    for first, final in bands:
        cells = []
        for one in texts:
            codes = study.flowed(one.name, strength=STRENGTH, first_layer=first, last_layer=final)
            cells.append("{:.2f}, {:.2f}".format(*scores(study, one, study.read(codes))))
        yield (f"{first} to {final}", *cells)


def scores(study: Study, one: Asked, after: Tensor) -> tuple[float, float]:
    """The shares that read as asked and, of the other attributes, as before, where it was not there."""
    lacked = study.before[:, one.column] != one.value
    others = [k for k in range(len(NAMES)) if k != one.column]
    kept = (after == study.before)[:, others].float().mean(1)
    return share(after[:, one.column] == one.value, lacked), share(kept, lacked)


def share(values: Tensor, rows: Tensor) -> float:
    """The mean of values (B,) over the rows (B,) that count; not a number where none does."""
    return values[rows].float().mean().item()


def means(found: list[tuple[float, ...]]) -> list[float]:
    """The means of columns, without what is not a number."""
    return [torch.tensor(column).nanmean().item() for column in zip(*found, strict=True)]


def _boundary(models: Any, prompt: str) -> Any:
    preset = models.presets.get("latent_directions", {}) | {"technique": "interfacegan"}
    fitting, _ = load("latent_directions").split(preset)
    given = models.generator, models.clip, models.relevance, NEUTRAL, prompt
    return last(latent_directions.fit(*given, **fitting))


def _stepped(study: Study, direction: Any, latent: Latent) -> Latent:
    every_layer = {"component": 1, "first_layer": 0, "last_layer": 17, "channel": ""}
    given = study.models.generator, direction, latent, OF_INTERFACEGAN
    return latent_directions.edited_latent(*given, **every_layer)


CLAIMS = {
    "strength | attribute as CLIP reads it | asked | others kept | CLIP reads less than before": by_strength,
    "technique | first asked | first still there | second asked | others kept": in_sequence,
    "taken back | asked | as it was | others as they were": taken_back,
    "rows of W+ | " + " | ".join(PROMPTS).replace("_", " "): by_band,
}


if __name__ == "__main__":
    main()
