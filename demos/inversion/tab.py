"""The Null-text + Prompt-to-Prompt tab: invert a picture, then change the words that tell it."""

from collections.abc import Iterator

import gradio as gr

from demos.context import Context
from demos.inversion import inverting, prompts, rewriting, runs
from demos.inversion.attention import AttentionView
from demos.inversion.weights import WeightSliders
from demos.shared import knobs
from demos.shared.checks import image_problem, prompt_problem
from demos.shared.events import follow, pressed
from demos.shared.fit import FitPanel
from demos.shared.marks import EVERY_CLICK, HIDDEN, UNQUEUED, note
from demos.shared.prompt import PromptBox, source_prompt_box
from demos.shared.results import ResultPanel
from demos.shared.source import SourceBox
from demos.shared.tab import Run, Tab
from textedit_core import request as engine
from textedit_core.request import Request

NAME, METHOD = "Null-text + P2P", "prompt_to_prompt"
FIRST_STEPS = (
    "Pick an example, or add a picture and its source prompt.",
    "Change its words in the prompt: swap a word, add some, or weigh one.",
    "Press Edit. The rest of the picture should stay as it is.",
)
NO_SOURCE_PROMPT = "Write the source prompt: what does the picture show? Name what is to change."
NO_PROMPT = "Write the prompt: what is the edited picture to show? The same words are allowed."
SHOWN = ("cross_replace_steps", "self_replace_steps", "keep_to_source", "guidance_scale")


def build(ctx: Context, models: gr.Dropdown) -> "NullTextTab":
    """Draw the tab inside the current gr.Tab and wire it; `models` is the picker's drop-down."""
    return NullTextTab(ctx, models)


