"""The Compare tab through its API: rows, the cache shared with the tabs, ranking, A and B, stop, mistakes."""

import csv
import json
import math
import zipfile

import pytest
from gradio_client import handle_file
from PIL import Image, ImageDraw

from demos.compare import comparison, contenders, export, runs
from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named, pixels, wait_for
from textedit_core import cache
from textedit_core.methods import prompt_to_prompt
from textedit_core.record import Record, save_png
from textedit_core.request import run
from textedit_core.steps import last

CAPTION, TARGET = "a sad woman with a red hat", "a smiling woman with a red hat"
QUICK = ["sdedit", "p2p_direct"]


@pytest.fixture
def asked(picture):
    """asked(**more) -> what a comparison is asked with."""

    def values(**more) -> dict:
        given = {
            "image": handle_file(picture()),
            "source_prompt": CAPTION,
            "prompt": TARGET,
            "methods": QUICK,
        }
        return given | {"exemplar": None, "mask": None, "seed": 3} | more

    return values


def compare(client, values: dict) -> dict:
    found = client.predict(**values, api_name="/compare")
    return named(client, "/compare", found)


def pair(client, a: str, b: str) -> dict:
    return named(client, "/compare_pair", client.predict(a, b, api_name="/compare_pair"))


def path(shown) -> str:
    shown = shown["value"] if isinstance(shown, dict) and "value" in shown else shown
    return shown["path"] if isinstance(shown, dict) else shown


def pictures(shown: dict) -> list[str]:
    return [path(shown["Download A"]), path(shown["Download B"])]


def test_each_ticked_method_becomes_a_row_with_its_costs_and_scores(client, asked):
    job = client.submit(**asked(), api_name="/compare")
    out = named(client, "/compare", job.result())
    table = out["Methods compared"]
    assert "2 of 2 methods are done" in out["Compare status"]
    assert table.count("<tr") == 3 and "SDEdit" in table and "P2P, direct inversion" in table
    assert "from the cache" not in table and "waiting" not in table
    assert "Best at this weight" in out["Best of"]
    streamed = [shown[1] for shown in job.outputs() if isinstance(shown[1], str)]
    assert any("data-cell" in one and "waiting" in one for one in streamed), (
        "the first row came before the last"
    )


def test_a_png_carries_the_settings_of_its_own_method(client, asked):
    compare(client, asked())
    first, second = (settings_in(one) for one in pictures(pair(client, "sdedit", "p2p_direct")))
    assert first["method"] == "sdedit" and first["prompts"] == {"prompt": TARGET}
    assert first["knobs"]["steps"] == 4 and first["knobs"]["seed"] == 3, "the preset, and the asked seed"
    assert second["method"] == "prompt_to_prompt" and second["knobs"]["inversion"] == "direct"
    assert second["prompts"] == {"source_prompt": CAPTION, "prompt": TARGET}


def test_what_a_tab_has_computed_is_not_computed_again(client, asked, picture, counted):
    one = {"image": handle_file(picture()), "prompt": TARGET, "seed": 3}
    edited = named(client, "/imagic_edit", client.predict(**one, api_name="/imagic_edit"))["Edit"]
    assert counted == {"fit": 6, "edit": 3}
    out = compare(client, asked(methods=["imagic"], source_prompt=""))
    assert counted == {"fit": 6, "edit": 3} and "from the cache" in out["Methods compared"]
    assert (pixels(pictures(pair(client, "source", "imagic"))[1]) == pixels(edited)).all()


def test_rows_of_the_unet_are_those_of_fit_and_edit(tiny, tiny_folder, picture, tmp_path):
    row = made(tiny_folder, picture(), tmp_path, "imagic")
    # Three steps that learn the embedding, three that tune; three guided ones that edit.
    assert row["rows"] == 3 + 3 + 2 * 3 and (row["computed"], row["reused"]) == (2, 0)
    again = made(tiny_folder, picture(), tmp_path, "imagic")
    assert again["rows"] == 0 and (again["computed"], again["reused"]) == (0, 2)
    assert again["scores"] == row["scores"]


def test_no_hook_stays_when_a_row_is_left_in_the_middle(tiny_folder, picture, tmp_path):
    ctx, given = context(tiny_folder, picture())
    steps = run(contenders.BY_NAME["sdedit"].request(ctx, given))
    next(steps)
    unet = ctx.models(str(tiny_folder)).diffusion.unet
    assert not unet._forward_pre_hooks
    steps.close()
    assert not unet._forward_pre_hooks


