"""The Paint by Example tab through its API: edits, rows of lambda, masks, exemplars, recall, mistakes."""

import functools
import json

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image, ImageDraw

from demos.shared import painting
from demos.shared.mask import canvas, masked_canvas
from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named, pixels, wait_for
from tests.demos.test_sweep_panel import file_of, unpacked
from tests.demos.test_uploads import write
from textedit_core.methods import paint_by_example

SIZE = (52, 40)
BOX = (18, 12, 34, 26)


def layers(*paths: str) -> dict:
    return {"background": None, "layers": [handle_file(path) for path in paths], "composite": None}


@pytest.fixture
def drawn(tmp_path):
    """drawn(box, size) -> the path of a mask, white in the box."""

    def write(box=BOX, size=SIZE, name="mask") -> str:
        mask = Image.new("L", size)
        if box:
            left, top, right, bottom = box
            ImageDraw.Draw(mask).rectangle((left, top, right - 1, bottom - 1), fill=255)
        mask.save(path := tmp_path / f"{name}.png")
        return str(path)

    return write


@pytest.fixture
def asked(picture, drawn):
    """asked(**more) -> what an edit is asked with."""

    def values(**more) -> dict:
        source, exemplar = picture(1, SIZE), picture(2, (30, 24))
        given = {"image": handle_file(source), "exemplar": handle_file(exemplar), "mask": layers(drawn())}
        return given | {"steps": 3} | more

    return values


@pytest.fixture
def painted_steps(monkeypatch):
    """Counts the steps that edits really compute."""
    from textedit_core.methods import paint_by_example

    real, steps = paint_by_example.edit, []

    @functools.wraps(real)
    def run(*args, **kwargs):
        for step in real(*args, **kwargs):
            steps.append(len(step.value) if step.value is not None else 0)
            yield step

    monkeypatch.setattr(paint_by_example, "edit", run)
    return steps


def edit(client, values: dict) -> dict:
    found = client.predict(**values, api_name="/paint_by_example_edit")
    return named(client, "/paint_by_example_edit", found)


