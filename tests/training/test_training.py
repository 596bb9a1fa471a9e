"""The training: one token a word, true matches, resuming, averaging, and the command from start to bundle."""

import json
import logging
from inspect import signature

import numpy as np
import pytest
import torch
from torch import nn

from textedit_core.models import zoo
from textedit_core.toon.captions import vocabulary
from textedit_core.toon.classifier import accuracy
from textedit_core.toon.portraits import held_out_portraits
from textedit_core.toon.world import ATTRIBUTES
from textedit_core.training import __main__ as command
from textedit_core.training import (
    classifier,
    clip,
    diffusion,
    encoder,
    evaluate,
    exemplar_scores,
    flow,
    generator,
    identity,
    loop,
    paint_by_example,
    style_edits,
    text,
    toon,
    upscaler_part,
)
from textedit_core.training.loop import Budget, load_ema, train, trained
from textedit_core.training.readers import attribute_loss
from textedit_core.training.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    return held_out_portraits(48, 64, tmp_path_factory.mktemp("data"), workers=1)


def test_every_known_word_is_one_token(tmp_path):
    tokenizer = build_tokenizer(vocabulary(), tmp_path)
    assert tokenizer.model_max_length == 32
    for word in vocabulary():
        assert len(tokenizer(word).input_ids) == 3, word
    spelled = tokenizer("a naïve horse 馬").input_ids
    assert spelled[0] == tokenizer.bos_token_id and spelled[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in spelled[1:-1]


def test_portraits_come_back_the_same_from_disk(tmp_path):
    first = held_out_portraits(6, 32, tmp_path, workers=1)
    again = held_out_portraits(6, 32, tmp_path, workers=1)
    assert (first.images == again.images).all() and first.scene(3) == again.scene(3)
    assert first.batch(np.arange(2)).shape == (2, 3, 32, 32)


def test_caption_labels_are_the_scene_and_silent_elsewhere(portraits):
    texts, said = portraits.captions(np.arange(20), np.random.default_rng(0))
    assert len(texts) == 20
    assert ((said == portraits.labels[:20]) | (said == -1)).all()
    assert ((said >= 0).sum(axis=1) >= 2).all()


def test_contrastive_loss_counts_every_true_match():
    """Two portraits that a caption is true of are both right: swapping them costs nothing."""
    labels = torch.tensor([[1, 0], [1, 2]])
    said = torch.tensor([[1, -1], [1, -1]])
    logits = torch.tensor([[3.0, 1.0], [0.5, 2.0]])
    swapped = clip.contrastive_loss(logits[[1, 0]], said, labels)
    assert torch.allclose(clip.contrastive_loss(logits, said, labels), swapped)
    only_own = torch.tensor([[1, 0], [1, 2]])
    assert clip.contrastive_loss(logits, only_own, labels) < clip.contrastive_loss(
        logits[[1, 0]], only_own, labels
    )


def test_attribute_loss_ignores_what_is_not_visible():
    logits = torch.randn(3, sum(len(v) for v in ATTRIBUTES.values()))
    labels = torch.zeros(3, len(ATTRIBUTES), dtype=torch.long)
    labels[:, 0] = -1
    changed = logits.clone()
    changed[:, : len(ATTRIBUTES["top"])] += torch.randn(3, len(ATTRIBUTES["top"]))
    assert torch.equal(attribute_loss(logits, labels), attribute_loss(changed, labels))


def test_accuracy_counts_visible_attributes_only():
    labels = torch.zeros(4, len(ATTRIBUTES), dtype=torch.long)
    read = labels.clone()
    read[0, 0] = 1
    read[:, 1], labels[:, 1] = 3, -1
    right = accuracy(read, labels)
    assert right["top"] == 0.75 and list(ATTRIBUTES)[1] not in right and right["skin"] == 1.0


def test_text_encoder_starts_as_the_tower_of_clip():
    model = clip.build(64, 60, 8)
    ids = torch.arange(8)[None]
    own = diffusion.build_text_encoder(model)(ids).last_hidden_state
    assert torch.equal(own, model.text_model(ids).last_hidden_state)


def test_timesteps_are_uniform_and_spread():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([diffusion.spread_timesteps(8, 1000, generator) for _ in range(500)])
    assert ((drawn // 125).sort(dim=1).values == torch.arange(8)).all()
    assert (drawn.float().mean(dim=0) - 499.5).abs().max() < 60, "no place in the batch has its own timesteps"
    assert abs(drawn.float().mean().item() - 499.5) < 5 and drawn.min() < 10 and drawn.max() > 989


def fitting(target: float):
    def loss_of_batch(module, randomness):
        x = torch.randn(16, 1, generator=randomness.torch) + float(randomness.numpy.normal())
        return {"loss": (module(x) - target * x).square().mean()}

    return loss_of_batch


def line(seed: int = 0) -> nn.Linear:
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(seed), module.bias.zero_()
    return module


def test_training_twice_from_one_seed_gives_the_same_weights(tmp_path):
    ends = []
    for name in "ab":
        module = line()
        optimizer = torch.optim.Adam(module.parameters(), 0.05)
        ends.append(
            train(tmp_path / name, module, optimizer, fitting(3.0), Budget(300), seed=4).weight.item()
        )
    assert ends[0] == ends[1] == pytest.approx(3.0, abs=0.1)


def test_a_stopped_training_goes_on_where_it_was(tmp_path):
    """Run for 150 steps, then again to 300: optimizer, randomness and average go on."""
    whole = line()
    train(tmp_path / "whole", whole, torch.optim.Adam(whole.parameters(), 0.05), fitting(2.0), Budget(300))
    broken = line()
    with pytest.raises(KeyboardInterrupt):
        train(
            tmp_path / "parts",
            broken,
            torch.optim.Adam(broken.parameters(), 0.05),
            interrupted(150),
            Budget(300),
        )
    assert trained(tmp_path / "parts") is None
    half = line()
    train(tmp_path / "parts", half, torch.optim.Adam(half.parameters(), 0.05), fitting(2.0), Budget(150))
    assert trained(tmp_path / "parts")["steps"] == 150
    resumed = line(9)
    ended = train(
        tmp_path / "parts", resumed, torch.optim.Adam(resumed.parameters(), 0.05), fitting(2.0), Budget(300)
    )
    assert trained(tmp_path / "parts")["steps"] == trained(tmp_path / "whole")["steps"] == 300
    assert load_ema(tmp_path / "parts", line(9)).weight.item() == ended.weight.item()
    assert ended.weight.item() == pytest.approx(2.0, abs=0.15)


def interrupted(after: int):
    count, inner = iter(range(10**6)), fitting(2.0)

    def loss_of_batch(module, randomness):
        if next(count) == after:
            raise KeyboardInterrupt
        return inner(module, randomness)

    return loss_of_batch


def test_the_command_trains_and_writes_a_bundle_that_loads(tmp_path, caplog, monkeypatch):
    """Every part for two steps, at the real sizes, on 40 scenes: files, scores, and models that load."""
    caplog.set_level(logging.INFO)
    out = tmp_path / "run"
    monkeypatch.setattr(command, "STEPS", dict.fromkeys(command.PARTS, 2))
    for module in (clip, diffusion, classifier, text, generator, encoder, identity, paint_by_example):
        monkeypatch.setattr(module, "BATCH", 4)
    for sampler in (evaluate.generate.__wrapped__, exemplar_scores.paint.__wrapped__):  # under no_grad
        names = list(signature(sampler).parameters)[-len(sampler.__defaults__) :]
        few = dict(zip(names, sampler.__defaults__, strict=True)) | {"steps": 3}
        monkeypatch.setattr(sampler, "__defaults__", tuple(few.values()))
    monkeypatch.setattr(toon, "PREVIEW_CAPTIONS", 12)  # one row of the grid
    monkeypatch.setattr(flow, "SAMPLES", 100)
    monkeypatch.setattr(upscaler_part, "STEPS", 2)
    small = ["--scenes", "40", "--held-out", "8", "--samples", "4", "--threads", "1"]
    command.main(["toon", "--out", str(out), "--only", "vae", *small])
    assert "no bundle yet" in caplog.text
    parts = ",".join(part for part in command.PARTS if part != "relevance")  # measured: it knows no steps
    command.main(["toon", "--out", str(out), "--only", parts, *small])
    models = zoo.load(out / "bundle")
    manifest = json.loads((out / "bundle" / "manifest.json").read_text())
    assert manifest["training"]["vae"]["steps"] == 2
    assert 0 <= manifest["scores"]["sample_attribute_accuracy"]["mean"] <= 1
    assert 0 <= manifest["scores"]["generator"]["attribute_accuracy"]["mean"] <= 1
    assert set(manifest["scores"]["mappers"]) == set(models.mappers) == set(style_edits.PROMPTS)
    assert {"encoder", "identity"} <= set(manifest["scores"]) & set(models.sources)
    assert models.diffusion.size == models.generator.size == 64 and "sunglasses" in models.vocabulary
    assert models.diffusion.decode(models.diffusion.encode(torch.zeros(1, 3, 64, 64))).shape == (1, 3, 64, 64)
    monkeypatch.setattr(toon, "measure", lambda *_: manifest["scores"])  # of these weights, and done
    command.main(
        ["toon", "--out", str(tmp_path / "next"), "--start", str(out / "bundle"), "--only", "", *small]
    )
    continued = zoo.load(tmp_path / "next" / "bundle")
    for mine, theirs in (
        (models.diffusion.unet, continued.diffusion.unet),
        (models.clip.model, continued.clip.model),
        (models.generator.network, continued.generator.network),
        (models.encoder.network, continued.encoder.network),
        (models.mappers["sunglasses"].network, continued.mappers["sunglasses"].network),
    ):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    monkeypatch.setattr(command, "STEPS", {"clip": 4})
    command.main(["toon", "--out", str(tmp_path / "next"), "--only", "clip", *small])
    assert trained(tmp_path / "next" / "clip")["steps"] == 4
    with pytest.raises(SystemExit):
        command.main(["toon", "--out", str(out), "--only", "gan"])


def test_a_part_that_lacks_what_it_is_built_on_is_one_sentence(tmp_path, capsys):
    words = ["toon", "--out", str(tmp_path), "--only", "reader", "--scenes", "2", "--threads", "1"]
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "error: The vae is not trained yet in" in told
    assert "add it to --only" in told and "Traceback" not in told


def test_the_text_tower_learns_to_read_and_is_handed_on(tmp_path, portraits, monkeypatch):
    """A few steps on captions lower the loss; CLIP and the UNet's text encoder then hold the same tower."""
    tokenizer = build_tokenizer(vocabulary(), tmp_path / "tokenizer")
    empty = clip.build(64, len(tokenizer), tokenizer.model_max_length)
    monkeypatch.setattr(text, "BATCH", 16)
    monkeypatch.setattr(loop, "WARMUP_STEPS", 4)
    torch.manual_seed(0)
    tower = text.fit(portraits, tokenizer, empty.config, tmp_path / "text", Budget(40), 0, "cpu")
    texts, said = portraits.captions(np.arange(8), np.random.default_rng(0))
    ids = text.tokens(tokenizer, texts, "cpu")
    heard = text.copy_tower(tower, empty).text_model(**ids).last_hidden_state
    seen = diffusion.build_text_encoder(empty).eval()(**ids).last_hidden_state
    assert torch.equal(heard, seen) and torch.equal(heard, tower(**ids).last_hidden_state)
    module = load_ema(tmp_path / "text", text.ReadingText(empty.config))
    fresh = text.reading(empty)
    said = torch.from_numpy(said)

    def loss(module):
        return attribute_loss(module.read(module.tower(**ids).pooler_output), said)

    assert loss(module) < 0.9 * loss(fresh)
    assert torch.equal(fresh.tower(**ids).last_hidden_state, heard)


def test_loss_weights_count_strong_noise_as_much_as_weak():
    """In v the weight is min-SNR's: with an error of 1 in v, every timestep below the caps costs the same."""
    alphas = diffusion.build_scheduler().alphas_cumprod
    weights = diffusion.loss_weights(alphas)
    snr = alphas / (1 - alphas)
    between = (snr < 5) & (1 + 1 / snr < diffusion.MOST_WEIGHT)
    assert between.sum() > 400
    assert torch.allclose(
        weights[between] * snr[between] / (1 + snr[between]), torch.ones(int(between.sum()))
    )
    assert weights.max() == diffusion.MOST_WEIGHT and weights[0] < 0.01
