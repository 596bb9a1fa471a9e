"""Which knobs of Prompt-to-Prompt a kind of inversion uses, and what is said of prompts that are the same."""

from textedit_core.models.diffusion import alignment

MADE_AT_ONE_GUIDANCE = ("null_text", "ddim")  # an inversion of these kinds is made for one guidance scale
OF_NULL_TEXT = (
    "inner_steps",
    "null_lr",
    "early_stop",
    "skip_converged",
    "gradient_checkpointing",
    "mixed_precision",
)
USED_BY_SOME = ("fit_guidance_scale", *OF_NULL_TEXT, "keep_to_source")  # not every kind has a use for these


def unused(inversion: str) -> tuple[str, ...]:
    """The knobs that an inversion of this kind has no use for; only "direct" has a drift to take back."""
    idle = () if inversion in MADE_AT_ONE_GUIDANCE else ("fit_guidance_scale",)
    idle += () if inversion == "null_text" else OF_NULL_TEXT
    return idle + (() if inversion == "direct" else ("keep_to_source",))


def same_words(inversion: str, keep: float | None, weights: str | None, label: str) -> str:
    """What becomes of the picture if both prompts are the same; `label` is that of keep_to_source."""
    try:
        numbers = alignment.parse_numbers(weights or "", "Word weights").values()
    except ValueError:
        return "the same words"  # the field says what is wrong with the weights
    if any(number != 1 for number in numbers):
        return "the same words, weighed"
    if inversion != "direct" or keep == 1:
        return "the same words, so the picture is rebuilt"
    return f"the same words; {label} 1 rebuilds the picture"
