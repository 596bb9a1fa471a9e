"""Ways to rewrite a source prompt into a prompt, read from presets/: swap, add, restyle, reweight."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

PRESETS = json.loads(
    (Path(__file__).parent / "presets" / "prompt_to_prompt.json").read_text(encoding="utf-8")
)


def candidates(kind: str, source_prompt: str, known: Callable[[str], bool]) -> list[str]:
    """The prompts of one kind that suit the source prompt and whose words the models know."""
    about, words = PRESETS[kind], source_prompt.split()
    lower = [word.casefold() for word in words]
    if kind == "swap":
        found = [
            " ".join([*words[:at], new, *words[at + 1 :]])
            for old, new in about["words"]
            for at in (i for i, word in enumerate(lower) if word == old)
        ]
        found = [articles(one) for one in found]
    elif kind == "add":
        bare = {word.strip(",.;:!?") for word in lower}
        fresh = [end for end, kind in about["endings"] if not bare & set(kind.split())]
        found = [joined(source_prompt, end) for end in fresh]
    elif kind == "restyle":
        fresh = [one for one in about["frames"] if one.split()[-1] not in lower or one.endswith("{}")]
        found = [one.format(source_prompt) for one in fresh]
    else:
        found = [source_prompt]
    return [one for one in found if known(one)]


def joined(source_prompt: str, ending: str) -> str:
    """The source prompt with an ending; a second "with" that goes on where the first ends is "and"."""
    first, _, rest = ending.partition(" ")
    _, had, after = f" {source_prompt} ".rpartition(" with ")
    listed = had and not {"on", "in", "at"} & set(after.split())
    return f"{source_prompt} and {rest}" if first == "with" and listed else f"{source_prompt} {ending}"


def articles(text: str) -> str:
    """The text with "a" and "an" as the words after them want it."""
    words = text.split()
    for at, (one, after) in enumerate(pairwise(words)):
        if one in ("a", "an"):
            words[at] = "an" if after[0].casefold() in "aeiou" else "a"
    return " ".join(words)


def rewrite(kind: str, source_prompt: str, prompt: str, known: Callable[[str], bool]) -> tuple[str, dict]:
    """The prompt of this kind after the present one, going round, and the knobs that suit it.

    ValueError, a sentence, for a source prompt in which there is nothing to rewrite.
    """
    source_prompt = " ".join(source_prompt.split())
    if not source_prompt:
        raise ValueError("Write the source prompt first: what does the picture show?")
    found = candidates(kind, source_prompt, known)
    if not found:
        raise ValueError(
            f"{PRESETS[kind]['label']}: no rule suits this source prompt; write the prompt yourself."
        )
    chosen = found[(found.index(prompt) + 1) % len(found)] if prompt in found else found[0]
    knobs = {"edit_type": "auto", "word_weights": "", "blend_words": "", "subtract_words": ""}
    knobs |= PRESETS[kind]["knobs"]
    if "weight" in PRESETS[kind]:
        knobs["word_weights"] = f"{telling_word(source_prompt)}={PRESETS[kind]['weight']}"
    return chosen, knobs


def telling_word(source_prompt: str) -> str:
    """The word of a prompt that says most: the first that a swap knows, else the longest."""
    words, swaps = source_prompt.split(), dict(PRESETS["swap"]["words"])
    told = next((word for word in words if word.casefold() in swaps), max(words, key=len))
    return told.strip(",.;:!?")
