"""Values of a wrong kind in every sort of field of the running app: each is a sentence that names it."""

import httpx
import pytest
from gradio_client import handle_file

IMAGIC = "/imagic_edit"
PROMPTS = "a hat\n" * 17


def said(client, api: str, **asked) -> str:
    """What the page would say: of a request that was not even taken the words are in the body."""
    with pytest.raises(Exception) as caught:
        client.submit(**asked, api_name=api).result(timeout=60)
    if isinstance(caught.value, httpx.HTTPStatusError):
        return caught.value.response.text
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("tune", "abc", "tune: Tuned weights: 'abc' is not one of full, attention, lora."),
        ("sizing", "abc", "sizing: How it is made square: 'abc' is not one of crop, pad, native."),
        (
            "gradient_checkpointing",
            "yes",
            "gradient_checkpointing: Checkpointing: 'yes' is not true or false.",
        ),
        ("sdedit", "yes", "sdedit: Show an SDEdit result beside the edit: 'yes' is not true or false."),
        ("models", [1, 2], "models: Models: [1, 2] is not a text."),
        ("models", "a" * 5000, "models: There is no model 'aaa"),
        ("steps", 10**400, "steps: Sampling steps: 1000"),
        ("image", "photo.png", "image: Add a source image first."),
        ("image", 5, "image: Add a source image first."),
    ],
)
def test_a_value_of_a_wrong_kind_is_a_sentence_beside_its_field(client, picture, field, value, says):
    words = said(client, IMAGIC, **{"image": handle_file(picture()), "prompt": "a hat"} | {field: value})
    assert f"- {says}" in words and len(words) < 400


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"x": "mood"}, "- x: X axis: pick a knob of the list."),
        ({"x": ["eta"]}, "- x: X axis: pick a knob of the list."),
        ({"x": None}, "- x: X axis: pick a knob of the list."),
        ({"x_values": "1\r2"}, "- x_values: Eta: write the values in one line"),
        ({"x_values": "9" * 200_000}, "- x_values: Eta: 200,000 characters are too many"),
        ({"x": "seed", "x_values": "0-1e999 [3]"}, "- x_values: Seed: inf is not a whole number from 0"),
        ({"x_values": "0-1 [100]", "y": "seed", "y_values": "0-99"}, "- x_values: 10000 cells are more than"),
    ],
)
def test_an_axis_that_cannot_be_swept_is_a_sentence_beside_it(client, picture, asked, says):
    plain = {"image": handle_file(picture()), "prompt": "a hat", "x": "eta", "x_values": "0, 1", "y": ""}
    assert says in said(client, "/imagic_sweep", **plain | asked)


def test_seeds_weight_and_methods_of_a_wrong_kind_are_sentences(client, picture):
    source = {"image": handle_file(picture()), "prompt": "a man"}
    words = said(client, "/imagic_best_of_seeds", **source, seeds="abc")
    assert "- seeds: Seeds to try: 'abc' is not a whole number from 2 to 16." in words
    source |= {"source_prompt": "a man", "prompt": "a hat", "mask": None, "exemplar": None}
    for methods in (5, [[1]], {"a": 1}):
        words = said(client, "/compare", **source, methods=methods)
        assert "- methods: Methods: tick some of the list." in words
    assert "- weight: Best of: 0 is" in said(client, "/compare", **source, weight=5, methods=["sdedit"])
    assert said(client, "/compare_rank", weight="abc").endswith("'abc' is not a number from 0 to 1.")


def test_a_start_a_mapper_or_a_mask_that_is_none_is_a_sentence(client, picture):
    words = said(client, "/styleclip_directions_edit", image=None, origin="abc")
    assert "- origin: Start from: 'abc' is not one of sample, picture, file." in words
    for file in ("abc", 5, [7]):
        words = said(client, "/styleclip_directions_edit", image=None, origin="file", latent_file=file)
        assert "- latent_file: Latent: add one file, .pt or .npy." in words
    for name in (5, [1], {"a": 1}):
        words = said(client, "/styleclip_mapper_edit", image=None, mapper=name)
        assert "- mapper: Mapper: pick one of the list" in words
    file = handle_file(picture())
    assert "- mask: Mask: it is empty" in said(
        client, "/paint_by_example_edit", image=file, exemplar=file, mask="abc"
    )


def test_more_prompts_than_one_batch_takes_are_a_sentence(client, picture):
    asked = {"image": handle_file(picture()), "source_prompt": "a hat", "prompt": PROMPTS}
    words = said(client, "/prompt_to_prompt_edit", **asked)
    assert "- prompt: 17 lines are more than the 16 that are edited as one batch: write fewer." in words


def test_fields_judge_their_values_after_an_update_too(client, picture):
    """With any update, if only to skip, gradio makes a widget anew."""
    source = handle_file(picture())
    client.predict(file=source, api_name="/recall")
    asked = {"image": source, "prompt": "a hat"}
    assert "- steps: Sampling steps: 'abc' is not a whole" in said(client, IMAGIC, **asked, steps="abc")
    assert "- tune: Tuned weights: 'abc' is not one of" in said(client, IMAGIC, **asked, tune="abc")
    assert "- sizing: How it is made square: 7 is" in said(client, IMAGIC, **asked, sizing=7)


def test_what_is_no_name_of_models_is_a_sentence_in_the_picker_too(client):
    found = client.predict(models=[1], api_name="/describe_models")
    assert "Models: choose one of the list" in str(found)
    assert "Models: choose one of the list" in said(client, "/load_models", models=[1])
