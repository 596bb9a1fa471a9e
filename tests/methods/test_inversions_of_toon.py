"""What the inversions promise, on the shipped models."""

import torch

from textedit_core.methods import prompt_to_prompt
from textedit_core.metrics import psnr
from textedit_core.models.diffusion import inversions
from textedit_core.steps import last

CAPTION = "a person with glasses in red clothes on a green background"


@torch.no_grad()
def test_direct_and_npi_rebuild_far_better_than_plain_inversion(toon, portrait):
    def rebuilt(kind: str) -> float:
        fitted = last(getattr(inversions, kind)(toon.diffusion, portrait, CAPTION, steps=8))
        return float(psnr(prompt_to_prompt.reconstruct(toon.diffusion, fitted), portrait))

    direct, npi, plain = (rebuilt(kind) for kind in ("direct", "npi", "ddim"))
    assert direct >= npi - 0.1 and npi > plain + 5
