"""Plain asks of every endpoint, as small as they can be, and the same edits by the library alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from studies.hostile import good
from studies.visits import answer

PROMPT, TARGET = "a woman in a red hat", "a woman in a blue hat"
FIT = {"embedding_steps": 2, "finetune_steps": 2, "finetune_lr": 1e-3, "steps": 2}
TEXTS = {"source_prompt": PROMPT, "prompt": TARGET}
METHODS = (
    "imagic",
    "prompt_to_prompt",
    "paint_by_example",
    "styleclip_directions",
    "styleclip_optimizer",
    "styleclip_mapper",
    "latent_directions",
    "tedigan",
    "text2live",
    "compare",
)
SWEPT = {
    "imagic": {"x": "eta", "x_values": "0, 1", "y": ""},
    "prompt_to_prompt": {"x": "cross_replace_steps", "x_values": "0, 1", "y": ""},
    "paint_by_example": {"x": "guidance_scale", "x_values": "1, 5", "y": ""},
    "styleclip_directions": {"x": "alpha", "x_values": "0, 2", "y": ""},
    "styleclip_optimizer": {"x": "position", "x_values": "0, 1"},
    "styleclip_mapper": {"x": "strength", "x_values": "0, 0.1"},
    "latent_directions": {"x": "strength", "x_values": "0, 2"},
    "tedigan": {"x": "position", "x_values": "0, 1"},
    "styleflow": {"x": "strength", "x_values": "0, 1"},
    "text2live": {"x": "strength", "x_values": "0, 1"},
}


class Pictures:
    """A visitor's files: a picture of his own, a mask on it, an exemplar."""

    def __init__(self, work: Path, number: int):
        self.number, self.picture = number, good(number)
        self.paths = {name: str(work / f"{name}-{number}.png") for name in ("image", "mask", "exemplar")}
        self.picture.save(self.paths["image"])
        mask = Image.new("L", self.picture.size)
        mask.paste(255, (10, 10, 34, 34))
        mask.save(self.paths["mask"])
        good(number + 5000).save(self.paths["exemplar"])

    @property
    def image(self) -> dict:
        return handle_file(self.paths["image"])

    @property
    def mask(self) -> dict:
        return {"background": None, "layers": [handle_file(self.paths["mask"])], "composite": None}

    @property
    def exemplar(self) -> dict:
        return handle_file(self.paths["exemplar"])


def plain(api: str, mine: Pictures) -> dict:
    """What an endpoint is asked with by a visitor who does everything right."""
    if api.endswith(("_sweep", "_best_of_seeds")):
        method = api.removesuffix("_sweep").removesuffix("_best_of_seeds")
        return plain(f"{method}_edit", mine) | (SWEPT[method] if api.endswith("_sweep") else {"seeds": 2})
    asks = {
        "imagic_edit": {"image": mine.image, "prompt": PROMPT, **FIT},
        "prompt_to_prompt_edit": {"image": mine.image, **TEXTS, "steps": 2, "inner_steps": 1},
        "paint_by_example_edit": {
            "image": mine.image,
            "mask": mine.mask,
            "exemplar": mine.exemplar,
            "steps": 2,
        },
        "styleclip_project": {"image": mine.image, "origin": "picture", "projection_steps": 2},
        "styleclip_directions_edit": {"image": mine.image, "beta": 0.05},
        "styleclip_optimizer_edit": {"image": mine.image, "prompt": PROMPT, "steps": 2},
        "styleclip_mapper_edit": {"image": mine.image},
        "latent_directions_edit": {"image": mine.image},
        "tedigan_edit": {"image": mine.image, "prompt": PROMPT, "steps": 2},
        "text2live_edit": {"image": mine.image, **TEXTS, "steps": 2, "scales": 2, "channels": 8, "views": 2},
        "styleclip_mapper_train": {"train_prompt": PROMPT, "train_steps": 1},
        "compare": {"image": mine.image, **TEXTS, "mask": mine.mask, "exemplar": mine.exemplar}
        | {"methods": ["sdedit"], "sdedit_steps": 2},
    }
    prepared = (
        "imagic",
        "prompt_to_prompt",
        "styleclip_optimizer",
        "latent_directions",
        "tedigan",
        "text2live",
    )
    asks |= {f"{name}_prepare": asks[f"{name}_edit"] for name in prepared}
    return asks.get(api, {})


