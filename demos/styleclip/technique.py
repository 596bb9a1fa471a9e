"""What the tabs of StyleCLIP's techniques share: the latent picker, live sliders, Recall of the latent."""

from pathlib import Path

import gradio as gr

from demos.context import Context
from demos.shared import knobs
from demos.shared.checks import models_problem
from demos.shared.results import ResultPanel
from demos.shared.tab import Tab
from demos.styleclip import latents as runs
from demos.styleclip.picker import LatentPicker
from textedit_core.request import Result


class TechniqueTab(Tab):
    """A technique: `title` names its inner tab, `needs` the parts of the models beside the generator."""

    tab_id = "styleclip"
    needs: tuple[str, ...] = ("clip",)
    left_out = "a picture or latent of your own: if it started from one, add that again"

    def __init__(self, ctx: Context, models: gr.Dropdown, picker: LatentPicker, tabs: gr.Tabs) -> None:
        self.picker, self.tabs = picker, tabs
        super().__init__(ctx, models)

    def panel(self, steps: tuple[str, ...], pictures: dict[str, str], details, **look) -> ResultPanel:
        """The result panel: each picture with a line under it, and what the technique adds, if it does."""
        look["optional"] = (*look.get("optional", ()), runs.PHOTOGRAPH)
        pictures = pictures | {runs.PHOTOGRAPH: "Photograph"}
        losses = self.fit.losses if self.fit else None
        more = {"captioned": True, "details": details, "losses": losses}
        more["saved"] = (runs.PHOTOGRAPH, runs.LATENT)
        return ResultPanel(self.view, steps, pictures, **more, **look)

    def more_files(self, result: Result, values: dict, folder: Path) -> dict[str, str]:
        """The edited latent, and the photograph with the edit where its face was cut out of one."""
        return runs.more_files(result, values, folder)

    # --- what is asked ------------------------------------------------------------------------------------

    @property
    def fields(self) -> dict:
        """The latent, and the texts."""
        return self.picker.fields | self.texts

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.view.part, *self.needs)

    def pictured(self, values: dict) -> bool:
        """Whether there is a latent, or a picture that may have been projected."""
        if values["origin"] == runs.FILE:
            return bool(values["latent_file"])
        return values["origin"] != runs.PICTURE or super().pictured(values)

    def problems(self, values: dict) -> dict[str, str]:
        """What is wrong with models, latent, or what the technique is asked."""
        for part in self.parts:
            if wrong := models_problem(self.ctx, values["models"], part):
                return {"models": wrong}
        found = self.picker.problems(values)
        unfit = found or knobs.problems(self.knobs)(values)
        return found if unfit else self.own_problems(values)

    def own_problems(self, values: dict) -> dict[str, str]:
        """The sentence of each field of the technique; models, latent and knobs can be used."""
        raise NotImplementedError

    def projected(self, values: dict) -> dict:
        """Show the projection of one's own picture."""
        return self.picker.beside(runs.projected_already(self.ctx, values))

    @property
    def fit_outputs(self) -> list:
        """What a run may update before the edit: the picker too, where it projects."""
        return [*super().fit_outputs, *self.picker.outputs]

    @property
    def saved(self) -> dict:
        """The latent's widgets too."""
        return self.picker.widgets | super().saved

    def record_knobs(self, values: dict) -> dict:
        """A latent of one's own is not stored: then the sample counts that was picked before."""
        known, face = dict(values), values.get("face", "")
        if known.pop("origin", "") == runs.PICTURE:
            known = {name: one for name, one in known.items() if name not in runs.SAMPLING.knobs}
            known["face_points"] = face
        return {name: value for name, value in known.items() if name != "face"}

    def at_picture(self, values: dict, path: str) -> dict:
        """The values of the fields with this picture to project, all of it."""
        return values | {"image": path, "origin": runs.PICTURE, "face": ""}

    @property
    def source_outputs(self) -> list:
        """What "Use as source" sets: those of the picker."""
        return self.picker.source_outputs

    def with_source(self, path: str) -> dict:
        """Updates that make this picture the one to start from."""
        return self.picker.with_source(path)

    # --- live ---------------------------------------------------------------------------------------------

    @property
    def live(self) -> list:
        """Events of widgets after which the edit is made at once, without a press of Edit."""
        return []

    @property
    def triggers(self) -> list:
        return [*super().triggers, *self.live]

    def run_options(self, name: str, about: str, inputs: dict, status: gr.HTML) -> dict:
        """As in every tab; but what is changed while an edit runs is edited after it."""
        last = {"trigger_mode": "always_last"} if self.live and name == "edit" else {}
        return super().run_options(name, about, inputs, status) | last

    # --- Recall -------------------------------------------------------------------------------------------

    @property
    def restore_outputs(self) -> list:
        """What Recall sets: the inner tab and the latent too."""
        return [*super().restore_outputs, self.tabs, *self.picker.widgets.values()]

    def restore(self, about) -> list:
        """Updates for `restore_outputs` from a record."""
        opened = gr.update(selected=self.view.name)
        return [*super().restore(about), opened, *self.picker.restored(about)]
