"""The Imagic tab through its API: prepare, edit, stop, cancel, two clients, mistakes."""

import threading
import time

import numpy as np
import pytest
from gradio_client import handle_file
from PIL import Image

from tests.demos.conftest import settings_in
from textedit_core import cache
from textedit_core.methods import imagic

PROMPT = "a smiling woman with a red hat"
LONG = {"embedding_steps": 400, "finetune_steps": 400}


def ask(path: str, **more) -> dict:
    return {"image": handle_file(path), "prompt": PROMPT} | more


def named(client, endpoint: str, result) -> dict:
    """The outputs of a call by their names in the API."""
    returns = client.view_api(return_format="dict", print_info=False)["named_endpoints"][endpoint]["returns"]
    return dict(zip((one["label"] for one in returns), result, strict=False))


def file_of(update) -> str:
    """The path in a download button's update."""
    value = update["value"] if isinstance(update, dict) and "value" in update else update
    return value["path"] if isinstance(value, dict) else value


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_prepare_then_edit_computes_the_fit_once(client, picture, counted):
    source = picture()
    job = client.submit(**ask(source), api_name="/imagic_prepare")
    status, losses, *_ = job.result()
    assert "Prepared for this image and prompt" in status
    assert "1 embedding" in losses and "2 fine-tuning" in losses
    assert any("step 2 of 6" in shown[0] for shown in job.outputs())
    assert counted == {"fit": 6, "edit": 0}
    client.predict(**ask(source), api_name="/imagic_edit")
    assert counted == {"fit": 6, "edit": 3}


def test_edit_without_prepare_prepares_first_and_says_what_it_did(client, picture, counted):
    out = named(
        client, "/imagic_edit", client.predict(**ask(picture(), eta=0.5, seed=7), api_name="/imagic_edit")
    )
    assert counted == {"fit": 6, "edit": 3}
    record = settings_in(out["Edit"])
    assert record == out["Settings"]
    assert record["knobs"]["eta"] == 0.5 and record["knobs"]["seed"] == 7 and record["knobs"]["fit_seed"] == 0
    assert record["prompts"] == {"prompt": PROMPT} and record["method"] == "imagic"
    assert pixels(out["Edit"]).shape == pixels(out["Source"]).shape == pixels(out["Reconstruction"]).shape
    assert "CLIP score" in out["Scores"]


def test_a_repeated_edit_is_served_from_the_cache(client, picture, counted):
    source = picture()
    first = client.predict(**ask(source), api_name="/imagic_edit")[0]
    before = dict(counted)
    again = client.predict(**ask(source), api_name="/imagic_edit")[0]
    assert counted == before
    assert (pixels(first) == pixels(again)).all()
    other = client.predict(**ask(source, eta=0.1), api_name="/imagic_edit")[0]
    assert counted == {"fit": before["fit"], "edit": before["edit"] + 3}
    assert (pixels(first) != pixels(other)).any()


def test_sdedit_stands_beside_the_edit_with_its_own_settings(client, picture):
    own = {"sdedit": True, "sdedit_strength": 0.5, "sdedit_guidance_scale": 4.5}
    result = client.predict(**ask(picture(), **own), api_name="/imagic_edit")
    out = named(client, "/imagic_edit", result)
    path = out["SDEdit"]["value"] if isinstance(out["SDEdit"], dict) else out["SDEdit"]
    record = settings_in(path["path"] if isinstance(path, dict) else path)
    assert record["method"] == "sdedit" and record["knobs"]["strength"] == 0.5
    assert record["knobs"]["guidance_scale"] == 4.5 != out["Settings"]["knobs"]["guidance_scale"]
    saved = out["Download SDEdit"]
    assert settings_in(file_of(saved)) == record


def test_a_cancelled_fit_leaves_no_trace_and_the_next_one_works(client, picture, counted, tiny_folder):
    source = picture()
    job = client.submit(**ask(source, **LONG), api_name="/imagic_prepare")
    wait_for(lambda: counted["fit"] > 3)
    job.cancel()
    wait_for(lambda: rests(counted))
    assert counted["fit"] < 800
    assert not cache.default._memory and not cache.default._huge
    assert "Prepared" in client.predict(**ask(source), api_name="/imagic_prepare")[0]


def rests(counted: dict) -> bool:
    """Whether nothing is computed for half a second."""
    before = dict(counted)
    time.sleep(0.5)
    return counted == before


