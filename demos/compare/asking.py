"""What the Compare tab asks: the picture, its prompts, the methods, and what only some of them need."""

import gradio as gr

from demos.compare.contenders import BY_NAME, LARGE, SDEDIT_KNOBS, SEED, offered
from demos.context import Context
from demos.shared import knobs, painting
from demos.shared.checks import image_problem, models_problem, prompt_problem, text_problem
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, UNQUEUED
from demos.shared.mask import MaskBox, empty_canvas
from demos.shared.prompt import PromptBox, source_prompt_box
from demos.shared.sent import as_sent
from demos.shared.source import SourceBox, source_image
from textedit_core.choices import SIZINGS
from textedit_core.knobs import quoted
from textedit_core.request import optional_part

METHOD = "compare"
UNSEEN = "hidden"  # but still in the page, which a canvas breaks that goes away while it is being made
AT_FIRST = ("sdedit", "imagic")
# Where the buttons are that fetch a part.
FETCHED = {"diffusion": "at the top of the page", "paint_by_example": "on the Paint by Example tab"}
NO_PROMPT = "Write the prompt: what should the edited picture show?"
NO_SOURCE_PROMPT = "Write the source prompt: {} starts from what the source shows now."
KNOBS = {"seed": SEED} | SDEDIT_KNOBS.knobs | LARGE.knobs


def with_canvas(values: dict) -> dict:
    """What an example sets: its picture to be painted on too."""
    return values | {"mask": empty_canvas(values["image"])}


