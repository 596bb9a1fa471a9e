"""python -m studies.paint_by_example_toon --out DIR: lambda, structure and pasting, the answer known.

Every edit takes a part of one held-out portrait from another: lambda 0 to 10 as one batch, the structure
knob at the default lambda, the exemplar pasted into the box, and the source as it is. DIR/edits-*.jsonl gets
a line per edit, so that a stopped run goes on; run it with --shard 0/2 and --shard 1/2 to use two cores. For
an ablation give its folder: --painter OUT/ablations/bottleneck, with a DIR of its own. Of the one without
guidance lambda 1 counts alone: it has never learned what no example is.
"""

from __future__ import annotations

import argparse
import sys
import time

from studies import sharded

SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0)
STRUCTURES = {
    "attention": (0.25, 0.5, 0.75, 1.0),
    "start": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
}
SCALE_OF_STRUCTURES = 5.0
# heading and digits of each measure; the last are of all results of a row together
MEASURES = {
    "asked": ("asked attribute", 2), "clip": ("CLIP score", 1), "answer": ("PSNR to the answer", 1),
    "outside": ("PSNR outside", 1), "layout": ("structure distance to the source", 4),
    "frechet": ("Frechet distance", 2), "qs": ("QS", 1), "log_likelihood": ("log-likelihood", 1),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = sharded.flags(__doc__, limit=100)
    parser.add_argument(
        "--painter", help="a folder with another Paint by Example (default: that of --models)"
    )
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--reference", type=int, default=1000, help="training portraits to hold sets against")
    sharded.world_flag(parser)
    options = sharded.begin(parser, arguments)
    models = run(options)
    sys.stdout.write(table(with_sets(sharded.read_rows(options.out), models, options)) + "\n")


def run(options: argparse.Namespace):
    """Do the edits of this shard that no earlier run has done."""
    from textedit_core.models import zoo
    from textedit_core.toon.parts import held_out_part_edits

    models = zoo.load(options.models)
    painter = zoo.load(options.painter).paint_by_example if options.painter else models.paint_by_example
    classifier = sharded.classifier_of(models, painter.size)
    sharded.run(
        options,
        held_out_part_edits(options.limit, painter.size, options.world),
        tell=lambda edit: {"part": edit.part},
        study=lambda edit: study(painter, models.clip, classifier, edit, options.steps),
    )
    return models


def study(model, clip, classifier, edit, steps: int) -> list[dict]:
    """One row per picture: its name, the measures, its CLIP features, the seconds and UNet rows it took."""
    from textedit_core import metrics
    from textedit_core.training import exemplar_scores

    size = model.size
    image, mask, exemplar = edit.source(size), edit.mask(size), edit.exemplar(size, model.exemplar_size)
    found = painted(model, image, mask, exemplar, steps)
    found.append(("pasted", exemplar_scores.pasted(edit, image, exemplar), 0.0, 0))
    found.append(("source", image, 0.0, 0))
    rows = []
    for name, picture, seconds, unet_rows in found:
        row = {"name": name, "seconds": round(seconds, 3), "unet_rows": unet_rows}
        row |= exemplar_scores.score(edit, picture, classifier)
        row["clip"] = metrics.exemplar_score(clip, picture, exemplar, mask).item()
        row["layout"] = metrics.structure_distance(clip, picture, image).item()
        row["features"] = [round(x, 5) for x in metrics.clip_embeddings(clip, picture)[0].tolist()]
        rows.append(row)
    return rows


def painted(model, image, mask, exemplar, steps: int) -> list[tuple]:
    """(name, picture, seconds, UNet rows) for every lambda, one batch, and for every structure, another."""
    from textedit_core.methods import paint_by_example
    from textedit_core.models.diffusion.latent_diffusion import count_rows
    from textedit_core.steps import last

    strips: list[tuple[list[str], dict]] = [
        ([f"lambda {scale:g}" for scale in SCALES], {"guidance_scale": list(SCALES)}),
    ]
    strips += [
        (
            [f"lambda {SCALE_OF_STRUCTURES:g}, structure {share:g} by {by}" for share in shares],
            {"guidance_scale": SCALE_OF_STRUCTURES, "structure": list(shares), "structure_by": by},
        )
        for by, shares in STRUCTURES.items()
    ]
    found = []
    for names, knobs in strips:
        begun = time.perf_counter()
        with count_rows(model) as count:
            options = {"steps": steps, "seed": 0, "feather": 0, **knobs}
            pictures = last(paint_by_example.edit(model, image, mask, exemplar, **options))
        seconds = (time.perf_counter() - begun) / len(names)
        rows = [
            (name, picture, seconds, count.rows)
            for name, picture in zip(names, pictures.split(1), strict=True)
        ]
        found += rows
    return found


def with_sets(rows: list[dict], models, options: argparse.Namespace) -> list[dict]:
    """The means of each name's rows, and the measures of sets, against portraits as drawn.

    QS is of our own mixture; without it where the portraits are too few for one (`metrics.components_for`).
    """
    import torch

    from textedit_core import metrics
    from textedit_core.toon.portraits import training_portraits

    portraits = training_portraits(options.reference, models.clip.size, options.out / "data")
    parts = torch.arange(len(portraits)).split(100)
    reference = torch.cat(
        [metrics.clip_embeddings(models.clip, portraits.batch(part.numpy())) for part in parts]
    )
    components = metrics.components_for(reference)
    mixture = metrics.fit_mixture(reference, components, floor=1e-3) if components else None
    means = []
    for name in dict.fromkeys(row["name"] for row in rows):
        group = [row for row in rows if row["name"] == name]
        features = torch.tensor([row["features"] for row in group])
        mean = {key: sum(row[key] for row in group) / len(group) for key in MEASURES if key in group[0]}
        mean |= {
            "seconds": sum(row["seconds"] for row in group) / len(group),
            "name": name,
            "edits": len(group),
        }
        if len(group) > 1:
            mean["frechet"] = metrics.frechet_distance(features, reference)
        if len(group) > 1 and mixture:
            mean["qs"] = metrics.quality_score(mixture, features)
            mean["log_likelihood"] = mixture.log_likelihood(features).mean().item()
        means.append(mean)
    return means


def table(means: list[dict]) -> str:
    """The means over edits as Markdown, a line per name."""
    heads = ["setting", "edits", *(heading for heading, _ in MEASURES.values()), "seconds"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for mean in means:
        values = [f"{mean[key]:.{digits}f}" if key in mean else "-" for key, (_, digits) in MEASURES.items()]
        cells = [mean["name"], str(mean["edits"]), *values, f"{mean['seconds']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