def test_stop_keeps_the_unfinished_fit_under_the_steps_it_has_done(client, picture, counted, held):
    source, there = picture(), held(imagic, "fit", 7)
    job = client.submit(**ask(source, embedding_steps=3, finetune_steps=400), api_name="/imagic_prepare")
    wait_for(there.is_set)
    client.predict(api_name="/imagic_stop")
    status = last_full(job)[0]
    assert "Kept 3 of 3 embedding and" in status
    done, asked = dict(counted), {"embedding_steps": 3, "finetune_steps": 400}
    edited = client.predict(**ask(source, **asked), api_name="/imagic_edit")
    assert counted["fit"] == done["fit"], "the kept fit was fitted again"
    steps = {name: settings_in(edited[0])["knobs"][name] for name in asked}
    assert steps["embedding_steps"] == 3 < steps["finetune_steps"] < 400
    cache.default.clear()
    fresh = client.predict(**ask(source, **steps), api_name="/imagic_edit")
    assert (pixels(edited[0]) == pixels(fresh[0])).all(), "a stopped fit is the fit of fewer steps"


def last_full(job) -> list:
    """The outputs of a finished job, each at the last value it was given."""
    job.result()
    merged = [None] * len(job.outputs()[0])
    for update in job.outputs():
        merged = [old if is_skip(new) else new for old, new in zip(merged, update, strict=True)]
    return merged


def is_skip(value) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update" and "value" not in value


def test_two_clients_at_once_get_their_own_results(visitor, picture):
    paths, results = [picture(1), picture(2)], {}

    def work(number: int) -> None:
        results[number] = visitor().predict(**ask(paths[number], seed=number), api_name="/imagic_edit")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [settings_in(results[number][0]) for number in range(2)]
    assert [record["knobs"]["seed"] for record in records] == [0, 1]
    assert records[0]["image"] != records[1]["image"]
    for number in range(2):
        shown = pixels(results[number][4])
        own, other = (
            np.asarray(Image.open(paths[k]).resize((32, 32))).astype(float) for k in (number, 1 - number)
        )
        assert np.abs(shown - own).mean() < np.abs(shown - other).mean() / 2


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("   ", "Write the prompt"), ("red " * 60, "60 tokens, the model reads 30")],
)
def test_a_prompt_that_cannot_be_used_is_answered_beside_the_field(client, picture, prompt, says):
    with pytest.raises(Exception, match=says) as caught:
        client.predict(**ask(picture()) | {"prompt": prompt}, api_name="/imagic_edit")
    assert "prompt" in str(caught.value)


def test_no_image_is_answered_beside_the_field(client):
    with pytest.raises(Exception, match="Add a source image first"):
        client.predict(image=None, prompt=PROMPT, api_name="/imagic_edit")


def test_a_knob_out_of_range_is_a_sentence_beside_it(client, picture):
    with pytest.raises(Exception, match=r"eta: Eta: 9 is not a number from -0.5 to 2"):
        client.predict(**ask(picture(), eta=9), api_name="/imagic_edit")


def test_a_strength_out_of_range_is_told_before_the_edit_and_only_where_sdedit_is_asked(
    client, picture, counted
):
    with pytest.raises(Exception, match=r"strength: .* 9 is not a number"):
        client.predict(**ask(picture()), sdedit=True, sdedit_strength=9, api_name="/imagic_edit")
    assert counted == {"fit": 0, "edit": 0}


def test_an_unexpected_error_is_one_sentence_and_logged(client, picture, monkeypatch, caplog):
    from textedit_core.methods import imagic

    def broken(*args, **kwargs):
        raise KeyError("secret detail")
        yield

    broken.__wrapped__ = imagic.fit
    monkeypatch.setattr(imagic, "fit", broken)
    with pytest.raises(Exception, match="Something went wrong on the server") as caught:
        client.predict(**ask(picture()), api_name="/imagic_prepare")
    assert "secret" not in str(caught.value) and "secret detail" in caplog.text


def test_out_of_memory_drops_the_caches_and_names_a_knob(client, picture, monkeypatch):
    from textedit_core.methods import imagic

    source = picture()
    client.predict(**ask(source), api_name="/imagic_prepare")
    assert cache.default._memory

    def greedy(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        yield

    greedy.__wrapped__ = imagic.edit
    monkeypatch.setattr(imagic, "edit", greedy)
    with pytest.raises(Exception, match=r"Memory ran out.*lora"):
        client.predict(**ask(source), api_name="/imagic_edit")
    assert not cache.default._memory