class NullTextTab(Tab):
    """A source prompt, prompts, an inversion, and what is done with the attention of the words."""

    view, title = runs.VIEW, NAME
    about_prepare = """Invert an image under its source prompt, to edit it from there.

Returns the status as HTML and, for null_text, the loss of every step as SVG. The inversion stays on the
server under a key of its content: call /prompt_to_prompt_edit with the same settings."""
    about_edit = """Edit an image that shows `source_prompt` so that it shows `prompt`.

It is inverted first where needed.

`prompt` may have several lines: each is edited, in one batch, and the first that is not refused is returned.
Returns the edited picture (a PNG with its settings as text), the settings as JSON, the scores, the source
beside the edit, the source, what the autoencoder and the inversion make of it, the PSNR of each, and where
the words look."""

    # --- drawing ------------------------------------------------------------------------------------------

    def draw_asking(self, presets: dict) -> None:
        """Source and prompts, the inversion, the attention, Edit, and the knobs that are seldom changed."""
        self.source = SourceBox(self.ctx, METHOD, self.models)
        self.examples = self.source.examples
        self.draw_prompts()
        self.draw_knobs(["inversion"], presets)
        with gr.Accordion("Preparation settings", open=False):
            self.fit = FitPanel(
                METHOD, "this image and source prompt", "Inverts this image under its source prompt, once."
            )
            self.draw_knobs([name for name in self.view.fit_knobs if name != "inversion"], presets)
        self.draw_knobs(["edit_type"], presets)
        self.type_note = gr.HTML(elem_id=f"{METHOD}-type")
        self.draw_knobs(SHOWN, presets)
        self.guidance_note = gr.HTML()
        self.weights = WeightSliders(METHOD)
        self.controls["word_weights"] = knobs.control(
            self.knobs["word_weights"], presets.get("word_weights"), elem_id=f"{METHOD}-word-weights"
        )
        with gr.Row(elem_classes="axis"):
            self.draw_knobs(["blend_words", "subtract_words"], presets)
        with gr.Accordion("More settings", open=False):
            self.draw_knobs([name for name in self.view.edit_knobs if name not in self.controls], presets)
        for name in inverting.unused(self.controls["inversion"].value):
            self.controls[name].visible = "hidden"

    def draw_prompts(self) -> None:
        """Source prompt, prompts, and the buttons that write a prompt from the source prompt."""
        self.source_prompt = source_prompt_box(self.ctx, self.models, METHOD, lines=1)
        self.prompt = PromptBox(
            self.ctx,
            self.models,
            "Prompt",
            f"{METHOD}-prompt",
            has_weights=True,
            placeholder="what the edited picture is to show: an angry man with glasses",
            info="several, one per line, are edited as one batch; a sweep takes the first",
        )
        with gr.Row(elem_classes="offers"):
            self.offers = {
                kind: gr.Button(about["label"], size="sm", min_width=80)
                for kind, about in rewriting.PRESETS.items()
            }
        self.offer_note = gr.HTML()

    def draw_answer(self) -> ResultPanel:
        """The slider, the four pictures with their PSNR, prompts, attention and mask."""
        pictures = {
            "source": "Source",
            "autoencoder": "Autoencoder",
            "reconstruction": "Reconstruction",
            "edit": "Edit",
        }
        details = ("Attention", lambda: AttentionView(METHOD))
        more = {"captioned": True, "details": details, "losses": self.fit.losses}
        return ResultPanel(self.view, FIRST_STEPS, pictures, **more)

    # --- what is asked ------------------------------------------------------------------------------------

    @property
    def fields(self) -> dict:
        """Image, sizing rule, source prompt, prompts."""
        return self.source.fields | self.texts

    @property
    def texts(self) -> dict:
        """Source prompt and prompts."""
        return {"source_prompt": self.source_prompt.text, "prompt": self.prompt.text}

    @property
    def fit_fields(self) -> dict:
        """What an inversion is made for: all but the prompt."""
        return {name: one for name, one in self.fields.items() if name != "prompt"}

    def fit_asked(self, values: dict) -> Request | None:
        """What Prepare would be asked with, whatever the prompt."""
        return super().fit_asked(values | {"prompt": values["source_prompt"]})

    @property
    def again_knobs(self) -> tuple[str, ...]:
        """What is dragged most."""
        return ("cross_replace_steps", "self_replace_steps", "guidance_scale")

    @property
    def again_events(self) -> list:
        """The weight of a word too."""
        return [*super().again_events, self.weights.html.select]

    def problems(self, values: dict) -> dict[str, str]:
        """What is wrong with the image, the two prompts, or a setting that does not suit them."""
        models, lines = values["models"], prompts.lines_of(values["prompt"]) or [""]
        read = lines[: prompts.MOST]
        wrong = [prompt_problem(self.ctx, models, line, NO_PROMPT) for line in read]
        found = {
            "image": image_problem(values["image"]),
            "source_prompt": prompt_problem(self.ctx, models, values["source_prompt"], NO_SOURCE_PROMPT),
            "prompt": prompts.of_prompts(read, wrong),
        }
        if len(lines) > prompts.MOST:
            found["prompt"] = prompts.TOO_MANY.format(len(lines))
        usable = not (found["source_prompt"] or found["prompt"]) and self.ctx.loaded(models)
        if usable and not knobs.problems(self.knobs)(values):
            found |= runs.problems(self.ctx, values)
        return found

    # --- wiring and handlers ------------------------------------------------------------------------------

    def wire(self) -> None:
        """What Tab wires, and the notes, sliders and buttons of this one."""
        super().wire()
        self.weights.wire(self.controls["word_weights"], self.prompt.text)
        names = ("edit_type", "inversion", "keep_to_source", "word_weights")
        asked = [
            self.models,
            self.source_prompt.text,
            self.prompt.text,
            *(self.controls[name] for name in names),
        ]
        changed = [one.change for one in asked]
        follow(changed, self.say_type, asked, self.type_note, **HIDDEN)
        inversion, some = self.controls["inversion"], [self.controls[name] for name in inverting.USED_BY_SOME]
        follow([inversion.change], self.show_used, inversion, some, **UNQUEUED)
        names = ("inversion", "fit_guidance_scale", "guidance_scale")
        scales = [self.controls[name] for name in names]
        follow([s.change for s in scales], self.say_guidance, scales, self.guidance_note, **HIDDEN)
        names = ("edit_type", "word_weights", "blend_words", "subtract_words", *SHOWN[:2])
        written = {"prompt": self.prompt.text, **{name: self.controls[name] for name in names}}
        self.wire_offers(written)
        view = self.result.details
        view.prompts.select(self.show_prompt, view.batch, self.result.outputs, **EVERY_CLICK)

    def before_edit(self, triggers: list):
        """Weights of words that are gone from the prompt go too, but not while it is being written."""
        field, prompt = self.controls["word_weights"], self.prompt.text
        cleared = super().before_edit(triggers)
        return cleared.then(self.weights.prune, [prompt, field], field, **HIDDEN)

    def wire_offers(self, written: dict) -> None:
        """Buttons that write a prompt from the source prompt and set the knobs that suit it."""

        def offer(event: gr.EventData, models: str, source_prompt: str, prompt: str) -> list:
            kind = pressed(self.offers, event)
            try:
                known = self.ctx.models(models).unknown_words
                text, made = rewriting.rewrite(
                    kind, source_prompt or "", prompt or "", lambda one: not known(one)
                )
            except (ValueError, OSError) as error:
                return [note(str(error), "problem"), *([gr.skip()] * len(written))]
            return ["", *(({"prompt": text} | made).get(name) for name in written)]

        asked = [self.models, self.source_prompt.text, self.prompt.text]
        clicks = [one.click for one in self.offers.values()]
        gr.on(clicks, offer, asked, [self.offer_note, *written.values()], **EVERY_CLICK)

    def show_used(self, inversion: str) -> list:
        """Show those knobs of `USED_BY_SOME` that the inversion has a use for."""
        unused = inverting.unused(inversion)
        return [gr.update(visible="hidden" if name in unused else True) for name in inverting.USED_BY_SOME]

    def say_type(
        self,
        models: str,
        source_prompt: str,
        prompt: str,
        chosen: str,
        inversion: str,
        keep: float,
        weights: str,
    ) -> str:
        """What the edit type is, or would be by itself; for the same words, what becomes of the picture."""
        values = {"models": models, "source_prompt": source_prompt or "", "prompt": prompt or ""}
        try:
            if not values["source_prompt"].strip() or not self.ctx.ready(models):
                return ""
            self.ctx.load(models)
            types = prompts.edit_types(self.ctx, values)
        except (ValueError, OSError):
            return ""
        lines = prompts.lines_of(values["prompt"])
        label = self.knobs["keep_to_source"].label
        same = inverting.same_words(inversion, keep, weights, label)
        read = [
            same if line.split() == source_prompt.split() else kind
            for line, kind in zip(lines, types, strict=True)
        ]
        words = ", ".join(dict.fromkeys(read))
        if not words:
            return ""
        return note(
            f"Read from the prompts: {words}." if chosen == "auto" else f"Auto would choose: {words}."
        )

    def say_guidance(self, inversion: str, made_at: float, scale: float) -> str:
        """A hint where an inversion that is made for one guidance is edited at another."""
        if inversion not in inverting.MADE_AT_ONE_GUIDANCE or made_at == scale:
            return ""
        words = f"This inversion is made for guidance {made_at:g}: at {scale:g} less of the source is kept."
        return note(words, "hint")

    def show_prompt(self, results: list, chosen: gr.EventData) -> dict:
        """Put another prompt's result on the page; one that is refused has nothing to show."""
        result = results[int(chosen._data["index"])]
        shown = result["edit"] and self.result.show(result | {"siblings": results})
        return shown or {self.result.shown: gr.skip()}

    def finish(self, run: Run) -> Iterator[dict]:
        """Edit to all prompts at once; the first that is not refused is shown, the others wait below it."""
        fitted = yield from self.watch(run, engine.fit(run.asked, costs=run.costs))
        if fitted is None:
            return
        every = runs.read_all(self.ctx, run.values)
        steps = runs.edit_all(every, fitted, run.costs)
        edited = yield from self.watch(run, steps, pictures=len(every))
        if edited is None:
            return
        results = []
        for image, one in zip(edited.images.split(1), every, strict=True):
            finishing = engine.finish(one, fitted, image, costs=run.costs)
            results.append((yield from self.watch(run, finishing)))
            if results[-1] is None:
                return
        shown = runs.present_all(results, edited, self.ctx.folder())
        passed = [one for one in shown if one["edit"]]
        refused = len(shown) - len(passed)
        words = f"{len(shown)} prompts, {refused} refused by the safety checker." if refused else ""
        yield self.finished(passed[0] | {"siblings": shown}, note(words, "done"))
