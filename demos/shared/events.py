"""How one part of the page follows another, so that it ends with the latest state."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr
from gradio import utils

from demos.shared.marks import HIDDEN

HEARD = "() => []"  # what an event does that only tells others of a change


def follow(changes: Sequence, look: Callable | None, inputs=None, outputs=None, **options):
    """Call `look` after each change; of changes that come while it runs, only the last is answered after it.

    For that gradio's page triggers the whole event again, for every listener. Listeners that are still
    running are late in turn, and trigger it again: with several listeners it would never end. So the changes
    trigger an event that calls no handler, and `look` follows that one alone.
    """
    heard = gr.on(changes, None, None, None, js=HEARD, **HIDDEN)
    return heard.then(look, inputs, outputs, **({"trigger_mode": "always_last"} | options))


def ended(state: gr.State, *runs) -> Callable:
    """A change, for `follow`, that comes when one of these events has ended, with or without an error.

    state: an output of each; `guarded` writes it after an error, of which gradio sends no .then.

    A handler chained to each run would be an event of its own beside the one that follows the widgets, and of
    two events the older one may answer last.
    """
    for run in runs:
        run.then(time.monotonic_ns, None, state, **HIDDEN)  # queued: the page is told of no other's changes
    return state.change


def pressed(buttons: Mapping[str, gr.Button], event: gr.EventData) -> str:
    """The name of the button, one of several that share an event, which was pressed."""
    return next(name for name, button in buttons.items() if button is event.target)


def answer_whole() -> None:
    """From now on have gradio send a later answer of a generator whole wherever it differs from the earlier.

    As it comes, gradio sends only what has changed within an answer, and its page writes that into the
    earlier answer itself. Where a widget is still being loaded, it has that very answer to show: a picture
    that the later answer leaves alone is emptied before it was ever seen.
    """
    utils.diff = changed  # looked up in its module for each answer


def changed(old: Any, new: Any) -> list:
    """The change from one answer to another as gradio writes it: none, or the new one in place of the old."""
    return [] if old == new else [["replace", [], new]]


def lighten(page: gr.Blocks) -> None:
    """Wire the finished page with fewer events and targets; every event still follows the same changes.

    Gradio's page looks at every target of every event for each of its components, and searches all of them
    for the component of each target: this is most of what a browser does before the page can be used. Only
    once all is wired it is known what else follows a change.
    """
    events = page.default_config.fns
    drop_idle(events)
    share(events)
    nest(events)
    join(events)
    for event in events.values():
        # One that is chained to another has a target without a component, and the whole page is searched.
        event.targets = [one for one in event.targets if one[0] is not None]


def drop_idle(events: dict[int, Any]) -> None:
    """Those that do nothing go: gradio makes one beside each event that only cancels others."""
    for event in list(events.values()):
        if not (event.fn or event.js or event.cancels or followers(events, event)):
            del events[event._id]


def heard_in(events: dict[int, Any]) -> list:
    """The events that only tell others of a change."""
    return [one for one in events.values() if one.fn is None and one.js == HEARD]


def followers(events: dict[int, Any], event) -> list:
    """The events that are chained to this one."""
    return [one for one in events.values() if one.trigger_after == event._id]


def share(events: dict[int, Any]) -> None:
    """Of those that hear the very same changes one is kept, and tells all that follow."""
    first: dict[frozenset, Any] = {}
    for event in heard_in(events):
        kept = first.setdefault(frozenset(event.targets), event)
        if kept is not event:
            for one in followers(events, event):
                one.trigger_after = kept._id
            del events[event._id]


def nest(events: dict[int, Any]) -> None:
    """One that hears all that another hears, and more, hears the other and what is more."""
    heard = heard_in(events)
    changes = {one._id: frozenset(one.targets) for one in heard}
    for event in heard:
        inner = [one for one in heard if changes[one._id] < changes[event._id]]
        if inner:
            largest = max(inner, key=lambda one: len(changes[one._id]))
            event.targets = [one for one in event.targets if one not in changes[largest._id]]
            event.trigger_after = largest._id


def join(events: dict[int, Any]) -> None:
    """What alone follows a change, of which nobody else hears, needs nobody who tells: see `follow`."""
    hearing = Counter(target for event in events.values() for target in event.targets)
    for event in heard_in(events):
        found = followers(events, event)
        if len(found) == 1 and all(hearing[target] == 1 for target in event.targets):
            found[0].targets, found[0].trigger_after = event.targets, event.trigger_after
            del events[event._id]
