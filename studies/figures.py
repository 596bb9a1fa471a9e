"""python -m studies.figures imagic|null_text|styleclip|paint_by_example --out DIR: one paper's figures again.

* imagic: the row of eta of three pictures, seeds alike (fig. 7 of arXiv 2210.09276), and Imagic beside SDEdit
  and Text2LIVE (its fig. 8).
* null_text: what each inversion rebuilds, and the edit by Prompt-to-Prompt after it (fig. 4 of 2211.09794).
* styleclip: alpha by beta of one global direction (fig. 7 of 2103.17249), and six systems on equal latents.
* paint_by_example: the row of lambda (fig. 6 of 2211.13227).

Pictures and prompts are the first of those that the app offers, at the models' presets and seed 0; nothing is
picked by its result. --examples is a folder laid out like demos/examples, for models that know other things.
Each figure is one PNG in DIR.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demos import examples
from textedit_core.axes import Cell
from textedit_core.images import open_image
from textedit_core.metrics import psnr
from textedit_core.models import zoo
from textedit_core.request import Result, Sample, request, run
from textedit_core.sheet import contact_sheet
from textedit_core.steps import last

log = logging.getLogger(__name__)
CELL = 160  # pixels
ACROSS, DOWN = " ", ""  # the axes of a figure need no names
ETAS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 1.0)
LAMBDAS = (0.0, 1.0, 3.0, 5.0, 7.0, 10.0)
ALPHAS, BETAS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0), (0.0, 0.05, 0.1, 0.2)
INVERSIONS = ("ddim", "npi", "null_text", "direct")
NEUTRAL = "a person"
TEXTS = ("a person with sunglasses", "a surprised person", "a person with pink hair")
# InterFaceGAN, StyleSpace and GANSpace at the strength of the published tables of this project.
COMPARED = {"interfacegan": 4.0, "stylespace": 20.0}
OF_STYLEFLOW = 1.5
Row = tuple[str, Mapping[str, Tensor]]  # what stands at its left, and its pictures by what stands above


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paper", choices=FIGURES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="toon")
    parser.add_argument("--examples", type=Path, default=examples.HERE, help="a folder like demos/examples")
    parser.add_argument("--rows", type=int, default=3, help="how many pictures, or latents")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    models = zoo.load(options.models)
    for name, draw in FIGURES[options.paper].items():
        path = options.out / f"{name}.png"
        figure(list(draw(models, options))).quantize(256).save(path, optimize=True)  # a third of the bytes
        log.info("%s", path)


def figure(rows: list[Row]):
    """The rows as one picture: a column for each name of the first row. ValueError where there is no row."""
    if not rows:
        raise ValueError("There is no example for this figure: see --examples.")
    cells = [
        Cell({ACROSS: name, DOWN: label}, {}, picture, 0)
        for label, pictures in rows
        for name, picture in pictures.items()
    ]
    return contact_sheet(cells, ACROSS, DOWN, CELL)


def made(method: str, models: zoo.Models, inputs: Mapping[str, Any], **settings: Any) -> Result:
    """The result at the models' preset but for these settings."""
    return last(run(request(method, models, inputs, settings)))


def of(options: argparse.Namespace, method: str) -> list[examples.Example]:
    return examples.read(method, options.examples)[: options.rows]


def eta_row(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    for example in of(options, "imagic"):
        inputs = {"image": open_image(example.image), **example.fields}
        results = {eta: made("imagic", models, inputs, eta=eta) for eta in ETAS}
        shown = {f"eta {eta:g}": result.image for eta, result in results.items()}
        yield example.label, {"source": results[ETAS[0]].source_shown, **shown}


def beside_imagic(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    for example in of(options, "imagic"):
        inputs = {"image": open_image(example.image), **example.fields}
        imagic, sdedit = made("imagic", models, inputs), made("sdedit", models, inputs)
        layered = made("text2live", models, inputs | {"source_prompt": NEUTRAL})
        yield (
            example.label,
            {
                "source": imagic.source_shown,
                "SDEdit": sdedit.image,
                "Text2LIVE": layered.image,
                "Imagic": imagic.image,
            },
        )


def rebuilt(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    for example in of(options, "prompt_to_prompt"):
        inputs = {"image": open_image(example.image), **example.fields}
        inputs = inputs | {"prompt": inputs["source_prompt"]}
        shown: dict[str, Tensor] = {}
        told = []
        for inversion in INVERSIONS:
            result = made("prompt_to_prompt", models, inputs, inversion=inversion)
            assert result.source is not None
            told.append(f"{psnr(result.edited, result.source).item():.1f}")
            shown = {"source": result.source, **shown, inversion: result.edited}
        yield f"{', '.join(told)} dB", shown


def inverted(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    for example in of(options, "prompt_to_prompt"):
        inputs = {"image": open_image(example.image), **example.fields}
        results = {one: made("prompt_to_prompt", models, inputs, inversion=one) for one in INVERSIONS}
        source = next(iter(results.values())).source
        yield (
            example.label,
            {
                "source": source,
                **{name: result.edited for name, result in results.items()},
            },
        )


def alpha_beta(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    inputs = {"latent": Sample(0), "neutral": NEUTRAL, "prompt": TEXTS[0]}
    for beta in BETAS:
        results = {
            alpha: made("styleclip_directions", models, inputs, alpha=alpha, beta=beta) for alpha in ALPHAS
        }
        shown = {f"alpha {alpha:g}": result.image for alpha, result in results.items()}
        yield f"beta {beta:g}", shown


def systems(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    for seed in range(options.rows):
        for text in TEXTS[: options.rows]:
            told = {"latent": Sample(seed), "prompt": text}
            both = told | {"neutral": NEUTRAL}
            results = {"TediGAN": made("tedigan", models, told)}
            results |= {
                name: made("latent_directions", models, both, technique=name, strength=strength)
                for name, strength in COMPARED.items()
            }
            results["optimizer"] = made("styleclip_optimizer", models, told)
            if models.pretrained("mapper", text) is not None:
                results["mapper"] = made("styleclip_mapper", models, told)
            results["directions"] = made("styleclip_directions", models, both)
            if models.pretrained("flow", text) is not None:
                results["StyleFlow"] = made("styleflow", models, told, strength=OF_STYLEFLOW)
            source = results["TediGAN"].source
            yield (
                f"{text.removeprefix(NEUTRAL).strip()}, {seed}",
                {"source": source, **{name: result.image for name, result in results.items()}},
            )


def lambda_row(models: zoo.Models, options: argparse.Namespace) -> Iterator[Row]:
    for example in of(options, "paint_by_example"):
        files = {name: open_image(path) for name, path in example.files.items()}
        inputs = {"image": open_image(example.image), **files, **example.fields}
        results = {scale: made("paint_by_example", models, inputs, guidance_scale=scale) for scale in LAMBDAS}
        shown = {f"lambda {scale:g}": result.image for scale, result in results.items()}
        exemplar = results[LAMBDAS[0]].request.inputs["exemplar"]
        yield example.label, {"source": results[LAMBDAS[0]].source_shown, "exemplar": exemplar, **shown}


FIGURES: dict[str, dict[str, Callable[[zoo.Models, argparse.Namespace], Iterator[Row]]]] = {
    "imagic": {"imagic_eta": eta_row, "imagic_beside": beside_imagic},
    "null_text": {"inversions_rebuilt": rebuilt, "inversions_edited": inverted},
    "styleclip": {"styleclip_alpha_beta": alpha_beta, "styleclip_beside": systems},
    "paint_by_example": {"paint_by_example_lambda": lambda_row},
}


if __name__ == "__main__":
    main()
