"""The sweep panel through its API: streaming, resuming, stop, files, best seeds, mistakes."""

import json
import threading
import zipfile

import pytest
from gradio_client import handle_file
from PIL import Image

from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import ask, wait_for
from textedit_core.methods import imagic
from textedit_core.record import read_axes


def sweep(client, path: str, **axes):
    axes = {"x": "eta", "x_values": "0, 0.5, 1", "y": "seed", "y_values": "0, 1"} | axes
    return client.submit(**ask(path), **axes, api_name="/imagic_sweep")


def unpacked(path: str) -> tuple[dict, list[str]]:
    with zipfile.ZipFile(path) as pack:
        return json.loads(pack.read("sweep.json")), pack.namelist()


def file_of(update) -> str:
    """The path in a download button's update."""
    value = update["value"] if isinstance(update, dict) else update
    return value["path"] if isinstance(value, dict) else value


def test_cells_stream_in_with_both_values_and_scores_on_each(client, picture, counted):
    job = sweep(client, picture())
    status, grid, chart, _, _ = job.result()
    assert "6 cells" in status
    assert grid.count("data-cell=") == 6 and "eta 0.5 · seed 1" in grid and "CLIP" in grid
    assert "suggested" in chart and "similarity to the source" in chart
    arrived = [shown[1].count("data-cell=") for shown in job.outputs() if isinstance(shown[1], str)]
    assert arrived[0] == 0 and arrived == sorted(arrived) and any(0 < n <= 6 for n in arrived)
    assert counted["fit"] == 6, "one fit serves every cell"
    assert counted["edit"] == 3, "cells that differ in eta and seed are one batch"


def test_a_text_can_be_an_axis_and_its_cell_carries_the_whole_of_it(client, picture):
    first = ask(picture())["prompt"].split()[-1]
    status, grid, _, _, archive = sweep(
        client, picture(), x="prompt", x_values=f"{first}, cat", y=""
    ).result()
    assert "2 cells" in status and "prompt cat" in grid
    listing, _ = unpacked(file_of(archive))
    told = [cell["settings"]["prompt"] for cell in listing["cells"]]
    whole = ask(picture())["prompt"]
    assert told == [whole, whole.removesuffix(first) + "cat"] and whole != first
    assert listing["axes"] == {"prompt": [first, "cat"]}


def test_prompts_stand_on_lines_of_their_own_and_the_prompt_may_be_empty(client, picture):
    prompts = "a man, with a hat\na cat"
    *_, archive = client.predict(
        **ask(picture()) | {"prompt": ""}, x="prompt", x_values=prompts, y="", api_name="/imagic_sweep"
    )
    listing, _ = unpacked(file_of(archive))
    assert listing["axes"] == {"prompt": prompts.splitlines()}


def test_a_third_axis_makes_a_grid_for_each_of_its_values(client, picture, tmp_path):
    axes = {"z": "guidance_scale", "z_values": "1, 3"}
    status, drawn, _, sheet, archive = sweep(client, picture(), **axes, x_values="0, 1").result()
    assert "8 cells" in status and drawn.count('class="cells"') == 2
    assert "Guidance λ 1</h4>" in drawn and "Guidance λ 3</h4>" in drawn
    assert drawn.count("eta 1 · seed 1 · guidance λ 3") >= 1
    assert len(unpacked(file_of(archive))[0]["cells"]) == 8
    told = client.predict(handle_file(file_of(sheet)), api_name="/recall")
    assert "Settings restored" in told[0]
    assert read_axes(file_of(sheet)) == {"eta": "0, 1", "seed": "0, 1", "guidance_scale": "1, 3"}
    assert {"0, 1", "1, 3"} <= {one for one in told if isinstance(one, str)}


def test_several_pictures_are_swept_each_with_each_prompt(client, picture, counted):
    files = [handle_file(picture(seed)) for seed in (1, 2)]
    told = ask(picture()) | {"image": None, "prompt": "a man"}
    axes = {"x": "prompt", "x_values": "man, cat", "y": "", "pictures": files}
    status, drawn, _, _, archive = client.predict(**told, **axes, api_name="/imagic_sweep")
    listing, names = unpacked(file_of(archive))
    assert "4 cells" in status and drawn.count("data-source=") >= 4
    assert [cell["coords"]["prompt"] for cell in listing["cells"]] == ["man", "cat"] * 2
    pictures = [cell["coords"]["image"] for cell in listing["cells"]]
    assert pictures[0] == pictures[1] != pictures[2] == pictures[3]
    assert set(listing["images"]) == set(listing["axes"]["image"]) == set(pictures)
    assert len({listing["images"][name] for name in pictures}) == 2
    assert sum(name.startswith("imagic, a man, image=picture") for name in names) == 2, "prompt and picture"
    assert {cell["file"] for cell in listing["cells"]} < set(names)


