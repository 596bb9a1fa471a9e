"""StyleCLIP's mapper as a tab: pick one that is trained for a text, or train one, in several sessions."""

import gradio as gr

from demos.context import MODEL_LANE, STOP_LANE, duration
from demos.shared import charts, knobs
from demos.shared.checks import guarded, models_problem, text_problem, validator
from demos.shared.events import follow
from demos.shared.marks import HIDDEN, UNQUEUED, Tile, bar, figures, note
from demos.shared.prompt import PromptBox
from demos.shared.results import ResultPanel
from demos.shared.runbar import wire_stop
from demos.shared.sent import as_sent
from demos.styleclip import mapper as runs
from demos.styleclip.mapper import LIMIT, TRAINING, Training
from demos.styleclip.technique import TechniqueTab
from textedit_core.request import optional_part

FIRST_STEPS = (
    "Pick a sample above, or project a picture of your own.",
    "Pick a mapper: each is trained for one text.",
    "Press Edit, then drag the strength.",
)
CHART = 2_000  # steps in the chart of the losses, at most
SHOWN = ("train_steps", "train_images_a_step", "train_id_lambda", "train_l2_lambda")
ABOUT_TRAIN = """Train a mapper for a text, or go on where its training was stopped.

With the same settings and more steps an earlier training goes on. It ends after `train_minutes`, since nobody
else can use the models meanwhile, and is kept: another call goes on. Returns the status, the losses and a few
samples before and after as HTML, and the mapper's name for /styleclip_mapper_edit."""


