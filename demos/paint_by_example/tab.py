"""The Paint by Example tab: paint where, give a picture of what; λ says how closely it is followed."""

import gradio as gr

from demos.context import Context
from demos.paint_by_example import runs
from demos.paint_by_example.exemplar import ExemplarBox
from demos.shared import knobs, painting
from demos.shared.checks import image_problem, models_problem
from demos.shared.events import follow
from demos.shared.examples import ExampleStrip
from demos.shared.marks import HIDDEN, note
from demos.shared.mask import MaskBox, canvas
from demos.shared.part import PartNote
from demos.shared.results import ResultPanel
from demos.shared.source import source_image
from demos.shared.tab import Tab

NAME, METHOD = "Paint by Example", "paint_by_example"
FIRST_STEPS = (
    "Pick an example, or add a picture and an exemplar.",
    "Paint over what is to change.",
    "Press Edit: the region becomes what the exemplar shows.",
)
SHOWN = ("guidance_scale", "structure")
REGION = ("grow", "context", "feather")


def build(ctx: Context, models: gr.Dropdown) -> "PaintTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return PaintTab(ctx, models)


class PaintTab(Tab):
    """A source, a mask painted on it, an exemplar; no prompt and no preparation."""

    view, title = runs.VIEW, NAME
    left_out = "its source image, mask and exemplar: add those again"
    about_edit = """Repaint the masked part of an image after an example picture.

`mask` is an editor's value; from a program {"background": None, "layers": [FILE], "composite": None}, FILE a
picture of the source's shape, white where it is to be repainted. `exemplar_left` to `exemplar_bottom` cut
the exemplar, in percent. Returns the edited picture at the source's size (a PNG with its settings as text;
outside of the mask it is the source), the settings as JSON, the scores, the source beside the edit, the
source, what of it was masked, and the exemplar as it is seen."""

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
        self.mask = MaskBox(self.ctx, METHOD)
        with gr.Accordion("Mask tools", open=False):
            self.draw_knobs(["grow"], presets)
            self.mask.draw_tools(self.controls["grow"])
        with gr.Accordion("Crop of the exemplar", open=False):
            self.exemplar.draw_crop()
        with gr.Row(elem_classes="pair seen"):
            self.mask.draw_preview()
            self.exemplar.draw_preview()
        self.draw_knobs(SHOWN, presets)
        self.draw_seeds()
        with gr.Accordion("Sampling settings", open=False):
            self.draw_knobs([name for name in self.view.edit_knobs if name not in self.controls], presets)

    def draw_answer(self) -> ResultPanel:
        """The slider, with source, what was masked, exemplar and edit beside it."""
        pictures = {"source": "Source", "masked": "Masked", "exemplar": "Exemplar", "edit": "Edit"}
        return ResultPanel(self.view, FIRST_STEPS, pictures)

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

    def from_example(self, values: dict) -> dict:
        """An example's mask becomes strokes on its picture."""
        return values | {"mask": canvas(values["image"], values.get("mask"))}

    # --- Recall -------------------------------------------------------------------------------------------

    @property
    def shapes(self) -> dict:
        """The widgets that shape mask and exemplar, by the names of their knobs."""
        known = self.mask.tools | self.exemplar.sides | {"exemplar_fit": self.exemplar.fit}
        return {name: known[name] for name in (*painting.TOOLS.knobs, *painting.CROP.knobs)}

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
        follow([self.image.change], self.say_image, self.image, self.image_note, **HIDDEN)
        self.mask.wire(self.image, self.models, {name: self.controls[name] for name in REGION})
        self.exemplar.wire()

    def say_image(self, image: str | None) -> str:
        """Answer at once an upload that cannot be used."""
        return note(image_problem(image) if image else "", "problem")
