"""Records: through JSON and PNG and back, and a sentence for everything that is none."""

import io
import json

import pytest
from PIL import Image, PngImagePlugin

from textedit_core import __version__
from textedit_core.record import RENAMED, Record, image_sha, read_png, save_png

RECORD = Record(
    "imagic",
    "toon",
    {"prompt": 'a smiling man, λ "and" ü'},
    {"eta": 0.7, "seed": 2**31 - 1, "tune": "full", "gradient_checkpointing": False},
    "ab" * 32,
    "pad",
)


def png(record: Record | None = None, text: str | None = None) -> bytes:
    file, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if record:
        save_png(Image.new("RGB", (9, 7), "red"), file, record)
        return file.getvalue()
    if text is not None:
        info.add_text("textedit", text)
    Image.new("RGB", (9, 7)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def test_json_round_trip_keeps_values_and_their_types():
    again = Record.from_json(RECORD.to_json())
    assert again == RECORD and again.version == __version__
    assert [type(value) for value in again.knobs.values()] == [float, int, str, bool]


def test_a_png_carries_it_and_keeps_its_pixels(tmp_path):
    path, image = tmp_path / "result.png", Image.effect_noise((20, 10), 50).convert("RGB")
    save_png(image, path, RECORD)
    assert read_png(path) == read_png(path.read_bytes()) == RECORD
    assert image_sha(Image.open(path)) == image_sha(image)


def test_fields_of_a_later_version_are_left_out():
    found = json.loads(RECORD.to_json()) | {"mood": "cheerful"}
    assert Record.from_json(json.dumps(found)) == RECORD


OLD = (
    '{"method": "prompt_to_prompt", "models": "toon",'
    ' "prompts": {"prompt": "a sad man", "target": "a happy man"},'
    ' "knobs": {"steps": 25, "inversion": "direct", "keep_to_source": 0.3}, "image": "%s", "resize": "crop",'
    ' "version": "0.1.0", "app": "TextEdit Studio"}' % ("ab" * 32)
)


def test_a_record_of_version_0_1_has_its_prompts_under_the_names_of_today():
    found = Record.from_json(OLD)
    assert found.prompts == {"source_prompt": "a sad man", "prompt": "a happy man"}
    assert found.knobs == {"steps": 25, "inversion": "direct", "keep_to_source": 0.3}
    assert read_png(png(text=OLD)) == found
    again = Record.from_json(found.to_json())
    assert again == found and again.version == __version__, "it is renamed once"


def test_prompts_of_other_methods_and_of_this_version_keep_their_names():
    for method, version in (("sdedit", "0.1.0"), ("prompt_to_prompt", __version__), ("sdedit", "odd.1")):
        found = json.loads(OLD) | {"method": method, "version": version}
        assert Record.from_json(json.dumps(found)).prompts == found["prompts"]
    later = json.loads(OLD) | {"version": "0.10.0"}
    assert Record.from_json(json.dumps(later)).prompts == later["prompts"], "10 is more than 2"


def test_one_picture_has_one_sha_and_others_have_others(tmp_path):
    image = Image.new("RGB", (6, 4), "red")
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.bmp")
    shas = {image_sha(Image.open(tmp_path / name)) for name in ("a.png", "a.bmp")}
    assert shas == {image_sha(image)}
    assert image_sha(Image.new("RGB", (4, 6), "red")) not in shas


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (png(), "no settings"),
        (b"not a png at all", "not a PNG"),
        (png(RECORD)[:20], "not a PNG"),
        (png(text="{broken"), "damaged"),
        (png(text="[" * 100_000), "damaged"),
        (png(text="[1, 2]"), "not a record"),
        (png(text='{"method": "imagic"}'), "'models'"),
        (png(text='{"method": 3, "models": "toon"}'), "'method'"),
        (png(text='{"method": "imagic", "models": "toon", "knobs": {"eta": NaN}}'), "'knobs'"),
        (png(text='{"method": "imagic", "models": "toon", "knobs": {"eta": [1]}}'), "'knobs'"),
        (png(text='{"method": "imagic", "models": "toon", "prompts": {"prompt": 3}}'), "'prompts'"),
    ],
    ids=lambda part: part if isinstance(part, str) else "file",
)
def test_what_is_no_record_is_refused_in_one_sentence(data, says):
    with pytest.raises(ValueError, match=says) as refusal:
        read_png(data)
    assert str(refusal.value).startswith("Recall: ") and str(refusal.value).endswith(".")


def test_other_files_and_missing_ones_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.jpg")
    for name in ("picture.jpg", "missing.png"):
        with pytest.raises(ValueError, match="not a PNG"):
            read_png(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [0.5]])
def test_only_settings_can_be_written(value, tmp_path):
    with pytest.raises(ValueError, match="'knobs'"):
        save_png(Image.new("RGB", (4, 4)), tmp_path / "a.png", Record("imagic", "toon", knobs={"eta": value}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", sorted(RENAMED))
def test_the_prompts_of_an_older_record_get_the_names_they_have_now(method):
    names = RENAMED[method]
    older = json.loads(Record(method, "toon", {"neutral": "a man", **dict.fromkeys(names, "x")}).to_json())
    found = Record.from_json(json.dumps(older | {"version": "0.1.0"}))
    assert found.prompts == {"neutral": "a man"} | dict.fromkeys(names.values(), "x")
    assert Record.from_json(found.to_json()).prompts == found.prompts
    later = json.dumps(older | {"version": "0.2.0"})
    assert Record.from_json(later).prompts == older["prompts"]


def test_a_name_that_one_method_gave_up_stays_in_the_others():
    older = json.dumps(
        {"method": "invented", "models": "toon", "prompts": {"target": "x"}, "version": "0.1.0"}
    )
    assert Record.from_json(older).prompts == {"target": "x"}


def test_a_structure_from_when_there_was_one_way_is_kept_in_that_way():
    old = Record("paint_by_example", "toon", {}, {"structure": 0.5})
    assert Record.from_json(old.to_json()).knobs == {"structure": 0.5, "structure_by": "attention"}
