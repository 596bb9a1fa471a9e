"""The Null-text + Prompt-to-Prompt tab through its API: invert, edit, batches, sweeps, recall, mistakes."""

import pytest
from gradio_client import handle_file
from PIL import Image

from tests.demos.conftest import settings_in
from tests.demos.test_imagic_tab import named, pixels, wait_for
from tests.demos.test_sweep_panel import file_of, unpacked
from textedit_core.methods import prompt_to_prompt

CAPTION, TARGET = "a smiling man with a red hat", "a sad man with a red hat"


def ask(path: str, **more) -> dict:
    return {"image": handle_file(path), "source_prompt": CAPTION, "prompt": TARGET, "steps": 4} | more


def edit(client, path: str, **more) -> dict:
    found = client.predict(**ask(path, **more), api_name="/prompt_to_prompt_edit")
    return named(client, "/prompt_to_prompt_edit", found)


@pytest.fixture
def inverted(monkeypatch):
    """Counts the steps of inversions and edits."""
    from textedit_core.methods import prompt_to_prompt

    steps = {"fit": 0, "edit_many": 0}

    def counting(name):
        real = getattr(prompt_to_prompt, name)

        def run(*args, **kwargs):
            for step in real(*args, **kwargs):
                steps[name] += 1
                yield step

        run.__wrapped__, run.__name__, run.__qualname__ = real, real.__name__, real.__qualname__
        run.__module__ = real.__module__
        return run

    for name in steps:
        monkeypatch.setattr(prompt_to_prompt, name, counting(name))
    return steps


def test_prepare_then_edit_inverts_once(client, picture, inverted):
    source = picture()
    status, losses, *_ = client.predict(**ask(source), api_name="/prompt_to_prompt_prepare")
    assert "Prepared for this image and source prompt" in status and losses == ""
    assert inverted == {"fit": 4, "edit_many": 0}
    edit(client, source)
    assert inverted == {"fit": 4, "edit_many": 4}
    edit(client, source)
    assert inverted == {"fit": 4, "edit_many": 4}, "a repeated edit comes from the cache"
    edit(client, source, prompt="a sad man")
    assert inverted == {"fit": 4, "edit_many": 8}, "another prompt needs no other inversion"


def test_edit_without_prepare_shows_four_pictures_with_their_psnr_and_where_words_look(client, picture):
    out = edit(client, picture())
    sizes = {pixels(out[name]).shape for name in ("Source", "Autoencoder", "Reconstruction", "Edit")}
    assert sizes == {(32, 32, 3)}
    for name in ("Autoencoder", "Reconstruction", "Edit"):
        assert " dB" in out[f"{name}, in figures"]
    record = settings_in(out["Edit"])
    assert record == out["Settings"] and record["method"] == "prompt_to_prompt"
    assert record["prompts"] == {"source_prompt": CAPTION, "prompt": TARGET}
    assert "Replace, CLIP score" in out["Scores"]
    assert "Attention of smiling" in out["Attention"] and "Attention of sad" in out["Attention"]
    assert "Mask of the blend" not in out["Attention"]


def test_blend_words_show_their_mask(client, picture):
    assert "Mask of the blend" in edit(client, picture(), blend_words="smiling sad")["Attention"]


def test_identical_prompts_rebuild_the_picture(client, picture):
    out = edit(client, picture(), prompt=CAPTION, inversion="npi", guidance_scale=1)
    assert abs(pixels(out["Edit"]) - pixels(out["Reconstruction"])).max() <= 2


def test_null_text_draws_its_loss_and_names_its_second_stage(client, picture):
    settings = {"inversion": "null_text", "steps": 3, "inner_steps": 2}
    job = client.submit(**ask(picture(), **settings), api_name="/prompt_to_prompt_prepare")
    status, losses, *_ = job.result()
    assert "Prepared" in status and "null-text" in losses and "<polyline" in losses
    assert any("Optimising the empty prompt, step 4 of 6" in shown[0] for shown in job.outputs())


def test_several_prompts_are_one_batch_each_with_the_words_it_has(client, picture, inverted):
    lines = f"{TARGET}\na smiling man with a red hat and glasses"
    out = edit(client, picture(), prompt=lines, word_weights="sad=2 glasses=3")
    assert inverted["edit_many"] == 4, "one run of four steps for both"
    assert out["Prompts"].count("data-cell=") == 2 and "refine" in out["Prompts"]
    assert out["Settings"]["prompts"]["prompt"] == TARGET
    assert out["Settings"]["knobs"]["word_weights"] == "sad=2"


