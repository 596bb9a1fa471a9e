"""What a program that calls the page's API may leave out: every field that is empty on a fresh page."""

import functools
import inspect
from collections.abc import Callable, Mapping

import gradio as gr


def may_leave_out(handler: Callable, inputs: Mapping[str, gr.components.Component]) -> Callable:
    """The generator `handler`, whose inputs without a value at first may be left out by name.

    They are None then, and the validator says in a sentence which of them this call needs. Gradio offers
    that for parameters with a default alone, and a handler of many tabs names none.
    """
    empty = [name for name, widget in inputs.items() if getattr(widget, "value", None) is None]
    signature = inspect.signature(handler)
    own = [one for one in signature.parameters.values() if one.name not in empty]
    rest = [one for one in own if one.kind is inspect.Parameter.VAR_KEYWORD]
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in empty]

    @functools.wraps(handler)
    def run(*args, **kwargs):
        yield from handler(*args, **kwargs)

    given = [one for one in own if one not in rest]
    vars(run)["__signature__"] = signature.replace(parameters=[*given, *named, *rest])
    return run
