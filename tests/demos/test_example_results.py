"""The finished results that come with the examples fit these weights, presets and examples."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from demos import examples
from demos.context import Context
from demos.examples import finished
from studies import example_results
from textedit_core.images import open_image
from textedit_core.models import zoo
from textedit_core.record import Record, image_sha, read_png

AGAIN = "run python -m studies.example_results"
METHODS = ("imagic", "prompt_to_prompt", "paint_by_example", "text2live")


@pytest.fixture(scope="module")
def tabs():
    """The tabs with examples on the bundled models, by method."""
    return {tab.view.name: tab for tab in example_results.tabs(Context(zoo, "toon", "cpu"))}


@pytest.mark.parametrize("method", METHODS)
def test_every_example_has_a_result_of_these_weights_presets_and_prompts(tabs, method):
    tab, found = tabs[method], finished.read(method)
    assert found.weights == finished.weights_of(tab.ctx.models("toon"), tab.view.part), AGAIN
    assert list(found.results) == list(range(len(tab.examples.examples))), AGAIN
    for number, result in found.results.items():
        record, example = read_png(result["edit"]), tab.examples.examples[number]
        assert record == Record.from_json(result["record"])
        assert record.image == image_sha(open_image(example.image)), AGAIN
        assert record.prompts == {name: example.fields[name] for name in record.prompts}, AGAIN
        asked = tab.view.read(tab.ctx, example_results.values_of(tab, number))
        assert record.knobs == asked.record.knobs, AGAIN


def test_a_picture_of_another_method_is_shown_with_the_words_of_that_method():
    """Its pictures are numbered anew when they are picked anew; another one would then have the old words."""
    borrowed = []
    for folder in sorted(path.parent for path in examples.HERE.glob("*/index.json")):
        for one in examples.read(folder.name):
            if one.image.parent != folder:
                borrowed.append(one)
                assert one in examples.read(one.image.parent.name), (folder.name, one.label)
    assert borrowed, "Compare borrows"


def test_a_result_is_what_these_weights_draw(tabs):
    number = 1
    shipped = finished.read("paint_by_example").results[number]
    made = example_results.result_of(tabs["paint_by_example"], number)
    with Image.open(shipped["edit"]) as old, Image.open(made["edit"]) as new:
        gap = np.abs(np.asarray(old).astype(int) - np.asarray(new).astype(int))
    assert gap.max() <= 2, AGAIN  # processors round differently
    assert made["pictures"].keys() == shipped["pictures"].keys()


def test_results_of_other_weights_or_with_additions_are_never_shown(tabs, tiny_folder, tmp_path):
    tab = tabs["imagic"]
    assert tab.finished_example(0, "toon")[tab.result.shown]["words"].endswith("made beforehand")
    assert tab.finished_example(0, str(tiny_folder)) == {}
    assert tab.finished_example(0, "nowhere") == {}
    shutil.copytree(finished.folder_of("imagic"), finished.folder_of("imagic", tmp_path))
    index = finished.folder_of("imagic", tmp_path) / "index.json"
    about = json.loads(index.read_text())
    weights = about["weights"]
    assert finished.read("imagic", tmp_path).of(0, weights)
    index.write_text(json.dumps(about | {"weights": "others"}))
    assert finished.read("imagic", tmp_path).of(0, weights) is None
    assert finished.read("imagic", tmp_path).of(0, "") is None


@pytest.mark.parametrize("method", METHODS)
def test_a_reload_shows_the_result_of_the_example_whose_picture_stands_there(tabs, method):
    """Paint by Example's examples have no prompts and the same settings: their pictures tell them apart."""
    tab = tabs[method]
    for number, result in finished.read(method).results.items():
        about = Record.from_json(result["record"])
        own, other = (str(tab.examples.examples[one].image) for one in (number, number - 1))
        shown = tab.example_as(about, own)[tab.result.shown]
        assert shown["edit"].endswith(f"{number + 1:02d}-edit.png")
        of_other = f"{(number - 1) % len(tab.examples.examples) + 1:02d}-edit.png"
        elsewhere = tab.example_as(about, other)
        assert elsewhere == {} or elsewhere[tab.result.shown]["edit"].endswith(of_other)
        assert tab.example_as(about, __file__) == {}, "no picture at all"


def test_a_result_without_its_picture_is_left_out(tmp_path):
    shutil.copytree(finished.folder_of("imagic"), finished.folder_of("imagic", tmp_path))
    (finished.folder_of("imagic", tmp_path) / "01-edit.png").unlink()
    assert 0 not in finished.read("imagic", tmp_path).results
    assert len(finished.read("imagic", tmp_path).results) == len(examples.read("imagic")) - 1
