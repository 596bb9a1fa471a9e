"""Several prompts in one field: which words are meant for which of them, and the mistakes of each."""

from transformers import CLIPTokenizer

from demos.context import Context
from textedit_core.knobs import quoted
from textedit_core.models.diffusion import alignment

MOST = 16  # they are one batch
TOO_MANY = f"{{}} lines are more than the {MOST} that are edited as one batch: write fewer."
OF_WORDS = ("word_weights", "word_steps", "blend_words", "subtract_words")


def lines_of(text: str) -> list[str]:
    """The prompts of a field with one per line."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def fitting_words(
    tokenizer: CLIPTokenizer, source_prompt: str, prompt: str, lines: list[str], settings: dict
) -> dict:
    """The settings without those words that are meant for another of the prompts `lines`."""
    own, all_of_them = ([alignment.read(tokenizer, one) for one in t] for t in ([prompt], lines))
    source = alignment.read(tokenizer, source_prompt)

    def meant(part: str, field: str) -> bool:
        word = part.rpartition("=")[0] if field.startswith("word_") else part
        here = own if field.startswith("word_") else [*own, source]
        elsewhere = any(one.has(word) for one in all_of_them)
        return any(one.has(word) for one in here) or not elsewhere  # a word of no prompt is left: an error

    def left(field: str) -> str:
        if field.startswith("word_"):
            return " ".join(part for part in alignment.split_pairs(settings[field]) if meant(part, field))
        parts = (part for part in alignment.split_phrases(settings[field]) if meant(part, field))
        return " ".join(f'"{part}"' if " " in part else part for part in parts)

    kept = {field: left(field) for field in OF_WORDS}
    if not kept["blend_words"]:
        kept["subtract_words"] = "" if settings["blend_words"].strip() else kept["subtract_words"]
    return settings | (kept if len(lines) > 1 else {})


def edit_types(ctx: Context, values: dict) -> list[str]:
    """What turns the source prompt into each prompt; ValueError for one that cannot be read."""
    tokenizer = ctx.models(values["models"]).diffusion.tokenizer
    source = alignment.read(tokenizer, values["source_prompt"])
    return [alignment.edit_type(source, alignment.read(tokenizer, one)) for one in lines_of(values["prompt"])]


def of_prompts(lines: list[str], said: list[str]) -> str:
    """The first of the sentences about each prompt, "" for none.

    It begins with the prompt that it is about, unless all prompts have the same sentence.
    """
    row = next((row for row, words in enumerate(said) if words), None)
    if row is None or len(set(said)) == 1:
        return said[0]
    return f"Prompt {row + 1}, {quoted(lines[row])}: {said[row]}"
