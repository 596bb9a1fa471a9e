"""How one part of the page follows another, so that it ends with the latest state."""

import time
from collections.abc import Callable, Sequence

import gradio as gr

from demos.shared.marks import HIDDEN


def follow(changes: Sequence, look: Callable | None, inputs=None, outputs=None, **options):
    """Call `look` after each change; of changes that come while it runs, only the last is answered after it.

    For that gradio's page triggers the whole event again, for every listener. Listeners that are still
    running are late in turn, and trigger it again: with several listeners it would never end. So the changes
    trigger an event that calls no handler, and `look` follows that one alone.
    """
    heard = gr.on(changes, None, None, None, js="() => []", **HIDDEN)
    return heard.then(look, inputs, outputs, **({"trigger_mode": "always_last"} | options))


def ended(*runs) -> Callable:
    """A change, for `follow`, that comes when one of these events has ended, with or without an error.

    A handler chained to each run would be an event of its own beside the one that follows the widgets, and of
    two events the older one may answer last.
    """
    state = gr.State(0)
    for run in runs:
        for comes in (run.then, run.failure):  # gradio sends no .then after an error
            comes(time.monotonic_ns, None, state, **HIDDEN)  # queued: the page is told of no other's changes
    return state.change