def context(folder, image: str, **more):
    """A context of its own, and the fields of a comparison."""
    from demos.context import Context
    from textedit_core.models import zoo

    given = dict.fromkeys(contenders.SHARED) | {"image": image, "sizing": "crop"}
    given |= {"models": str(folder), "source_prompt": CAPTION, "prompt": TARGET, "seed": 0} | more
    return Context(zoo, str(folder), "cpu"), given


def made(folder, image: str, out, name: str, **more) -> dict:
    """The finished row of one method."""
    ctx, given = context(folder, image, **more)
    one = contenders.BY_NAME[name]
    return runs.row_of(one, last(run(one.request(ctx, given))), given, out)


def test_without_a_source_prompt_there_is_no_direction(tiny_folder, picture, tmp_path):
    without = made(tiny_folder, picture(), tmp_path, "sdedit", source_prompt="")["scores"]
    with_caption = made(tiny_folder, picture(), tmp_path, "sdedit")["scores"]
    assert without["direction"] is None and isinstance(with_caption["direction"], float)
    assert without["clip"] == with_caption["clip"] and without["identity"] is not None


def test_directions_are_judged_against_the_picture_and_not_its_projection(tiny_folder, picture, tmp_path):
    row = made(tiny_folder, picture(), tmp_path, "styleclip_directions")
    assert row["rows"] is None and not row["problem"]
    assert (pixels(row["source"]) == pixels(made(tiny_folder, picture(), tmp_path, "sdedit")["source"])).all()
    assert json.loads(row["record"])["knobs"]["projection_steps"] == 3


def test_a_method_that_cannot_run_says_why_and_the_others_go_on(client, asked, monkeypatch):
    from textedit_core.methods import prompt_to_prompt

    def refuse(*args, **kwargs):
        raise ValueError("Prompt: this one cannot be aligned.")
        yield

    refuse.__wrapped__ = prompt_to_prompt.edit
    monkeypatch.setattr(prompt_to_prompt, "edit", refuse)
    out = compare(client, asked(methods=["p2p_direct", "sdedit"]))
    assert "cannot be aligned" in out["Methods compared"] and "data-cell" in out["Methods compared"]
    assert "2 of 2" in out["Compare status"] and "1 could not run" in out["Compare status"]


def rows_of(*scores: tuple[float | None, float | None]) -> list[dict]:
    return [
        {"name": f"{i}", "title": f"{i}", "problem": "", "scores": {"clip": clip, "similarity": similarity}}
        for i, (clip, similarity) in enumerate(scores)
    ]


def test_the_weight_moves_the_best_from_the_source_to_the_text():
    rows = rows_of((20.0, 0.9), (30.0, 0.3), (28.0, 0.8), (None, None))
    rows.append({"name": "4", "title": "4", "problem": "broken"})
    order = {weight: [row["name"] for row, _ in runs.ranked(rows, weight)] for weight in (0, 0.5, 1)}
    assert order == {0: ["0", "2", "1"], 0.5: ["2", "0", "1"], 1: ["1", "2", "0"]}
    values = dict(zip(order[0.5], (value for _, value in runs.ranked(rows, 0.5)), strict=True))
    assert math.isclose(values["2"], 0.5 * 0.8 + 0.5 * (0.5 / 0.6)) and values["0"] == values["1"] == 0.5
    assert runs.ranked(rows_of((5.0, 0.5)), 0.3)[0][1] == 0.5, "one row alone is neither best nor worst"
    assert runs.ranked([], 0.5) == []


def test_where_all_have_a_direction_it_counts_and_what_did_not_change_comes_last():
    rows = rows_of((30.0, 0.9), (20.0, 0.5), (25.0, 0.6))
    for row, direction in zip(rows, (0.01, 0.5, 0.4), strict=True):
        row["scores"] |= {"direction": direction, "psnr": 20.0, "ssim": 0.9, "identity": None}
        row |= {"unchanged": direction < 0.2, "edit": "e.png", "rows": 4, "computed": 1, "reused": 0}
        row["seconds"] = 0.5
    assert runs.text_score(rows) == "direction"
    assert [row["name"] for row, _ in runs.ranked(rows, 1)] == ["1", "2", "0"]
    assert [row["name"] for row, _ in runs.ranked(rows, 0)] == ["2", "1", "0"], (
        "last, though most like the source"
    )
    board = comparison.board(rows, runs.ranked(rows, 1))
    assert board.count(comparison.UNCHANGED) == 1
    rows[0]["scores"]["direction"] = None
    assert runs.text_score(rows) == "clip"


