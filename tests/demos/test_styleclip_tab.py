"""The StyleCLIP tab through its API: latent, techniques, chain and undo, training, recall."""

import json

import pytest
from gradio_client import handle_file

from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import is_skip, named, pixels, wait_for
from tests.demos.test_sweep_panel import file_of, unpacked
from tests.style_bundle import MAPPER

DIRECTIONS, OPTIMIZER, MAPPING = "styleclip_directions", "styleclip_optimizer", "styleclip_mapper"
TEXTS = {"neutral": "a man", "prompt": "a smiling man"}
TEXT = {"prompt": "a sad woman"}
LOW = {"beta": 0.05}
SAMPLE = {"image": None}  # and not a picture of one's own


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Where trained mappers are kept."""
    monkeypatch.setenv("TEXTEDIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def edit(client, technique: str, **asked) -> dict:
    found = client.predict(**SAMPLE | asked, api_name=f"/{technique}_edit")
    return named(client, f"/{technique}_edit", found)


def directed(client, **more) -> dict:
    return edit(client, DIRECTIONS, **TEXTS | LOW | more)


# --- global directions --------------------------------------------------------------------------------------


def test_a_direction_edits_a_sample_and_says_which_channels(client):
    out = directed(client, latent_seed=3)
    record = settings_in(out["Edit"])
    assert record == out["Settings"] and record["method"] == DIRECTIONS and record["prompts"] == TEXTS
    assert record["knobs"]["latent_seed"] == 3 and record["image"] == ""
    assert (pixels(out["Edit"]) != pixels(out["Source"])).any()
    assert "identity" in out["Edit, in figures"] and "seed 3" in out["Source, in figures"]
    assert "channels, by layer" in out["Edited channels"] and 'class="bar"' in out["Edited channels"]


def test_alpha_zero_is_the_source_and_the_seed_names_it(client):
    still = directed(client, alpha=0)
    assert (pixels(still["Edit"]) == pixels(still["Source"])).all()
    other = directed(client, alpha=0, latent_seed=1)
    assert (pixels(other["Source"]) != pixels(still["Source"])).any()


def test_a_chain_of_accepted_edits_is_plain_data_and_undone_to_the_byte(client):
    first = directed(client, alpha=3)
    chain = accepted(first)
    on_top = directed(client, alpha=0, accepted=chain, prompt="a sad man")
    assert (pixels(on_top["Edit"]) == pixels(first["Edit"])).all()
    assert (pixels(picture_of(on_top["Accepted so far"])) == pixels(first["Edit"])).all()
    more = directed(client, alpha=2, accepted=chain, prompt="a sad man")
    assert (pixels(more["Edit"]) != pixels(first["Edit"])).any()
    from demos.styleclip.directions import undo

    rest, last = undo(chain)
    assert rest == "" and (last.alpha, last.prompt) == (3, TEXTS["prompt"])


def accepted(shown: dict) -> str:
    """The chain that Accept makes of a result."""
    from demos.styleclip.directions import accept

    return accept({"record": json.dumps(shown["Settings"])})


def picture_of(value) -> str:
    value = value["value"] if isinstance(value, dict) and "value" in value else value
    return value["path"] if isinstance(value, dict) else value


def test_beta_for_a_wanted_count_leaves_so_many_channels(tiny):
    from demos.styleclip import directions as runs
    from textedit_core.methods import styleclip_directions as method

    class Known:
        def models(self, name):
            return tiny

    values = {"models": "tiny", "templates": "", **TEXTS}
    beta = runs.beta_for(Known(), values, 12)
    towards = method.text_direction(tiny.clip, *TEXTS.values())
    assert method.direction(tiny.generator, tiny.relevance, towards, beta).count == 12
    with pytest.raises(ValueError, match="Channels: write a whole number"):
        runs.beta_for(Known(), values, 2.5)
    with pytest.raises(ValueError, match="Channels: 100000 is not a number"):
        runs.beta_for(Known(), values, 100_000)


def test_alpha_and_beta_are_swept_in_one_batch(client, monkeypatch):
    from textedit_core.methods import styleclip_directions as method

    rows, real = [], method.edit

    def watched(*args, **knobs):  # as the method's own, to the cache
        rows.append(len(knobs["alpha"]) if isinstance(knobs["alpha"], list) else 1)
        return real(*args, **knobs)

    for name in ("batched", "__wrapped__", "__name__", "__qualname__", "__module__"):
        setattr(watched, name, real if name == "__wrapped__" else getattr(real, name))
    monkeypatch.setattr(method, "edit", watched)
    axes = {"x": "alpha", "x_values": "-3, 0, 3", "y": "beta", "y_values": "0.05, 0.1, 0.2, 1"}
    *_, archive = client.predict(**SAMPLE, **TEXTS, **axes, api_name=f"/{DIRECTIONS}_sweep")
    cells = unpacked(file_of(archive))[0]["cells"]
    assert len(cells) == 12 and rows == [12]


# --- the optimizer ------------------------------------------------------------------------------------------


@pytest.fixture
def gone(monkeypatch):
    """The steps that optimisations really take."""
    from textedit_core.methods import styleclip_optimizer as method

    steps, real = [], method.fit

    def counting(*args, **knobs):
        for step in real(*args, **knobs):
            steps.append(step.done)
            yield step

    for name in ("__wrapped__", "__name__", "__qualname__", "__module__"):
        setattr(counting, name, real if name == "__wrapped__" else getattr(real, name))
    monkeypatch.setattr(method, "fit", counting)
    return steps


def test_the_optimizer_shows_its_way_and_a_place_on_it_needs_no_new_run(client, gone):
    asked = TEXT | {"steps": 4, "keep_every": 1}
    out = edit(client, OPTIMIZER, **asked)
    assert gone == [1, 2, 3, 4]
    assert (
        out["Steps of the optimisation"].count("data-cell") == 5
        and "Go to step 4" in out["Steps of the optimisation"]
    )
    begun = edit(client, OPTIMIZER, **asked, position=0)
    assert gone == [1, 2, 3, 4] and (pixels(begun["Edit"]) == pixels(begun["Source"])).all()
    assert (pixels(out["Edit"]) != pixels(out["Source"])).any()


def test_stop_keeps_the_way_so_far_as_the_run_that_stops_there(client, gone):
    from textedit_core import cache

    asked = TEXT | {"steps": 2000, "keep_every": 5}
    job = client.submit(**SAMPLE, **asked, api_name=f"/{OPTIMIZER}_prepare")
    wait_for(lambda: any("step 4 of" in str(shown[0]) for shown in job.outputs()))
    client.predict(api_name=f"/{OPTIMIZER}_stop")
    job.result()
    status, losses = (last_shown(job, place) for place in range(2))
    assert "of 2000 optimisation steps" in status and "optimisation" in losses
    taken = len(gone)
    kept = edit(client, OPTIMIZER, **asked)
    assert len(gone) == taken, "the kept way was gone again"
    done = settings_in(kept["Edit"])["knobs"]["stop_after"]
    assert f"Kept {done} of" in status
    cache.default.clear()
    again = edit(client, OPTIMIZER, **asked, stop_after=done)
    assert (pixels(kept["Edit"]) == pixels(again["Edit"])).all()


def last_shown(job, place: int):
    """The last value that a finished job gave an output."""
    return next(one[place] for one in reversed(job.outputs()) if not is_skip(one[place]))


# --- the mapper ---------------------------------------------------------------------------------------------


def test_a_mapper_of_the_models_edits_and_strength_zero_is_the_source(client):
    out = edit(client, MAPPING, mapper="smiling", strength=0.5)
    record = settings_in(out["Edit"])
    assert record["prompts"] == {"prompt": MAPPER} and record["knobs"]["mapper"] == "smiling"
    assert (pixels(out["Edit"]) != pixels(out["Source"])).any()
    still = edit(client, MAPPING, mapper="smiling", strength=0)
    assert (pixels(still["Edit"]) == pixels(still["Source"])).all()


TRAIN = {"train_prompt": "a sad man", "train_lr": 0.01}


def trained(client, **more) -> list:
    return client.predict(**TRAIN | more, api_name=f"/{MAPPING}_train")


def test_a_training_is_kept_on_disk_goes_on_and_its_mapper_edits(client, home):
    status, losses, looks, mapper = trained(client, train_steps=3)[:4]
    assert "Trained, 3 steps" in status and "Sample 4 after" in looks and "loss" in losses
    name = value_of(mapper)
    assert (home / "mappers" / f"{name}.json").is_file()
    again = trained(client, train_steps=3)
    assert "trained already, 3 steps" in again[0]
    further = trained(client, train_steps=6)
    assert "Trained, 6 steps" in further[0] and value_of(further[3]) == name
    out = edit(client, MAPPING, mapper=name, strength=0.5)
    record = settings_in(out["Edit"])["knobs"]
    assert record["train_steps_done"] == 6 and record["train_lr"] == 0.01
    assert (pixels(out["Edit"]) != pixels(out["Source"])).any()


def value_of(update) -> str:
    return update["value"] if isinstance(update, dict) else update


def test_a_training_in_two_parts_is_the_training_in_one(tiny, monkeypatch, tmp_path):
    from threading import Event

    import torch

    from demos.styleclip import mapper as runs

    class Known:
        gpu_seconds = None

        def models(self, name):
            return tiny

    values = {name: knob.default for name, knob in runs.TRAINING.knobs.items()} | TRAIN | {"models": "tiny"}
    made = {}
    for place, parts in (("one", [6]), ("two", [2, 6])):
        monkeypatch.setenv("TEXTEDIT_HOME", str(tmp_path / place))
        for steps in parts:
            *_, state = runs.train(Known(), values | {"train_steps": steps}, Event())
        made[place] = runs.load(state.about.name)
    assert made["one"].steps == made["two"].steps == 6
    assert made["one"].losses == pytest.approx(made["two"].losses)
    for name, weight in made["one"].weights.items():
        torch.testing.assert_close(weight, made["two"].weights[name])


def test_stop_keeps_an_unfinished_training(client):
    job = client.submit(**TRAIN, train_steps=100_000, api_name=f"/{MAPPING}_train")
    wait_for(lambda: any("step 3 of" in str(shown[0]) for shown in job.outputs()))
    client.predict(api_name=f"/{MAPPING}_stop")
    status, *_ = job.result()
    assert "It is kept: press Train to go on" in status


# --- the chain, recall --------------------------------------------------------------------------------------


def test_reset_empties_the_chain(tiny_folder):
    import gradio as gr

    from demos.context import Context
    from demos.styleclip import tab as styleclip
    from textedit_core.models import zoo

    with gr.Blocks():
        models = gr.Dropdown([str(tiny_folder)], value=str(tiny_folder))
        tab = styleclip.build(Context(zoo, str(tiny_folder), "cpu"), models).panels[DIRECTIONS]
    (updates,) = tab.reset("[]")
    assert updates[tab.controls["accepted"]] == ""
    with pytest.raises(gr.Error, match="Nothing has been accepted"):
        list(tab.reset(""))


@pytest.mark.parametrize(
    ("technique", "asked"),
    [
        (DIRECTIONS, TEXTS | LOW | {"alpha": -2.5, "latent_seed": 8, "latent_truncation": 0.4}),
        (OPTIMIZER, TEXT | {"steps": 2, "space": "s", "position": 0.5, "latent_seed": 9}),
        (MAPPING, {"mapper": "smiling", "strength": 0.3, "fine": False, "latent_seed": 2}),
    ],
)
def test_recall_restores_each_technique_and_the_latent(client, technique, asked):
    out = edit(client, technique, **asked)
    found = client.predict(file=handle_file(out["Edit"]), api_name="/recall")
    assert "Settings restored" in found[0]
    flat = json.dumps(found)
    for name, value in settings_in(out["Edit"])["knobs"].items():
        if name in asked:
            assert json.dumps(value) in flat, name
    assert any(value == asked["latent_seed"] for value in found if type(value) in (int, float))
