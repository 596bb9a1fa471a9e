"""A host's safety checker: a picture that it refuses is not shown, and a sentence says so."""

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
    """One result is refused; a sweep or batch goes on with the others."""


def refused(record: str) -> dict:
    """A result that is refused, as plain data: it has no picture, and says why."""
    return {"edit": "", "pictures": {}, "captions": {}, "record": record,
            "scores": None, "words": f"{NOT_SHOWN}."}  # fmt: skip


def prepared(device: Any) -> safety.SafetyChecker:
    """The checker, fetched if need be; the log says so first. ValueError where it cannot be fetched."""
    source = safety.SAFETY
    if not source.is_local():
        log.warning("Safety checker: fetching %s from huggingface.co, %g GB.", source.repo, source.size_gb)
    return safety.load_checker(device, source)


def check(models: Any, edited: Tensor) -> None:
    """Raise Refused, a sentence, where the checker of these models, if any, refuses results (B,3,H,W)."""
    checker = getattr(models, "checker", None)
    if checker is not None and checker.refuses(edited):
        raise Refused(REFUSED)
