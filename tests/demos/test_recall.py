"""Recall and the model picker through the API."""

import pytest
from gradio_client import handle_file

from demos.imagic.runs import VIEW
from tests.demos.test_imagic_tab import PROMPT, ask, named, pixels

KNOBS = list(VIEW.knobs)


def restored(client, path: str) -> dict:
    """What Recall sets in the first tab, and its sentence."""
    found = client.predict(file=handle_file(path), api_name="/recall")[: 5 + len(KNOBS)]
    return named(client, "/recall", found)


def test_a_png_made_here_restores_every_setting_and_makes_the_same_picture(client, picture):
    source = picture()
    settings = {
        "eta": 0.35,
        "guidance_scale": 4.5,
        "seed": 11,
        "fit_seed": 3,
        "embedding_steps": 2,
        "steps": 2,
    }
    made = client.predict(**ask(source, **settings), api_name="/imagic_edit")[0]
    back = restored(client, made)
    assert "Settings restored" in back["Recall status"] and "add that again" in back["Recall status"]
    assert back["Prompt"] == PROMPT and back["On each edit"] == "fixed"
    assert (back["Eta"], back["Guidance λ"], back["Seed"], back["Embedding steps"]) == (0.35, 4.5, 11, 2)
    values = dict(zip(KNOBS, list(back.values())[-len(KNOBS) :], strict=True))
    assert values.items() >= settings.items()
    again = client.predict(**ask(source, **values), api_name="/imagic_edit")[0]
    assert (pixels(made) == pixels(again)).all()


def test_a_png_from_elsewhere_is_a_sentence_and_changes_nothing(client, picture):
    back = restored(client, picture())
    assert "carries no settings" in back["Recall status"] and "problem" in back["Recall status"]
    assert all("value" not in value for value in list(back.values())[1:] if isinstance(value, dict))


def test_a_picture_of_an_unknown_method_is_a_sentence(client, picture, tmp_path):
    from PIL import Image

    from textedit_core.record import Record, save_png

    path = tmp_path / "other.png"
    save_png(Image.open(picture()), path, Record(method="telepathy", models="toon"))
    assert "no tab for the method &#x27;telepathy&#x27;" in restored(client, str(path))["Recall status"]


def test_a_knob_out_of_range_in_a_file_is_a_sentence(client, picture, tmp_path):
    from PIL import Image

    from textedit_core.record import Record, save_png

    path = tmp_path / "wild.png"
    save_png(Image.open(picture()), path, Record(method="imagic", models="toon", knobs={"eta": 99.0}))
    assert "Recall: Eta: 99.0" in restored(client, str(path))["Recall status"]


def test_the_picker_says_what_a_hub_model_would_fetch_and_fetches_nothing(client):
    facts = client.predict(models="sd", api_name="/describe_models")
    facts = facts if isinstance(facts, str) else facts[0]
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in facts and "GB" in facts and "RAIL" in facts
    assert "will fetch" in facts


def test_a_hub_model_must_be_fetched_on_purpose(client, picture):
    with pytest.raises(Exception, match="models: Press Fetch and load first"):
        client.predict(**ask(picture(), models="sd"), api_name="/imagic_edit")


def test_a_folder_that_is_no_model_is_a_sentence(client, picture, tmp_path):
    with pytest.raises(Exception, match="models: "):
        client.predict(**ask(picture(), models=str(tmp_path)), api_name="/imagic_edit")
    facts = client.predict(models=str(tmp_path), api_name="/describe_models")
    assert "is no model folder" in (facts if isinstance(facts, str) else facts[0])


def test_a_host_can_keep_folders_out(tiny_folder, monkeypatch):
    from demos.context import Context
    from textedit_core.models import zoo

    monkeypatch.setenv("SPACE_ID", "someone/studio")
    with pytest.raises(ValueError, match="no folders"):
        Context(zoo).models(str(tiny_folder))
