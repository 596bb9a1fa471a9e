"""The Paint by Example tab: paint where, give a picture of what; λ says how closely it is followed."""

from collections.abc import Iterator

import gradio as gr

from demos.context import Context
from demos.paint_by_example import runs
from demos.paint_by_example.exemplar import ExemplarBox
from demos.shared import knobs, painting
from demos.shared.checks import image_problem, models_problem
from demos.shared.events import follow
from demos.shared.examples import ExampleStrip
from demos.shared.marks import HIDDEN, UNQUEUED
from demos.shared.mask import MaskBox, canvas, strokes
from demos.shared.part import PartNote
from demos.shared.results import ResultPanel
from demos.shared.source import say_image, source_image
from demos.shared.tab import Run, Tab

NAME, METHOD = "Paint by Example", "paint_by_example"
FIRST_STEPS = (
    "Pick an example, or add a picture and an exemplar.",
    "Paint over what is to change.",
    "Press Edit: the region becomes what the exemplar shows.",
)
SHOWN = ("guidance_scale", "structure")
REGION = ("grow", "context", "feather")
PICTURES = {"source": "Source", "masked": "Masked", "exemplar": "Exemplar", "edit": "Edit"}
MASK, RESULT = "mask", "result"  # the tabs of what is painted on and of what comes out


class TabbedResult(ResultPanel):
    """A result in a tab of its own among `views`, which opens with it."""

    def __init__(self, views: gr.Tabs, *args, **options) -> None:
        self.views = views
        super().__init__(*args, **options)

    @property
    def outputs(self) -> list:
        """Every component that `show` may update."""
        return [*super().outputs, self.views]

    def show(self, result: dict) -> dict:
        """Updates that put a result on the page, and open its tab."""
        return super().show(result) | self.opened()

    def opened(self) -> dict:
        """Updates that open its tab."""
        return {self.views: gr.Tabs(selected=RESULT)}


def build(ctx: Context, models: gr.Dropdown) -> "PaintTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return PaintTab(ctx, models)


