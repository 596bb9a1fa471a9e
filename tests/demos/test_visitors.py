"""What is kept of each visitor does not grow with what he does, and gradio's own ways still work."""

import datetime

import gradio as gr
import pytest
from gradio import state_holder
from gradio.state_holder import SessionState
from gradio_client import Client

from demos.app import LAUNCH_KWARGS
from demos.shared import visitors
from demos.shared.visitors import Visitor, forget_closed


@pytest.fixture
def small(monkeypatch):
    """small(kind) -> a page and its client: the visits are of this class, and each call counts a state up."""
    pages = []

    def launch(kind: type):
        monkeypatch.setattr(state_holder, "SessionState", kind)
        with gr.Blocks() as page:
            count, words, number = gr.State(0), gr.HTML(label="words"), gr.Number(label="number")

            def say(seen: int):
                told = f"<p>{seen}</p>"
                return seen + 1, gr.update(value=told, visible=True) if seen % 2 else told, seen

            gr.Button().click(say, count, [count, words, number], api_name="say")
            gr.Button().click(lambda value: value, number, number, api_name="echo")
            words.change(lambda: None)
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, state_session_capacity=1_000)
        pages.append(page)
        return page, Client(address, verbose=False)

    yield launch
    for page in pages:
        page.close()


def of_client(page: gr.Blocks, client: Client) -> SessionState:
    return page.app.state_holder.session_data[client.session_hash]


@pytest.mark.parametrize("kind", [SessionState, Visitor])
def test_a_visit_that_goes_on_gains_no_widgets(small, kind):
    page, client = small(kind)
    sizes = []
    for number in range(8):
        words, shown = client.predict(api_name="/say")
        words = words["value"] if isinstance(words, dict) else words
        assert (words, shown) == (f"<p>{number}</p>", number), "the states and the updates count on"
        sizes.append(len(of_client(page, client).blocks_config.blocks))
    grows = sizes[-1] > sizes[0]
    assert grows == (kind is SessionState), "if gradio's own no longer grows, demos/shared/visitors.py may go"
    assert client.predict(7, api_name="/echo") == 7
    if kind is Visitor:
        assert not of_client(page, client).config_values, "no copy of the page's configuration"
        assert len(of_client(page, client)._places) <= len(page.blocks)


def test_two_visits_have_states_of_their_own(small):
    page, first = small(Visitor)
    first.predict(api_name="/say")
    second = Client(first.src, verbose=False)
    assert second.predict(api_name="/say")[1] == 0 and first.predict(api_name="/say")[1] == 1
    assert len(page.app.state_holder.session_data) == 2


def test_a_visit_is_forgotten_an_hour_after_its_page_was_closed(small):
    page, client = small(Visitor)
    client.predict(api_name="/say")
    holder, name = page.app.state_holder, client.session_hash
    long_ago = datetime.datetime.now() - 2 * visitors.KEPT_CLOSED
    holder.time_last_used[name] = long_ago
    forget_closed(holder)
    assert name in holder.session_data, "it is open"
    holder.session_data[name].is_closed = True
    holder.time_last_used[name] = datetime.datetime.now()
    forget_closed(holder)
    assert name in holder.session_data, "something was heard of it"
    holder.time_last_used[name] = long_ago
    holder["another visitor"]
    assert name not in holder.session_data and name not in holder.time_last_used
    assert client.predict(api_name="/say")[1] == 0, "who comes back after all begins anew"


def test_the_page_keeps_visits_so(page):
    assert state_holder.SessionState is Visitor
    assert LAUNCH_KWARGS["state_session_capacity"] == visitors.MOST_VISITORS
    made = Visitor(page.demo)
    assert made.blocks_config.blocks.keys() == page.demo.blocks.keys() and not made.config_values