def test_outside_of_the_mask_the_edit_is_the_source_to_the_byte(client, asked):
    out = edit(client, asked())
    source, edited = pixels(out["Source"]), pixels(out["Edit"])
    assert edited.shape == source.shape == (40, 52, 3), "a picture keeps its size"
    inside = np.zeros(SIZE[::-1], dtype=bool)
    inside[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    assert (edited == source)[~inside].all() and (edited != source)[inside].any()
    masked = pixels(out["Masked"])
    assert (abs(masked - 127.5)[inside] <= 1).all() and (masked == source)[~inside].all()
    assert pixels(out["Exemplar"]).shape == (32, 32, 3)


def test_the_record_holds_every_setting_but_no_picture(client, asked):
    out = edit(client, asked(guidance_scale=2.5, seed=7, mask_smooth=1.0, exemplar_left=10))
    record = settings_in(out["Edit"])
    assert record == out["Settings"] and record["method"] == "paint_by_example"
    assert settings_in(out["Download PNG"]) == record, "a path over the API, as every file"
    chosen = {"guidance_scale": 2.5, "seed": 7, "mask_smooth": 1.0, "mask_invert": False, "exemplar_left": 10}
    assert chosen.items() <= record["knobs"].items() and record["prompts"] == {}
    assert len(record["knobs"]["mask_sha256"]) == 16 and "region and exemplar" in out["Scores"]


def test_a_repeated_edit_is_served_from_the_cache_and_another_exemplar_is_not(
    client, asked, picture, painted_steps
):
    first = edit(client, asked())["Edit"]
    again = edit(client, asked())["Edit"]
    assert len(painted_steps) == 3 and (pixels(first) == pixels(again)).all()
    other = edit(client, asked(exemplar=handle_file(picture(3))))["Edit"]
    assert len(painted_steps) == 6 and (pixels(first) != pixels(other)).any()


def test_a_row_of_lambdas_is_one_batch_and_equals_the_single_edits(client, asked, painted_steps):
    axes = {"x": "guidance_scale", "x_values": "1, 2, 5", "y": "seed", "y_values": "0, 1"}
    status, grid, chart, sheet, archive = client.predict(
        **asked(), **axes, api_name="/paint_by_example_sweep"
    )
    assert "6 cells" in status and grid.count("data-cell=") == 6 and "CLIP score of region" in chart
    assert painted_steps == [0, 0, 6], "three steps for all six"
    listing, names = unpacked(file_of(archive))
    assert len(names) == 8 and {"exemplar", "similarity"} <= listing["cells"][0].keys()
    assert Image.open(file_of(sheet)).width > 100
    edit(client, asked(guidance_scale=5.0, seed=1))
    assert len(painted_steps) == 3, "an edit that the row made comes from the cache"


def test_masks_of_any_size_and_kind_agree(client, asked, drawn):
    plain = edit(client, asked())["Settings"]["knobs"]["mask_sha256"]
    large = drawn([8 * side for side in BOX], [8 * side for side in SIZE], "large")
    assert edit(client, asked(mask=layers(large)))["Settings"]["knobs"]["mask_sha256"] == plain
    halves = drawn((18, 12, 26, 26), name="left"), drawn((26, 12, 34, 26), name="right")
    assert edit(client, asked(mask=layers(*halves)))["Settings"]["knobs"]["mask_sha256"] == plain
    inverse = np.array(Image.open(drawn())) < 128
    Image.fromarray(inverse.astype(np.uint8) * 255).save(path := drawn(name="inverse"))
    found = edit(client, asked(mask=layers(path), mask_invert=True))["Settings"]["knobs"]["mask_sha256"]
    assert found == plain


def test_a_program_may_send_a_mask_as_a_plain_file(client, asked, drawn):
    plain = edit(client, asked())["Settings"]["knobs"]["mask_sha256"]
    assert edit(client, asked(mask=handle_file(drawn())))["Settings"]["knobs"]["mask_sha256"] == plain
    with pytest.raises(Exception, match=r"mask: Mask: .* cannot be told from the rest"):
        edit(client, asked(mask=asked()["image"]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image": None}, "image: Add a source image first"),
        ({"exemplar": None}, "exemplar: Add an exemplar"),
        ({"mask": None}, "mask: Mask: it is empty; paint over what is to change"),
        ({"mask": {"background": None, "layers": [], "composite": None}}, "mask: Mask: it is empty"),
        ({"guidance_scale": 99}, r"guidance_scale: Guidance λ: 99 is not a number from 0 to 20"),
        (
            {"exemplar_left": 60, "exemplar_right": 50},
            "exemplar_left: Crop of the exemplar: left must be less",
        ),
        ({"mask_smooth": 40}, "mask_smooth: Round the edge: 40 is not a number from 0 to 10"),
        ({"grow": -50}, "grow: Nothing of the mask is left at -50 %"),
        ({"mask_invert": True, "mask": None}, "mask: Mask: it covers 100 % of the picture"),
    ],
)
def test_mistakes_are_answered_beside_their_field(client, asked, given, says):
    with pytest.raises(Exception, match=says):
        edit(client, asked(**given))


@pytest.mark.parametrize(
    ("box", "size", "says"),
    [
        (None, SIZE, "mask: Mask: it is empty"),
        ((0, 0, 52, 40), SIZE, "mask: Mask: it covers 100 % of the picture, and leaves nothing"),
        (
            BOX,
            (40, 40),
            "mask: Mask: its size 40 x 40 has another shape than the image's 52 x 40",
        ),
    ],
)
def test_masks_that_cannot_be_used_are_answered_beside_the_editor(client, asked, drawn, box, size, says):
    with pytest.raises(Exception, match=says):
        edit(client, asked(mask=layers(drawn(box, size, "bad"))))


@pytest.mark.parametrize("field", ["image", "exemplar", "mask"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "not an image the studio can read"),
        ("truncated", "damaged or cut short"),
        ("bomb", "megapixels"),
        ("large", "21.0 MB; use one of at most 20 MB"),
    ],
)
def test_a_bad_upload_is_a_sentence_in_each_of_the_three_places(client, asked, tmp_path, field, kind, says):
    path = write(tmp_path, kind)
    with pytest.raises(Exception, match=says) as caught:
        edit(client, asked(**{field: layers(path) if field == "mask" else handle_file(path)}))
    name = {"image": "Source image", "exemplar": "Exemplar", "mask": "Mask"}[field]
    assert f"{field}: {name}:" in str(caught.value) and "Traceback" not in str(caught.value)


def test_stop_keeps_the_page_and_the_next_edit_works(client, asked, painted_steps, held):
    there = held(paint_by_example, "edit", 3)
    job = client.submit(**asked(steps=200), api_name="/paint_by_example_edit")
    wait_for(there.is_set)
    client.predict(api_name="/paint_by_example_stop")
    job.result()
    assert any("Stopped. The last result" in str(update) for update in job.outputs())
    assert len(painted_steps) < 200
    assert pixels(edit(client, asked())["Edit"]).shape == (40, 52, 3)


def test_recall_sets_all_but_the_pictures_and_says_so(client, asked):
    made = edit(client, asked(guidance_scale=7.5, mask_smooth=2.0, exemplar_fit="crop", exemplar_top=20))
    found = client.predict(file=handle_file(made["Edit"]), api_name="/recall")
    values = [one["value"] if isinstance(one, dict) and "value" in one else one for one in found]
    assert "does not carry its source image, mask and exemplar: add those again" in values[0]
    assert {7.5, 2.0, "crop", 20.0} <= {value for value in values if not isinstance(value, dict)}