class MapperTab(TechniqueTab):
    """A trained mapper, its levels and its strength; below, the training of another."""

    view, title, needs = runs.VIEW, "Mapper", ()
    about_edit = """Edit a latent with a trained mapper.

`mapper` is the name of one of the models' or of one trained here. Returns the edited picture (a PNG with its
settings as text), the settings as JSON, the scores, the source beside the edit, and the source."""

    # --- drawing ------------------------------------------------------------------------------------------

    def draw_asking(self, presets: dict) -> None:
        """The mappers, levels and strength, Edit, and the training of another."""
        self.own = gr.State([])  # names of mappers that this page trained
        name, known = self.view.name, runs.choices(self.ctx, self.ctx.default)
        self.mapper = gr.Dropdown(
            known,
            value=known[0][1] if known else None,
            label="Mapper",
            info="each is trained for the text it is named by",
            elem_id=f"{name}-mapper",
        )
        as_sent(self.mapper)  # `chosen` judges it
        self.list_problem = gr.HTML(
            self.say_list_problem(self.ctx.default, known),
            label="About the mappers",
            elem_id=f"{name}-list-problem",
        )
        with gr.Row(elem_classes="axis levels"):
            self.draw_knobs(["coarse", "medium", "fine"], presets)
        self.draw_knobs(["strength"], presets)
        with gr.Accordion("Train a mapper", open=False, elem_id=f"{name}-training"):
            self.draw_training(presets)

    def draw_training(self, presets: dict) -> None:
        """The text, the settings, Train and Stop, how it goes, and a few samples."""
        name = self.view.name
        example = "what every picture is to become: a person with sunglasses"
        self.prompt = PromptBox(
            self.ctx, self.models, "Text to train for", f"{name}-prompt", placeholder=example, lines=1
        )
        suited = runs.training_presets(presets)
        self.training = TRAINING.widgets(suited, SHOWN)
        self.limit = LIMIT.widgets({})
        with gr.Accordion("More settings of the training", open=False):
            self.training |= TRAINING.widgets(suited, [one for one in TRAINING.knobs if one not in SHOWN])
        with gr.Row(elem_classes="run"):
            self.train_button = gr.Button("Train", scale=3, min_width=140, elem_id=f"{name}-train")
            self.train_stop = gr.Button("Stop", variant="stop", scale=1, min_width=70)
        words = "Runs on this server and is kept on its disk: stop it, close the page, go on another day."
        self.train_status = gr.HTML(note(words), label="Training status", elem_id=f"{name}-train-status")
        self.losses = gr.HTML(label="Training losses")
        self.previews = gr.HTML(label="Samples before and after", elem_id=f"{name}-looks")

    def draw_answer(self) -> ResultPanel:
        """The slider, source and edit."""
        return self.panel(FIRST_STEPS, {"source": "Source", "edit": "Edit"}, None)

    # --- what is asked ------------------------------------------------------------------------------------

    @property
    def fields(self) -> dict:
        """The latent and the mapper."""
        return self.picker.fields | {"mapper": self.mapper}

    def own_problems(self, values: dict) -> dict[str, str]:
        """A mapper that is not there."""
        try:
            runs.chosen(self.ctx.models(values["models"]), values["mapper"])
        except ValueError as error:
            return {"mapper": str(error)}
        return {}

    @property
    def live(self) -> list:
        """The strength when its slider is released, the levels, another mapper."""
        levels = [self.controls[name].input for name in ("coarse", "medium", "fine")]
        return [self.controls["strength"].release, self.mapper.input, *levels]

    @property
    def restore_outputs(self) -> list:
        """What Recall sets: the mapper too, and what it was trained with."""
        return [*super().restore_outputs, self.mapper, self.prompt.text, *self.training.values()]

    def restore(self, about) -> list:
        """Updates for `restore_outputs`; a training takes its defaults where a record says nothing."""
        trained = TRAINING.checked(about.knobs)
        name, known = str(about.knobs.get("mapper", "")), runs.choices(self.ctx, about.models)
        if name not in [one for _, one in known]:  # of the same text, or none
            name = next((one for label, one in known if label == about.prompts.get("prompt")), None)
        made = [gr.update(choices=known, value=name), about.prompts.get("prompt", "")]
        return [*super().restore(about), *made, *[trained[one] for one in self.training]]

    # --- wiring -------------------------------------------------------------------------------------------

    def wire(self) -> None:
        """What Tab wires, the list of mappers, and the training."""
        super().wire()
        widgets = list(self.training.values())
        follow([self.models.input], self.use_training_presets, self.models, widgets, **UNQUEUED)
        asked = {"models": self.models, "train_prompt": self.prompt.text, **self.training, **self.limit}
        find = knobs.problems(TRAINING.knobs | LIMIT.knobs)
        event = self.train_button.click(
            self.train,
            inputs_kwargs={**asked, "own": self.own},
            outputs=[self.train_status, self.losses, self.previews, self.mapper, self.own, self.list_problem],
            validator=validator(self.ctx, [*asked, "own"], find, self.training_problems, part=self.view.part),
            api_name="styleclip_mapper_train",
            api_description=ABOUT_TRAIN,
            show_progress="minimal",
            show_progress_on=self.train_status,
            **MODEL_LANE,
        )
        wire_stop(self.train_stop, self.ctx.stops, [event], **HIDDEN, **STOP_LANE)

    def on_open(self, tab: gr.Tab) -> None:
        """Look which mappers there are when the tab is opened, and for other models."""
        asked, listed = [self.models, self.mapper, self.own], [self.mapper, self.list_problem]
        follow([self.models.change, tab.select], self.list_mappers, asked, listed, **UNQUEUED)

    # --- handlers -----------------------------------------------------------------------------------------

    def list_mappers(self, models: str, name: str | None, own: list) -> tuple:
        """The mappers there are now; the picked one stays where it is among them."""
        known = runs.choices(self.ctx, models, own)
        names = [one for _, one in known]
        # One that stays is not set: another may have been picked meanwhile.
        picked = {} if name in names else {"value": next(iter(names), None)}
        return gr.update(choices=known, **picked), self.say_list_problem(models, known)

    def say_list_problem(self, models: str, known: list) -> str:
        """The files that are not on the list, as HTML, or why it is empty."""
        return note(runs.list_problem(self.ctx, models, known), "hint")

    def use_training_presets(self, models: str) -> list:
        """The settings of a training that suit the chosen models."""
        suited = TRAINING.values(runs.training_presets(self.ctx.presets(models, self.view.name)))
        return [suited[one] for one in self.training]

    def training_problems(self, values: dict) -> dict[str, str]:
        """Why a mapper cannot be trained, by field."""
        for part in (self.view.part, "clip"):
            if wrong := models_problem(self.ctx, values["models"], part):
                return {"models": wrong}
        models = self.ctx.models(values["models"])
        empty = "Write the text to train for: what is every picture to become?"
        found = {"train_prompt": text_problem(models.clip.tokenizer, values["train_prompt"], empty)}
        if values["train_id_lambda"] and optional_part(models, "identity", fetch=False) is None:
            found["train_id_lambda"] = "These models have no identity network on this machine: set it to 0."
        chosen = [values[f"train_{level}"] for level in ("coarse", "medium", "fine")]
        if values["train_kind"] == "levels" and not any(chosen):
            found["train_coarse"] = "No level is chosen: tick coarse, medium or fine."
        return {name: words for name, words in found.items() if words}

    @guarded("train_status")
    def train(self, request: gr.Request, *, own: list | None = None, **values):
        """Train a mapper; what it returns stands in ABOUT_TRAIN."""
        with self.ctx.stops.running(request.session_hash) as stop:
            for state in runs.train(self.ctx, values, stop):
                yield self.progress(state)
        own = list(dict.fromkeys([*(own or []), state.about.name]))
        known = runs.choices(self.ctx, values["models"], own)
        yield self.progress(state) | {
            self.train_status: note(self.ended(state), "done"),
            self.mapper: gr.update(choices=known, value=state.about.name),
            self.list_problem: self.say_list_problem(values["models"], known),
            self.own: own,
        }

    def progress(self, state: Training) -> dict:
        """Updates for a training under way."""
        done, total = state.about.steps, state.about.settings["steps"]
        words = (
            f"Training, step {done:,} of {total:,}, about {duration(state.left)} left. Others wait meanwhile"
        )
        shown = state.losses[-CHART:]
        first = done - len(shown) + 1
        tiles = [
            Tile(picture, f"Sample {k + 1} {when}", (when,))
            for when, row in zip(("before", "after"), zip(*state.previews, strict=True), strict=False)
            for k, picture in enumerate(row)
        ]
        return {
            self.train_status: bar(done, total, words),
            self.losses: charts.losses([("training", shown, max(len(shown), min(total, CHART)))], first),
            self.previews: figures(tiles, "Samples before and after", "pairs"),
        }

    def ended(self, state: Training) -> str:
        """The sentence at the end of a training."""
        done, total = state.about.steps, state.about.settings["steps"]
        if state.stopped:
            why = "Its minutes are over" if state.late else "Stopped"
            return (
                f"{why} at step {done:,} of {total:,}. It is kept: press Train to go on, or Edit to use it."
            )
        if state.before == done:
            return f"It is trained already, {done:,} steps. More training steps go on from there."
        return f"Trained, {done:,} steps. It is picked now: press Edit."
