"""Prompts, the number of steps, and a short way to edit, for the tests of Prompt-to-Prompt."""

from textedit_core.batch import spread
from textedit_core.methods import prompt_to_prompt
from textedit_core.methods.prompt_to_prompt import settings_of
from textedit_core.steps import last

SOURCE = "a man in a red hat"
SWAP, ADD = "a man in a blue hat", "a smiling man in a red hat"
T = 5
MILD = {"guidance_scale": 2.0}


def edited(model, inversion, prompt, **settings):
    return last(prompt_to_prompt.edit(model, inversion, prompt, **settings))


def edited_many(model, inversion, prompts, keep_maps=False, **settings):
    """Several prompts in one batch; a setting is a list, a value for each prompt, or one value for all."""
    columns = spread(prompt=prompts, **settings)[1:]
    rows = [settings_of(**dict(zip(settings, row, strict=True))) for row in zip(*columns, strict=True)]
    rows = rows or [settings_of()] * len(prompts)
    return last(prompt_to_prompt.edit_many(model, inversion, prompts, rows, keep_maps=keep_maps))
