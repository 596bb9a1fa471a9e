"""The toon world: a Scene is one portrait as labelled attributes; `sample` draws one, `edited` changes it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

# Values of each attribute. `WEIGHTS` below says how often the first is drawn. Near-twins of the avataaars set
# that 64 pixels cannot tell apart (the Caesar with and without a side part, say) are left out.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "top": (
        "short",
        "bald",
        "balding",
        "buzz cut",
        "quiff",
        "short curls",
        "shaggy",
        "spiky",
        "curly",
        "afro",
        "bob",
        "bun",
        "long",
        "wavy",
        "fringe",
        "dreadlocks",
        "big",
        "flower crown",
        "mullet",
        "side shave",
        "sun hat",
        "beanie",
        "cat hat",
        "earflap hat",
        "hijab",
        "turban",
    ),
    "hair_color": ("black", "brown", "blonde", "red", "gray", "pink", "purple", "blue"),
    "hat_color": ("blue", "red", "green", "yellow", "black", "white", "pink", "purple"),
    "mood": (
        "happy",
        "neutral",
        "sad",
        "angry",
        "surprised",
        "screaming",
        "crying",
        "winking",
        "sleepy",
        "in love",
        "tongue out",
        "grimacing",
    ),
    "glasses": ("none", "glasses", "round glasses", "sunglasses", "eyepatch"),
    "beard": ("none", "short beard", "long beard", "moustache", "handlebar moustache"),
    "skin": ("light", "pale", "tan", "brown", "dark"),
    "garment": ("t-shirt", "blazer", "hoodie", "overalls", "v-neck", "collar"),
    "clothes_color": ("blue", "red", "green", "yellow", "black", "white", "pink", "purple", "orange", "gray"),
    "background": ("blue", "green", "yellow", "pink", "purple", "orange", "white", "gray"),
    "pose": ("upright", "tilted left", "tilted right", "close-up"),
}

# Share of the first value where a plain uniform draw would make portraits too crowded.
WEIGHTS: dict[str, float] = {"glasses": 0.4, "beard": 0.5, "pose": 0.55, "top": 0.06}

HATS = ("sun hat", "beanie", "cat hat", "earflap hat", "hijab", "turban")
BARE_TOPS = ("bald", *HATS)  # tops on which no hair colour is seen
HIDES_GARMENT = ("hijab", "dreadlocks", "big", "wavy")

HELD_OUT_SEEDS = range(0, 2_000)  # scenes for metrics; training draws its seeds from TRAINING_SEEDS
SEARCH_SEEDS = range(500_000, 1_000_000)  # scenes to choose settings on, neither trained nor reported
TRAINING_SEEDS = range(1_000_000, 2_000_000_000)


@dataclass(frozen=True)
class Scene:
    """One portrait. Every field holds one of ATTRIBUTES[field]."""

    top: str = "short"
    hair_color: str = "brown"
    hat_color: str = "blue"
    mood: str = "happy"
    glasses: str = "none"
    beard: str = "none"
    skin: str = "light"
    garment: str = "t-shirt"
    clothes_color: str = "blue"
    background: str = "blue"
    pose: str = "upright"

    def __post_init__(self) -> None:
        for name, values in ATTRIBUTES.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name} is '{getattr(self, name)}'; it must be one of: {', '.join(values)}."
                )

    def labels(self) -> dict[str, int]:
        """Attribute -> index of its value; -1 where the attribute cannot be seen (see `visible`)."""
        return {
            name: values.index(getattr(self, name)) if self.visible(name) else -1
            for name, values in ATTRIBUTES.items()
        }

    def visible(self, attribute: str) -> bool:
        """Whether the attribute leaves a trace in the picture: a bald man has no hair colour, and so on."""
        if attribute == "hair_color":
            return self.top not in BARE_TOPS or self.beard != "none"
        if attribute == "hat_color":
            return self.top in HATS
        if attribute == "garment":
            return self.pose != "close-up" and self.top not in HIDES_GARMENT
        return True

    def visible_attributes(self) -> tuple[str, ...]:
        return tuple(name for name in ATTRIBUTES if self.visible(name))


def edited(scene: Scene, **changes: str) -> Scene:
    """The scene with some attributes changed: the true answer of an edit."""
    return dataclasses.replace(scene, **changes)


def never_trained(scene: Scene) -> bool:
    """Pairs kept out of training, to test composition: green hat and long beard; in love with an eyepatch."""
    green_hat = scene.top in HATS and scene.hat_color == "green"
    return (green_hat and scene.beard == "long beard") or (
        scene.mood == "in love" and scene.glasses == "eyepatch"
    )


def sample(rng: np.random.Generator) -> Scene:
    """Draw one scene. Attributes are independent, so that no edit rides on a correlation."""
    values = {}
    for name, options in ATTRIBUTES.items():
        share = WEIGHTS.get(name, 1 / len(options))
        rest = (1 - share) / (len(options) - 1)
        values[name] = str(rng.choice(options, p=[share] + [rest] * (len(options) - 1)))
    return Scene(**values)


def scene_of_seed(seed: int) -> Scene:
    """The scene that a seed names. Training seeds skip the pairs of `never_trained`."""
    rng = np.random.default_rng(seed)
    scene = sample(rng)
    while seed not in HELD_OUT_SEEDS and never_trained(scene):
        scene = sample(rng)
    return scene
