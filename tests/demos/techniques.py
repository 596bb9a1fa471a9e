"""A technique's tab that is not served, for tests of its handlers."""

import gradio as gr

from demos.context import Context
from demos.styleclip import tab as styleclip
from textedit_core.models import zoo


def built(folder, name: str, *parts: str):
    """The tab of a method among StyleCLIP's, on the models of a folder with these parts in memory."""
    ctx = Context(zoo, str(folder), "cpu")
    for part in parts:
        ctx.load(ctx.default, part)
    with gr.Blocks():
        models = gr.Dropdown([ctx.default], value=ctx.default)
        return styleclip.build(ctx, models).panels[name]


def asked(tab, **more) -> dict:
    """The values of every widget of the tab as it is at first."""
    values = dict(zip(tab.view.knobs, tab.use_presets(tab.ctx.default), strict=True))
    values |= {"models": tab.ctx.default, "image": None, "sizing": "crop", "origin": "sample"}
    return values | {"latent_seed": 3, "latent_truncation": 0.7} | more
