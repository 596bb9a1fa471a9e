"""Relevance and mappers for a bundle: made in pieces as in one go, and for their own networks alone."""

import dataclasses

import pytest
import torch

from tests.bundles import write_tiny_bundle
from textedit_core.models import zoo
from textedit_core.models.style.files import read_mapper
from textedit_core.models.style.models import digest
from textedit_core.models.style.stylegan2 import Generator
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.training import bundle, style_edits
from textedit_core.training.loop import Budget


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return zoo.load(write_tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    few = style_edits.RelevanceSettings(images=20, count=20)
    monkeypatch.setattr(style_edits, "RELEVANCE", few)
    monkeypatch.setattr(style_edits, "MAPPER", style_edits.MapperSettings(lr=0.5, images_a_step=1))
    monkeypatch.setattr(style_edits, "PROMPTS", {"sad": ("a sad man", "mood", "sad")})


def test_relevance_is_measured_of_all_channels_and_kept(models, tmp_path):
    generator, clip = models.generator, models.clip
    found = style_edits.fit_relevance(generator, clip, tmp_path)
    assert style_edits.is_of(found, generator, clip)
    assert len(found.relevance) == sum(generator.channel_counts), "ToRGB's too"
    kept = style_edits.load_relevance(tmp_path)
    assert torch.equal(kept.relevance, found.relevance) and torch.equal(kept.std, found.std)
    half = dataclasses.replace(found, measured=16)
    assert not style_edits.is_of(half, generator, clip)


def test_relevance_of_another_generator_is_measured_anew(models, tmp_path):
    other = dataclasses.replace(
        style_edits.fit_relevance(models.generator, models.clip, tmp_path), generator="of another"
    )
    other.relevance.zero_()
    style_edits.save_relevance(other, tmp_path)
    again = style_edits.fit_relevance(models.generator, models.clip, tmp_path)
    assert again.relevance.any() and style_edits.is_of(again, models.generator, models.clip)


def test_mappers_go_on_where_they_stopped_and_reach_a_bundle(models, tmp_path):
    parts = models.generator, models.clip, models.identity
    whole = style_edits.fit_mappers(*parts, tmp_path / "whole", Budget(6), seed=0)["sad"]
    style_edits.fit_mappers(*parts, tmp_path / "half", Budget(3), seed=0)
    ended = style_edits.fit_mappers(*parts, tmp_path / "half", Budget(6), seed=0)["sad"]
    assert ended.steps == whole.steps == 6 and len(ended.losses) == 6
    assert all(torch.equal(ended.weights[name], whole.weights[name]) for name in whole.weights)
    found = style_edits.load_mapper(tmp_path / "half", "sad")
    style_edits.save_mapper(dataclasses.replace(found, optimizer={}), tmp_path / "bare", "sad")
    assert style_edits.fit_mappers(*parts, tmp_path / "bare", Budget(2), seed=0)["sad"].steps == 2
    bundle.write_mapper(tmp_path / "sad.safetensors", found.weights, found.prompt)
    read = read_mapper(tmp_path / "sad.safetensors")
    assert read.prompt == "a sad man"
    for name, weight in whole.weights.items():
        assert torch.equal(read.weights[name], weight.half().float())


def test_a_mapper_that_does_nothing_keeps_everything(models):
    mapper = models.mappers["smiling"]
    nothing = {name: torch.zeros_like(weight) for name, weight in mapper.weights.items()}
    still = dataclasses.replace(mapper, weights=nothing)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a chance reader may find everybody sad, and then nobody is left to score
        reader = AttributeClassifier(32).eval()
    scores = style_edits.mapper_scores({"sad": still, "unknown": still}, models.generator, reader)
    assert scores == {"sad": {"asked": 0.0, "kept": 1.0}}


def test_what_a_bundle_holds_is_the_network_that_was_trained(tmp_path):
    network = Generator(16, 8, 2, channels={4: 4, 8: 4, 16: 4})
    network.latent_avg = torch.ones(1, 8) / 3
    tensors = network.state_dict() | {"latent_avg": network.latent_avg[0]}
    config = {"size": 16, "style_dim": 8, "n_mlp": 2, "channels": {4: 4, 8: 4, 16: 4}}
    bundle.write_network(tmp_path / "generator", config, tensors)
    assert digest(zoo.load(tmp_path).generator.network) == digest(network)
