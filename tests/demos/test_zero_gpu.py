"""ZeroGPU: every method in a worker process that shares nothing, by a stand-in for the package `spaces`."""

import os
import signal
import time
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from demos import zero_gpu
from demos.context import Context
from tests.added import layers_of, written
from tests.zero_gpu import Gpu
from textedit_core import device
from textedit_core.cache import Cache
from textedit_core.models import zoo
from textedit_core.models.additions import joined, parse
from textedit_core.request import Sample, request, run
from textedit_core.steps import Step, last
from textedit_core.sweep import sweep

PHOTO = Image.effect_noise((40, 40), 60).convert("RGB")
MASK = Image.new("L", (40, 40), 0)
MASK.paste(255, (8, 8, 30, 30))
PROMPT = {"image": PHOTO, "prompt": "a man in a red hat"}
GIVEN = {
    "sdedit": PROMPT,
    "imagic": PROMPT,
    "prompt_to_prompt": PROMPT | {"source_prompt": "a man in a blue hat"},
    "paint_by_example": {"image": PHOTO, "mask": MASK, "exemplar": PHOTO},
    "styleclip_optimizer": {"prompt": "a happy man", "latent": Sample(1)},
    "tedigan": {"prompt": "a happy man", "latent": Sample(1)},
    "styleclip_mapper": {"prompt": "a happy man", "latent": Sample(1)},
    "styleclip_directions": {"neutral": "a man", "prompt": "a happy man", "latent": Sample(1)},
    "latent_directions": {"neutral": "a man", "prompt": "a happy man", "latent": PHOTO},
    "styleflow": {"prompt": "a smiling man", "latent": Sample(1)},
    "text2live": PROMPT | {"source_prompt": "a man in a blue hat"},
}
SHORT = {
    "prompt_to_prompt": {"steps": 3, "inversion": "null_text"},
    "latent_directions": {"technique": "ganspace", "samples": 1000},
}


@pytest.fixture
def gpu():
    made = Gpu()
    yield made
    made.end()


@pytest.fixture
def ctx(tiny_folder, gpu):
    """A context whose heavy computations run by the stand-in."""
    made = Context(zoo, str(tiny_folder), "cpu")
    before = device.run_by(device.here)
    zero_gpu.use(made, gpu, place="cpu")
    yield made
    device.run_by(before)


def asked(ctx, name, **settings):
    return request(name, ctx.models(""), GIVEN[name], SHORT.get(name, {}) | settings)


def here(asked, cache):
    """The result of a request that is made in this process."""
    elsewhere = device.run_by(device.here)
    try:
        return last(run(asked, cache))
    finally:
        device.run_by(elsewhere)


@pytest.mark.parametrize("name", GIVEN)
def test_a_worker_makes_the_same_picture_and_the_second_time_none_is_asked(name, ctx, gpu):
    made, store = asked(ctx, name), Cache()
    expected = here(made, Cache())
    stages = {}
    for step in run(made, store):
        stages.setdefault(step.stage, []).append(step.done)
    found = step.value
    assert torch.equal(found.image, expected.image) and found.image.device.type == "cpu"
    assert found.rows == expected.rows and found.seconds > 0
    assert {name: cost.cached for name, cost in found.costs.items()} == dict.fromkeys(expected.costs, False)
    calls = len(gpu.calls)
    assert calls == len(expected.costs) and len(gpu.workers) == 1
    again = last(run(made, store))
    assert torch.equal(again.image, expected.image) and len(gpu.calls) == calls
    assert all(cost.cached for cost in again.costs.values())


def test_a_worker_loads_what_was_not_in_memory_when_it_was_forked(tiny_folder, gpu):
    ctx = Context(zoo, str(tiny_folder), "cpu")
    before = device.run_by(zero_gpu.ZeroGpu(ctx, gpu, place="cpu"))
    try:
        last(run(asked(ctx, "sdedit"), Cache()))
        assert not ctx.loaded("", "generator")
        made = asked(ctx, "styleclip_optimizer")
        assert torch.equal(last(run(made, Cache())).image, here(made, Cache()).image)
        assert len(gpu.workers) == 1
    finally:
        device.run_by(before)


def test_a_sweep_is_made_batch_by_batch_and_a_wider_one_asks_for_its_new_cells_alone(ctx, gpu):
    made, store = asked(ctx, "sdedit"), Cache()
    cells = last(sweep(made, {"seed": [0, 1], "strength": [0.4, 0.8]}, store, batch_size=2))
    assert len(cells) == 4 and len(gpu.calls) == 2
    torch.testing.assert_close(cells[0].image, here(made.at(**cells[0].coords), Cache()).image)
    last(sweep(made, {"seed": [0, 1, 2], "strength": [0.4, 0.8]}, store, batch_size=2))
    assert len(gpu.calls) == 4, "the new seed, at each strength"


