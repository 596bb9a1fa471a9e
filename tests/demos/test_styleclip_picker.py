"""The StyleCLIP tab with a picture of one's own: its projection, prepared, by an edit, and kept in view."""

from gradio_client import handle_file

from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named
from tests.demos.test_styleclip_tab import DIRECTIONS, LOW, TEXTS, directed, last_shown


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
    assert picker.look(**values) == shown, "what Prepare shows, it shows again"
    for other in ({"image": picture(1)}, {"projection_steps": 2}, {"image": None}):
        seen = picker.look(**values | other)
        assert seen[picker.view] == "" and TO_PROJECT in seen[picker.status]
    assert picker.status not in picker.look(**values | {"origin": "sample"})
    looks = [one for one in page.fns.values() if getattr(one.fn, "__name__", "") == "look"]
    heard = [target for one in looks for target in page.fns[one.trigger_after].targets]
    followed = {component for component, event in heard if event == "change"}
    assert {w._id for w in (picker.image, picker.sizing, *picker.projection.values())} <= followed