def test_models_without_the_part_are_one_sentence(client, asked, tiny_folder, tmp_path):
    for part in ("diffusion", "clip"):
        (tmp_path / "models" / part).parent.mkdir(exist_ok=True)
        (tmp_path / "models" / part).symlink_to(tiny_folder / part)
    (tmp_path / "models" / "manifest.json").write_text(json.dumps({"license": "none"}))
    with pytest.raises(Exception, match=r"models: The model .* has no paint_by_example part") as caught:
        edit(client, asked(models=str(tmp_path / "models")))
    assert "Traceback" not in str(caught.value)


def test_two_sessions_paint_their_own_masks(visitor, asked, drawn):
    jobs = [
        visitor().submit(**asked(mask=layers(drawn(box, name=f"m{at}"))), api_name="/paint_by_example_edit")
        for at, box in enumerate([BOX, (2, 2, 20, 20)])
    ]
    first, second = (settings_in(job.result()[0])["knobs"]["mask_sha256"] for job in jobs)
    assert first != second


# --- pieces -----------------------------------------------------------------------------------------------


def tools(**more) -> dict:
    settings = {name: knob.default for name, knob in (painting.TOOLS.knobs | painting.CROP.knobs).items()}
    return settings | {name: painting.KNOBS[name].default for name in ("grow", "context", "feather")} | more


def test_the_editor_shows_a_mask_on_its_canvas_and_reads_it_back(picture, drawn, tmp_path):
    value = canvas(picture(1, SIZE), drawn())
    assert value["background"].size == (640, 640) == value["layers"][0].size
    assert value["background"].getbbox() == (0, 74, 640, 566), "a wide picture in the middle"
    value["layers"][0].save(path := tmp_path / "layer.png")
    mask = painting.painted([str(path)], SIZE, SIZE)
    assert value["layers"][0].getpixel((320, 320)) == (59, 110, 245, 128), "as the brush paints, translucent"
    assert mask.getbbox() == BOX and painting.touched(tools(mask=[path.read_bytes()]))
    assert not painting.touched(tools(mask=[])) and painting.touched(tools(mask=[], mask_invert=True))


def test_what_an_uploaded_mask_was_read_as_is_told_beside_it(picture, drawn, tmp_path):
    source, labels = picture(1, SIZE), Image.open(drawn()).point(lambda value: 3 * (value > 0))
    labels.save(path := tmp_path / "labels.png")
    for given, kind in ((drawn(), "black and white"), (str(path), "label mask")):
        value, said = masked_canvas(source, given)
        share = 100 * (BOX[2] - BOX[0]) * (BOX[3] - BOX[1]) / (SIZE[0] * SIZE[1])
        assert f"The uploaded mask was read as: {kind}, {share:.0f} % of the picture." in said
        assert np.asarray(value["layers"][0])[..., 3].any()
    unclear, problem = masked_canvas(source, picture(2, SIZE))
    assert "Mask: " in problem and 'role="alert"' in problem and "read as" not in problem
    assert "value" not in unclear, "the editor keeps what is painted"


def test_a_tiny_mask_is_told_and_the_growth_that_mends_it_is_enough(picture, drawn):
    model = painting.Canvas(400, 8)
    values = tools(image=picture(1, (400, 400)), mask=[drawn((200, 200, 230, 230), (400, 400))])
    seen = painting.preview(values, model)
    assert seen.share == pytest.approx(30 * 30 / 400**2, rel=0.1)
    assert "0.6 % of the part" in seen.advice and seen.grow == 45
    assert painting.preview(values | {"grow": seen.grow}, model).advice == ""
    assert "0." in painting.preview(values | {"grow": seen.grow - 5}, model).advice or (
        "1." in painting.preview(values | {"grow": seen.grow - 5}, model).advice
    )


def test_a_large_picture_is_looked_at_as_its_small_copy(picture, drawn):
    values = tools(image=picture(1, (1600, 1200)), mask=[drawn((800, 600, 1000, 800), (1600, 1200))])
    seen = painting.preview(values, painting.Canvas(512, 8))
    assert seen.picture.size == (480, 360) and seen.advice == "", "39 percent of the 512 pixels around it"
    blue = np.asarray(seen.picture, dtype=int)[210, 270]
    assert blue[2] > 130 and painting.preview(values, None).picture.size == (480, 360)


def test_an_exemplar_is_cut_then_padded_or_cropped(picture):
    values = tools(exemplar=picture(1, (40, 20)))
    padded = np.asarray(painting.exemplar_of(values, 32))
    assert (padded[:8] == 255).all() and (padded[24:] == 255).all() and (padded[8:24] != 255).any()
    cropped = np.asarray(painting.exemplar_of(values | {"exemplar_fit": "crop"}, 32))
    halves = values | {"exemplar_left": 25.0, "exemplar_right": 75.0}
    assert np.abs(cropped.astype(int) - np.asarray(painting.exemplar_of(halves, 32))).mean() < 3
