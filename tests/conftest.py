"""One thread, no network, and the models that tests share."""

import os
import tempfile
from pathlib import Path

# Before any import of a Hugging Face library: nothing is fetched, and nobody's real hub cache is used.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_CACHE"] = tempfile.mkdtemp(prefix="hub-")
os.environ["TEXTEDIT_HOME"] = tempfile.mkdtemp(prefix="home-")  # nobody's trained mappers
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# An app that ends removes the uploads it was given, which lie under a name made of their content: two test
# processes that share the folder would take each other's.
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="gradio-")

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests in a browser first: they take the longest, and one process has them all."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is None)  # stable: else as they were


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """With two processes (`-n 2 --no-loadscope-reorder`): a file is for one of them, all browsers for one.

    Two browsers on two cores, each with an app beside it, wait for each other.
    """
    from xdist.scheduler import LoadScopeScheduling

    class OneBrowser(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "browser" if "/browser/" in file else file

    return OneBrowser(config, log)


TOON = Path(__file__).parents[1] / "textedit_core" / "weights" / "toon"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The folder of a tiny random bundle."""
    from tests.bundles import write_tiny_bundle

    return write_tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_folder):
    """Tiny random models: `tiny.diffusion`, `tiny.clip`, 32 pixels."""
    from textedit_core.models import zoo

    return zoo.load(tiny_folder)


@pytest.fixture(scope="session")
def toon():
    """The shipped models."""
    from textedit_core.models import zoo

    if not (TOON / "manifest.json").is_file():
        pytest.skip("the toon bundle is not there")
    return zoo.load("toon")


@pytest.fixture(scope="session")
def portrait(toon):
    """A toon portrait (1,3,H,W) of a man with glasses, at the size of the shipped models."""
    from textedit_core.images import square_tensor
    from textedit_core.toon.render import render
    from textedit_core.toon.world import Scene

    size = toon.diffusion.size
    return square_tensor(
        render(Scene(glasses="glasses", clothes_color="red", background="green"), size), size
    )
