"""python -m studies.unchanged: which figure tells an edit that changed nothing from one that did.

Of held-out edits of both worlds, the source as the autoencoder rebuilds it (nothing was changed) and the true
answer as it rebuilds that (the edit was made) are measured beside the source as Compare does. Printed: the
range of each figure in both, and at the best threshold the share that it puts on the right side.
"""

from __future__ import annotations

import argparse
import sys

import torch

FIGURES = ("direction", "similarity", "psnr", "ssim", "clip gain")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=60, help="edits of each world")
    limit = parser.parse_args(arguments).limit
    from textedit_core.models import zoo
    from textedit_core.toon.edits import held_out_edits

    models = zoo.load("toon")
    for world in ("closed", "open"):
        rows = [figures(models, edit) for edit in held_out_edits(limit, world=world)]
        for number, name in enumerate(FIGURES):
            same, changed = (torch.tensor([row[side][number] for row in rows]) for side in (0, 1))
            at, share = threshold(same, changed)
            sys.stdout.write(
                f"{world} {name}: unchanged {low_high(same)}, changed {low_high(changed)}; "
                f"{share:.2f} right at {at:.3f}\n"
            )


@torch.no_grad()
def figures(models, edit) -> tuple[list[float], list[float]]:
    """Each figure of the rebuilt source, and of the rebuilt answer, beside the source."""
    from textedit_core import metrics

    (caption, target), source = edit.captions, edit.source()
    found = []
    for picture in (source, edit.answer()):
        rebuilt = models.diffusion.decode(models.diffusion.encode(picture)).clamp(-1, 1)
        before, after = (metrics.clip_score(models.clip, one, target) for one in (source, rebuilt))
        values = (
            metrics.clip_direction(models.clip, source, rebuilt, caption, target),
            metrics.clip_similarity(models.clip, rebuilt, source),
            metrics.psnr(rebuilt, source),
            metrics.ssim(rebuilt, source),
            after - before,
        )
        found.append([float(value) for value in values])
    return found[0], found[1]


def threshold(same: torch.Tensor, changed: torch.Tensor) -> tuple[float, float]:
    """The value that parts two sets of values (N,) best, and the share of them that is then on its side."""
    best = (0.0, 0.0)
    for at in torch.cat([same, changed]).tolist():
        above = ((changed >= at).float().mean() + (same < at).float().mean()) / 2
        best = max(best, (max(float(above), 1 - float(above)), at))
    return best[1], best[0]


def low_high(values: torch.Tensor) -> str:
    """The 5th and the 95th percentile."""
    low, high = torch.quantile(values, torch.tensor([0.05, 0.95])).tolist()
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    main()
