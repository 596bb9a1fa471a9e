"""The flow of a bundle: it learns the density of codes, goes on, reaches a bundle, and is scored."""

import shutil

import pytest
import torch

from textedit_core.models import zoo
from textedit_core.models.style.flows import read_attributes
from textedit_core.noise import noise
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.training import bundle, flow
from textedit_core.training.loop import Budget


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in (("SAMPLES", 100), ("BATCH", 32), ("SOLVER_STEPS", 2)):
        monkeypatch.setattr(flow, name, value)
    monkeypatch.setattr(flow, "SHAPE", {"width": 12, "layers": 2})
    monkeypatch.setattr(flow, "NEUTRAL", "a man")
    taught = {"sad": ("a sad man", "mood", "sad"), "hat": ("a man in a red hat", "hat_color", "red")}
    monkeypatch.setattr(flow, "TAUGHT", taught)
    monkeypatch.setattr(flow, "SCORED", 6)
    monkeypatch.setattr(flow, "LEARNING_RATE", 0.02)


def density(models, network):
    """Mean log density of codes that it was not trained on, but for a constant; the probes are fixed."""
    codes = models.generator.network.map(noise((40, 16), 7)).detach()
    image = models.generator.render(models.generator.styles(models.generator.network.widen(codes)))
    read = read_attributes(models.clip, image, flow.attributes()).detach()
    z, volume = network.eval().density(codes, read, noise((40, 16), 8).sign(), "rk4", 4)
    return (volume - z.square().sum(dim=1) / 2).mean().item()


def test_it_learns_the_density_and_reaches_a_bundle(tiny, tiny_folder, tmp_path, monkeypatch):
    parts, out = (tiny.generator, tiny.clip), tmp_path / "flow"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        begun = flow.fit(*parts, out, Budget(1), seed=0, device="cpu")
    monkeypatch.setattr(flow, "read_attributes", None)  # the samples are kept, and drawn no second time
    trained = flow.fit(*parts, out, Budget(60), seed=0, device="cpu")
    assert density(tiny, trained) > density(tiny, begun) + 0.5
    assert flow.is_of(out, *parts)
    (out / flow.FACTS).write_text("{}")
    assert not flow.is_of(out, *parts)

    folder = tmp_path / "bundle"
    for name in ("generator", "clip"):
        shutil.copytree(tiny_folder / name, folder / name)
    known = flow.digests(*parts)
    bundle.write_network(folder / "flow", flow.config(trained, **known), trained.state_dict())
    found = zoo.load(folder).flow
    assert found.names == ("sad", "hat")
    for name, tensor in trained.state_dict().items():
        wanted = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(found.network.state_dict()[name], wanted), name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        reader = AttributeClassifier(32).eval()
    scores = flow.scores(found, *parts, reader)
    assert set(scores) == {"sad", "hat"}
    assert all(0 <= share <= 1 for one in scores.values() for share in one.values())