def test_a_weight_of_one_changes_nothing_and_another_does(client, picture):
    source = picture()
    plain = pixels(edit(client, source)["Edit"])
    assert (pixels(edit(client, source, word_weights="sad=1")["Edit"]) == plain).all()
    assert (pixels(edit(client, source, word_weights="sad=4")["Edit"]) != plain).any()


def test_stopping_an_inversion_keeps_nothing_and_says_so(client, picture, inverted, held):
    source, there = picture(), held(prompt_to_prompt, "fit", 3)
    job = client.submit(
        **ask(source, inversion="null_text", steps=50, inner_steps=50), api_name="/prompt_to_prompt_edit"
    )
    wait_for(there.is_set)
    client.predict(api_name="/prompt_to_prompt_stop")
    job.result()
    said = " ".join(str(update) for update in job.outputs()[-2:])
    assert "of no use, so none of it is kept" in said and "Stopped while preparing" in said
    assert inverted["fit"] < 100 and inverted["edit_many"] == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"source_prompt": " "}, "source_prompt: Write the source prompt"),
        ({"prompt": " \n "}, "prompt: Write the prompt"),
        ({"prompt": f"{TARGET}\n{'red ' * 60}"}, "prompt: Prompt 2, 'red .*This prompt has 60 tokens"),
        ({"prompt": "a man", "edit_type": "replace"}, "edit_type: Replace needs as many words"),
        ({"blend_words": "zebra"}, "blend_words: Blend words: 'zebra' is in neither prompt"),
        ({"subtract_words": "hat"}, "subtract_words: Protected words take from the place of the blend"),
        ({"word_weights": "tall=2"}, "word_weights: The prompt has no word 'tall'"),
        ({"word_weights": "sad"}, "word_weights: Word weights: 'sad' is not word=number"),
        ({"word_steps": "sad=0.9:0.2"}, "word_steps: A window of steps must lie between 0 and 1"),
        ({"cross_replace_steps": 7}, "cross_replace_steps: Cross-attention steps: 7 is not a number from 0"),
    ],
)
def test_mistakes_are_answered_beside_their_field(client, picture, given, says):
    with pytest.raises(Exception, match=says):
        edit(client, picture(), **given)


def test_no_image_is_answered_beside_the_field(client):
    with pytest.raises(Exception, match="Add a source image first"):
        client.predict(image=None, source_prompt=CAPTION, prompt=TARGET, api_name="/prompt_to_prompt_edit")


def test_cross_by_self_streams_in_from_one_inversion_and_its_files_say_the_prompts(client, picture, inverted):
    axes = {"x": "cross_replace_steps", "x_values": "0, 1", "y": "self_replace_steps", "y_values": "0, 0.5"}
    status, grid, chart, sheet, archive = client.predict(
        **ask(picture()), **axes, api_name="/prompt_to_prompt_sweep"
    )
    assert "4 cells" in status and grid.count("data-cell=") == 4 and "similarity to the source" in chart
    assert inverted["fit"] == 4
    listing, names = unpacked(file_of(archive))
    assert listing["prompts"] == {"source_prompt": CAPTION, "prompt": TARGET} and len(names) == 6
    assert Image.open(file_of(sheet)).width > 100


def test_inversions_and_weights_can_be_axes(client, picture):
    axes = {
        "x": "inversion",
        "x_values": "direct, npi, ddim",
        "y": "word_weights",
        "y_values": "sad=0, sad=2",
    }
    grid = client.predict(**ask(picture()), **axes, api_name="/prompt_to_prompt_sweep")[1]
    assert grid.count("data-cell=") == 6 and "inversion npi · word weights sad=2" in grid


def test_recall_sets_both_prompts_and_every_knob(client, picture):
    settings = {"steps": 3, "inversion": "npi", "word_weights": "sad=2", "guidance_scale": 4.0}
    made = edit(client, picture(), **settings)["Edit"]
    found = client.predict(file=handle_file(made), api_name="/recall")
    values = [one["value"] if isinstance(one, dict) and "value" in one else one for one in found]
    assert "Settings restored" in values[0]
    at = values.index(CAPTION)
    assert values[at + 1] == TARGET
    assert {"npi", "sad=2", 3, 4.0} <= {value for value in values[at:] if not isinstance(value, dict)}
