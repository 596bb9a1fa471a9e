"""A program that asks by the API gets values; the page gets the updates of its widgets."""

from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.context import LocalContext
from gradio.utils import is_prop_update
from gradio_client import Client, handle_file

from demos.shared.programs import by_program, with_values
from tests.demos.test_imagic_tab import ask


@pytest.fixture
def sender():
    """sender(name) -> from now on the call under way is asked for by this."""
    tokens = []

    def set_(name: str | None):
        headers = {"x-gradio-user": name} if name else {}
        tokens.append(LocalContext.request.set(SimpleNamespace(headers=headers)))

    yield set_
    for token in reversed(tokens):
        LocalContext.request.reset(token)


def test_no_answer_of_an_edit_or_a_sweep_is_an_update(client: Client, picture):
    source = picture()
    edit = client.predict(**ask(source), api_name="/imagic_edit")
    sweep = client.predict(**ask(source), x="eta", x_values="0, 1", y="", api_name="/imagic_sweep")
    compared = {"image": handle_file(source), "prompt": "a man", "source_prompt": "a cat"}
    compare = client.predict(**compared, methods=["sdedit"], sdedit_steps=2, api_name="/compare")
    pair = client.predict(a="source", b="sdedit", api_name="/compare_pair")
    for answer in (edit, sweep, compare):
        assert not any(map(is_prop_update, answer)), answer
    assert edit[0].endswith(".png") and sweep[3].endswith(".png") and sweep[4].endswith(".zip")
    assert compare[-1].endswith(".zip") and pair[-1].endswith(".png")


@pytest.mark.parametrize(("name", "program"), [("app", False), ("api", True), (None, True)])
def test_only_the_page_calls_itself_so(sender, name, program):
    assert not by_program(), "no call is under way"
    sender(name)
    assert by_program() == program


def test_a_stream_tells_all_that_it_has_told(sender):
    with gr.Blocks():
        words, button, row, held, knob = gr.HTML(), gr.DownloadButton(), gr.Row(), gr.State(1), gr.Slider()
        done = gr.HTML("done")
    outputs = [words, button, row, held, knob]

    def handler():
        yield {words: "so far"}
        yield {button: gr.update(value="a.png", visible=True), row: gr.update(visible=False)}
        yield [done, gr.skip(), gr.skip(), 5, 0.5]

    plain = [list(handler()), list(with_values(handler, outputs)())]
    assert str(plain[0]) == str(plain[1]), "the page gets what it got"
    sender("api")
    first, second, third = with_values(handler, outputs)()
    left = gr.skip()
    assert first == ["so far", None, left, left, left]
    assert second == ["so far", "a.png", left, left, left]
    assert third == ["done", "a.png", left, 5, 0.5]


def test_a_single_answer_and_a_stream_that_is_closed(sender):
    with gr.Blocks():
        words = gr.HTML()
    closed = []

    def handler():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    sender("api")
    assert with_values(lambda: gr.update(value="a", visible=True), [words])() == "a"
    assert with_values(lambda: gr.skip(), [words])() is None
    stream = with_values(handler, [words])()
    assert next(stream) == "a"
    stream.close()
    assert closed
