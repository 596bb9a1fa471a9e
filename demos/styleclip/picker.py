"""The latent that StyleCLIP edits: a seed picked from a gallery of samples, or a projected picture."""

import gradio as gr

from demos.context import MODEL_LANE, STOP_LANE, Context
from demos.shared import charts, knobs
from demos.shared.checks import guarded, image_problem, validator
from demos.shared.events import follow
from demos.shared.marks import EVERY_CLICK, HIDDEN, SELECT_JS, UNQUEUED, Tile, bar, figures, note, strip, tile
from demos.shared.runbar import wire_stop
from demos.shared.sent import as_sent, files
from demos.shared.source import say_image, sizing_radio, source_image
from demos.shared.tab import STOPPED_PROJECTING, step_words
from demos.styleclip import faces
from demos.styleclip import latents as runs
from demos.styleclip.latents import FILE, GALLERY, OWN, PICTURE, PROJECTION, SAMPLE, SAMPLING
from textedit_core import cache
from textedit_core.methods.projection import Projection

ABOUT_PROJECT = """Project a picture: find the latent that rebuilds it, for an edit whose origin is "picture".

Returns the status and both pictures as HTML. The latent stays on the server under a key of its content."""
OF_FILES = ("image", "sizing", "latent_file")  # what Recall does not set here
INVITATION = "Samples of the generator appear here."
TO_PROJECT = "Finds the latent that rebuilds this picture, once. Edit does it for you if you skip it."


