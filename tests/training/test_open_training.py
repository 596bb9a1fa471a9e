"""Training on the open world: held latents, crops, the enlarger, and what may not be bundled."""

import json
import logging

import numpy as np
import pytest
import torch

from textedit_core import metrics
from textedit_core.models import zoo
from textedit_core.models.enlarger import bicubic
from textedit_core.toon.portraits import Portraits, training_portraits
from textedit_core.training import __main__ as command
from textedit_core.training import bundle, classifier, clip, diffusion, enlarger, loop, measures, toon, vae
from textedit_core.training.loop import Budget, trained

SHIPPED = zoo.BUNDLES / "toon"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def small(folder) -> Portraits:
    return training_portraits(16, 64, folder, 1, "open")


@pytest.fixture(scope="module")
def large(folder) -> Portraits:
    return training_portraits(16, 256, folder, 1, "open")


def test_crops_are_pieces_of_the_portraits(large):
    cut = vae.crops(large, 6, 128, np.random.default_rng(0))
    assert cut.shape == (6, 3, 128, 128) and cut.min() >= -1 and cut.max() <= 1
    whole = large.batch(np.arange(16))
    for one in cut:
        row, y, x = _found(whole, one)
        assert torch.equal(whole[row, :, y : y + 128, x : x + 128], one)


def _found(pictures, piece):
    """Where a piece (3,128,128) is in pictures (N,3,256,256)."""
    for row, picture in enumerate(pictures):
        near = (picture[:, :129, :129] == piece[:, :1, :1]).all(dim=0).nonzero().tolist()
        for y, x in near:
            if torch.equal(picture[:, y : y + 128, x : x + 128], piece):
                return row, y, x
    raise AssertionError("the piece is of none of them")


def test_whole_portraits_and_crops_take_turns():
    turns = vae.whole_turns(True)
    first = [next(turns) for _ in range(8)]
    assert first.count(False) == 2 and first.count(True) == 2 * vae.WHOLE_STEPS
    alone = vae.whole_turns(False)
    assert all(next(alone) for _ in range(10))


def test_latents_are_held_near_those_of_the_autoencoder_it_began_as(tmp_path, small, large, monkeypatch):
    """Trained for a few steps with a strong hold they move less than without one; the factor stays."""
    monkeypatch.setattr(loop, "WARMUP_STEPS", 4)
    monkeypatch.setattr(vae, "BATCH", 4)
    monkeypatch.setattr(vae, "LARGE_BATCH", 1)
    start = zoo.load("toon").diffusion.vae
    image = small.batch(np.arange(8))
    apart = {}
    for weight in (0.0, 50.0):
        monkeypatch.setattr(vae, "HOLD_WEIGHT", weight)
        place = tmp_path / str(weight)
        loop.begin_from(place, start, 100, 1.0)
        vae.hold(start, place)
        tuned = vae.fit(small, 64, place, Budget(116), 0, "cpu", large)
        assert trained(place)["steps"] == 116
        assert tuned.config.scaling_factor == start.config.scaling_factor
        with torch.no_grad():
            apart[weight] = vae.moved(tuned.encode(image).latent_dist.mean, start, image).item()
    assert 0 < apart[50.0] < 0.7 * apart[0.0]
    held = vae.held_autoencoder(place, 64)
    assert all(torch.equal(a, b) for a, b in zip(held.parameters(), start.parameters(), strict=True))
    assert vae.held_autoencoder(tmp_path / "nowhere", 64) is None
    with torch.no_grad():
        mean = start.encode(image).latent_dist.mean
        unit = vae.moved(mean + 1 / start.config.scaling_factor, start, image)
    assert unit.item() == pytest.approx(1, abs=1e-4), "in units of the latents' spread"


def test_the_decoder_alone_learns_where_latents_are_kept(tmp_path, small, large, monkeypatch):
    monkeypatch.setattr(loop, "WARMUP_STEPS", 2)
    monkeypatch.setattr(vae, "BATCH", 2)
    monkeypatch.setattr(vae, "LARGE_BATCH", 1)
    start = zoo.load("toon").diffusion.vae
    loop.begin_from(tmp_path, start, 100, 1.0)
    vae.hold(start, tmp_path)
    tuned = vae.fit(small, 64, tmp_path, Budget(104), 0, "cpu", large, keep_latents=True)
    assert vae.same_latents(tuned, start) and trained(tmp_path)["steps"] == 104
    assert not torch.equal(tuned.decoder.conv_out.weight, start.decoder.conv_out.weight)
    assert not torch.equal(tuned.post_quant_conv.weight, start.post_quant_conv.weight)
    with torch.no_grad():
        tuned.quant_conv.bias += 1
    assert not vae.same_latents(tuned, start)


