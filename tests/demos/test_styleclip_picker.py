"""The StyleCLIP tab with a picture of one's own: its projection, prepared, by an edit, and kept in view."""

import pytest
from gradio_client import handle_file
from PIL import Image

from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named
from tests.demos.test_styleclip_tab import DIRECTIONS, LOW, TEXT, TEXTS, directed, last_shown
from tests.demos.test_sweep_panel import file_of
from textedit_core.images import to_pil
from textedit_core.record import image_sha

TECHNIQUES = {
    DIRECTIONS: {**TEXTS, **LOW, "alpha": 3},
    "styleclip_optimizer": TEXT,
    "tedigan": TEXT,
    "styleclip_mapper": {"mapper": "smiling"},
    "latent_directions": {"technique": "ganspace", "samples": 1000},
    "styleflow": {"attributes": "smiling"},
}


def test_a_projected_picture_is_edited_and_shown_beside_its_projection(client, picture):
    own = {"origin": "picture", "image": handle_file(picture())}
    status, view = client.predict(**own, api_name="/styleclip_project")
    assert "Projected:" in status and "identity" in view and "your picture" in view
    out = directed(client, **own, alpha=0)
    record = settings_in(out["Edit"])
    assert (
        record["image"] and "latent_seed" not in record["knobs"] and record["knobs"]["projection_steps"] == 3
    )
    assert "projection of your picture" in out["Source, in figures"]


def test_an_edit_projects_first_where_that_has_not_been_done(client, picture):
    own = {"origin": "picture", "image": handle_file(picture(5))}
    shown = client.submit(**TEXTS, **LOW, **own, api_name=f"/{DIRECTIONS}_edit")
    shown.result()
    assert any("Projecting, step 1 of 3, loss" in str(update) for update in shown.outputs())
    labels = list(named(client, f"/{DIRECTIONS}_edit", shown.outputs()[0]))
    said, view = (last_shown(shown, labels.index(one)) for one in ("Projection status", "The latent"))
    assert "Projected:" in said and "<polyline" in said
    assert "your picture" in view and "projection" in view
    swept = {"x": "alpha", "x_values": "0, 1", "y": "", "y_values": ""}
    own |= {"image": handle_file(picture(6))}
    status, *_ = client.predict(**TEXTS, **LOW, **own, **swept, api_name=f"/{DIRECTIONS}_sweep")
    assert "2 cells" in status


def test_the_view_follows_the_picture_its_sizing_and_the_settings_of_the_projection(tiny_folder, picture):
    import gradio as gr

    from demos.context import Context
    from demos.styleclip import latents as runs
    from demos.styleclip.picker import TO_PROJECT, LatentPicker
    from textedit_core import cache
    from textedit_core.models import zoo
    from textedit_core.steps import last

    ctx = Context(zoo, str(tiny_folder), "cpu")
    with gr.Blocks() as page:
        picker = LatentPicker(ctx, gr.Dropdown([ctx.default], value=ctx.default))
    values = {"origin": "picture", "latent_seed": 0, "latent_truncation": 0.7, "image": picture()}
    values |= {"sizing": "crop", "models": ctx.default} | runs.PROJECTION.values(
        ctx.presets(ctx.default, "projection")
    )
    found = last(runs.to_project(ctx, values).call(ctx.models(ctx.default)).cached(cache.default))
    shown = picker.beside(found)
    assert picker.use_presets(ctx.default) == [values[name] for name in picker.projection]
    assert "seed 0" in picker.look(**values | {"origin": "sample"})[picker.view]
    assert picker.look(**values) == shown, "what Prepare shows, it shows again"
    for other in ({"image": picture(1)}, {"projection_steps": 2}, {"image": None}):
        seen = picker.look(**values | other)
        assert seen[picker.view] == "" and TO_PROJECT in seen[picker.status]
    assert picker.status not in picker.look(**values | {"origin": "sample"})
    looks = [one for one in page.fns.values() if getattr(one.fn, "__name__", "") == "look"]
    heard = [target for one in looks for target in page.fns[one.trigger_after].targets]
    followed = {component for component, event in heard if event == "change"}
    assert {w._id for w in (picker.image, picker.sizing, *picker.projection.values())} <= followed


FACE = "13,14 26,14 15,27 25,27"


