"""The notebook of examples/: its cells run in order, and do what its text says."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def space():
    """The names that the notebook has defined at its end; the cells run in the notebook's own folder."""
    found: dict = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(NOTEBOOK.parent)
        for number, cell in enumerate(code_cells()):
            exec(compile("".join(cell["source"]), f"quickstart cell {number}", "exec"), found)
    return found


def test_every_cell_runs_in_order(space):
    assert space["result"].image.shape == (1, 3, 256, 256), "as toon shows its pictures"
    assert space["result"].request.method.name == "imagic"
    assert [cell.coords["alpha"] for cell in space["cells"]] == [0, 0, 2, 2, 4, 4, 6, 6]


def test_the_fit_is_made_once(space):
    costs = space["again"].costs
    assert costs["fit"].cached and costs["fit"].rows == 0
    assert not costs["edit"].cached and costs["edit"].rows > 0


def test_the_saved_picture_is_made_again_from_its_record(space):
    assert space["anew"].tobytes() == space["made"].tobytes()
    assert space["found"] == space["asked"].record


def test_it_is_kept_without_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code_cells())
