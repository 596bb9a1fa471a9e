"""Weights that other tools read in the brackets of a prompt, (pink:1.4) and [grey], and where they go here.

No method here reads brackets: the tokenizer would take them for letters. Words have weights in
Prompt-to-Prompt, where they have a field of their own.
"""

from __future__ import annotations

import re

from textedit_core.knobs import quoted

_STEP = 1.1  # what a pair of brackets without a number multiplies with: (( )) raises, [ ] lowers
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"
_MARKED = re.compile(
    rf"(?<![\\(])\(+(?P<words>[^()\[\]:]*[^()\[\]:\s])\s*:\s*(?P<number>{_NUMBER})\s*\)+"
    r"|(?<![\\(])\({2,}(?P<raised>[^()\[\]]+)\){2,}"
    r"|(?<![\\\[])\[+(?P<lowered>[^\[\]]+)\]+"
)


def weighted(prompt: str) -> dict[str, float]:
    """{what stands in the prompt: its weight}: "(pink:1.4)" as the number says, "((pink))" 1.1 for each pair,
    "[pink]" divided by 1.1 for each.

    Plain parentheses and escaped ones, "\\(", are punctuation.
    """
    found: dict[str, float] = {}
    for one in _MARKED.finditer(prompt):
        if one["number"]:
            found[one[0]] = float(one["number"])
        elif one["raised"]:
            found[one[0]] = _STEP ** (len(one[0]) - len(one[0].lstrip("(")))
        else:
            found[one[0]] = _STEP ** (len(one[0].lstrip("[")) - len(one[0]))
    return found


def as_settings(prompt: str) -> str:
    """The same weights as Prompt-to-Prompt's word weights: "pink=1.4 blue hair=0.91"."""
    settings = []
    for marked, weight in weighted(prompt).items():
        words = re.sub(rf":\s*{_NUMBER}\s*\)+$", "", marked).strip("()[]")
        settings += [f"{part.strip()}={weight:.3g}" for part in words.split(",") if part.strip()]
    return " ".join(settings)


def advice(prompt: str, has_weights: bool) -> str:
    """A sentence for a prompt with weights in brackets, "" for any other.

    has_weights: whether the method has word weights for the words of this prompt.
    """
    found = weighted(prompt)
    if not found:
        return ""
    says = f"{quoted(next(iter(found)))} is no weight here but read as letters; write it without the brackets"
    settings = as_settings(prompt)
    if has_weights:
        return f"{says}, and {quoted(settings)} as word weights."
    return f"{says}. Words have weights in Prompt-to-Prompt alone, as word weights: {quoted(settings)}."