class PaintTab(Tab):
    """A source, a mask painted on it, an exemplar; no prompt and no preparation."""

    view, title = runs.VIEW, NAME
    result: TabbedResult
    left_out = "its source image, mask and exemplar: add those again"
    about_edit = """Repaint the masked part of an image after an example picture.

`mask` is a picture file of the source's shape: white, painted or labelled where it is to be repainted; or an
editor's value, {"background": None, "layers": [FILE, ...], "composite": None}. `exemplar_left` to
`exemplar_bottom` cut the exemplar, in percent. Returns the edited picture at the source's size (a PNG with
its settings as text; outside of the mask it is the source), the settings as JSON, the scores, the source
beside the edit, the source, what of it was masked, and the exemplar as it is seen."""

    # --- drawing ------------------------------------------------------------------------------------------

    def draw_asking(self, presets: dict) -> None:
        """Source and exemplar, examples, mask and tools, both previews, λ, Edit, and the other knobs."""
        PartNote(self.ctx, self.models, painting.PART, NAME)
        with gr.Row(elem_classes="pair"):
            with gr.Column(min_width=120):
                self.image = source_image(
                    190,
                    label="Source image",
                    elem_id=f"{METHOD}-source",
                    elem_classes="source",
                    min_width=120,
                )
                self.image_note = gr.HTML()
            with gr.Column(min_width=120):
                self.exemplar = ExemplarBox(METHOD)
        self.examples = ExampleStrip(METHOD)
        self.draw_knobs(SHOWN, presets)
        self.draw_seeds()
        with gr.Accordion("Crop of the exemplar", open=False):
            self.exemplar.draw_crop()
        with gr.Accordion("Sampling settings", open=False):
            elsewhere = {"grow", *self.controls}
            self.draw_knobs([name for name in self.view.edit_knobs if name not in elsewhere], presets)

    def draw_answer(self) -> TabbedResult:
        """The mask, as large as the result, in a tab beside it."""
        with gr.Tabs(elem_classes="views", elem_id=f"{METHOD}-views") as views:
            with gr.Tab("Mask", id=MASK, elem_id=f"{METHOD}-mask-view", render_children=True):
                self.draw_mask(self.ctx.presets(self.ctx.default, METHOD))
            with gr.Tab("Result", id=RESULT):
                return TabbedResult(views, self.view, FIRST_STEPS, PICTURES)

    def draw_mask(self, presets: dict) -> None:
        """The canvas, what of mask and exemplar is used beside it, and the tools below."""
        with gr.Row(elem_classes="result"):
            with gr.Column(scale=3, min_width=260):
                self.mask = MaskBox(self.ctx, METHOD)
            with gr.Column(scale=1, min_width=120, elem_classes="seen"):
                self.mask.draw_preview()
                self.exemplar.draw_preview()
        with gr.Row(elem_classes="tools"):
            self.draw_knobs(["grow"], presets)
            self.mask.draw_tools(self.controls["grow"])

    # --- what is asked ------------------------------------------------------------------------------------

    @property
    def fields(self) -> dict:
        """Source, mask and exemplar, and what shapes the two."""
        return {"image": self.image} | self.mask.fields | self.exemplar.fields

    @property
    def again_knobs(self) -> tuple[str, ...]:
        """What is dragged most."""
        return ("guidance_scale", "structure")

    def problems(self, values: dict) -> dict[str, str]:
        """What is wrong with the models, the pictures, the mask, or a crop."""
        found = knobs.problems(painting.TOOLS.knobs | painting.CROP.knobs)(values)
        usable = not found and not knobs.problems(self.knobs)(values)
        if wrong := models_problem(self.ctx, values["models"], painting.PART):
            found["models"] = wrong
        if wrong := image_problem(values["image"]):
            found["image"] = wrong
        elif usable:
            found |= painting.mask_problems(values)
        return found | (painting.exemplar_problems(values) if usable else {})

    @property
    def drawn_late(self) -> tuple:
        """The canvas: seconds, where there is no graphics card."""
        return (self.mask.editor,)

    def from_example(self, values: dict) -> dict:
        """An example's mask becomes strokes on its picture."""
        return values | {"mask": canvas(values["image"], values.get("mask"))}

    def finish(self, run: Run) -> Iterator[dict]:
        """The steps are shown where the result will be."""
        yield self.result.opened()
        yield from super().finish(run)

    # --- Recall -------------------------------------------------------------------------------------------

    @property
    def shapes(self) -> dict:
        """The widgets that shape mask and exemplar, by the names of their knobs."""
        known = self.mask.tools | self.exemplar.sides | {"exemplar_fit": self.exemplar.fit}
        return {name: known[name] for name in (*painting.TOOLS.knobs, *painting.CROP.knobs)}

    @property
    def saved(self) -> dict:
        """What shapes mask and exemplar too."""
        return super().saved | self.shapes

    @property
    def beside(self) -> dict:
        """The mask and the exemplar."""
        return {"mask": self.mask.editor, "exemplar": self.exemplar.image}

    def files_beside(self, image: str, values: dict) -> dict[str, str]:
        """The exemplar as it was uploaded, and what is painted as a file of its own."""
        mask = strokes(image, values["mask"])
        found = {"exemplar": values["exemplar"]} if values["exemplar"] else {}
        if mask is not None:
            found["mask"] = self.ctx.kept_file(mask, "mask")
        return found

    @property
    def restore_outputs(self) -> list:
        """What Recall sets: what shapes mask and exemplar too."""
        return [*super().restore_outputs, *self.shapes.values()]

    def restore(self, about) -> list:
        """Updates for `restore_outputs`; a setting that a record does not have takes its default."""
        shapes = painting.TOOLS.checked(about.knobs) | painting.CROP.checked(about.knobs)
        return [*super().restore(about), *shapes.values()]

    # --- wiring -------------------------------------------------------------------------------------------

    def wire(self) -> None:
        """What Tab wires, and the two previews."""
        super().wire()
        seen = [self.image.change, self.models.change]
        follow(seen, self.say_image, [self.image, self.models], self.image_note, **HIDDEN)
        given = [self.image.upload, self.image.clear, self.mask.upload.upload]
        follow(given, lambda: gr.Tabs(selected=MASK), None, self.result.views, **UNQUEUED)
        self.mask.wire(self.image, self.models, {name: self.controls[name] for name in REGION})
        self.exemplar.wire()

    def say_image(self, image: str | None, models: str | None) -> str:
        """Answer at once an upload that cannot be used, or that the models do not know."""
        return say_image(self.ctx, image, models)[0]
