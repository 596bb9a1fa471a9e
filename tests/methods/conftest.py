"""The tiny models, an image and a fit of it, for the tests of every method."""

import pytest
import torch

from tests.methods.fits import PROMPT
from tests.methods.inverted import SOURCE, T
from textedit_core.methods import imagic
from textedit_core.models.diffusion import inversions
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


@pytest.fixture(scope="session")
def wide():
    """An image that is not square: 16 x 24 pixels, 4 x 6 latents."""
    return torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="session")
def inverted(model, wide):
    return last(inversions.direct(model, wide, SOURCE, steps=T))


@pytest.fixture(scope="session")
def exemplar():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="session")
def mask():
    """A hole of 16 x 14 pixels in `image`."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 6:20] = 1
    return mask
