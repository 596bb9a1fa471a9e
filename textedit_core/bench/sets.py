"""Measures of all results of a method together, against a set of reference pictures, on CLIP's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from textedit_core.images import Fit, open_image, square_tensor
from textedit_core.metrics import (
    Mixture,
    clip_embeddings,
    components_for,
    fit_mixture,
    frechet_distance,
    quality_score,
)
from textedit_core.models.clip import Clip

BATCH = 32


@dataclass(frozen=True, eq=False)
class Reference:
    """What the results are compared with: features (N,D), and a mixture fitted to them where N allows."""

    features: Tensor
    mixture: Mixture | None

    def words(self) -> str:
        """A note for the report on the mixture that QS uses, or why there is none."""
        count, width = self.features.shape
        if self.mixture is None:
            return f"QS is left out: on {width} features it needs {2 * width} reference pictures, not {count}"
        components = len(self.mixture.weights)
        return f"the mixture of QS is our own fit to them, of {components} component{'s' * (components > 1)}"


def reference(clip: Clip, files: Sequence[Path], resize: Fit) -> Reference | None:
    """The reference of these pictures; None for fewer than two."""
    if len(files) < 2:
        return None
    features = features_of(clip, files, resize)
    components = components_for(features)
    return Reference(features, fit_mixture(features, components, floor=1e-4) if components else None)


def measure_set(
    clip: Clip, files: Sequence[Path], resize: Fit, against: Reference
) -> dict[str, float | None]:
    """Frechet distance and quality score (QS) of pictures; None where they are too few."""
    features = features_of(clip, files, resize)
    enough = len(features) >= 2
    return {
        "frechet": frechet_distance(features, against.features) if enough else None,
        "qs": quality_score(against.mixture, features) if against.mixture else None,
    }


def features_of(clip: Clip, files: Sequence[Path], resize: Fit) -> Tensor:
    """CLIP embeddings (N,D) of picture files, made square at the size of CLIP's input."""
    rows = []
    for start in range(0, len(files), BATCH):
        opened = [open_image(path, path.name) for path in files[start : start + BATCH]]
        rows.append(
            clip_embeddings(clip, torch.cat([square_tensor(one, clip.size, resize) for one in opened]))
        )
    return torch.cat(rows).cpu()
