"""A host's safety checker: what it refuses is told in one sentence; it is never shown, and never black."""

from typing import Any

from torch import Tensor

from demos.context import log
from textedit_core.models.diffusion import safety

NOT_SHOWN = "The safety checker of this host refuses this picture, so it is not shown"
REFUSED = f"{NOT_SHOWN}: change the prompt, the seed or the source image."
ALL_REFUSED = (
    "The safety checker of this host refuses all {} pictures, so none is shown: change the prompts or the "
    "source image."
)


class Refused(ValueError):
    """One result is refused; of many the others go on."""


def refused(record: str) -> dict:
    """What stands among other results in the place of one that is refused: no picture, and a sentence."""
    return {"edit": "", "pictures": {}, "captions": {}, "record": record,
            "scores": None, "words": f"{NOT_SHOWN}."}  # fmt: skip


def prepared(device: Any) -> safety.SafetyChecker:
    """The checker, told in the log before it is fetched. ValueError where it cannot be had."""
    source = safety.SAFETY
    if not source.is_local():
        log.warning("Safety checker: fetching %s from huggingface.co, %g GB.", source.repo, source.size_gb)
    return safety.load_checker(device, source)


def check(models: Any, edited: Tensor) -> None:
    """Refused, a sentence, where the checker of these models, if any, refuses results (B,3,H,W)."""
    checker = getattr(models, "checker", None)
    if checker is not None and checker.refuses(edited):
        raise Refused(REFUSED)
