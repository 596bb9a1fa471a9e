"""Texts as axes of a sweep: words that replace the first, whole texts, and the fits that they need."""

import pytest
import torch
from PIL import Image

from textedit_core import __main__ as cli
from textedit_core.axes import parse_axis
from textedit_core.cache import Cache
from textedit_core.method import load
from textedit_core.record import read_png
from textedit_core.request import request, run
from textedit_core.steps import last
from textedit_core.sweep import settings_at, sweep

PICTURE = Image.linear_gradient("L").convert("RGB")
FAST = {
    "imagic": {"embedding_steps": 1, "finetune_steps": 1, "steps": 2},
    "prompt_to_prompt": {"steps": 2},
    "sdedit": {"steps": 2},
}


def asked(tiny, method: str, **texts):
    return request(method, tiny, {"image": PICTURE, **texts}, FAST[method])


def test_words_replace_the_first_of_them_and_other_values_are_whole_texts(tiny):
    one = asked(tiny, "sdedit", prompt="an angry man with an angry hat")
    axes = {"prompt": ["angry", "sad"]}
    told = [settings_at(one, axes, {"prompt": word})["prompt"] for word in axes["prompt"]]
    assert told == ["an angry man with an angry hat", "an sad man with an sad hat"]
    axes = {"prompt": ["man", "cat"]}
    of_woman = asked(tiny, "sdedit", prompt="a woman and a man")
    assert settings_at(of_woman, axes, {"prompt": "cat"})["prompt"] == "a woman and a cat"
    axes = {"prompt": ["a red hat", "a cat"]}
    assert settings_at(one, axes, {"prompt": "a cat"})["prompt"] == "a cat"


def test_a_cell_is_the_single_edit_of_its_text(tiny):
    one = asked(tiny, "sdedit", prompt="an angry man")
    cells = last(sweep(one, {"prompt": ["angry", "happy"], "seed": [0, 1]}, Cache()))
    assert [cell.coords for cell in cells] == [
        {"prompt": word, "seed": seed} for word in ("angry", "happy") for seed in (0, 1)
    ]
    assert [cell.settings["prompt"] for cell in cells] == ["an angry man"] * 2 + ["an happy man"] * 2
    for cell in cells:
        alone = asked(tiny, "sdedit", prompt=cell.settings["prompt"]).at(seed=cell.coords["seed"])
        torch.testing.assert_close(last(run(alone, Cache())).image, cell.image, rtol=0, atol=1e-4)
    assert one.at(prompt="a cat").record.prompts == {"prompt": "a cat"}


def test_a_text_that_is_fitted_is_fitted_anew_and_one_that_is_not_shares_the_fit(tiny):
    imagic = asked(tiny, "imagic", prompt="an angry man")
    cache = Cache()
    last(sweep(imagic, {"prompt": ["angry", "sad"], "eta": [0.0, 1.0]}, cache))
    for prompt in ("an angry man", "an sad man"):
        assert cache.get(imagic.at(prompt=prompt).fit_call().key()), prompt
    told = asked(tiny, "prompt_to_prompt", source_prompt="a man", prompt="an angry man")
    axes = {"prompt": ["angry", "sad"]}
    assert (
        len({told.at(**settings_at(told, axes, {"prompt": w})).fit_call().key() for w in axes["prompt"]}) == 1
    )
    cells = last(sweep(told, axes, Cache()))
    assert not torch.equal(cells[0].image, cells[1].image)


def test_a_text_that_was_fitted_elsewhere_cannot_be_swept(tiny):
    imagic = asked(tiny, "imagic", prompt="an angry man")
    fitted = last(run(imagic, Cache())).fitted
    given = request(
        "imagic", tiny, {"image": PICTURE, "prompt": "an angry man", "fitted": fitted}, FAST["imagic"]
    )
    with pytest.raises(ValueError, match="prompt: what is fitted was made for this text"):
        sweep(given, {"prompt": ["a cat"]}, Cache())
    with pytest.raises(ValueError, match="no knob called 'prompts'"):
        parse_axis("prompts=a,b", load("sdedit").axes)


def test_the_command_line_sweeps_words_and_each_cell_records_its_whole_prompt(tiny_folder, tmp_path):
    PICTURE.save(tmp_path / "in.png")
    words = ["sweep", "sdedit", "--models", str(tiny_folder), "--device", "cpu", "--steps", "2",
             "--image", str(tmp_path / "in.png"), "--prompt", "an angry man",
             "--x", 'prompt=angry, "very, very sad"',
             "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]  # fmt: skip
    assert cli.main(words) == 0
    cells = sorted(path for path in (tmp_path / "out").glob("prompt=*.png"))
    assert sorted(read_png(path).prompts["prompt"] for path in cells) == [
        "an angry man",
        "an very, very sad man",
    ]
    assert all("prompt" not in read_png(path).knobs for path in cells)
