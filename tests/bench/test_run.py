"""The bench command on tiny models: what is recorded, resumed after a kill, split, and reported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.bench.conftest import QUICK, plain, write_picture
from textedit_core import __main__ as cli
from textedit_core import metrics
from textedit_core.bench import lines
from textedit_core.images import square_tensor, to_pil
from textedit_core.methods import sdedit
from textedit_core.record import read_png
from textedit_core.steps import last


def test_help_is_quick_and_without_torch():
    script = (
        "import sys, runpy\nsys.argv[1:] = ['bench', '--help']\n"
        "try: runpy.run_module('textedit_core', run_name='__main__', alter_sys=True)\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    helped = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "--methods" in helped.stdout and helped.stderr.strip() == "False"


def test_every_item_meets_every_method_and_the_numbers_are_of_the_saved_pictures(bench, folder, tiny):
    code, out, told = bench()
    assert code == 0, told
    found = lines.read(out)
    assert len(found) == 8 and len({(one["item"], one["label"]) for one in found.values()}) == 8
    record = next(one for one in found.values() if one["item"] == "0" and one["label"].startswith("sdedit"))
    (cell,) = record["cells"]
    source = square_tensor(Image.open(folder / "images" / "0.png"), 32)
    wanted = last(sdedit.edit(tiny.diffusion, source, "a woman in a red hat", steps=2, strength=0.8))
    with Image.open(out / cell["file"]) as saved:
        assert saved.tobytes() == to_pil(wanted)[0].tobytes()
        again = square_tensor(saved, 32)
    assert read_png(out / cell["file"]).knobs["steps"] == 2
    answer = square_tensor(Image.open(folder / "images" / "answer.png"), 32)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 4:20, 8:28] = 1
    expected = {
        "psnr_source": metrics.psnr(again, source),
        "psnr_answer": metrics.psnr(again, answer),
        "psnr_rest": metrics.psnr(again, source, 1 - mask),
        "background_psnr": metrics.background_psnr(again, source, mask),
        "clip_score": metrics.clip_score(tiny.clip, again, "a woman in a red hat"),
        "clip_similarity": metrics.clip_similarity(tiny.clip, again, source),
        "exemplar_score": metrics.exemplar_score(
            tiny.clip, again, square_tensor(Image.open(folder / "images" / "hat.png"), 32), mask
        ),
    }
    for name, value in expected.items():
        assert cell["metrics"][name] == pytest.approx(value.item(), rel=1e-3, abs=1e-4), name
    assert record["edit_rows"] == 2 and record["edit_seconds"] > 0 and "fit_rows" not in record


def test_a_fit_is_counted_apart_and_an_item_without_what_is_needed_is_skipped(bench):
    _, out, _ = bench()
    of_p2p = [one for one in lines.read(out).values() if one["label"].startswith("prompt")]
    skipped = [one for one in of_p2p if "skipped" in one]
    assert [(one["item"], one["skipped"]) for one in skipped] == [("2", "needs a text for its source prompt")]
    assert {one["fit_rows"] for one in of_p2p if "cells" in one} == {2}
    report = (out / "report.md").read_text()
    assert "needs a text for its source prompt" in report


def test_a_broken_item_is_recorded_and_the_others_are_done(bench, folder):
    (folder / "images" / "1.png").write_text("no picture")
    code, out, _ = bench()
    found = lines.read(out).values()
    broken = [one for one in found if "error" in one]
    assert code == 0 and {one["item"] for one in broken} == {"1"} and len(broken) == 2
    assert all("Image of 1: this is not an image" in one["error"] for one in broken)
    assert sum("cells" in one for one in found) == 5
    assert "2 edits broke off" in (out / "report.md").read_text()


def test_an_unexpected_error_ends_one_edit_only(bench, monkeypatch):
    real = sdedit.edit

    def sometimes(model, image, prompt, *, strength=0.8, guidance_scale=7.5, steps=50, seed=0):
        if image.mean() < square_tensor(Image.new("RGB", (32, 32), (120, 120, 120)), 32).mean():
            raise KeyError("deep inside")
        yield from real(model, image, prompt, strength=strength, steps=steps, seed=seed)

    sometimes.__wrapped__, sometimes.batched = real, real.batched
    monkeypatch.setattr(sdedit, "edit", sometimes)
    _, out, _ = bench(methods="sdedit:steps=2")
    found = lines.read(out).values()
    assert {"KeyError: 'deep inside'"} == {one["error"] for one in found if "error" in one}
    assert any("cells" in one for one in found)


def test_a_wider_run_does_only_what_is_new(bench):
    bench("--limit", 2)
    _, out, told = bench("--limit", 2)
    assert "0 new results" in told
    before = (out / "lines-0.jsonl").read_text()
    _, _, told = bench()
    after = (out / "lines-0.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == 8 and "4 new results" in told
    _, _, told = bench(methods="sdedit:steps=3")
    assert "4 new results" in told, "another setting is other work"


def test_a_torn_last_line_is_work_not_done(bench):
    _, out, _ = bench()
    whole, path = plain(out), out / "lines-0.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert len(lines.read(out)) == 7
    _, _, told = bench()
    assert "1 new results" in told and plain(out) == whole


def test_killed_half_way_and_run_again_nothing_is_lost_or_done_twice(bench, folder, tiny_folder, tmp_path):
    """The process kills itself in the middle of writing its fourth line."""
    out = tmp_path / "killed"
    words = ["bench", str(folder), "--models", str(tiny_folder), "--methods", QUICK, "--out", str(out)]
    script = (
        "import os, signal, sys\n"
        "from textedit_core import __main__ as cli\n"
        "real, seen = os.write, []\n"
        "def write(descriptor, data):\n"
        "    seen.extend([data] if data.startswith(b'{') else [])\n"  # a line, and nothing of a library's
        "    if len(seen) == 4:\n"
        "        real(descriptor, data[:50])\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(descriptor, data)\n"
        "os.write = write\n"
        f"cli.main({[*words, '--device', 'cpu']!r})\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(lines.read(out)) == 3 and not (out / "report.md").exists()
    code, _, told = bench(out="killed")
    assert code == 0 and "5 new results" in told
    written = [
        json.loads(line) for line in (out / "lines-0.jsonl").read_text().splitlines() if line[-1] == "}"
    ]
    assert len(written) == len({one["key"] for one in written}) == 8
    bench(out="fresh")
    assert plain(out) == plain(tmp_path / "fresh")
    assert not list(out.rglob(".*.png")) and (out / "report.md").is_file()


def test_the_report_shows_every_item_and_every_picture(bench, folder):
    write_picture(folder / "images" / "odd name & more.png", 7, (50, 40))
    with (folder / "items.jsonl").open("a") as file:
        file.write(json.dumps({"image": "images/odd name & more.png", "prompt": "a <b>red</b> | hat"}) + "\n")
    _, out, _ = bench("--sweep", "strength=0.5,1")
    for name in ("report.md", "report.html"):
        text = (out / name).read_text()
        for item in ("0", "1", "2", "3", "odd-name-more"):
            assert f"### {item}\n" in text or f"<h3>{item}</h3>" in text
        assert "<b>red" not in text
        for record in lines.read(out).values():
            for file in [
                *record.get("pictures", {}).values(),
                *(one["file"] for one in record.get("cells", ())),
            ]:
                assert (out / file).is_file()
                assert file.replace(" ", "%20").replace("=", "%3D") in text
    assert "background PSNR" in text and "Frechet distance" in text and "UNet rows" in text
    assert "strength 0.5" in text and "strength 1" in text
    assert "--sweep strength=0.5,1" in text and str(out) not in text


def test_a_sweep_runs_as_a_batch_and_is_what_single_runs_give(bench):
    _, strip, _ = bench(
        "--sweep", "guidance_scale=1,3,5", "--limit", 1, out="strip", methods="sdedit:steps=2"
    )
    (record,) = lines.read(strip).values()
    assert [cell["coords"]["guidance_scale"] for cell in record["cells"]] == [1, 3, 5]
    for cell in record["cells"]:
        scale = cell["coords"]["guidance_scale"]
        _, single, _ = bench(
            "--guidance-scale", scale, "--limit", 1, out=f"at{scale}", methods="sdedit:steps=2"
        )
        (alone,) = lines.read(single).values()
        for name, value in alone["cells"][0]["metrics"].items():
            assert cell["metrics"][name] == pytest.approx(value, rel=2e-2, abs=1e-3), name


def test_an_axis_of_the_fit_makes_a_fit_for_each_value(bench):
    words = ["--sweep", "embedding_steps=1,2", "--sweep", "eta=0,1", "--limit", 1, "--finetune-steps", 0]
    _, out, _ = bench(*words, methods="imagic:steps=1")
    (record,) = lines.read(out).values()
    places = [(one["coords"]["embedding_steps"], one["coords"]["eta"]) for one in record["cells"]]
    assert places == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert record["fit_rows"] == 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--methods", "sdeddit"], "no method called 'sdeddit'"),
        (["--methods", "projection"], "does not edit"),
        (["--methods", "sdedit,sdedit"], "there twice"),
        (["--methods", "sdedit:stops=3"], "'stops=3' sets no knob of sdedit; it has strength"),
        (["--methods", "sdedit:strength=7"], "Strength: 7 is not a number from 0 to 1"),
        (["--eta", "0.5"], "has a knob called 'eta'"),
        (["--sweep", "eta=0,1"], "has a knob called 'eta'"),
        (["--sweep", "steps=0:400:3"], "is not a whole number from 1 to 200"),
        (["--limit", "0"], "--limit: 0 is not"),
        (["--reference", "nowhere"], "holds no pictures"),
    ],
)
def test_a_mistake_is_one_sentence(bench, words, says):
    code, _, told = bench("--limit", 1, *words)
    assert code == 2 and says in told and "Traceback" not in told


@pytest.mark.parametrize(
    ("name", "says"),
    [("nowhere", "There is no folder 'nowhere'"), ("pie", "say where pie was unpacked")],
)
def test_a_name_that_is_none_is_one_sentence(bench, name, says):
    code, _, told = bench(name=name)
    assert code == 2 and says in told


def test_a_line_is_whole_whatever_stood_before(tmp_path):
    path = tmp_path / "lines-0.jsonl"
    path.write_text('{"key": "a", "n": 1}\n{"key": "b", "n"')
    lines.append(path, {"key": "c", "n": 3})
    lines.append(path, {"key": "a", "n": 2})
    assert lines.read(tmp_path) == {"a": {"key": "a", "n": 2}, "c": {"key": "c", "n": 3}}
    with pytest.raises(ValueError):
        lines.append(path, {"key": "d", "n": float("nan")})
    assert os.listdir(tmp_path) == ["lines-0.jsonl"] and len(lines.read(tmp_path)) == 2


def test_the_out_folder_must_not_be_a_file(bench, tmp_path):
    Path(tmp_path / "out").write_text("")
    code, _, told = bench()
    assert code == 2 and "is a file" in told
    assert cli.main(["bench"]) == 2
