"""What the Compare tab asks for, without a server: only what the models and the ticked methods need."""

import shutil

import gradio as gr

from demos.context import Context
from demos.tabs.compare_asking import Asking
from textedit_core.models import zoo


def asked_by(folder) -> Asking:
    """The left third of the tab where the models in a folder are chosen."""
    with gr.Blocks():
        return Asking(Context(zoo, str(folder), "cpu"), gr.Dropdown())


def test_mask_and_exemplar_are_asked_only_where_the_models_can_use_them(tiny_folder, tmp_path):
    without = tmp_path / "without"
    shutil.copytree(tiny_folder, without, ignore=shutil.ignore_patterns("paint_by_example"))
    for first, other in ((tiny_folder, without), (without, tiny_folder)):
        asking = asked_by(first)
        assert asking.painting.visible == (first is tiny_folder)
        methods, painting = asking.use_models(str(other), ["sdedit", "paint_by_example"])
        assert painting["visible"] == (other is tiny_folder)
        assert ("paint_by_example" in methods["value"]) == (other is tiny_folder)
        assert "sdedit" in methods["value"]
    assert asking.open_painting(["sdedit", "paint_by_example"])["open"] is True
    assert "open" not in asking.open_painting(["sdedit"]), "what a person has unfolded stays so"


def test_what_is_still_to_be_fetched_is_said_with_the_place_of_its_button(tiny_folder, monkeypatch):
    asking = asked_by(tiny_folder)
    monkeypatch.setattr(Context, "ready", lambda self, name, part="diffusion": False)
    for name, place in (
        ("sdedit", "at the top of the page"),
        ("paint_by_example", "on the Paint by Example tab"),
    ):
        said = asking.methods_problem(str(tiny_folder), [name])
        assert f"press Fetch and load {place}" in said and said.endswith(".")
