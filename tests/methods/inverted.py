"""Prompts, the number of steps, and a short way to edit, for the tests of Prompt-to-Prompt."""

from textedit_core.methods import prompt_to_prompt
from textedit_core.steps import last

SOURCE = "a man in a red hat"
SWAP, ADD = "a man in a blue hat", "a smiling man in a red hat"
T = 5
MILD = {"guidance_scale": 2.0}


def edited(model, fitted, target, **settings):
    return last(prompt_to_prompt.edit(model, fitted, target, **settings))