def test_a_face_is_cut_out_and_its_edit_is_put_back_into_the_photograph(client, picture):
    own = {"origin": "picture", "image": handle_file(picture(3, (60, 48)))}
    out = directed(client, **own, face=FACE, alpha=3)
    assert settings_in(out["Edit"])["knobs"]["face_points"] == FACE
    with Image.open(file_of(out["Photograph"])) as whole, Image.open(picture(3, (60, 48))) as before:
        assert whole.size == before.size == (60, 48)
        assert whole.getpixel((59, 47)) == before.getpixel((59, 47)) and whole.tobytes() != before.tobytes()
    assert settings_in(file_of(out["Download Photograph"]))["knobs"]["face_points"] == FACE
    plain = directed(client, **own, alpha=3)
    assert is_hidden(plain["Photograph"]) and "face_points" not in settings_in(plain["Edit"])["knobs"]
    with pytest.raises(Exception, match="are not four points"):
        directed(client, **own, face="1,2 3,4")


def is_hidden(update) -> bool:
    return update is None or update.get("visible") is False


def test_clicks_and_the_detector_name_the_points(picture, monkeypatch):
    from types import SimpleNamespace

    from demos.styleclip import faces
    from textedit_core.models.style import face_detector

    points = ""
    for place, word in (((13, 14), "right eye"), ((26, 14), "left corner"), ((15, 27), "right corner")):
        points, said = faces.click(points, SimpleNamespace(index=place))
        assert word in said
    points, said = faces.click(points, SimpleNamespace(index=(25.04, 27)))
    assert points == FACE and "as it will be edited" in said
    assert faces.click(points, SimpleNamespace(index=(1, 2)))[0] == "1,2", "the fifth begins anew"
    crop, said = faces.say(picture(), points)
    assert "data:image/png" in crop and "52 pixels of your picture" in crop
    assert faces.say(picture(), "1,1 1,1 1,1 1,1")[0] == "" and faces.say(None, points)[0] == ""
    assert faces.problem(picture(), "900,900 950,900 900,950 950,950")["face"].startswith(
        "The face lies outside"
    )
    monkeypatch.setattr(face_detector, "PACKAGE", "no_such_package")
    assert not faces.can_find() and "no face detector" in faces.find(picture())[1]
    monkeypatch.setattr(face_detector, "find_face", lambda photo: ((13, 14), (26, 14), (15, 27), (25, 27)))
    assert faces.find(picture())[0] == FACE and "Add a picture" in faces.find(None)[1]


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_every_technique_starts_from_a_latent_of_ones_own_and_hands_out_the_edited_one(
    technique, client, tiny, tmp_path
):
    import torch

    from textedit_core.models.style import latents
    from textedit_core.models.style.latent_files import read_latent, write_latent

    start = latents.from_seed(tiny.generator, seed=5)
    write_latent(start, tmp_path / "start.npy")
    own = {"origin": "file", "latent_file": [handle_file(tmp_path / "start.npy")], **TECHNIQUES[technique]}
    out = client.predict(image=None, **own, api_name=f"/{technique}_edit")
    out = named(client, f"/{technique}_edit", out)
    record = settings_in(out["Edit"])
    assert record["knobs"]["latent_sha"] == start.fingerprint and record["image"] == ""
    assert record["knobs"]["latent_file"] == "start.npy" and "your latent" in out["Source, in figures"]
    after = read_latent(file_of(out["Download latent"]), tiny.generator)
    shown = to_pil(after.image(tiny.generator))[0]
    assert image_sha(shown) == image_sha(Image.open(out["Edit"])), "the picture is that of the latent"
    assert not torch.equal(
        torch.cat(after.to_s_codes(tiny.generator), 1), torch.cat(start.to_s_codes(tiny.generator), 1)
    )


def test_a_file_that_is_no_latent_of_this_generator_is_told_without_its_folder(client, tiny, tmp_path):
    import numpy as np

    (tmp_path / "no.pt").write_bytes(b"nothing")
    np.save(tmp_path / "two.npy", np.zeros((2, tiny.generator.style_dim), dtype=np.float32))
    for files, more, says in (
        ([], {}, "Latent: add one file"),
        (["no.pt"], {}, "The latent in no.pt could not be read"),
        (["two.npy"], {"latent_index": 2}, "The file two.npy holds 2 latents: 2 is not one of 0 to 1"),
    ):
        own = {"origin": "file", "latent_file": [handle_file(tmp_path / one) for one in files]}
        with pytest.raises(Exception, match=says):
            directed(client, **own, **more)
    own = {"origin": "file", "latent_file": [handle_file(tmp_path / "two.npy")], "latent_index": 1}
    assert "your latent" in directed(client, **own)["Source, in figures"]
