"""The readers, each on a small folder made by hand in the layout it is for; and the toon bench's items."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.bench.conftest import write_picture
from textedit_core.bench import items, toon
from textedit_core.bench.item import Item, Pictures
from textedit_core.bench.plan import Contestant
from textedit_core.toon.edits import held_out_edits
from textedit_core.toon.look import look_of
from textedit_core.toon.parts import PartEdit
from textedit_core.toon.render import parts
from textedit_core.toon.world import scene_of_seed


def test_our_own_layout_is_read_line_by_line(folder):
    found = items.read_folder(folder)
    assert [item.name for item in found] == ["0", "1", "2", "3"]
    assert found[0].mask == folder / "images" / "mask.png" and found[1].mask is None
    assert (found[2].caption, found[3].caption, found[3].group) == ("", "a man in a red hat", "b")
    pictures = Pictures(found[0], "crop")
    assert pictures.get("image", 16).shape == (1, 3, 16, 16) and pictures.get("mask", 16).mean() > 0.1
    assert pictures.get("changed", 16) is pictures.get("mask", 16), "what changes is the mask unless told"
    assert Pictures(found[1], "crop").get("mask", 16) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "line 2 is no item"),
        ('{"prompt": "a hat"}', "line 2 is no item"),
        ('{"image": 3}', "line 2 is no item"),
        ('["image"]', "line 2 is no item"),
        ('{"image": "images/0.png"}', "two items called '0'"),
    ],
)
def test_a_line_that_is_no_item_is_told_by_its_number(folder, line, says):
    (folder / "items.jsonl").write_text('{"image": "images/0.png"}\n' + line + "\n")
    with pytest.raises(ValueError, match=says):
        items.read_folder(folder)


def test_an_empty_folder_is_in_no_layout(tmp_path):
    with pytest.raises(ValueError, match="in no layout known here"):
        items.read_folder(tmp_path)


def pie_folder(folder: Path, side: int = 512) -> Path:
    write_picture(folder / "annotation_images" / "0_random" / "a.jpg", 0, (side, side))
    mapping = {
        "000000000000": {
            "image_path": "0_random/a.jpg",
            "original_prompt": "a [round] cake",
            "editing_prompt": "a [square]  cake",
            "editing_type_id": "0",
            "blended_word": "round square",
            "mask": [512 * 10 + 20, 100, 512 * 11 + 20, 100],
        },
        "000000000001": {
            "image_path": "0_random/a.jpg",
            "original_prompt": "a cake",
            "editing_prompt": "a photo of a cake",
            "editing_type_id": "8",
            "blended_word": "",
            "mask": [0, 512 * 512],
        },
    }
    (folder / "mapping_file.json").write_text(json.dumps(mapping))
    return folder


def test_pie_bench_is_read_with_its_masks_and_words(tmp_path):
    first, second = items.read_folder(pie_folder(tmp_path))
    assert (first.caption, first.target, first.prompt) == ("a round cake", "a square cake", "a square cake")
    assert first.knobs == {"blend_words": "round square", "word_weights": "square=2"} and second.knobs == {}
    assert (first.group, second.group) == ("0", "8")
    mask = Pictures(first, "crop").get("mask", 512)[0, 0]
    assert mask[10, 20:120].all() and mask[11, 119] == 1 and mask[10, 120] == 0 and mask[12, 20] == 0
    assert mask[0].all() and mask[-1].all() and mask[:, 0].all() and mask[:, -1].all(), "the border is set"
    assert int(mask.sum()) == 4 * 511 + 200
    assert Pictures(second, "crop").get("mask", 512).all()
    assert Pictures(first, "crop").get("image", 64).shape == (1, 3, 64, 64)


def test_a_run_of_a_pie_mask_goes_on_in_the_next_row():
    mask = items.pie_mask((6, 4), side=8)
    wanted = np.zeros(64)
    wanted[6:10] = 1
    inner = wanted.reshape(8, 8)[1:-1, 1:-1]
    assert (mask[1:-1, 1:-1] == inner).all() and mask[0].all()


def test_cocoee_is_read_by_its_ids(tmp_path):
    for number in (7, 12):
        write_picture(tmp_path / "GT_3500" / f"{number:012}_GT.png", number)
        write_picture(tmp_path / "Ref_3500" / f"{number:012}_ref.png", number + 1)
        write_picture(tmp_path / "Mask_bbox_3500" / f"{number:012}_mask.png", number + 2)
    first, second = items.read_folder(tmp_path)
    assert (first.name, second.name) == ("000000000007", "000000000012")
    assert first.exemplar.name == "000000000007_ref.png" and first.mask.is_file() and first.prompt == ""
    assert first.knobs == {"steps": 50, "sampler": "plms", "guidance_scale": 5, "seed": 42} and first.squash
    (tmp_path / "other" / "GT_3500").mkdir(parents=True)
    with pytest.raises(ValueError, match="no files such as"):
        items.read_folder(tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "image, text\nbird.png, a bird, spreading its wings\ncat.png, a cat\n"),
        ("list.tsv", "bird.png\ta bird, spreading its wings\ncat.png\ta cat\n"),
        (
            "list.json",
            '[{"img_name": "bird.png", "target_text": "a bird, spreading its wings"}, ["cat.png", "a cat"]]',
        ),
        (
            "list.jsonl",
            '["bird.png", "a bird, spreading its wings"]\n{"image": "cat.png", "prompt": "a cat"}\n',
        ),
        ("list.json", '{"bird.png": "a bird, spreading its wings", "cat.png": "a cat"}'),
    ],
)
def test_tedbench_is_a_list_beside_images(tmp_path, name, text):
    write_picture(tmp_path / "originals" / "bird.png", 0)
    write_picture(tmp_path / "cat.png", 1)
    (tmp_path / name).write_text(text)
    (tmp_path / "README.txt").write_text("about")
    first, second = items.read_folder(tmp_path)
    assert (first.prompt, second.prompt) == ("a bird, spreading its wings", "a cat")
    assert first.image == tmp_path / "originals" / "bird.png" and second.image == tmp_path / "cat.png"
    assert first.name == "001-bird"


def test_a_list_that_is_no_list_of_pairs_is_told(tmp_path):
    (tmp_path / "list.json").write_text('[["bird.png"]]')
    with pytest.raises(ValueError, match="no pair of an image and a target text"):
        items.read_folder(tmp_path)


def test_an_items_own_settings_yield_to_what_was_typed():
    settings = {"blend_words": "", "word_weights": "", "steps": 50}
    item = Item("a", None, knobs={"blend_words": "cat dog", "word_weights": "dog=2", "eta": 1})
    plain = Contestant("p", "prompt_to_prompt", settings)
    assert plain.settings_for(item) == {"blend_words": "cat dog", "word_weights": "dog=2", "steps": 50}
    typed = Contestant("p", "prompt_to_prompt", settings, frozenset({"word_weights"}))
    assert typed.settings_for(item)["word_weights"] == ""
    swept = Contestant("p", "prompt_to_prompt", settings, axes={"blend_words": ("", "cat")})
    assert swept.settings_for(item)["blend_words"] == ""


def test_a_method_with_a_source_prompt_gets_captions_and_one_without_gets_the_prompt():
    item = Item("a", None, prompt="glasses", caption="a man", target="a man with glasses")
    assert Contestant("s", "sdedit", {}).texts_for(item) == {"prompt": "glasses"}
    texts = Contestant("p", "prompt_to_prompt", {}).texts_for(item)
    assert texts == {"source_prompt": "a man", "prompt": "a man with glasses"}
    texts = Contestant("d", "styleclip_directions", {}).texts_for(item)
    assert texts == {"neutral": "a man", "prompt": "a man with glasses"}
    assert Contestant("m", "styleclip_mapper", {}).texts_for(item) == {"prompt": "glasses"}


def test_toon_items_are_the_same_every_time_and_know_their_answers():
    first, again = (toon.items(8) for _ in range(2))
    assert [item.name for item in first] == [item.name for item in again]
    assert len({item.group for item in first}) == 8
    for item in first:
        assert item.caption != item.target and item.prompt
        assert (item.exemplar is None) == (item.group in ("background", "pose"))
    number = next(i for i, item in enumerate(first) if item.group == "glasses")
    glasses, same = (Pictures(found[number], "crop") for found in (first, again))
    source, answer, changed, box = (glasses.get(name, 32) for name in ("image", "answer", "changed", "mask"))
    assert torch.equal(answer, same.get("answer", 32)) and not torch.equal(source, answer)
    assert (source - answer).abs().amax(dim=1)[changed[0] == 0].max() < 9 / 127.5, "the rest is the same"
    rows, columns = box[0, 0].nonzero(as_tuple=True)
    inside = box[..., rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert inside.all() and (box >= changed).all() and box.mean() < 0.5, "a part's mask is the box around it"
    exemplar = glasses.get("exemplar", 32)
    assert exemplar.shape == (1, 3, 32, 32) and torch.equal(exemplar, same.get("exemplar", 32))
    edit = held_out_edits(8)[number]
    other = dataclasses.replace(scene_of_seed(toon.OTHER_SEEDS + number), glasses=edit.wanted.glasses)
    looks = look_of(edit.scene), look_of(other)
    trained_on = PartEdit(edit.scene, other, "glasses", (), parts(other, 32)["glasses"][0], *looks).exemplar(
        32, 32
    )
    assert torch.equal(exemplar, trained_on), "squashed, as the models learned it"


def test_toon_items_are_scored_by_the_classifier(toon_folder):
    found = [item for item in toon.items(8, toon_folder) if item.group in ("background", "glasses")]
    right = [item.score(item.answer(64)) for item in found]
    wrong = [item.score(item.image(64)) for item in found]
    assert sum(one["asked"] for one in right) > sum(one["asked"] for one in wrong)
    assert all(0 <= one["unasked"] <= 1 for one in right)


@pytest.fixture
def toon_folder() -> Path:
    from textedit_core.models import zoo

    if not (zoo.BUNDLES / "toon" / "classifier").is_dir():
        pytest.skip("the toon bundle is not there")
    return zoo.BUNDLES / "toon"


def test_the_picture_file_of_an_item_is_named_when_it_is_broken(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="Image of cat: this is not an image"):
        Pictures(Item("cat", tmp_path / "a.png"), "crop").get("image", 8)
    Image.new("L", (8, 8), 255).save(tmp_path / "m.png")
    assert Pictures(Item("cat", None, mask=tmp_path / "m.png"), "crop").get("mask", 8).all()
