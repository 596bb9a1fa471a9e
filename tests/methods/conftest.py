"""The tiny models, an image and a fit of it, for the tests of every method."""

import pytest
import torch

from tests.methods.fits import PROMPT
from textedit_core.methods import imagic
from textedit_core.steps import last


@pytest.fixture(scope="session")
def model(tiny):
    return tiny.diffusion


@pytest.fixture(scope="session")
def image():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="session")
def fitted(model, image):
    """A fit in which both stages moved visibly."""
    settings = {"embedding_steps": 15, "embedding_lr": 0.03, "finetune_steps": 15, "finetune_lr": 1e-3}
    return last(imagic.fit(model, image, PROMPT, **settings))