class LatentPicker:
    """What is edited, for all techniques. `fields` are its inputs by name; `widgets` is what Recall sets."""

    def __init__(self, ctx: Context, models: gr.Dropdown) -> None:
        self.ctx, self.models, self.memory_hint = ctx, models, "Use models with a smaller generator."
        self.first = gr.State(0)
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=1, min_width=320, elem_classes="asking"):
                starts = [
                    ("a sample of the generator", SAMPLE),
                    ("a picture of my own", PICTURE),
                    ("a latent of my own", FILE),
                ]
                self.origin = as_sent(
                    gr.Radio(starts, value=SAMPLE, label="Start from", elem_id="styleclip-origin")
                )
                with gr.Column() as self.sampling:
                    self.draw_sampling()
                with gr.Column(visible=False) as self.projecting:
                    self.draw_projecting()
                with gr.Column(visible=False) as self.loading:
                    self.draw_loading()
            with gr.Column(scale=2, min_width=320), gr.Row():
                with gr.Column(scale=2, min_width=210):
                    self.view = gr.HTML(label="The latent", elem_id="styleclip-latent")
                with gr.Column(scale=3, min_width=260):
                    self.gallery = gr.HTML(
                        note(INVITATION),
                        js_on_load=SELECT_JS,
                        label="Samples",
                        elem_id="styleclip-gallery",
                    )
                    with gr.Row(elem_classes="offers"):
                        self.show_button = gr.Button(f"Show {GALLERY} samples", size="sm", min_width=110)
                        self.more_button = gr.Button(f"Next {GALLERY}", size="sm", min_width=90)
        self.wire()

    def draw_sampling(self) -> None:
        """Seed and truncation."""
        known = SAMPLING.knobs
        self.seed = knobs.control(known["latent_seed"], info="names the sample", elem_id="styleclip-seed")
        self.truncation = knobs.control(known["latent_truncation"])
        self.random = gr.Button("A random seed", size="sm", min_width=110)

    def draw_projecting(self) -> None:
        """The upload, how it is made square, the settings of the projection, Prepare and Stop."""
        self.image = source_image(200, label=OWN, elem_id="styleclip-source", elem_classes="source")
        self.image_note = gr.HTML()
        self.sizing = sizing_radio()
        self.draw_face()
        with gr.Accordion("Projection settings", open=False):
            self.projection = PROJECTION.widgets(self.ctx.presets(self.ctx.default, "projection"))
        with gr.Row(elem_classes="run"):
            self.prepare_button = gr.Button("Project", scale=3, min_width=140, elem_id="styleclip-prepare")
            self.stop_button = gr.Button("Stop", variant="stop", scale=1, min_width=70)
        self.status = gr.HTML(
            note(TO_PROJECT),
            label="Projection status",
            elem_id="styleclip-prepare-status",
        )

    def draw_face(self) -> None:
        """Where the face is: four clicks on the picture, or a detector; the square that is cut out."""
        with gr.Accordion("A face in a photograph", open=False, elem_id="styleclip-face-fold"):
            self.face_note = gr.HTML(note(faces.WHY), label="About the face")
            self.face = gr.Textbox(
                "",
                label="Eyes and mouth corners",
                info="x,y of each in pixels; empty takes the picture as it is",
                elem_id="styleclip-face",
            )
            with gr.Row(elem_classes="offers"):
                find = {"size": "sm", "min_width": 110, "visible": faces.can_find()}
                self.find_button = gr.Button("Find the face", elem_id="styleclip-find-face", **find)
                self.clear_button = gr.Button("Start again", size="sm", min_width=90)
            self.crop = gr.HTML(label="The face as it is cut out", elem_id="styleclip-crop")

    def draw_loading(self) -> None:
        """The file with a latent, and which of several it is."""
        self.latent_file = files(
            [],
            label="Latent, .pt or .npy: (18,512), (1,18,512) or (1,512)",
            file_count="multiple",
            file_types=[".pt", ".npy"],
            height=120,
            elem_id="styleclip-latent-file",
        )
        self.latent_index = knobs.control(runs.WHICH)
        self.file_note = gr.HTML(label="About the file")

    # --- inputs -------------------------------------------------------------------------------------------

    @property
    def fields(self) -> dict:
        """Every input, by name."""
        return {
            "origin": self.origin,
            "latent_seed": self.seed,
            "latent_truncation": self.truncation,
            "image": self.image,
            "sizing": self.sizing,
            "face": self.face,
            "latent_file": self.latent_file,
            "latent_index": self.latent_index,
            **self.projection,
        }

    @property
    def outputs(self) -> list:
        """What a projection may update: what is said of it, and the view of the latent."""
        return [self.status, self.view]

    @property
    def widgets(self) -> dict:
        """What Recall sets, by name; the tabs set "sizing"."""
        return {name: one for name, one in self.fields.items() if name not in OF_FILES}

    @property
    def source_outputs(self) -> list:
        """What `with_source` sets."""
        return [self.origin, self.image, self.face]

    def with_source(self, path: str) -> dict:
        """Updates that start from this picture as a whole."""
        return {self.origin: PICTURE, self.image: path, self.face: ""}

    def restored(self, about) -> list:
        """The values for `widgets` from a record."""
        facts = runs.facts_in(about.knobs)
        return [facts[name] for name in self.widgets]

    def problems(self, values: dict) -> dict[str, str]:
        """The sentence of each field that cannot be used."""
        found = knobs.problems(SAMPLING.knobs | PROJECTION.knobs | {"latent_index": runs.WHICH})(values)
        if values["origin"] == PICTURE and (wrong := image_problem(values["image"], OWN)):
            found["image"] = wrong
        elif values["origin"] == PICTURE:
            found |= faces.problem(values["image"], values.get("face"))
        elif values["origin"] == FILE and self.usable(values["models"]):
            try:
                runs.from_file(self.ctx, values)
            except ValueError as error:
                found["latent_file"] = str(error)
        return found

    # --- wiring -------------------------------------------------------------------------------------------

    def say_image(self, image: str | None, models: str | None) -> tuple:
        """Answer at once a picture that cannot be used, or that the models do not know."""
        return say_image(self.ctx, image, models, OWN)

    def wire(self) -> None:
        """The choice between seed and picture, the preview, the gallery, the projection."""
        # One lane, one after the other: what is asked last is answered last.
        lane = HIDDEN | MODEL_LANE
        again = lane | {"trigger_mode": "always_last"}
        starts = [self.sampling, self.projecting, self.loading]
        follow([self.origin.change], self.switch, self.origin, starts, **HIDDEN)
        self.random.click(None, None, self.seed, js="() => Math.floor(Math.random() * 2147483647)", **HIDDEN)
        seen = {
            "inputs_kwargs": {"models": self.models, **self.fields},
            "outputs": [*self.outputs, self.file_note],
        }
        moved = [self.seed.change, self.truncation.release, self.origin.change]
        own = [one.change for one in (self.image, self.sizing, self.face, *self.projection.values())]
        own += [self.latent_file.change, self.latent_index.change]
        follow([*moved, *own], self.look, **seen, **lane)
        asked = [self.models, self.first, self.truncation]
        drawn = [self.show_button.click, self.truncation.release]
        filled = [self.gallery, self.first]
        follow(drawn, self.fill, asked, filled, **lane)
        clear, cleared = lambda: ("", note(INVITATION)), [self.view, self.gallery]
        other = follow([self.models.change], clear, None, cleared, **UNQUEUED)
        other.then(self.look, **seen, **again).then(self.refill, asked, filled, **again)
        step = self.more_button.click(lambda first: first + GALLERY, self.first, self.first, **HIDDEN)
        step.then(self.fill, asked, filled, **again)
        self.gallery.select(self.pick, None, [self.seed, self.origin], **EVERY_CLICK)
        self.wire_face()
        noted = [self.image_note, self.sizing]
        seen = [self.image.change, self.models.change]
        follow(seen, self.say_image, [self.image, self.models], noted, **HIDDEN)
        follow([self.models.input], self.use_presets, self.models, list(self.projection.values()), **UNQUEUED)
        self.prepared = self.prepare_button.click(
            self.prepare,
            inputs_kwargs={"models": self.models, **self.fields},
            outputs=self.outputs,
            validator=validator(self.ctx, ["models", *self.fields], self.problems_of_picture, part=runs.PART),
            api_name="styleclip_project",
            api_description=ABOUT_PROJECT,
            show_progress="minimal",
            show_progress_on=self.status,
            **MODEL_LANE,
        )
        wire_stop(self.stop_button, self.ctx.stops, [self.prepared], **HIDDEN, **STOP_LANE)

    def wire_face(self) -> None:
        """Clicks on the picture, the detector, and the square that they give."""
        marked = [self.face, self.face_note]
        self.image.select(faces.click, self.face, marked, **EVERY_CLICK)
        self.find_button.click(faces.find, self.image, marked, **HIDDEN)
        again = lambda: ("", note(faces.WHY))  # noqa: E731
        self.clear_button.click(again, None, marked, **HIDDEN)
        self.image.clear(again, None, marked, **HIDDEN)
        changed = [self.face.change, self.image.change]
        follow(changed, faces.say, [self.image, self.face], [self.crop, self.face_note], **UNQUEUED)

    def on_open(self, tab: gr.Tab) -> None:
        """Draw the first samples when the tab is opened, where that fetches nothing and is quick."""
        lane, asked = HIDDEN | MODEL_LANE, [self.models, self.first, self.truncation]
        seen = {
            "inputs_kwargs": {"models": self.models, **self.fields},
            "outputs": [*self.outputs, self.file_note],
        }
        looked = follow([tab.select], self.look, **seen, **lane)
        looked.then(self.fill_first, asked, [self.gallery, self.first], trigger_mode="always_last", **lane)

    # --- handlers -----------------------------------------------------------------------------------------

    def switch(self, origin: str) -> tuple:
        """Show the widgets of the seed, those of the picture, or those of the file."""
        return tuple(gr.update(visible=origin == one) for one in (SAMPLE, PICTURE, FILE))

    def use_presets(self, models: str) -> list:
        """The values of the projection that suit the chosen models."""
        return list(PROJECTION.values(self.ctx.presets(models, "projection")).values())

    def usable(self, models: str) -> bool:
        """Whether these models have a generator on this machine."""
        try:
            return runs.PART in self.ctx.models(models).sources and self.ctx.ready(models, runs.PART)
        except (ValueError, OSError):
            return False

    def look(self, models: str, **values) -> dict:
        """A small image of the latent that is picked; nothing where there is none yet.

        A picture that has not been projected with these settings is not shown; the status invites to do so.
        """
        values |= {"models": models}
        said = {} if values["origin"] != PICTURE else {self.status: note(TO_PROJECT)}
        wrong = self.problems(values) if self.usable(models) else {}
        told = wrong.get("latent_file", "") if values.get("latent_file") else ""
        said |= {self.file_note: note(told, "problem") if told else ""}
        if not self.usable(models) or any(wrong.values()):
            return {self.view: ""} | said
        if values["origin"] == PICTURE:
            found = runs.projected_already(self.ctx, values)
            return self.beside(found) if found else {self.view: ""} | said
        if values["origin"] == FILE:
            picture, what = runs.thumbnail(runs.image_of(self.ctx, values)), "Your latent"
        else:
            generator = self.ctx.models(models).generator
            picture, what = runs.thumbnail(runs.sample(generator, values)), "The picked sample"
        tile = Tile(picture, what, (self.words(values),))
        return {self.view: figures([tile], "Source", "latent")} | said

    def words(self, values: dict) -> str:
        """What the source is, in a few words."""
        if values["origin"] == FILE:
            return "your latent"
        return f"seed {int(values['latent_seed'])}, truncation {values['latent_truncation']:g}"

    def beside(self, found: Projection) -> dict:
        """Updates that show the own picture and its projection, how alike they are, and the loss."""
        same = "" if found.identity is None else f", identity {found.identity:.2f}"
        words = f"Projected: {found.psnr:.1f} dB to your picture{same}."
        tiles = [
            Tile(runs.thumbnail(found.source), "Your picture", ("your picture",)),
            Tile(runs.thumbnail(found.image), "Its projection", ("projection", f"{found.psnr:.1f} dB{same}")),
        ]
        curve = charts.losses([("projection", found.losses, len(found.losses))])
        return {self.status: note(words, "done") + curve, self.view: figures(tiles, "Source", "latent")}

    def pick(self, chosen: gr.EventData) -> tuple:
        """A click on a sample picks its seed, which is the number of its tile."""
        return int(chosen._data["index"]), SAMPLE

    def fill_first(self, models: str, first: int, truncation: float):
        """The gallery when the tab is opened, for generators that are small enough to fill it quickly."""
        small = self.usable(models) and self.ctx.load(models, runs.PART).generator.size <= runs.SMALL
        if small:
            yield from self.fill(models, first, truncation)
        else:
            yield {self.first: first}

    def refill(self, models: str, first: int, truncation: float):
        """Empty the gallery, then fill it with samples of the models that were chosen now."""
        yield {self.gallery: note(INVITATION)}
        yield from self.fill_first(models, first, truncation)

    def fill(self, models: str, first: int, truncation: float):
        """Render the samples of twelve seeds, a few at a time."""
        wrong = knobs.problems(SAMPLING.knobs)({"latent_truncation": truncation})
        if wrong or not self.usable(models):
            yield {self.gallery: note(" ".join(wrong.values()), "problem") if wrong else note(INVITATION)}
            return
        for found in runs.gallery(self.ctx, models, int(first), truncation):
            yield {self.gallery: tiles(found, int(first))}

    def problems_of_picture(self, values: dict) -> dict[str, str]:
        """Why the picture cannot be projected, by field."""
        return self.problems(values | {"origin": PICTURE})

    @guarded("status")
    def prepare(self, request: gr.Request, **values):
        """Project the own picture; what it returns stands in ABOUT_PROJECT."""
        call = runs.to_project(self.ctx, values).call(self.ctx.models(values["models"]))
        with self.ctx.stops.running(request.session_hash) as stop:
            for step in call.cached(cache.default):
                if step.done == step.total:
                    break
                yield {self.status: bar(step.done, step.total, step_words("Projecting", step))}
                if stop.is_set():
                    yield {self.status: note(STOPPED_PROJECTING)}
                    return
        yield self.beside(step.value)


def tiles(found: list[str], first: int) -> str:
    """The gallery as HTML: the samples so far, grey squares for those to come."""
    shown = [Tile(one, f"Pick seed {k}", (f"seed {k}",), k) for k, one in enumerate(found, first)]
    waiting = "".join(tile(None, f"seed {first + k}, waiting") for k in range(len(found), GALLERY))
    return f"<h4>Samples, click to pick</h4>{strip(shown, 'samples').removesuffix('</div>')}{waiting}</div>"
