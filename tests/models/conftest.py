"""Tiny random models of every family, written once for each file of tests."""

import pytest

from tests.families import FAMILIES, write_tiny_family
from textedit_core.models import zoo


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folder of each family, by name."""
    root = tmp_path_factory.mktemp("families")
    return {family: write_tiny_family(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def loaded(folders):
    """The text-to-image model of each family, by name."""
    return {family: zoo.load(folder).diffusion for family, folder in folders.items()}
