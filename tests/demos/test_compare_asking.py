"""What the Compare tab asks for, without a server: only what the models and the ticked methods need."""

import shutil

import gradio as gr
import pytest
import torch
from PIL import Image

from demos.compare import contenders
from demos.compare import runs as compare
from demos.compare.asking import Asking, with_canvas
from demos.compare.tab import CompareTab
from demos.context import Context
from textedit_core.models import zoo


def asked_by(folder) -> Asking:
    """What the tab asks where the models in a folder are chosen."""
    with gr.Blocks():
        asking = Asking(Context(zoo, str(folder), "cpu"), gr.Dropdown())
        asking.draw_painting()
    return asking


def test_mask_and_exemplar_are_asked_only_where_the_models_can_use_them(tiny_folder, tmp_path):
    without = tmp_path / "without"
    shutil.copytree(tiny_folder, without, ignore=shutil.ignore_patterns("paint_by_example"))
    for first, other in ((tiny_folder, without), (without, tiny_folder)):
        asking = asked_by(first)
        assert (asking.painting.visible is True) == (first is tiny_folder)
        ticked = ["sdedit", "paint_by_example"]
        methods, painting = asking.use_models(str(other), ticked)
        assert (painting["visible"] is True) == (other is tiny_folder)
        kept = methods.get("value", ticked)  # as they are where all can stay
        assert ("paint_by_example" in kept) == (other is tiny_folder)
        assert "sdedit" in kept
    assert asking.open_painting(["sdedit", "paint_by_example"])["open"] is True
    assert "open" not in asking.open_painting(["sdedit"]), "what a person has unfolded stays so"


def test_a_picture_that_keeps_its_shape_does_so_in_every_method_that_can(tiny_folder, picture):
    ctx, asking = Context(zoo, str(tiny_folder), "cpu"), asked_by(tiny_folder)
    assert "native" in [value for _, value in asking.source.sizing.choices]
    mask = {"background": None, "layers": [], "composite": None}
    given = {"image": picture(size=(60, 40)), "sizing": "native", "models": str(tiny_folder)}
    given |= {"mask": mask, "exemplar": None, "source_prompt": "a man", "prompt": "a woman", "seed": 0}
    shapes = {}
    for one in contenders.offered(ctx, str(tiny_folder)):
        if not one.is_painted:  # which takes a picture as it is
            inputs = one.request(ctx, given).inputs
            image = inputs["image"] if "image" in inputs else inputs["latent"].image
            shapes[one.name] = tuple(image.shape[2:])
    assert shapes.pop("styleclip_directions") == (32, 32), "a generator draws squares"
    assert shapes.pop("text2live") == (40, 60)
    assert len(shapes) == 6 and set(shapes.values()) == {(24, 40)}
    record = contenders.BY_NAME["sdedit"].request(ctx, given).record
    assert asking.restore(record)[1] == "native"


def test_what_is_still_to_be_fetched_is_said_with_the_place_of_its_button(tiny_folder, monkeypatch):
    asking = asked_by(tiny_folder)
    monkeypatch.setattr(Context, "ready", lambda self, name, part="diffusion": False)
    for name, place in (
        ("sdedit", "at the top of the page"),
        ("paint_by_example", "on the Paint by Example tab"),
    ):
        said = asking.methods_problem(str(tiny_folder), [name])
        assert f"press Fetch and load {place}" in said and said.endswith(".")


def test_the_picture_of_an_example_can_be_painted_on_at_once(tmp_path):
    Image.new("RGB", (64, 48), "red").save(path := tmp_path / "red.png")
    values = with_canvas({"image": str(path), "prompt": "a red square"})
    assert values["prompt"] and values["mask"]["background"].getpixel((320, 320))[:3] == (255, 0, 0)
    assert values["mask"]["layers"] == []


@pytest.fixture
def painting_only(tiny_folder, tmp_path):
    """A folder with Paint by Example alone, and its own autoencoder."""
    folder = tmp_path / "painting"
    shutil.copytree(tiny_folder / "paint_by_example", folder / "paint_by_example")
    shutil.copytree(tiny_folder / "diffusion" / "vae", folder / "paint_by_example" / "vae")
    return folder


def test_models_without_a_diffusion_part_can_compare_and_are_asked_for_no_prompt(painting_only, tmp_path):
    ctx = Context(zoo, str(painting_only), "cpu")
    with gr.Blocks() as page:
        tab = CompareTab(ctx, gr.Dropdown())
        tab.wire_run()
    paths = [str(tmp_path / f"{name}.png") for name in ("image", "exemplar", "mask")]
    for path in paths:
        Image.new("RGB", (40, 32), "teal").save(path)
    mask = Image.new("L", (40, 32))
    mask.paste(255, (8, 8, 20, 20))
    mask.save(paths[2])
    assert tab.asking.methods.value == ["paint_by_example"]
    names = [*tab.asking.fields, "models", "weight"]
    values = {name: getattr(widget, "value", None) for name, widget in tab.asking.fields.items()}
    values |= {"models": ctx.default, "weight": 0.5, "source_prompt": "", "prompt": ""}
    values |= {"image": paths[0], "exemplar": paths[1], "mask": [paths[2]]}
    (run,) = (one for one in page.fns.values() if one.api_name == "compare")
    verdicts = dict(zip(names, run.validator(**values), strict=True))
    assert not [one for one in verdicts.values() if not one["is_valid"]]


def test_each_ticked_method_asks_for_its_own_texts(tiny_folder, tmp_path):
    asking = asked_by(tiny_folder)
    Image.new("RGB", (40, 32), "teal").save(path := tmp_path / "image.png")
    values = {name: getattr(widget, "value", None) for name, widget in asking.fields.items()}
    values |= {"models": str(tiny_folder), "image": str(path), "source_prompt": "", "prompt": "", "mask": []}
    for ticked, missing in (
        ("paint_by_example", set()),
        ("sdedit", {"prompt"}),
        ("p2p_direct", {"prompt", "source_prompt"}),
        ("styleclip_directions", {"prompt", "source_prompt"}),
    ):
        found = asking.problems(values | {"methods": [ticked]})
        assert {name for name in ("prompt", "source_prompt") if found.get(name)} == missing
    found = asking.problems(values | {"methods": ["styleclip_directions"], "prompt": "man " * 60})
    assert "shorten it" in found["prompt"]


def test_a_row_without_a_target_is_measured_by_what_needs_none(tiny):
    image = torch.zeros(1, 3, 32, 32)
    scores = compare.measure(tiny, image, image, "a man", "")
    assert scores["clip"] is None and scores["direction"] is None
    assert scores["similarity"] == pytest.approx(1, abs=1e-4)
