"""Mistakes in the StyleCLIP tab: each is one sentence beside its field."""

import shutil

import pytest
from gradio_client import handle_file

from tests.demos.test_styleclip_tab import DIRECTIONS, MAPPING, OPTIMIZER, SAMPLE, TEXTS, trained


@pytest.mark.parametrize(
    ("technique", "asked", "says"),
    [
        (DIRECTIONS, {"prompt": " "}, r"prompt: Write what it is to show, such as 'a smiling face'\.$"),
        (DIRECTIONS, {"neutral": ""}, "neutral: Write what the picture shows now"),
        (DIRECTIONS, {"neutral": "a man", "prompt": "a  man "}, "prompt: Both texts are the same"),
        (DIRECTIONS, {"beta": 1}, "beta: No channel is left at β 1"),
        (DIRECTIONS, {"layers": "99"}, "layers: Layers: '99' is no layer"),
        (DIRECTIONS, {"prompt": "red " * 60}, "prompt: This text has 60 tokens, the model reads 30"),
        (DIRECTIONS, {"latent_seed": -1}, "latent_seed: Seed: -1 is not a whole number"),
        (DIRECTIONS, {"origin": "picture"}, "image: Add a source image first"),
        (OPTIMIZER, {"prompt": ""}, "prompt: Write the prompt"),
        (OPTIMIZER, {"prompt": "a man", "position": 2}, "position: Position: 2 is not a number from 0 to 1"),
        (MAPPING, {"mapper": "nobody"}, "mapper: Mapper: pick one of the list"),
    ],
)
def test_a_mistake_is_a_sentence_beside_its_field(client, technique, asked, says):
    with pytest.raises(Exception, match=says):
        client.predict(**SAMPLE | asked, api_name=f"/{technique}_edit")


def test_an_unreadable_picture_is_a_sentence_beside_it(client, tmp_path):
    path = tmp_path / "text.png"
    path.write_text("no picture")
    with pytest.raises(Exception, match="image: Own picture: this is not an image"):
        client.predict(origin="picture", image=handle_file(str(path)), api_name="/styleclip_project")


def test_a_training_without_a_text_or_a_level_is_a_sentence(client):
    with pytest.raises(Exception, match="train_prompt: Write the text to train for"):
        client.predict(train_prompt="", api_name=f"/{MAPPING}_train")
    with pytest.raises(Exception, match="train_coarse: No level is chosen"):
        trained(client, train_coarse=False, train_medium=False, train_fine=False)


def test_models_without_a_generator_say_so_in_one_sentence(client, tiny_folder, tmp_path):
    folder = tmp_path / "poor"
    shutil.copytree(tiny_folder, folder, ignore=shutil.ignore_patterns("generator", "encoder", "mappers"))
    with pytest.raises(Exception, match=r"models: The model .* has no generator part") as caught:
        client.predict(**SAMPLE, **TEXTS, models=str(folder), api_name=f"/{DIRECTIONS}_edit")
    assert "Traceback" not in str(caught.value)