def test_closing_ends_the_loop_of_the_worker_and_leaves_it_to_the_next_run(ctx, gpu):
    made = asked(ctx, "sdedit", steps=200, strength=1.0)
    with closing(run(made, store := Cache())) as steps:
        assert next(steps).done == 1
    assert gpu.idle is gpu.workers[0], "it has said that it is done, long before 200 steps"
    assert store.get(made.edit_call().key()) is None
    assert last(run(made.at(steps=3), store)).image.isfinite().all() and len(gpu.workers) == 1


def test_large_values_come_at_the_end_or_when_they_are_asked_for(ctx, gpu, monkeypatch):
    monkeypatch.setattr(zero_gpu, "SMALL", 0)
    made = asked(ctx, "imagic", embedding_steps=40, finetune_steps=2)
    with closing(run(made, Cache())) as steps:
        first = next(steps)
        assert first.value is None and device.value_elsewhere(first)
        come = next(step for step in steps if step.value is not None)
        assert 1 < come.done < come.total and len(come.value.embedding_losses) == come.done
    store = Cache()
    values = [step.value is not None for step in run(made, store) if step.stage == "fit"]
    assert values == [False] * 41 + [True], "no step has it but the last"


def test_a_huge_value_is_sent_to_no_worker_that_has_it(ctx, gpu, monkeypatch):
    monkeypatch.setattr(zero_gpu, "HUGE", 0)
    sent, real = [], zero_gpu.ZeroGpu.job

    def job(*args, **options):
        sent.append(real(*args, **options))
        return sent[-1]

    monkeypatch.setattr(zero_gpu.ZeroGpu, "job", job)
    made, store = asked(ctx, "imagic"), Cache()
    expected = here(made, Cache()).image
    assert torch.equal(last(run(made, store)).image, expected)
    assert isinstance(sent[-1].arguments[1], zero_gpu.Kept)
    gpu.idle = None
    last(run(made.at(eta=0.3), store))
    assert isinstance(sent[-1].arguments[1], zero_gpu.Kept), "a fork of this process has it too"
    gpu.idle = gpu.workers[0]
    last(run(asked(ctx, "imagic", finetune_steps=2), store))  # the first worker keeps another now
    gpu.idle, count = gpu.workers[0], len(sent)
    found = last(run(made.at(eta=0.6), store)).image
    assert torch.equal(found, here(made.at(eta=0.6), Cache()).image)
    assert [isinstance(one.arguments[1], zero_gpu.Kept) for one in sent[count:]] == [True, False]


def test_mistakes_and_accidents_are_the_sentences_they_are_here(ctx, gpu, caplog):
    wrong = asked(ctx, "imagic", mixed_precision="fp16")
    with pytest.raises(ValueError, match="Mixed precision works on a CUDA device, not on cpu"):
        last(run(wrong, Cache()))
    with pytest.raises(Exception, match="nobody expected this"):
        last(device.on_device(broken, (ctx.models("").diffusion,), {}))
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        last(device.on_device(too_large, (), {}))
    gpu.spent = True
    with pytest.raises(ValueError, match="exceeded your ZeroGPU quota"):
        last(run(asked(ctx, "sdedit"), Cache()))


def broken(model):
    yield Step(1, 2)
    raise TypeError("nobody expected this")


def killed():
    yield Step(1, 2)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_and_the_next_run_gets_another(ctx, gpu):
    with pytest.raises(ValueError, match=r"process on the GPU ended .* Press Edit again"):
        last(device.on_device(killed, (), {}))
    assert last(run(asked(ctx, "sdedit"), Cache())).image.shape[1] == 3 and len(gpu.workers) == 2


def too_large():
    yield Step(1, 2)
    raise torch.OutOfMemoryError("no room")


def slow(*, steps=4):
    for done in range(1, steps + 1):
        time.sleep(0.4)
        yield Step(done, steps, done)


