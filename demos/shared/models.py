"""The model picker: which models, on which device, how large, which licence, what they fetch."""

import html
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import gradio as gr
import torch

from demos.context import MODEL_LANE, Context, duration
from demos.shared.adding import AddBox
from demos.shared.checks import guarded
from demos.shared.events import ended, follow
from demos.shared.marks import HIDDEN, UNQUEUED, bar, note
from textedit_core.choices import MEMORY
from textedit_core.models import additions

CHOICES = [("Toon, bundled", "toon"), ("Stable Diffusion 1.5, from the hub", "sd")]


def device_words(device: torch.device) -> str:
    """The device in words, with its memory where it has its own."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GB free"
    return f"{device.type.upper()}, {os.cpu_count()} cores" if device.type == "cpu" else device.type.upper()


def size_words(gigabytes: float) -> str:
    """A size a person can read."""
    return f"{gigabytes * 1000:.0f} MB" if gigabytes < 1 else f"{gigabytes:.1f} GB"


def card(ctx: Context, name: str) -> str:
    """The facts of the models called `name` as HTML; nothing is fetched to find them."""
    try:
        models = ctx.models(name)
        about = ctx.zoo.describe(models.name)
    except (ValueError, OSError) as error:
        return note(str(error), "problem")
    ready = ctx.ready(models.name)
    state = "ready" if ready else f"will fetch {size_words(about['fetch_gb'])}"
    facts = [
        f'<b class="{"ready" if ready else "wait"}">{state}</b>',
        *([html.escape(about["family"])] if about["family"] else []),
        "ZeroGPU, for the time of each run" if ctx.gpu_seconds else html.escape(device_words(models.device)),
    ]
    more = f"{size_words(about['size_gb'])} of weights, {html.escape(about['license'] or 'no licence given')}"
    if ctx.folders:
        more += "</p><p>Or type a folder, a .safetensors file, or owner/name of the hub."
    more = f"<details><summary>size and licence</summary><p>{more}</p></details>"
    parts = ""
    if not ready:
        rows = "".join(
            f"<li>{html.escape(p['repo'])}, {size_words(p['size_gb'])}, "
            f"{html.escape(p['license'] or 'no licence given')}</li>"
            for p in about["parts"]
            if p["fetched"]
        )
        parts = (
            f"<ul>{rows}</ul><p>From huggingface.co into the hub cache of the machine running this app.</p>"
        )
    return f'<div class="facts">{" <i>/</i> ".join(facts)} {more}{parts}</div>'


def progress(ctx: Context, name: str, seconds: float = 1.0) -> Iterator[tuple[str, float]]:
    """Load models in a thread; a sentence and the share that is done, every so many seconds.

    What goes wrong there is raised here.
    """
    models = ctx.models(name)
    about = ctx.zoo.describe(models.name)
    waited = [one["part"] for one in about["parts"] if one["fetched"] and one["part"] in models.sources]
    sources = [models.sources[part] for part in waited]
    had, wanted, began = sum(one.fetched_bytes() for one in sources), about["fetch_gb"], time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(ctx.load, name)
        while not wait([loading], seconds).done:
            came = (sum(one.fetched_bytes() for one in sources) - had) / 1e9
            spent = duration(time.monotonic() - began)
            if wanted and came < wanted:
                yield f"Fetching, {size_words(came)} of {size_words(wanted)}, {spent}", came / wanted
            else:
                yield f"Loading, {spent}", 1.0 if wanted else 0.5
        loading.result()


class Picker:
    """The drop-down, its card of facts and the Fetch button. `name` is the input every handler takes."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        listed = dict(map(reversed, CHOICES))
        files = [one for one in ctx.allowed if Path(one).suffix in additions.SUFFIXES]
        named = dict.fromkeys([ctx.default, *(one for one in ctx.allowed if one not in files)])
        own = [(one, one) for one in named if one not in listed]
        self.name = gr.Dropdown(
            CHOICES + own,
            value=ctx.default,
            label="Models",
            allow_custom_value=ctx.folders or bool(ctx.allowed),
            elem_id="models",
        )
        self.memory = gr.Radio(
            [(level, level) for level in MEMORY],
            value=ctx.memory,
            label="Memory",
            info="of the device, for Stable Diffusion: lower is slower, with the same pictures",
            visible=self.offers_memory(ctx.default),
            elem_id="memory",
            elem_classes="inline",
        )
        self.card = gr.HTML(card(ctx, ctx.default), label="Facts", elem_id="model-card")
        self.fetch = gr.Button("Fetch and load", visible=False, size="sm")
        if ctx.folders or ctx.allowed:
            AddBox(ctx, self.name)
        self.ended = gr.State(0)
        loading = self.fetch.click(
            self.load,
            self.name,
            [self.card, self.fetch, self.ended],
            api_name="load_models",
            show_progress="minimal",
            show_progress_on=self.card,
            **MODEL_LANE,
        )
        # After a load too: others may have been chosen while it ran.
        told = UNQUEUED | {"api_name": "describe_models", "api_visibility": "public"}
        changed = [self.name.change, ended(self.ended, loading)]
        follow(changed, self.describe, self.name, [self.card, self.fetch], **told)
        self.wire_memory()

    def wire_memory(self) -> None:
        """The box of memory is shown for the models that it is of, and tells the host what is chosen."""
        shown = {"outputs": self.memory, **HIDDEN}
        follow([self.name.change], self.show_memory, self.name, **shown)
        self.memory.input(
            self.use_memory,
            [self.memory, self.name],
            self.card,
            api_name="use_memory",
            show_progress="minimal",
            show_progress_on=self.card,
            **MODEL_LANE,
        )

    def show_memory(self, models: str):
        """Show the box of memory, or hide it."""
        return gr.update(visible=self.offers_memory(models))

    def offers_memory(self, models: str) -> bool:
        """Whether the box of memory is shown: to those who may choose, for models that are not bundled."""
        return self.ctx.folders and str(models).strip() != "toon"

    def describe(self, models: str):
        """Say what the models called `models` are and what using them would fetch. Fetches nothing."""
        try:
            ready = self.ctx.ready(models)
        except (ValueError, OSError):
            ready = True
        return card(self.ctx, models), gr.update(visible=not ready)

    @guarded("card")
    def use_memory(self, level: str, models: str):
        """Set how much of the device's memory diffusion models may take, for all visitors of this page."""
        self.ctx.use_memory(level)
        yield {self.card: card(self.ctx, models)}

    @guarded("card", "ended")
    def load(self, models: str):
        """Fetch (where needed) and load the models called `models`."""
        yield {self.card: bar(0, 1, "Starting to load"), self.fetch: gr.update(interactive=False)}
        try:
            for words, share in progress(self.ctx, models):
                yield {self.card: bar(round(100 * share), 100, words)}
        finally:
            yield {self.fetch: gr.update(interactive=True)}
        yield {self.card: card(self.ctx, models), self.fetch: gr.update(visible=False)}
