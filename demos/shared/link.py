"""Links to the page: `?tab=imagic&prompt=a+sad+man&eta=0.8` opens a tab with settings.

A link may come from anybody. Nothing in it is used that the field of that name would refuse; what is not used
is told in a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

from textedit_core.knobs import BoundKnob, quoted
from textedit_core.record import Record

TAB, METHOD, MODELS = "tab", "method", "models"
OWN = "__"  # how gradio's own parameters begin: __theme
MOST_TOLD = 3  # of what is wrong with a link
MOST_PROMPT = 1_000  # characters of a prompt in a link


class Linked(Protocol):
    """What a link sets in a panel: its prompts by name, and its knobs."""

    tab_id: str

    @property
    def texts(self) -> Mapping[str, Any]: ...

    @property
    def knobs(self) -> Mapping[str, BoundKnob]: ...


@dataclass(frozen=True)
class Link:
    """What a link asks for, checked: a tab, maybe a method in it, models, prompts, knobs; what was wrong."""

    tab: str = ""
    method: str = ""
    models: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    knobs: Mapping[str, Any] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def sets(self) -> bool:
        """Whether it has any setting."""
        return bool(self.prompts or self.knobs)

    @property
    def words(self) -> str:
        """What was wrong, in a sentence for each, not more than a few."""
        left = len(self.wrong) - MOST_TOLD
        return " ".join([*self.wrong[:MOST_TOLD], *([f"And {left} more."] if left > 0 else [])])


def query(method: str, tab: str, about: Record, usual: Mapping[str, Any], models: str) -> str:
    """The query of a link to a result: its prompts, and the knobs that are not as `usual`.

    models: those that the page has at first.
    """
    given = {TAB: tab} | ({METHOD: method} if method != tab else {})
    given |= {MODELS: about.models} if about.models != models else {}
    given |= {name: text for name, text in about.prompts.items() if text}
    given |= {name: value for name, value in about.knobs.items() if name in usual and usual[name] != value}
    switches = {name: str(value).lower() for name, value in given.items() if isinstance(value, bool)}
    return urlencode(given | switches)


def read(
    parameters: Mapping[str, str], tabs: Mapping[str, str], panels: Mapping[str, Linked], models
) -> Link:
    """What the parameters of a link ask for.

    tabs: the names of the tabs by id.  panels: those that a link may set, by their method.  models: the names
    that a link may choose.
    """
    given = {name: str(value) for name, value in parameters.items() if not name.startswith(OWN)}
    tab, chosen, wrong = given.pop(TAB, ""), given.pop(MODELS, ""), []
    method = given.pop(METHOD, tab)
    if tab and tab not in tabs:
        wrong.append(f"The link names a tab that is not here: {quoted(tab[:40])}.")
        return Link(wrong=tuple(wrong))
    if chosen and chosen not in models:
        wrong.append(f"The link's models {quoted(chosen[:40])} are not offered here, so others are used.")
        chosen = ""
    panel = panels.get(method)
    if panel is None or panel.tab_id != tab:
        if given and tab:
            wrong.append("The settings of the link are left out: it names no method of this page.")
        return Link(tab, models=chosen, wrong=tuple(wrong))
    prompts, knobs = {}, {}
    for name, text in given.items():
        try:
            if name in panel.texts:
                prompts[name] = prompt(text)
            elif name in panel.knobs:
                knobs[name] = panel.knobs[name].parse(text)
            else:
                wrong.append(f"The link sets {quoted(name[:40])}, which is no setting of this tab.")
        except ValueError as error:
            wrong.append(f"Left out of the link: {error}")
    return Link(tab, method, chosen, prompts, knobs, tuple(wrong))


def prompt(text: str) -> str:
    """The text of a prompt in a link; ValueError, a sentence, for one that is too long for a link."""
    if len(text) > MOST_PROMPT:
        raise ValueError(f"a prompt of {len(text):,} characters; at most {MOST_PROMPT:,} are read.")
    return text