def test_the_time_that_is_asked_for_is_that_of_the_pace_and_ends_a_run(ctx, gpu, tiny_folder):
    assert zero_gpu.planned({"steps": 4, "seed": [1, 2], "cross_replace_steps": 0.8, "tune_steps": 3}) == 14
    last(run(asked(ctx, "sdedit"), Cache()))
    last(run(asked(ctx, "sdedit", steps=8), Cache()))
    assert gpu.calls[0] == zero_gpu.FIRST_SECONDS and gpu.calls[1] < 20
    runner = zero_gpu.ZeroGpu(replace(ctx, gpu_seconds=1), gpu, place="cpu")
    with pytest.raises(ValueError, match="gives one run 1 s of GPU time, and this takes more: choose fewer"):
        last(runner(slow, (), {"steps": 20}))
    runner = zero_gpu.ZeroGpu(replace(ctx, gpu_seconds=50), gpu, place="cpu")
    assert 30 < runner.seconds(slow, (), {"steps": 300}) <= 50


@pytest.fixture
def visit(tiny_folder, gpu):
    """A client of the page whose heavy computations run by the stand-in, and who may wait for long."""
    from gradio_client import Client

    from demos.app import LAUNCH_KWARGS, create_app

    before, real = device.run_by(device.here), zero_gpu.ZeroGpu.__init__.__defaults__
    zero_gpu.ZeroGpu.__init__.__defaults__ = ("cpu",)
    demo = create_app(zoo, str(tiny_folder), "cpu", gpu=gpu)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, _frontend=False, **LAUNCH_KWARGS)
    yield Client(address, verbose=False, httpx_kwargs={"timeout": 120})
    demo.close()
    zero_gpu.ZeroGpu.__init__.__defaults__ = real
    device.run_by(before)


def test_the_page_edits_and_stops_by_workers(visit, gpu, picture, tmp_path):
    from gradio_client import handle_file

    short = {"image": handle_file(picture(1)), "prompt": "a man in a hat", "finetune_steps": 2, "steps": 3}
    edited = visit.predict(**short, embedding_steps=3, api_name="/imagic_edit")
    assert len(gpu.calls) == 3, "fit, edit, and what the autoencoder makes of the source"
    with Image.open(edited[0]) as image:
        assert image.size == (32, 32)
    visit.predict(**short, embedding_steps=3, api_name="/imagic_edit")
    assert len(gpu.calls) == 3, "all of it is in the cache of the page"
    running = visit.submit(**short, embedding_steps=900, api_name="/imagic_prepare")
    while not any("step" in str(output[0]) for output in running.outputs()):
        time.sleep(0.05)
    visit.predict(api_name="/imagic_stop")
    said = running.result(60)
    assert "of 900 embedding" in said[0] and "Edit uses them." in said[0], (
        "what was learnt when Stop was pressed"
    )
    calls = len(gpu.calls)
    visit.predict(**short, embedding_steps=900, api_name="/imagic_edit")
    assert len(gpu.calls) == calls + 1, "the edit alone"
    gpu.spent = True
    with pytest.raises(Exception, match="exceeded your ZeroGPU quota"):
        visit.predict(**short, embedding_steps=4, api_name="/imagic_edit")


def test_a_mapper_is_trained_by_a_worker(ctx, gpu, monkeypatch, tmp_path):
    from threading import Event

    from demos.styleclip import mapper

    monkeypatch.setenv("TEXTEDIT_HOME", str(tmp_path))
    monkeypatch.setattr(zero_gpu, "SMALL", 0)
    monkeypatch.setattr(mapper, "PREVIEW_EVERY", 0.0)
    values = {name: knob.default for name, knob in mapper.TRAINING.knobs.items()}
    values |= {"models": "", "train_prompt": "a happy man", "train_steps": 6, "train_id_lambda": 0.0}
    values |= {name: knob.default for name, knob in mapper.LIMIT.knobs.items()}
    *_, state = mapper.train(ctx, values, Event())
    assert state.about.steps == 6 and len(state.losses) == 6 and state.previews and len(gpu.calls) >= 1
    assert mapper.load(state.about.name).steps == 6


def test_models_with_a_lora_travel_by_their_name_at_each_weight(ctx, gpu, tmp_path, monkeypatch):
    plain, path = ctx.models("").diffusion, tmp_path / "cat.safetensors"
    save_file(written(layers_of(plain), "peft", plain), path)
    models = ctx.models(joined(ctx.default, [parse(str(path))]))
    sent, real = [], zero_gpu.ZeroGpu.job
    monkeypatch.setattr(zero_gpu.ZeroGpu, "job", lambda *args: sent.append(real(*args)) or sent[-1])
    for weight in (1.0, 0.5):
        made = request("sdedit", models, PROMPT, {"lora_weight": weight})
        assert torch.equal(last(run(made, Cache())).image, here(made, Cache()).image)
        named = sent[-1].arguments[0]
        assert isinstance(named, zero_gpu.Named) and "cat.safetensors" in named.name
    assert sent[0].arguments[0] != sent[1].arguments[0] and len(gpu.workers) == 1