def test_pairs_for_the_enlarger_are_the_same_place_at_two_sizes(small, large):
    rng, nothing = np.random.default_rng(0), np.zeros_like(small.images)
    source, wanted = enlarger.paired_crops(small.images, small.images, large.images, np.arange(16), rng)
    assert source.shape == (16, 3, 32, 32) and wanted.shape == (16, 3, 128, 128)
    shrunk = torch.nn.functional.interpolate(wanted, (32, 32), mode="area")
    assert metrics.psnr(shrunk, source).min() > 20
    rng = np.random.default_rng(0)
    source, _ = enlarger.paired_crops(small.images, nothing, large.images, np.arange(16), rng)
    rebuilt = (source == -1).flatten(1).all(dim=1)
    assert 3 <= rebuilt.sum() <= 13, "half of them are of what the autoencoder makes"


def test_what_the_autoencoder_makes_of_portraits(small):
    diffusion_model = zoo.load("toon").diffusion
    rebuilt = enlarger.rebuild_all(small, diffusion_model.vae, "cpu")
    with torch.no_grad():
        wanted = diffusion_model.decode(diffusion_model.encode(small.batch(np.arange(4)))).clamp(-1, 1)
    given = torch.from_numpy(rebuilt[:4]).permute(0, 3, 1, 2) / 127.5 - 1
    assert rebuilt.shape == small.images.shape and (given - wanted).abs().max() <= 1.01 / 255


