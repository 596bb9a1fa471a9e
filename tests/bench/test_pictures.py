"""The pictures of a benchmark: replaced, larger than the model, and enough of them for QS or not."""

import json

import pytest
import torch
from PIL import Image

from tests.bench.conftest import write_picture
from textedit_core import metrics
from textedit_core.bench import lines
from textedit_core.bench.item import Item, Pictures
from textedit_core.bench.plan import read_contestants
from textedit_core.images import mask_to_pil, native_mask, native_tensor, square_tensor, to_pil
from textedit_core.methods import paint_by_example
from textedit_core.metrics import extras
from textedit_core.steps import last


@pytest.mark.parametrize("name", ["0", "mask", "hat", "answer"])
def test_a_picture_replaced_under_its_name_is_other_work(bench, folder, name):
    _, out, _ = bench(methods="sdedit:steps=2")
    before, path = lines.read(out), folder / "images" / f"{name}.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
    _, _, told = bench(methods="sdedit:steps=2")
    assert "1 new results" in told
    (new,) = [one for key, one in lines.read(out).items() if key not in before]
    assert new["item"] == "0"


def test_a_method_of_any_size_sees_and_is_measured_on_the_whole_photo(bench, folder, tiny):
    """The mask lies outside of the centred square."""
    photo = write_picture(folder / "images" / "photo.png", 3, (90, 40))
    mask = torch.zeros(1, 1, 40, 90)
    mask[..., 8:32, 2:20] = 1
    mask_to_pil(mask)[0].save(folder / "images" / "hole.png")
    entry = {"image": "images/photo.png", "mask": "images/hole.png", "exemplar": "images/hat.png"}
    (folder / "items.jsonl").write_text(json.dumps(entry))
    _, out, _ = bench(methods="paint_by_example:steps=2")
    (record,) = lines.read(out).values()
    (cell,), source = record["cells"], native_tensor(Image.open(photo))
    exemplar = square_tensor(Image.open(folder / "images" / "hat.png"), 32)
    with Image.open(out / cell["file"]) as saved, Image.open(out / record["pictures"]["mask"]) as shown:
        assert saved.size == shown.size == (90, 40)
        again = native_tensor(saved)
    wanted = last(paint_by_example.edit(tiny.paint_by_example, source, mask, exemplar, steps=2))
    assert to_pil(again)[0].tobytes() == to_pil(wanted)[0].tobytes()
    assert cell["metrics"]["psnr_rest"] == 100.0
    expected = {
        "psnr_source": metrics.psnr(again, source),
        "exemplar_score": metrics.exemplar_score(tiny.clip, again, exemplar, mask),
    }
    for name, value in expected.items():
        assert cell["metrics"][name] == pytest.approx(value.item(), rel=1e-3, abs=1e-4), name


