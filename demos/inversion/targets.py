"""Several target prompts in one field: which words are meant for which, and what each is told."""

import inspect

from demos.context import Context
from textedit_core.knobs import quoted
from textedit_core.models.diffusion import alignment
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion
from textedit_core.models.diffusion.prompt_control import plan

MOST = 16  # they are one batch
TOO_MANY = f"{{}} lines are more than the {MOST} that are edited as one batch: write fewer."
OF_WORDS = ("word_weights", "word_steps", "blend_words", "subtract_words")


def lines_of(text: str) -> list[str]:
    """The target prompts of a field with one per line."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def fitting_words(
    diffusion: LatentDiffusion, caption: str, target: str, lines: list[str], settings: dict
) -> dict:
    """The settings without those words that are meant for another of the target prompts `lines`."""
    own, all_of_them = ([alignment.read(diffusion.tokenizer, one) for one in t] for t in ([target], lines))
    source = alignment.read(diffusion.tokenizer, caption)

    def meant(part: str, field: str) -> bool:
        word = part.rpartition("=")[0] if field.startswith("word_") else part
        here = own if field.startswith("word_") else [*own, source]
        elsewhere = any(prompt.has(word) for prompt in all_of_them)
        return any(prompt.has(word) for prompt in here) or not elsewhere  # a stranger is left for the error

    kept = {
        field: " ".join(part for part in alignment.split_words(settings[field]) if meant(part, field))
        for field in OF_WORDS
    }
    if not kept["blend_words"]:
        kept["subtract_words"] = "" if settings["blend_words"].strip() else kept["subtract_words"]
    return settings | (kept if len(lines) > 1 else {})


def edit_types(ctx: Context, values: dict) -> list[str]:
    """What turns the caption into each target prompt; ValueError for one that cannot be read."""
    tokenizer = ctx.models(values["models"]).diffusion.tokenizer
    source = alignment.read(tokenizer, values["prompt"])
    return [alignment.edit_type(source, alignment.read(tokenizer, one)) for one in lines_of(values["target"])]


def of_target(lines: list[str], said: list[str]) -> str:
    """The first of the sentences said of each target, "" for none, with the target it is said of by name.

    What is said of all in the same words is no matter of one target.
    """
    row = next((row for row, words in enumerate(said) if words), None)
    if row is None or len(set(said)) == 1:
        return said[0]
    return f"Target {row + 1}, {quoted(lines[row])}: {said[row]}"


def planned(source: alignment.Tokens, target: alignment.Tokens, settings: dict) -> None:
    """Plan an edit to no other end than its errors."""
    taken = {name: value for name, value in settings.items() if name in inspect.signature(plan).parameters}
    plan(source, target, taken.pop("steps"), **taken)