def test_what_counts_as_unchanged_is_said_by_the_models(toon, tiny):
    assert runs.is_unchanged(toon, {"direction": 0.19}) and not runs.is_unchanged(toon, {"direction": 0.21})
    assert runs.is_unchanged(tiny, {"direction": -0.01}) and not runs.is_unchanged(tiny, {"direction": 0.01})
    assert not runs.is_unchanged(toon, {"direction": None})


def test_a_comparison_can_be_taken_along(client, asked, monkeypatch):
    out = compare(client, asked(prompt="a smiling woman & 50 % of a red hat"))
    with zipfile.ZipFile(path(out["Download pictures, sheet and table (ZIP)"])) as pack:
        names = set(pack.namelist())
        lines = list(csv.DictReader(pack.read("comparison.csv").decode().splitlines()))
        assert {"comparison.csv", "comparison.tex", "sheet.png", "source.png"} < names
        assert {line["method"] for line in lines} == {"SDEdit", "P2P, direct inversion"}
        assert {line["file"] for line in lines} < names and all(
            0 < float(line["psnr"]) < 99 for line in lines
        )
        made_by = {settings_in(pack.open(line["file"]))["method"] for line in lines}
        assert made_by == {"sdedit", "prompt_to_prompt"}
        sheet = Image.open(pack.open("sheet.png"))
        assert sheet.width > 3 * 192, "the source and both edits side by side"
        latex = pack.read("comparison.tex").decode().splitlines()
    assert latex[0] == r"\begin{tabular}{lrrrrrrrr}" and latex[-1] == r"\end{tabular}"
    assert len([line for line in latex if line.endswith(r"\\")]) == 3
    assert all(line.count(" & ") == 8 for line in latex if line.endswith(r"\\"))


def test_the_table_to_take_along_says_which_method_could_not_run():
    rows = [runs.failed(contenders.BY_NAME["sdedit"], "Prompt: 5 % of it & no more.")]
    (line,) = csv.DictReader(export.as_csv(rows).splitlines())
    assert (
        line["method"] == "SDEdit" and line["note"] == "Prompt: 5 % of it & no more." and line["psnr"] == ""
    )
    assert "SDEdit & -- & --" in export.as_latex(rows)
    assert "50 % & x_y".translate(export.LATEX) == r"50 \% \& x\_y"


def test_ranking_computes_nothing(client, asked, counted):
    out = compare(client, asked(methods=["imagic", "sdedit"]))
    counted.update(fit=0, edit=0)
    cache.default.clear()
    text, source = (client.predict(weight, api_name="/compare_rank") for weight in (1, 0))
    assert "(1.00)" in text[1] and "(1.00)" in source[1] and "Best at this weight" in out["Best of"]
    assert text[0].count("<tr") == source[0].count("<tr") == 3
    assert counted == {"fit": 0, "edit": 0}, "not even with an empty cache"


def test_two_records_differ_in_what_differs(client, asked):
    compare(client, asked(methods=["p2p_direct", "p2p_npi"]))
    shown = pair(client, "p2p_direct", "p2p_npi")
    table = shown["What the settings differ in"]
    assert "inversion" in table and "direct" in table and "npi" in table and table.count("<tr") == 2
    same = pair(client, "p2p_npi", "p2p_npi")["What the settings differ in"]
    assert "same settings" in same
    assert "no settings" in pair(client, "source", "p2p_npi")["What the settings differ in"]


def test_a_png_made_here_can_be_a_or_b(client, asked, picture):
    compare(client, asked())
    saved = pictures(pair(client, "source", "sdedit"))[1]
    client.predict(**asked(sdedit_strength=0.3), api_name="/compare")
    out = client.predict(handle_file(saved), "sdedit", None, api_name="/compare_add")
    shown = named(client, "/compare_add", out)
    assert "can be A or B" in shown["About the PNG"] and "strength" in shown["What the settings differ in"]
    assert (pixels(pictures(shown)[1]) == pixels(saved)).all()
    refused = client.predict(handle_file(picture(5)), None, None, api_name="/compare_add")
    assert "carries no settings" in named(client, "/compare_add", refused)["About the PNG"]