def asked_of(method: str, mine: Pictures, turn: int) -> tuple[str, dict]:
    """An endpoint and its arguments for the visitor's `turn`-th edit by a method: never the same twice."""
    api = "compare" if method == "compare" else f"{method}_edit"
    own = {
        "imagic": {"fit_seed": turn, "seed": turn},  # a fit each time
        "prompt_to_prompt": {"cross_replace_steps": (turn % 101) / 100},
        "paint_by_example": {"seed": turn},
        "styleclip_directions": {"origin": "picture", "alpha": 1 + (turn % 80) / 10},
        "styleclip_optimizer": {"latent_seed": turn, "steps": 3},
        "styleclip_mapper": {"latent_seed": turn},
        "latent_directions": {"latent_seed": turn},
        "tedigan": {"latent_seed": turn},
        "text2live": {"seed": turn},
        "compare": {"seed": turn},
    }
    return api, plain(api, mine) | own[method]


def picture_of(client: Client, method: str, mine: Pictures, turn: int) -> tuple[str, str, np.ndarray | None]:
    """A plain edit: kind of the answer, its words, its pixels."""
    api, asked = asked_of(method, mine, turn)
    kind, words, out = answer(client, api, asked)
    if kind == "edit" and method == "compare":
        kind, words, out = answer(client, "compare_pair", {"a": "source", "b": "sdedit"})
        out = out[-1:]
    if kind != "edit":
        return kind, words, None
    with Image.open(out[0]) as image:
        return kind, "", np.asarray(image.convert("RGB"))


class Library:
    """The same edits by the library alone, in this process, from an empty cache."""

    def __init__(self, folder: Path):
        import torch

        from textedit_core.models import zoo

        torch.set_num_threads(1)
        self.folder, self.models = folder, zoo.load(folder)

    def edit(self, method: str, mine: Pictures, turn: int) -> np.ndarray:
        """The pixels that the page must return for `asked_of` these."""
        from textedit_core.__main__ import parse, request_of
        from textedit_core.cache import Cache
        from textedit_core.images import to_pil
        from textedit_core.methods import prompt_to_prompt
        from textedit_core.request import run
        from textedit_core.steps import last

        name, options = self.options(method, mine, turn)
        flags = [f"--{flag.replace('_', '-')}={value}" for flag, value in options.items()]
        words = ["edit", name, "--models", str(self.folder), "--device", "cpu", "--out", "unused.png", *flags]
        asked, cache = request_of(parse(words)), Cache()
        result = last(run(asked, cache))
        if method == "prompt_to_prompt":  # keeping the maps rounds otherwise, in the last bit of a pixel
            call = asked.edit_call(result.fitted)
            *given, prompt = call.arguments
            settings = [prompt_to_prompt.settings_of(**call.settings)]
            kept = prompt_to_prompt.edit_many(*given, [prompt], settings, keep_maps=True)
            return np.asarray(to_pil(last(kept).images)[0])
        return np.asarray(to_pil(result.image)[0])

    def options(self, method: str, mine: Pictures, turn: int) -> tuple[str, dict[str, str]]:
        """The method and what its command line would say."""
        _, asked = asked_of(method, mine, turn)
        found = {name: str(value) for name, value in asked.items() if isinstance(value, int | float | str)}
        found |= {name: mine.paths[name] for name in mine.paths if isinstance(asked.get(name), dict)}
        if method == "compare":
            found = {name.removeprefix("sdedit_"): value for name, value in found.items()}
            return "sdedit", {"image": found["image"], "prompt": TARGET} | {
                n: found[n] for n in ("seed", "steps")
            }
        if method == "styleclip_directions":
            kept = {name: found[name] for name in ("image", "alpha", "beta")}
            return method, kept | {"neutral": "a person", "prompt": "a surprised person"}
        if method == "styleclip_mapper":
            prompt = next(iter(self.models.mappers.values())).prompt
            return method, {"latent_seed": found["latent_seed"], "prompt": prompt}
        if method == "latent_directions":
            return method, {"latent_seed": found["latent_seed"]}
        if method in ("styleclip_optimizer", "tedigan"):
            return method, {name: found[name] for name in ("latent_seed", "prompt", "steps")}
        return method, found
