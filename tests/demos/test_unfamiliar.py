"""A picture that small models do not know is told, with what they see of it."""

import numpy as np
import pytest
from PIL import Image

from demos.context import Context
from demos.shared.source import say_image
from demos.shared.unfamiliar import is_unfamiliar
from textedit_core.models import zoo


@pytest.fixture(scope="module")
def ctx():
    return Context(zoo, "toon", "cpu")


@pytest.fixture
def photograph(tmp_path) -> str:
    """Something like a photograph: shades that change everywhere, with grain."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:200, :300] / 200
    shades = np.stack([np.sin(9 * x + 2 * y), np.cos(7 * y * x), np.sin(5 * y)], 2) * 70 + 128
    path = tmp_path / "photograph.png"
    Image.fromarray((shades + rng.normal(0, 20, shades.shape)).clip(0, 255).astype(np.uint8)).save(path)
    return str(path)


def test_a_photograph_is_told_with_what_toon_sees_of_it(ctx, photograph):
    told, sizing = say_image(ctx, photograph, "toon")
    assert "Toon knows cartoon portraits of 64 pixels" in told and 'src="data:image/png;base64,' in told
    assert sizing["visible"], "it is not square"


def test_a_portrait_is_not(ctx, portrait, tmp_path):
    from textedit_core.images import to_pil

    to_pil(portrait)[0].save(path := tmp_path / "portrait.png")
    assert say_image(ctx, str(path), "toon")[0] == ""
    assert not is_unfamiliar(ctx.models("toon"), portrait)


def test_models_that_cannot_tell_say_nothing(ctx, photograph, tiny_folder, tiny, portrait):
    assert say_image(ctx, photograph, "sd")[0] == ""
    assert say_image(ctx, photograph, "no such models")[0] == ""
    assert not is_unfamiliar(tiny, portrait)
