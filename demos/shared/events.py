"""How one part of the page follows another, so that it ends with what was so last."""

import time
from collections.abc import Callable, Sequence

import gradio as gr

from demos.shared.marks import HIDDEN


def follow(changes: Sequence, look: Callable | None, inputs=None, outputs=None, **options):
    """`look` answers each change; of those that come while it is at work the last is answered after it.

    For that the page sends the whole event again, to all that hear it. Where some of them are at work then,
    they are late in turn, and send it again: where several heard one event it would never end. So the changes
    are heard by an event that asks nobody, and `look` alone is asked again.
    """
    heard = gr.on(changes, None, None, None, js="() => []", **HIDDEN)
    return heard.then(look, inputs, outputs, **({"trigger_mode": "always_last"} | options))


def ended(*runs) -> Callable:
    """A change, for `follow`, that comes when one of these events has ended, well or not.

    A look that is chained to each run would be an event of its own beside the one that follows the widgets,
    and of two events the older may answer last.
    """
    state = gr.State(0)
    for run in runs:
        for comes in (run.then, run.failure):  # gradio sends no .then after an error
            comes(time.monotonic_ns, None, state, **HIDDEN)  # queued: the page is told of no other's changes
    return state.change