@pytest.fixture
def cocoee(tmp_path):
    """One item in COCOEE's layout, its reference twice as wide as high: the path of its folder."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 6:20] = 1
    for name, seed, size in (("GT_3500/1_GT", 1, (32, 32)), ("Ref_3500/1_ref", 2, (80, 40))):
        write_picture(tmp_path / "cocoee" / f"{name}.png", seed, size)
    (tmp_path / "cocoee" / "Mask_bbox_3500").mkdir()
    mask_to_pil(mask)[0].save(tmp_path / "cocoee" / "Mask_bbox_3500" / "1_mask.png")
    return tmp_path / "cocoee"


def test_cocoee_runs_as_published_unless_told_otherwise(bench, tiny, cocoee):
    given = {"name": "cocoee", "methods": "paint_by_example"}
    code, out, told = bench("--data", cocoee, **given)
    assert code == 0, told
    source = native_tensor(Image.open(cocoee / "GT_3500" / "1_GT.png"))
    mask = native_mask(Image.open(cocoee / "Mask_bbox_3500" / "1_mask.png"))
    side, reference = tiny.paint_by_example.exemplar_size, Image.open(cocoee / "Ref_3500" / "1_ref.png")
    # PIL's own choice of resampling is bicubic, as in the public code.
    squashed = native_tensor(reference.resize((side, side)))
    published = {"steps": 50, "sampler": "plms", "guidance_scale": 5.0, "seed": 42}
    painted = last(paint_by_example.edit(tiny.paint_by_example, source, mask, squashed, **published))
    (record,) = lines.read(out).values()
    with Image.open(out / record["cells"][0]["file"]) as saved:
        assert saved.tobytes() == to_pil(painted)[0].tobytes()
    report = (out / "report.md").read_text()
    assert "paint_by_example: steps 50, sampler plms, guidance_scale 5, seed 42." in report
    assert "exemplars are squashed" in report and "--seed" not in report

    own = {"methods": "paint_by_example:sampler=ddim", "out": "own", "name": "cocoee"}
    code, out, told = bench("--data", cocoee, "--seed", 0, "--steps", 2, "--resize", "crop", **own)
    assert code == 0, told
    cut = square_tensor(reference, 32)
    painted = last(paint_by_example.edit(tiny.paint_by_example, source, mask, cut, steps=2))
    (record,) = lines.read(out).values()
    with Image.open(out / record["cells"][0]["file"]) as saved:
        assert saved.tobytes() == to_pil(painted)[0].tobytes()
    report = (out / "report.md").read_text()
    assert "paint_by_example:sampler=ddim: guidance_scale 5." in report and "squashed" not in report
    assert "--seed 0" in report and "--resize crop" in report


def test_a_seed_that_is_given_is_no_wish_to_fit_anew(tiny):
    mapper, sdedit = (read_contestants(name, tiny, seed=3)[0] for name in ("styleclip_mapper", "sdedit"))
    assert mapper.settings["seed"] == 3 and "seed" not in mapper.typed
    assert sdedit.settings["seed"] == 3 and "seed" in sdedit.typed
    (own,) = read_contestants("sdedit:seed=5", tiny, seed=3)
    assert own.settings["seed"] == 5


def test_quality_needs_twice_as_many_references_as_features(bench, tmp_path):
    """Tiny CLIP has 24 features: four sources bear no mixture, 48 pictures one of one component."""
    _, few, _ = bench(methods="sdedit:steps=2")
    for number in range(48):
        write_picture(tmp_path / "reference" / f"{number}.png", number)
    _, many, _ = bench("--reference", tmp_path / "reference", out="many", methods="sdedit:steps=2")
    for place, known, says in (
        (few, False, "QS is left out: on 24 features it needs 48 reference pictures, not 4"),
        (many, True, "our own fit to them, of 1 component."),
    ):
        (row,) = json.loads((place / "summary.json").read_text())["rows"]
        assert (row["means"]["qs"] is not None) == known and row["means"]["frechet"] > 0
        assert says in (place / "report.md").read_text()
    assert "| – |" in (few / "report.md").read_text()


def test_extras_are_measured_where_they_are_asked_for(bench, monkeypatch):
    code, _, told = bench("--extras", "lpips,fid")
    assert code == 2 and "no measure called 'fid', only lpips and dino" in told
    code, _, told = bench("--extras", "dino")
    assert code == 2 and "would fetch facebook/dino-vitb8 (340 MB" in told and "--fetch" in told
    asked = []
    monkeypatch.setattr(
        extras, "load_lpips", lambda fetch: asked.append(fetch) or (lambda a, b: (a - b).abs().mean())
    )
    words = {"out": "far", "methods": "sdedit:steps=2"}
    bench("--limit", 1, **words)
    _, out, told = bench("--limit", 1, "--extras", "lpips", "--fetch", **words)
    assert asked == [True] and "1 new results" in told, "with other measures it is other work"
    record = list(lines.read(out).values())[-1]
    files = record["cells"][0]["file"], record["pictures"]["image"]
    result, source = (native_tensor(Image.open(out / file)) for file in files)
    wanted = (result - source).abs().mean().item()
    assert record["cells"][0]["metrics"]["lpips"] == pytest.approx(wanted, rel=1e-4)
    report = (out / "report.md").read_text()
    assert "| LPIPS |" in report and "--extras lpips" in report and "--fetch" not in report


def test_an_answer_of_another_size_is_brought_to_the_photo(tmp_path):
    photo, answer = (write_picture(tmp_path / f"{n}.png", n, (20 * n, 10 * n)) for n in (2, 3))
    pictures = Pictures(Item("a", photo, answer=answer), "crop")
    assert pictures.can_be_whole() and pictures.get("answer", None).shape == (1, 3, 20, 40)
    drawn = Pictures(Item("a", photo, mask=lambda size: torch.ones(1, 1, size, size)), "crop")
    assert not drawn.can_be_whole()