def test_a_picture_that_cannot_be_used_is_named(client, picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    files = [handle_file(picture()), handle_file(str(tmp_path / "broken.png"))]
    with pytest.raises(Exception, match=r"pictures: broken\.png: Source image: "):
        client.predict(
            **ask(picture()), pictures=files, x="eta", x_values="1", y="", api_name="/imagic_sweep"
        )


def test_a_wider_sweep_computes_only_its_new_cells(client, picture, counted):
    source = picture()
    sweep(client, source).result()
    before = dict(counted)
    grid = sweep(client, source, x_values="0, 0.5, 1, 1.2", y_values="0").result()[1]
    assert grid.count("data-cell=") == 4 and grid.count("from the cache") >= 3
    assert counted["fit"] == before["fit"] and counted["edit"] == before["edit"] + 3


def test_stop_keeps_the_finished_cells_and_the_next_run_adds_the_others(client, picture, held):
    source, there = picture(), held(imagic, "edit", 3)  # the first cell has one step
    axes = {"x": "steps", "x_values": "1, 40, 41, 42", "y": "", "y_values": ""}
    job = sweep(client, source, **axes)
    wait_for(there.is_set)
    client.predict(api_name="/imagic_stop")
    status, grid, _, sheet, archive = job.result()
    kept = grid.count("data-cell=")
    assert "stopped; what came is kept" in status and 1 <= kept < 4
    listing, _ = unpacked(file_of(archive))
    assert listing["complete"] is False and len(listing["cells"]) == kept
    with Image.open(file_of(sheet)) as image:
        assert image.width > 100
    grid = sweep(client, source, **axes).result()[1]
    assert grid.count("data-cell=") == 4 and grid.count("from the cache") >= kept


def test_the_zip_holds_every_cell_with_its_settings(client, picture, tmp_path):
    *_, archive = sweep(client, picture()).result()
    listing, names = unpacked(file_of(archive))
    assert {"sweep.json", "sheet.png"} < set(names) and len(names) == 8
    assert listing["axes"] == {"eta": [0.0, 0.5, 1.0], "seed": [0, 1]} and listing["complete"] is True
    with zipfile.ZipFile(file_of(archive)) as pack:
        for cell in listing["cells"]:
            record = settings_in(pack.extract(cell["file"], tmp_path))
            assert record["knobs"] == cell["settings"]
            assert {name: record["knobs"][name] for name in cell["coords"]} == cell["coords"]
            assert -1 <= cell["similarity"] <= 1 and 0 <= cell["clip"] <= 100


def test_a_knob_of_the_fit_can_be_an_axis(client, picture, counted):
    axes = {"x": "finetune_steps", "x_values": "0, 2", "y": "tune", "y_values": "full, attention"}
    grid = sweep(client, picture(), **axes).result()[1]
    assert grid.count("data-cell=") == 4
    assert counted["fit"] == 2 * (3 + 0) + 2 * (3 + 2)


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ({"x_values": "0, red"}, "x_values: Eta: 'red' is not a number from -0.5 to 2"),
        ({"x_values": ""}, "x_values: Eta: there are no values"),
        ({"y": "eta"}, "y: Choose another knob than X has"),
        ({"x_values": "0-1 [7]"}, "14 cells are more than the 12 this host allows"),
        ({"y_values": "0.5"}, "y_values: Seed: "),
    ],
)
def test_axes_that_cannot_be_swept_are_answered_beside_the_field(client, picture, axes, says):
    with pytest.raises(Exception, match=says):
        sweep(client, picture(), **axes).result()


def test_the_best_of_several_seeds_come_ranked(client, picture):
    answer = client.predict(**ask(picture(), seed=5), seeds=4, api_name="/imagic_best_of_seeds")
    status, grid, _, sheet, archive = answer
    listing, names = unpacked(archive)
    ranked = [cell["coords"]["seed"] for cell in listing["cells"]]
    assert sorted(ranked) == [5, 6, 7, 8] and f"best seed {ranked[0]}" in grid
    assert {cell["file"] for cell in listing["cells"]} < set(names) and settings_in(sheet)["knobs"]["seed"]
    assert "4 seeds, best first" in status
    assert all(f"seed {seed}" in grid for seed in (5, 6, 7, 8)) and grid.index("best seed") < grid.index(
        "2. seed"
    )


def test_the_outlook_counts_cells_and_what_the_cache_has(tiny_folder, picture):
    import gradio as gr

    from demos.context import Context
    from demos.imagic import runs
    from demos.imagic.tab import build
    from demos.shared import sweeping
    from demos.shared.tab import Run
    from textedit_core.models import zoo

    ctx = Context(zoo, str(tiny_folder), "cpu")
    values = {"models": ctx.default, "image": picture(), "sizing": "crop", "prompt": "a red hat"}
    values |= ctx.presets(ctx.default, "imagic")
    ask_ = runs.VIEW.read(ctx, values)
    axes = sweeping.axes_of(runs.VIEW, ("eta", "0-1 [3]"), ("seed", "0, 1"))
    assert sweeping.outlook(ctx, runs.VIEW, {"": ask_}, axes) == sweeping.Outlook(6, 0, 1, None)
    with gr.Blocks():
        tab = build(ctx, gr.Dropdown([ctx.default], value=ctx.default))
    run = Run.of(ask_.at(eta=0.5), threading.Event(), {"sdedit": False})
    list(tab.finish(run))
    after = sweeping.outlook(ctx, runs.VIEW, {"": ask_}, axes)
    assert (after.cells, after.known, after.fits) == (6, 1, 0) and after.seconds > 0
    assert after.words.startswith("6 cells, 1 already made, about ")


def test_every_tab_has_one_edit_and_one_sweep_and_no_button_is_numbered(client):
    values = [one["props"].get("value") for one in client.config["components"] if one["type"] == "button"]
    assert values.count("Edit") == values.count("Sweep") == 10
    assert not [one for one in values if one and one[0].isdigit()]
