"""What a bundle's pictures are like: the Gaussians of `models.familiarity` on training portraits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from textedit_core.models import familiarity
from textedit_core.models.clip import Clip
from textedit_core.toon.portraits import Portraits
from textedit_core.training import bundle

FITTED, OTHERS = 1_500, 500  # portraits of each world: for the Gaussians, and for the threshold


def write(folder: Path, clip: Clip, worlds: Sequence[Portraits]) -> None:
    """Fit the Gaussians to the first training portraits of each world, and write `familiarity/`.

    Of few portraits three quarters are for the Gaussians.
    """
    parts = []
    for portraits in worlds:
        count = min(len(portraits), FITTED + OTHERS)
        fitted = count * FITTED // (FITTED + OTHERS)
        parts.append([portraits.batch(np.arange(*ends)) for ends in ((0, fitted), (fitted, count))])
    images, others = (torch.cat(part) for part in zip(*parts, strict=True))
    found = familiarity.fit(clip, images, others)
    config = {"layer": found.layer, "threshold": found.threshold}
    bundle.write_network(folder, config, {"means": found.means, "whitening": found.whitening})
