"""The page: a header with the model picker and Recall, a tab for each feature, About."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from demos import zero_gpu
from demos.about import tab as about
from demos.compare import tab as compare
from demos.context import Context
from demos.imagic import tab as imagic
from demos.inversion import tab as null_text
from demos.paint_by_example import tab as paint_by_example
from demos.shared import safety as safety_runs
from demos.shared.checks import say_full
from demos.shared.events import answer_whole, lighten
from demos.shared.history import History
from demos.shared.models import Picker
from demos.shared.panel import BuiltTab
from demos.shared.programs import answer_programs
from demos.shared.recall import Recall
from demos.shared.reopen import Reopen
from demos.shared.reuse import Place, wire_reuse
from demos.shared.sent import as_sent
from demos.shared.visit import Visit
from demos.shared.visitors import MOST_VISITORS, keep_little
from demos.styleclip import tab as styleclip
from demos.text2live import tab as text2live
from demos.theme import CSS, JS, THEME

TABS = (imagic, null_text, styleclip, paint_by_example, text2live, compare)

# Everything an entry point hands to launch(); Space, local run and tests use the same.
LAUNCH_KWARGS = {
    "theme": THEME,
    "css": CSS,
    "js": JS,
    "max_file_size": "25mb",  # a little above core's own limit, which then answers in a sentence
    "run_history": False,
    "footer_links": ["api", "settings"],
    "show_error": True,
    "state_session_capacity": MOST_VISITORS,
    "app_kwargs": {"exception_handlers": {OSError: say_full}},
}

BRAND = """<div class="brand"><h1>TextEdit Studio</h1>
<p>Edit a picture by text with published research methods.</p></div>"""


def create_app(
    zoo: ModuleType,
    models: str = "toon",
    device: str = "auto",
    max_cells: int = 64,
    safety: bool = False,
    gpu: Callable[..., Any] | None = None,
    gpu_seconds: int = 120,
    **limits,
) -> gr.Blocks:
    """The whole page. `zoo` loads models by name; `models` is the name or folder chosen at start.

    safety: whether results are judged by the safety checker, which is then loaded here, fetched if need be.
    gpu: on ZeroGPU the decorator `spaces.GPU`, else None.  gpu_seconds: of GPU time, the most that one
    computation may ask for there.  limits: other fields of `Context`, dtype, folders and allowed.
    """
    keep_little()
    answer_whole()
    if gpu:
        device = "cpu"  # of this process; `gpu` has the other
    zoo.describe(models)  # a wrong --models is one sentence at start, not an empty page
    if safety:
        limits["checker"] = safety_runs.prepared(zoo.load(models, device).device)
    ctx = Context(zoo, models, device, max_cells, gpu_seconds=gpu_seconds if gpu else None, **limits)
    if gpu:
        zero_gpu.use(ctx, gpu)
    with gr.Blocks(
        title="TextEdit Studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as demo:
        picker, recall, history, one_source = draw_header(ctx)
        built_tabs: list[BuiltTab] = []
        with gr.Tabs() as tabs:
            for tab in TABS:
                with gr.Tab(tab.NAME, id=tab.METHOD) as page:
                    built = tab.build(ctx, picker.name)
                built.on_open(page)
                built_tabs.append(built)
            with gr.Tab(about.NAME, id="about"):
                about.build(ctx)
        panels = {name: panel for built in built_tabs for name, panel in built.panels.items()}
        for built in built_tabs:
            built.connect(panels)
        recall.wire(tabs, picker.name, panels)
        named = {tab.METHOD: Place(tab.NAME, built) for tab, built in zip(TABS, built_tabs, strict=True)}
        wire_reuse(tabs, named, panels, one_source)
        wire_visit(demo, history, (tabs, picker.name), named, recall.status)
        lighten(demo)
        answer_programs(demo)
    ctx.warm()
    return demo.queue(max_size=20)


def draw_header(ctx: Context) -> tuple[Picker, Recall, History, gr.Checkbox]:
    """The row above the tabs: the name, the models, Recall, the history, and whether all have one source."""
    with gr.Row(elem_classes="masthead"):
        with gr.Column(scale=3, min_width=260):
            gr.HTML(BRAND)
        with gr.Column(scale=5, min_width=300, elem_classes="picker"):
            picker = Picker(ctx)
        with gr.Column(scale=2, min_width=200, elem_classes="recall"):
            recall = Recall(ctx)
        with gr.Column(scale=1, min_width=120, elem_classes="past"):
            history = History(ctx, recall.known_models)
            one_source = as_sent(
                gr.Checkbox(label="One source for all tabs", container=False, elem_id="one-source")
            )
    return picker, recall, history, one_source


def wire_visit(
    page: gr.Blocks,
    history: History,
    header: tuple[gr.Tabs, gr.Dropdown],
    places: dict[str, Place],
    said: gr.HTML,
) -> None:
    """Wire what a visitor finds again.

    header: the tabs and the models' drop-down.  places: the tabs that take a source, by id.  said: where it
    is told what of a link is not used.
    """
    panels = {name: panel for place in places.values() for name, panel in place.built.panels.items()}
    reopen = Reopen(history.ctx, panels)
    history.wire(page, *header, reopen)
    titles = {name: place.title for name, place in places.items()} | {"about": about.NAME}
    Visit(history.ctx, history, reopen, said).wire(page, *header, titles)
