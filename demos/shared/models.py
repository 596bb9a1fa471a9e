"""The model picker: which models, on which device, how large, which licence, what they fetch."""

import html
import os

import gradio as gr
import torch

from demos.context import MODEL_LANE, Context
from demos.shared.checks import guarded
from demos.shared.events import ended, follow
from demos.shared.marks import UNQUEUED, note

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
    ready = ctx.ready(name)
    state = "ready" if ready else f"will fetch {size_words(about['fetch_gb'])}"
    facts = [
        f'<b class="{"ready" if ready else "wait"}">{state}</b>',
        html.escape(device_words(models.device)),
        f"{size_words(about['size_gb'])} of weights",
        html.escape(about["license"] or "no licence given"),
    ]
    parts = ""
    if not ready:
        rows = "".join(
            f"<li>{html.escape(p['repo'])}, {size_words(p['size_gb'])}, {html.escape(p['license'])}</li>"
            for p in about["parts"]
            if not p["local"]
        )
        parts = (
            f"<ul>{rows}</ul><p>From huggingface.co into the hub cache of the machine running this app.</p>"
        )
    return f'<div class="facts">{" <i>/</i> ".join(facts)}{parts}</div>'


class Picker:
    """The drop-down, its card of facts and the Fetch button. `name` is the input every handler takes."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        own = [] if ctx.default in dict(map(reversed, CHOICES)) else [(f"Folder {ctx.default}", ctx.default)]
        self.name = gr.Dropdown(
            CHOICES + own,
            value=ctx.default,
            label="Models",
            allow_custom_value=ctx.folders,
            elem_id="models",
            info="or type the path of a folder laid out like the bundle" if ctx.folders else None,
        )
        self.memory = gr.Radio(
            [("auto", "auto"), ("fast", "fast"), ("balanced", "balanced"), ("low", "low")],
            value=ctx.memory,
            label="Memory",
            info="of the device, for Stable Diffusion: lower is slower, with the same pictures",
            visible=ctx.folders,
            elem_id="memory",
            elem_classes="inline",
        )
        self.card = gr.HTML(card(ctx, ctx.default), label="Facts", elem_id="model-card")
        self.fetch = gr.Button("Fetch and load", visible=False, size="sm")
        loading = self.fetch.click(
            self.load,
            self.name,
            [self.card, self.fetch],
            api_name="load_models",
            show_progress="minimal",
            show_progress_on=self.card,
            **MODEL_LANE,
        )
        # After a load too: others may have been chosen while it ran.
        told = UNQUEUED | {"api_name": "describe_models", "api_visibility": "public"}
        changed = [self.name.change, ended(loading)]
        follow(changed, self.describe, self.name, [self.card, self.fetch], **told)
        self.memory.input(
            self.use_memory,
            [self.memory, self.name],
            self.card,
            api_name="use_memory",
            show_progress="minimal",
            show_progress_on=self.card,
            **MODEL_LANE,
        )

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

    @guarded("card")
    def load(self, models: str):
        """Fetch (where needed) and load the models called `models`."""
        yield {
            self.card: note("Fetching and loading; this can take minutes on a first use."),
            self.fetch: gr.update(interactive=False),
        }
        try:
            self.ctx.load(models)
        finally:
            yield {self.fetch: gr.update(interactive=True)}
        yield {self.card: card(self.ctx, models), self.fetch: gr.update(visible=False)}
