"""The memory that is told for the real sizes: what people have is enough."""

import pytest
import torch

from studies.foretold import METHODS, model_of, peak
from textedit_core.models.diffusion import memory
from textedit_core.models.diffusion.placing import networks

GIB = 2**30


@pytest.mark.parametrize(("family", "most"), [("sd1", 8), ("sdxl", 16)])
def test_imagic_with_lora_and_null_text_in_half_precision_fit_a_usual_gpu(family, most):
    model = model_of(family, torch.bfloat16)
    weights = memory.bytes_of(networks(model))
    assert weights < peak(model, *METHODS["Imagic, lora"], "fast") < most * GIB
    assert peak(model, *METHODS["null-text, checkpointing"], "fast") - weights < 4 * GIB
