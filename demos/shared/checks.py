"""Mistakes told beside their field, hints for unknown words, and what a handler says of an error."""

import errno
import functools
import operator
import time
from collections.abc import Callable

import gradio as gr
import torch
from fastapi import Request
from fastapi.responses import JSONResponse
from transformers import CLIPTokenizer

from demos.context import Context, log
from demos.shared.knobs import problems as knob_problems
from demos.shared.marks import note
from demos.shared.uploads import opened
from textedit_core import cache
from textedit_core.choices import SIZINGS
from textedit_core.knobs import BoundKnob, Knob
from textedit_core.models.clip import token_count

MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
# Fields of more than one tab that are choices and no knobs.
SIZING = BoundKnob("sizing", str, "crop", Knob(label="How it is made square", choices=SIZINGS))
ORIGIN = BoundKnob("origin", str, "sample", Knob(label="Start from", choices=("sample", "picture", "file")))
MODELS = BoundKnob("models", str, "", Knob(label="Models"))
FULL = (
    "The disk of this host is full, so nothing can be saved on it now. Inputs and the last result are kept; "
    "try again later, or tell whoever runs it."
)
SORRY = "Something went wrong on the server. Inputs and the last result are kept; its log has the details."


def image_problem(path: str | None, field: str = "Source image") -> str:
    """The sentence for a source image that cannot be used, or nothing; `field` is what the page calls it."""
    if not path:
        return "Add a source image first."
    try:
        opened(path, field)
    except ValueError as error:
        return str(error)
    return ""


def models_problem(ctx: Context, models: str, part: str = "diffusion") -> str:
    """The sentence for models whose `part` cannot be used now, or nothing; they are loaded then."""
    try:
        if ctx.loaded(models, part):
            return ""
        if not ctx.ready(models, part):
            return "Press Fetch and load first: what this needs is not on this machine yet."
        ctx.load(models, part)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def prompt_problem(
    ctx: Context,
    models: str,
    prompt: str | None,
    empty: str = "Write the prompt: what should the edited picture show?",
) -> str:
    """The sentence for a prompt that cannot be used, or nothing; `empty` is the one for none at all."""
    if not (prompt or "").strip():
        return empty
    if not ctx.loaded(models, "diffusion"):
        return ""  # the field of the models says why
    return text_problem(ctx.models(models).diffusion.tokenizer, prompt, empty, "prompt")


def text_problem(tokenizer: CLIPTokenizer, text: str | None, empty: str, kind: str = "text") -> str:
    """The sentence for a text that is too long for this tokenizer, or nothing; `empty` for none at all."""
    if not (text or "").strip():
        return empty
    tokens, most = token_count(tokenizer, text), tokenizer.model_max_length - 2
    return f"This {kind} has {tokens} tokens, the model reads {most}: shorten it." if tokens > most else ""


def validator(
    ctx: Context, names: list[str], *finders: Callable[[dict], dict[str, str]], part: str | None = "diffusion"
) -> Callable:
    """A gradio validator for a handler bound by keyword: one verdict per name, in the order of `names`.

    The `part` of the models is looked at first (None: a finder asks for what is needed), then each finder
    gets the values by name and returns {name: sentence}.
    """

    wrong_choices = knob_problems({one.name: one for one in (MODELS, SIZING, ORIGIN)})

    def check(**values):
        problems = wrong_choices(values)
        if not problems:  # or a finder might stumble over what is no text
            problems = {"models": models_problem(ctx, values["models"], part)} if part else {}
            for find in finders:
                problems |= find(values)
        return [gr.validate(not problems.get(name), problems.get(name, "")) for name in names]

    return check


def word_hint(ctx: Context, models: str, prompt: str) -> str:
    """A hint, as HTML, naming the words a small model was never shown, with the nearest ones it was."""
    try:
        strange = ctx.models(models).unknown_words(prompt or "")
    except (ValueError, OSError):
        return ""
    hints = [f"'{word}'" + (f" (close: {', '.join(near)})" if near else "") for word, near in strange.items()]
    name = "toon" if models == "toon" else "chosen"
    return note(f"The {name} model does not know {', '.join(hints)}.", "hint") if hints else ""


def is_full(error: Exception) -> bool:
    """Whether an exception says that there is no room on a disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


async def say_full(request: Request, error: Exception) -> JSONResponse:
    """The answer to an upload that no disk has room for; every other error stays what it is."""
    if not is_full(error):
        raise error
    log.warning("the disk is full: %s", error)
    return JSONResponse({"detail": FULL}, status_code=507)  # Insufficient Storage


def is_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in MEMORY_WORDS)
    )


def sentence(error: Exception, memory_hint: str = "") -> str:
    """What a person is told about an exception; the unexpected is logged, and memory is given back."""
    if isinstance(error, ValueError):
        return str(error)
    if is_memory(error):
        cache.default.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        log.warning("out of memory: caches dropped")
        return f"Memory ran out, so the caches were dropped. {memory_hint}".strip()
    if is_full(error):
        log.warning("the disk is full: %s", error)
        return FULL
    log.exception("unexpected error in a handler", exc_info=error)
    return SORRY


def guarded(status: str, ended: str = "") -> Callable:
    """Decorate a generator method: an error becomes one sentence in self.<status> and a gr.Error.

    Where memory ran out the sentence ends with `self.memory_hint`, if there is one.  ended: the state of
    `events.ended`, as self.<ended>, where something follows the end of the run.
    """

    def end_of(panel) -> dict:
        return {operator.attrgetter(ended)(panel): time.monotonic_ns()} if ended else {}

    def decorate(handler: Callable) -> Callable:
        @functools.wraps(handler)
        def run(self, *args, **kwargs):
            try:
                yield from handler(self, *args, **kwargs)
            except gr.Error:
                if ended:
                    yield end_of(self)
                raise
            except Exception as error:
                words = sentence(error, getattr(self, "memory_hint", ""))
                yield {operator.attrgetter(status)(self): note(words, "problem")} | end_of(self)
                raise gr.Error(words, print_exception=False, title="Not done") from None

        return run

    return decorate