def test_pins_of_the_tabs_are_offered():
    from demos.compare.pair import Pair

    offered = Pair.__new__(Pair)
    offered.names, offered.headlines = ["Imagic"], [("eta",)]
    record = json.dumps({"method": "imagic", "knobs": {"eta": 0.7}, "prompts": {"prompt": "smiling"}})
    pin = {"edit": "e.png", "record": record, "pictures": {"source": "s.png"}}
    found = offered.candidates([], [], [pin])
    assert list(found) == ["Imagic pin 1"] and found["Imagic pin 1"]["path"] == "e.png"
    assert "smiling" in found["Imagic pin 1"]["label"] and "eta 0.7" in found["Imagic pin 1"]["label"]


def test_the_pins_of_every_tab_are_wired(client):
    asked = next(one for one in client.config["dependencies"] if one["api_name"] == "compare_pair")
    # A, B, the rows, the added PNGs; then a state of pins for each method that has a tab.
    styleclip = {"directions", "optimizer", "mapper", "comparators", "tedigan", "styleflow"}
    assert len(asked["inputs"]) == 4 + len({"imagic", "p2p", "paint", "text2live"} | styleclip)


def test_paint_by_example_runs_with_mask_and_exemplar(client, asked, picture, tmp_path):
    mask = Image.new("L", (40, 40))
    ImageDraw.Draw(mask).rectangle((10, 10, 26, 26), fill=255)
    mask.save(tmp_path / "mask.png")
    layers = {"background": None, "layers": [handle_file(str(tmp_path / "mask.png"))], "composite": None}
    only = asked(methods=["paint_by_example"], source_prompt="", exemplar=handle_file(picture(4)))
    out = compare(client, only | {"mask": layers})
    assert "1 of 1" in out["Compare status"] and "data-cell" in out["Methods compared"]
    shown = pair(client, "source", "paint_by_example")
    assert settings_in(pictures(shown)[1])["method"] == "paint_by_example"
    with pytest.raises(Exception, match="Mask"):
        compare(client, only)


def test_stop_keeps_the_finished_rows(client, asked, held):
    there = held(prompt_to_prompt, "fit", 2)
    job = client.submit(**asked(methods=["sdedit", "p2p_null_text"], sdedit_steps=2), api_name="/compare")
    wait_for(there.is_set)
    client.predict(api_name="/compare_stop")
    out = named(client, "/compare", job.result())
    assert "Stopped. 1 of 2" in out["Compare status"]
    assert out["Methods compared"].count("data-cell") == 1
    assert settings_in(pictures(pair(client, "source", "sdedit"))[1])["method"] == "sdedit"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"image": None}, "Add a source image first"),
        ({"prompt": " "}, "Write the prompt"),
        ({"methods": []}, "Tick at least one method"),
        ({"methods": ["nothing"]}, "cannot run 'nothing'"),
        ({"source_prompt": ""}, "Write the source prompt: P2P, direct inversion"),
        ({"prompt": "man " * 60}, "tokens"),
        ({"seed": -1}, "Seed"),
        ({"sdedit_strength": 3}, "trength"),
        ({"methods": ["paint_by_example"]}, "mask"),
    ],
)
def test_a_mistake_is_a_sentence_beside_its_field(client, asked, wrong, sentence):
    with pytest.raises(Exception, match=sentence):
        compare(client, asked(**wrong))


def test_recall_of_an_sdedit_picture_opens_this_tab(client, asked):
    compare(client, asked(methods=["sdedit"], sdedit_strength=0.35))
    saved = pictures(pair(client, "source", "sdedit"))[1]
    out = client.predict(handle_file(saved), api_name="/recall")
    assert "Settings restored" in out[0]
    assert 0.35 in [one.get("value") if isinstance(one, dict) else one for one in out]


def test_a_png_of_a_method_that_there_is_not_is_refused(client, picture, tmp_path):
    path = tmp_path / "other.png"
    save_png(Image.open(picture()), path, Record("x" * 500, "toon"))
    answer = client.predict(handle_file(str(path)), None, None, api_name="/compare_add")
    said = named(client, "/compare_add", answer)["About the PNG"]
    assert "PNG: this studio has no method" in said and len(said) < 300
