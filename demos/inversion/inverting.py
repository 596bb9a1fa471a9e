"""What the kinds of inversion make of the knobs of Prompt-to-Prompt: which they use, what the others are."""

from demos.shared import fitting
from demos.shared.common import Method
from textedit_core.models.diffusion import alignment

MADE_AT_ONE_GUIDANCE = ("null_text", "ddim")  # inversions made at one guidance
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
    """The knobs that an inversion of this kind has no use for; direct alone has a drift to take back."""
    idle = () if inversion in MADE_AT_ONE_GUIDANCE else ("fit_guidance_scale",)
    idle += () if inversion == "null_text" else OF_NULL_TEXT
    return idle + (() if inversion == "direct" else ("keep_to_source",))


def settings(method: Method, values: dict, presets: dict) -> dict:
    """The knobs, checked; one without use is at its preset or default, so that it costs no new inversion.

    And not as its widget says, which is hidden: a sweep over inversions takes the values that suit each.
    """
    found = method.settings(values)
    return fitting.reset_unused(method, found, unused(found["inversion"]), presets)


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
