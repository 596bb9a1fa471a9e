"""Several prompts of Prompt-to-Prompt at once: one that is refused, or cannot be read, is told by itself."""

import re
from threading import Event

import gradio as gr
import pytest

from demos.context import Context
from demos.inversion import runs
from demos.inversion.tab import build
from demos.shared import safety
from demos.shared.tab import Run
from tests.demos.test_null_text_tab import CAPTION
from textedit_core.models import zoo

LINES = [
    "a sad man with a red hat",
    "a smiling man with a blue hat",
    "a smiling man with a red hat and glasses",
]


class Refusing:
    """A checker that refuses the pictures with these numbers, in the order in which it sees them."""

    def __init__(self, *numbers: int):
        self.seen, self.numbers = 0, numbers

    def refuses(self, images) -> bool:
        self.seen += 1
        return self.seen in self.numbers


@pytest.fixture
def edited(tiny_folder, picture):
    """edited(checker, prompts) -> the tab, and its updates at the end of an edit."""

    def edit(checker, lines: list[str]):
        ctx = Context(zoo, str(tiny_folder), "cpu", checker=checker)
        with gr.Blocks():
            tab = build(ctx, gr.Dropdown([ctx.default], value=ctx.default))
        values = {name: knob.default for name, knob in tab.knobs.items()} | {"steps": 2, "blend_words": "man"}
        values |= {
            "models": ctx.default,
            "image": picture(),
            "source_prompt": CAPTION,
            "prompt": "\n".join(lines),
        }
        ask = tab.view.read(ctx, values)
        *_, end = tab.finish(Run.of(ask, Event(), values))
        return tab, end

    return edit


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_refused_prompt_is_told_refused_and_the_others_go_on(edited, number):
    tab, end = edited(Refusing(number), LINES)
    batch = end[tab.result.details.batch]
    assert [bool(one["edit"]) for one in batch] == [k != number for k in (1, 2, 3)]
    assert end[tab.result.settings]["prompts"]["prompt"] == LINES[1 if number == 1 else 0], (
        "the first that is left"
    )
    refused = batch[number - 1]
    assert refused["words"] == f"{safety.NOT_SHOWN}." and not {"maps", "mask"} & set(refused)
    drawn = end[tab.result.details.prompts]
    assert re.findall(r'data-cell="(\d)"', drawn) == [str(k - 1) for k in (1, 2, 3) if k != number]
    assert drawn.count("<img") == 2 and drawn.count(refused["words"]) == 1 and LINES[number - 1] in drawn
    assert "3 prompts, 1 refused by the safety checker." in end[tab.edit_status]
    chosen = gr.EventData(None, {"index": number - 1})
    assert tab.show_prompt(batch, chosen) == {tab.result.shown: gr.skip()}, "there is nothing to show"


def test_without_a_refusal_nothing_is_told(edited):
    tab, end = edited(Refusing(), LINES)
    assert end[tab.edit_status] == "" and end[tab.result.details.prompts].count("<img") == 3


@pytest.mark.parametrize(
    ("lines", "says"), [(LINES[:1], "refuses this picture"), (LINES, "refuses all 3 pictures")]
)
def test_where_all_are_refused_it_is_one_sentence(edited, lines, says):
    with pytest.raises(safety.Refused, match=says) as told:
        edited(Refusing(1, 2, 3), lines)
    assert str(told.value).count(".") == 1


def test_what_cannot_be_edited_is_told_before_the_run_with_the_prompt_it_is_said_of(tiny_folder):
    ctx = Context(zoo, str(tiny_folder), "cpu")
    ctx.load(ctx.default)
    values = {name: knob.default for name, knob in runs.VIEW.knobs.items()} | {"models": ctx.default}
    values |= {"source_prompt": CAPTION, "prompt": "\n".join(LINES), "edit_type": "replace"}
    said = runs.problems(ctx, values)
    assert said["edit_type"].startswith(f"Prompt 3, '{LINES[2]}': Replace needs as many words")
    assert runs.problems(ctx, values | {"prompt": LINES[2]})["edit_type"].startswith("Replace needs")
    of_all = runs.problems(ctx, values | {"edit_type": "auto", "word_weights": "sad"})
    assert of_all == {"word_weights": "Word weights: 'sad' is not word=number, such as tiger=2."}
