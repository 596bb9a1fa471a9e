"""The StyleCLIP tab: one latent picker, below it the three techniques and what they are compared with."""

import gradio as gr

from demos.context import Context
from demos.shared.panel import BuiltTab
from demos.shared.part import PartNote
from demos.styleclip import latents as runs
from demos.styleclip.comparators_tab import ComparatorsTab
from demos.styleclip.directions_tab import DirectionsTab
from demos.styleclip.mapper_tab import MapperTab
from demos.styleclip.optimizer_tab import OptimizerTab, TediganTab
from demos.styleclip.picker import LatentPicker
from demos.styleclip.styleflow_tab import StyleflowTab
from demos.styleclip.technique import TechniqueTab

NAME, METHOD = "StyleCLIP", "styleclip"
TECHNIQUES = (DirectionsTab, OptimizerTab, MapperTab, ComparatorsTab, TediganTab, StyleflowTab)


def build(ctx: Context, models: gr.Dropdown) -> "StyleClip":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return StyleClip(ctx, models)


class StyleClip(BuiltTab):
    """The latent picker and a tab for each technique."""

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        PartNote(ctx, models, runs.PART, NAME)
        for part in runs.OPTIONAL_PARTS:
            OptionalPartNote(ctx, models, part, f"The {part} that {NAME} uses")
        self.picker = LatentPicker(ctx, models)
        self.techniques: list[TechniqueTab] = []
        self.panels = {}
        with gr.Tabs(elem_id=METHOD) as tabs:
            for technique in TECHNIQUES:
                name = technique.view.name
                with gr.Tab(technique.title, id=name, elem_id=f"{name}-tab"):
                    built = technique(ctx, models, self.picker, tabs)
                    self.panels[name] = built
                    self.techniques.append(built)

    @property
    def source_outputs(self) -> list:
        """What "Use as source" sets: those of the picker."""
        return self.picker.source_outputs

    def with_source(self, path: str) -> dict:
        """Updates that make this picture the one to start from."""
        return self.picker.with_source(path)

    def on_open(self, tab: gr.Tab) -> None:
        """Draw the first samples, and list the mappers that were trained meanwhile."""
        self.picker.on_open(tab)
        for technique in self.techniques:
            technique.on_open(tab)


class OptionalPartNote(PartNote):
    """A part that the tab can do without: it only says what would be fetched."""

    def state(self, name: str) -> tuple[str, bool]:
        """The sentence as HTML, and whether there is something to fetch."""
        try:
            missing = self.part in self.ctx.models(name).sources
        except (ValueError, OSError):
            missing = False  # the picker of the models says what is wrong
        return super().state(name) if missing else ("", False)