def test_the_enlarger_learns_more_than_bicubic(tmp_path, small, large, monkeypatch):
    """On 16 portraits, within seconds: nearer to the large drawings than bicubic enlargement."""
    monkeypatch.setattr(loop, "WARMUP_STEPS", 10)
    monkeypatch.setattr(enlarger, "SHAPE", {"width": 16, "blocks": 2, "scale": 4})
    monkeypatch.setattr(enlarger, "REBUILT", 0.0)
    monkeypatch.setattr(enlarger, "LEARNING_RATE", 5e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = enlarger.fit(
            small, large, zoo.load("toon").diffusion.vae, tmp_path / "enlarger", Budget(250), 0, "cpu"
        )
    image, wanted = small.batch(np.arange(8)), large.batch(np.arange(8))
    with torch.no_grad():
        learned = metrics.psnr(network(image), wanted).mean()
    assert learned > metrics.psnr(bicubic(image, 4), wanted).mean() + 0.5


SCORES = {
    "held_out_scenes": 9,
    "autoencoder_psnr_db": 30.0,
    "clip_zero_shot_accuracy": {"top": 0.7, "mean": 0.88},
    "identity": {"auc": 0.99, "other": 0.1},
    "open": {"autoencoder_psnr_db": 24.0, "clip_zero_shot_accuracy": {"mean": 0.6}},
}


def changed(**changes) -> dict:
    return json.loads(json.dumps(SCORES)) | changes


def test_figures_of_both_sets_stand_beside_each_other():
    after = changed(autoencoder_psnr_db=30.4, open={"autoencoder_psnr_db": 23.0})
    figures = {(one.world, one.name): one for one in measures.beside(SCORES, after)}
    assert set(figures) == {
        ("closed", "autoencoder_psnr_db"), ("closed", "clip_zero_shot_accuracy.top"),
        ("closed", "clip_zero_shot_accuracy.mean"), ("closed", "identity.auc"),
        ("open", "autoencoder_psnr_db"),
    }  # fmt: skip
    lines = [one.line() for one in figures.values()]
    assert "better" in lines[0] and "+0.400" in lines[0] and "worse" in lines[-1]
    assert "the same" in lines[1]


@pytest.mark.parametrize(
    ("after", "parts"),
    [
        (changed(), set()),
        (changed(autoencoder_psnr_db=29.5), set()),
        (changed(autoencoder_psnr_db=29.4), {"vae"}),
        (changed(clip_zero_shot_accuracy={"top": 0.1, "mean": 0.87}), set()),
        (changed(clip_zero_shot_accuracy={"top": 0.9, "mean": 0.86}), {"clip"}),
        (changed(identity={"auc": 0.9, "other": 0.9}), {"identity"}),
        (changed(open={"autoencoder_psnr_db": 2.0}), set()),
        (changed(autoencoder_psnr_db=20.0, clip_zero_shot_accuracy={"mean": 0.1}), {"vae", "clip"}),
    ],
)
def test_a_part_falls_by_half_a_decibel_or_one_percent_on_the_closed_set(after, parts):
    assert set(measures.fallen(measures.beside(SCORES, after))) == parts


def test_scores_are_remembered_for_the_facts_they_are_of(tmp_path):
    asked = []

    def measured():
        asked.append(1)
        return {"x": len(asked)}

    path = tmp_path / "before.json"
    assert measures.remembered(path, {"samples": 4}, measured) == {"x": 1}
    assert measures.remembered(path, {"samples": 4}, measured) == {"x": 1}
    assert measures.remembered(path, {"samples": 5}, measured) == {"x": 2}


def test_a_bundle_takes_the_place_of_another_and_leaves_what_is_not_its_own(tmp_path):
    made, there = tmp_path / "made", tmp_path / "there"
    for root, names in ((made, ("clip/a", "manifest.json")), (there, ("clip/b", "presets.json"))):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(root.name)
    bundle.replace(made, there)
    assert {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()} == {
        "clip/a", "manifest.json", "presets.json",
    }  # fmt: skip
    assert not made.exists()


def test_the_command_goes_on_from_a_bundle_and_refuses_what_fell(tmp_path, caplog, monkeypatch, capsys):
    """From the shipped bundle: a few steps of autoencoder and enlarger, then the scores decide."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(enlarger, "CHUNK", 4)
    monkeypatch.setattr(vae, "BATCH", 2)
    for module in (clip, diffusion, classifier, enlarger):
        monkeypatch.setattr(module, "BATCH", 2)
    scores = iter([changed(autoencoder_psnr_db=29.0), changed()])  # of the new bundle, of the shipped one
    monkeypatch.setattr(toon, "measure", lambda *_: next(scores))
    out = tmp_path / "run"
    words = ["toon", "--out", str(out), "--start", str(SHIPPED), "--open", "--scenes", "12", "--large", "6",
             "--held-out", "4", "--samples", "2", "--threads", "1", "--busy"]  # fmt: skip
    steps = trained_steps()
    with pytest.raises(SystemExit) as ended:
        command.main([*words, "--only", "vae,enlarger", "--minutes", "0.03"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "vae (autoencoder_psnr_db 30.0 -> 29.0)" in told and "--accept-worse vae" in told
    assert not (out / "bundle").exists() and (out / "candidate" / "enlarger" / "config.json").is_file()
    assert trained(out / "vae")["steps"] > steps and (out / "vae" / vae.HELD).exists()
    assert "autoencoder_psnr_db" in (out / "report.txt").read_text() and "worse" in caplog.text

    scores = iter([changed(autoencoder_psnr_db=29.0), changed()])
    command.main([*words, "--only", "", "--accept-worse", "vae"])
    models = zoo.load(out / "bundle")
    for part in ("clip", "diffusion/tokenizer"):
        kept, begun = (folder / part / "tokenizer.json" for folder in (out / "bundle", SHIPPED))
        assert json.loads(kept.read_text())["model"] == json.loads(begun.read_text())["model"], part
    assert models.manifest["scores"]["open"] == SCORES["open"] and not (out / "candidate").exists()
    assert models.enlarger.enlarge(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 256, 256)
    before, after = zoo.load(SHIPPED).diffusion, models.diffusion
    assert all(
        torch.equal(a, b) for a, b in zip(before.unet.parameters(), after.unet.parameters(), strict=True)
    )
    assert not torch.equal(before.vae.decoder.conv_out.weight, after.vae.decoder.conv_out.weight)
    assert after.vae.config.scaling_factor == before.vae.config.scaling_factor
    known, kept = zoo.load(SHIPPED).paint_by_example.vae, models.paint_by_example.vae
    assert torch.equal(known.decoder.conv_out.weight, kept.decoder.conv_out.weight), (
        "it has not learned the new one"
    )


def trained_steps() -> int:
    return json.loads((SHIPPED / "manifest.json").read_text())["training"]["vae"]["steps"]


def test_no_bundle_is_trained_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "BATCH", 2)
    monkeypatch.setattr(command, "STEPS", {"classifier": 1})
    out = tmp_path / "run"
    command.main(["toon", "--out", str(out), "--start", str(SHIPPED), "--scenes", "4", "--threads", "1",
                  "--only", "classifier", "--no-bundle", "--busy", "--minutes", "0.0001"])  # fmt: skip
    assert trained(out / "classifier")["steps"] >= 995
    assert not (out / "bundle").exists() and not (out / "candidate").exists()
    assert not (out / "vae" / vae.HELD).exists(), "the closed world holds nothing"
