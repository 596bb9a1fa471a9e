"""What a program is answered that asks by the page's API: values, where the page gets updates of widgets."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.utils import is_prop_update

SENDER, PAGE = "x-gradio-user", "app"  # the header that says who asks, and what gradio's page calls itself


def answer_programs(page: gr.Blocks) -> None:
    """Have every public handler of the finished page answer programs with values."""
    for event in page.default_config.fns.values():
        if event.fn is not None and event.api_name and event.api_visibility == "public":
            event.fn = with_values(event.fn, event.outputs)


def by_program() -> bool:
    """Whether the call under way was asked for by a program, and not by a page in a browser."""
    request = LocalContext.request.get(None)
    return request is not None and request.headers.get(SENDER) != PAGE


def with_values(handler: Callable, outputs: Sequence[gr.blocks.Block]) -> Callable:
    """The handler; to a program each of its answers tells the value of every widget of `outputs` that it has
    set so far, None of the others: no update of how a widget looks, and none that is left out."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with closing(handler(*args, **kwargs)) as answers:
                if not by_program():
                    yield from answers
                    return
                known: dict = {}
                for answer in answers:
                    known |= values_in(answer, outputs)
                    yield told(known, outputs)

        return stream

    @functools.wraps(handler)
    def once(*args: Any, **kwargs: Any) -> Any:
        answer = handler(*args, **kwargs)
        return told(values_in(answer, outputs), outputs) if by_program() else answer

    return once


def values_in(answer: Any, outputs: Sequence[gr.blocks.Block]) -> dict:
    """The values that an answer has, by widget: of a dict, a list, or the one value there is."""
    if isinstance(answer, dict) and not is_prop_update(answer):
        found = answer
    elif len(outputs) == 1:
        found = {outputs[0]: answer}
    elif is_prop_update(answer):
        found = {}
    else:
        found = dict(zip(outputs, answer, strict=True))
    values = {}
    for widget, value in found.items():
        if isinstance(value, gr.blocks.Block):
            value = value.constructor_args | {"__type__": "update"}
        if not is_prop_update(value):
            values[widget] = value
        elif "value" in value:
            values[widget] = value["value"]
    return values


def told(known: dict, outputs: Sequence[gr.blocks.Block]) -> Any:
    """An answer with all that is known. A field of the page that is not set stays as it is, as do states."""
    answer = [known.get(one, None if is_shown(one) else gr.skip()) for one in outputs]
    return answer if len(answer) != 1 else answer[0]


def is_shown(widget: gr.blocks.Block) -> bool:
    """Whether a widget shows something, rather than to ask for it, to hold it, or to hold other widgets."""
    asks = isinstance(widget, gr.components.FormComponent)
    return isinstance(widget, gr.components.Component) and not widget.stateful and not asks