class Asking:
    """The left third: widgets as attributes, `fields` by name, `problems` as a validator wants them."""

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        self.ctx, self.models = ctx, models
        self.draw()

    # --- drawing --------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Source, the two prompts, the methods and what single ones need, the seed."""
        self.source = SourceBox(self.ctx, METHOD, self.models)
        info = "for the methods that start from it, and for the column Direction"
        self.source_prompt = source_prompt_box(self.ctx, self.models, METHOD, info=info)
        example = "all that the edited picture shows: an angry man with glasses"
        self.prompt = PromptBox(self.ctx, self.models, "Prompt", f"{METHOD}-prompt", placeholder=example)
        choices = self.choices(self.ctx.default)
        names = [name for _, name in choices]
        ticked = [name for name in AT_FIRST if name in names] or names[:1]
        self.methods = gr.CheckboxGroup(choices, value=ticked, label="Methods", elem_id=f"{METHOD}-methods")
        as_sent(self.methods)  # the validator judges it
        self.seed = knobs.control(SEED, elem_id=f"{METHOD}-seed")
        with gr.Accordion("Settings of SDEdit", open=False):
            self.sdedit = SDEDIT_KNOBS.widgets(self.ctx.presets(self.ctx.default, "sdedit"))
        with gr.Accordion("Size and details of the results", open=False):
            self.large = LARGE.widgets(self.ctx.presets(self.ctx.default, "sdedit"))

    def draw_painting(self) -> None:
        """Mask and exemplar; all other settings are those that the Paint by Example tab has at first.

        Drawn where there is room for the canvas, above the results.
        """
        title, seen = "Mask and exemplar, for Paint by Example", self.paints(self.ctx.default)
        look = {"open": False, "visible": seen or UNSEEN, "elem_id": f"{METHOD}-painting"}
        with gr.Accordion(title, **look) as self.painting, gr.Row(elem_classes="result"):
            with gr.Column(scale=3, min_width=260):
                self.mask_box = MaskBox(self.ctx, METHOD)
            with gr.Column(scale=1, min_width=120, elem_classes="seen"):
                self.exemplar = source_image(
                    190, label="Exemplar", elem_id=f"{METHOD}-exemplar", elem_classes="source"
                )
                self.mask_box.draw_preview()
        self.mask = self.mask_box.editor

    def choices(self, models: str) -> list[tuple[str, str]]:
        """The tick boxes: what the models can run."""
        return [(one.title, one.name) for one in offered(self.ctx, models)]

    def paints(self, models: str) -> bool:
        """Whether the models can run a method that asks for mask and exemplar."""
        return any(one.is_painted for one in offered(self.ctx, models))

    # --- what is asked --------------------------------------------------------------------------------------

    @property
    def fields(self) -> dict:
        """The inputs by name."""
        return {
            **self.source.fields,
            "source_prompt": self.source_prompt.text,
            "prompt": self.prompt.text,
            "methods": self.methods,
            "mask": self.mask,
            "exemplar": self.exemplar,
            "seed": self.seed,
            **self.sdedit,
            **self.large,
        }

    def problems(self, values: dict) -> dict[str, str]:
        """The sentence for each field that cannot be used: each ticked method asks for its own."""
        models = values["models"]
        try:
            self.ctx.models(models)
        except (ValueError, OSError) as error:
            return {"models": str(error)}
        found = {
            "image": image_problem(values["image"]),
            "methods": self.methods_problem(models, values["methods"] or []),
        }
        if found["methods"]:
            return found
        ticked = [BY_NAME[name] for name in values["methods"]]
        for field, empty in (("prompt", NO_PROMPT), ("source_prompt", NO_SOURCE_PROMPT)):
            asking = [one.title for one in ticked if field in one.texts.values()]
            empty = empty.format(asking[0]) if asking else ""
            found[field] = self.text_problem(models, values[field], empty)
        if any(one.is_painted for one in ticked) and not found["image"]:
            found |= self.painting_problems(values)
        return found

    def text_problem(self, models: str, text: str | None, empty: str) -> str:
        """The sentence for a text that is missing (`empty`), or too long for what edits and what scores."""
        if wrong := prompt_problem(self.ctx, models, text, empty):
            return wrong
        try:
            clip = optional_part(self.ctx.models(models), "clip", fetch=False)
            return text_problem(clip.tokenizer, text, empty) if clip is not None else ""
        except (ValueError, OSError) as error:
            return str(error)

    def methods_problem(self, models: str, names: list[str]) -> str:
        """Nothing ticked, something these models cannot run, or something that is still to be fetched."""
        if not names:
            return "Tick at least one method."
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return "Methods: tick some of the list."
        known = {one.name: one for one in offered(self.ctx, models)}
        if strange := [name for name in names if name not in known]:
            title = BY_NAME[strange[0]].title if strange[0] in BY_NAME else quoted(strange[0])
            return f"The chosen models cannot run {title}: untick it, or choose other models."
        for one in (known[name] for name in names):
            for part in one.parts:
                if not self.ctx.ready(models, part):
                    where = FETCHED.get(part, "on the StyleCLIP tab")
                    return f"{one.title}: press Fetch and load {where} first, or untick it."
                if wrong := models_problem(self.ctx, models, part):
                    return f"{one.title}: {wrong}"
        return ""

    def painting_problems(self, values: dict) -> dict[str, str]:
        """What is wrong with the mask or the exemplar."""
        given = painting.with_defaults({name: values[name] for name in ("image", "mask", "exemplar")})
        mask = next(iter(painting.mask_problems(given).values()), "")
        exemplar = next(iter(painting.exemplar_problems(given).values()), "")
        return {name: words for name, words in (("mask", mask), ("exemplar", exemplar)) if words}

    # --- Recall, of an SDEdit picture -----------------------------------------------------------------------

    @property
    def restore_outputs(self) -> list:
        """What Recall sets."""
        widgets = [self.prompt.text, self.source.sizing, self.methods, self.seed]
        return [*widgets, *self.sdedit.values(), *self.large.values()]

    def restore(self, about) -> list:
        """Updates for `restore_outputs` from a record of SDEdit's."""
        names = {SDEDIT_KNOBS.own(name): name for name in KNOBS}
        made = {
            names[name]: KNOBS[names[name]].check(value)
            for name, value in about.knobs.items()
            if name in names
        }
        sizing = about.resize if about.resize in SIZINGS else "crop"
        return [about.prompts.get("prompt", ""), sizing, ["sdedit"], *knobs.restored(KNOBS, made, {})]

    # --- wiring and handlers --------------------------------------------------------------------------------

    def wire(self) -> None:
        """Examples, what the models can run, the mask."""
        self.source.examples.on_pick(self.fields, {}, with_canvas)
        follow([self.methods.change], self.open_painting, self.methods, self.painting, **HIDDEN)
        offers = [self.methods, self.painting]
        follow([self.models.change], self.use_models, [self.models, self.methods], offers, **HIDDEN)
        follow([self.models.input], self.use_presets, self.models, self.preset, **UNQUEUED)
        self.mask_box.wire(self.source.image, self.models, {})

    def open_painting(self, ticked: list[str]) -> dict:
        """Unfold mask and exemplar when a method that needs them is ticked."""
        needed = any(BY_NAME[name].is_painted for name in ticked or [] if name in BY_NAME)
        return gr.update(open=True) if needed else gr.skip()

    def use_models(self, models: str, ticked: list[str]) -> tuple:
        """Offer the methods that the chosen models can run, with the fields they need; untick the others."""
        choices = self.choices(models)
        names = {name for _, name in choices}
        kept = [name for name in ticked or [] if name in names]
        # Where all stay they are not set: more may have been ticked meanwhile.
        changed = {"value": kept} if kept != ticked else {}
        return gr.update(choices=choices, **changed), gr.update(visible=self.paints(models) or UNSEEN)

    def use_presets(self, models: str) -> list:
        """SDEdit's settings as they suit the chosen models."""
        found = self.ctx.presets(models, "sdedit")
        return [*SDEDIT_KNOBS.values(found).values(), *LARGE.values(found).values()]

    @property
    def preset(self) -> list:
        """The widgets that take the models' presets."""
        return [*self.sdedit.values(), *self.large.values()]
