"""Say a Scene in words: natural captions with synonyms, of any few of its attributes, in any order."""

from __future__ import annotations

import re

import numpy as np

from textedit_core.toon.world import ATTRIBUTES, BARE_TOPS, HATS, Scene

NOUNS = ("person", "man", "woman", "guy", "lady", "boy", "girl", "face", "someone")
OPENINGS = ("", "", "", "a portrait of ", "a photo of ", "a picture of ", "a cartoon of ")
# The first of each is the plain word; `describe` without a generator uses it.
MOOD = {
    "happy": ("happy", "smiling", "cheerful", "grinning"),
    "neutral": ("serious", "neutral", "calm"),
    "sad": ("sad", "unhappy"),
    "angry": ("angry", "furious", "mad"),
    "surprised": ("surprised", "shocked", "amazed"),
    "screaming": ("screaming", "shouting", "yelling"),
    "crying": ("crying", "weeping"),
    "winking": ("winking",),
    "sleepy": ("sleepy", "sleeping", "tired"),
    "grimacing": ("grimacing", "nervous", "awkward"),
}
MOOD_AFTER = {
    "in love": ("in love", "with heart eyes", "with hearts for eyes"),
    "tongue out": ("with the tongue out", "sticking out the tongue", "with tongue out"),
}
HAIR_STYLE = {
    "short": ("short",), "balding": ("thinning", "balding"), "buzz cut": ("cropped", "buzzed"),
    "quiff": ("quiff",), "short curls": ("short curly",), "shaggy": ("shaggy", "messy"),
    "spiky": ("spiky", "frizzy"),
    "curly": ("curly",), "afro": ("afro",), "bob": ("bob", "bobbed"), "long": ("long", "long straight"),
    "wavy": ("wavy", "long wavy"), "fringe": ("fringe", "bangs"), "big": ("big", "huge"),
    "dreadlocks": ("dreadlocks", "dreads"), "bun": ("bun",), "flower crown": ("flower crown", "flowers"),
    "mullet": ("mullet",), "side shave": ("side shaved", "undercut"),
}  # fmt: skip
NOUN_STYLES = ("quiff", "afro", "bob", "fringe", "dreadlocks", "bun", "flower crown", "mullet")
HAT = {
    "sun hat": ("sun hat", "wide hat", "hat"), "beanie": ("beanie", "knit cap"),
    "cat hat": ("cat hat", "hat with ears"),
    "earflap hat": ("earflap hat", "winter hat"), "hijab": ("hijab", "headscarf"), "turban": ("turban",),
}  # fmt: skip
GLASSES = {
    "none": ("no glasses",), "glasses": ("glasses", "specs", "square glasses"),
    "round glasses": ("round glasses",),
    "sunglasses": ("sunglasses", "shades", "dark glasses"), "eyepatch": ("an eyepatch", "a pirate patch"),
}  # fmt: skip
BEARD = {
    "none": ("no beard",), "short beard": ("short beard", "trimmed beard"),
    "long beard": ("long beard", "bushy beard"),
    "moustache": ("moustache", "mustache"), "handlebar moustache": ("handlebar moustache", "curled mustache"),
}  # fmt: skip
GARMENT = {
    "t-shirt": ("t-shirt", "shirt"), "blazer": ("blazer", "jacket"), "hoodie": ("hoodie",),
    "overalls": ("overalls",), "v-neck": ("v-neck",), "collar": ("collared sweater", "sweater"),
}  # fmt: skip
POSE = {
    "upright": ("upright", "looking straight"), "tilted left": ("tilted left", "leaning left"),
    "tilted right": ("tilted right", "leaning right"), "close-up": ("close-up", "seen up close"),
}  # fmt: skip
# How often an attribute is among those a caption names: small features more, since they are the hard ones.
SAID = {"mood": 3.0, "glasses": 2.0, "beard": 1.6, "top": 1.8, "pose": 0.8, "background": 0.8}
FEWEST, MOST = 2, 6


def caption(
    scene: Scene, rng: np.random.Generator, fewest: int = FEWEST, seen: tuple[str, ...] | None = None
) -> tuple[str, tuple[str, ...]]:
    """One caption of `fewest` to 6 of the attributes `seen` (all visible ones), and which it names."""
    seen = scene.visible_attributes() if seen is None else seen
    weights = np.array([SAID.get(name, 1.0) for name in seen])
    count = min(int(rng.integers(fewest, MOST + 1)), len(seen))
    named = tuple(rng.choice(seen, size=count, replace=False, p=weights / weights.sum()).tolist())
    return describe(scene, named, rng), named


def describe(scene: Scene, attributes: tuple[str, ...], rng: np.random.Generator | None = None) -> str:
    """The named attributes of the scene in words; without a generator the plainest words in a fixed order."""
    before, after = _phrases(scene, attributes, rng)
    if rng is not None:
        after = [after[i] for i in rng.permutation(len(after))]
        if rng.random() < 0.15:  # a list of tags, as people write prompts
            tags = before + [re.sub(r"^(with|in|on|wearing) (an? )?", "", phrase) for phrase in after]
            return ", ".join(tags[i] for i in rng.permutation(len(tags)))
    who = _pick(NOUNS, rng)
    noun = " ".join([who, *before] if who == "someone" else [*before, who])
    body = " ".join([noun, *_joined(after)])
    if who != "someone":
        body = f"{article(body)} {body}"
    return _pick(OPENINGS, rng) + body


def _phrases(
    scene: Scene, attributes: tuple[str, ...], rng: np.random.Generator | None
) -> tuple[list[str], list[str]]:
    """Words that go before the noun, and phrases that go after it."""
    before, after = [], []
    if "mood" in attributes:
        if scene.mood in MOOD:
            before.append(_pick(MOOD[scene.mood], rng))
        else:
            after.append(_pick(MOOD_AFTER[scene.mood], rng))
    if "top" in attributes and scene.top == "bald":
        before.append("bald")
    beard_color = "hair_color" in attributes and scene.top in BARE_TOPS and scene.beard != "none"
    hair_color = "hair_color" in attributes and scene.top not in BARE_TOPS
    if scene.top not in BARE_TOPS and ("top" in attributes or hair_color):
        after.append("with " + _hair(scene, "top" in attributes, hair_color, rng))
    if scene.top in HATS and ("top" in attributes or "hat_color" in attributes):
        after.append(_worn("with", rng) + _hat(scene, "top" in attributes, "hat_color" in attributes, rng))
    if "glasses" in attributes:
        bare = scene.glasses == "none"
        after.append(("with " if bare else _worn("with", rng)) + _pick(GLASSES[scene.glasses], rng))
    if "beard" in attributes or beard_color:
        after.append("with " + _beard(scene, "beard" in attributes, beard_color, rng))
    if "skin" in attributes:
        after.append(f"with {scene.skin} skin")
    if "garment" in attributes or "clothes_color" in attributes:
        after.append(
            _worn("in", rng) + _clothes(scene, "garment" in attributes, "clothes_color" in attributes, rng)
        )
    if "background" in attributes:
        after.append(f"on {article(scene.background)} {scene.background} background")
    if "pose" in attributes:
        after.append(_pick(POSE[scene.pose], rng))
    return before, after


def _hair(scene: Scene, style: bool, color: bool, rng: np.random.Generator | None) -> str:
    word = _pick(HAIR_STYLE[scene.top], rng) if style else ""
    tint = scene.hair_color if color else ""
    if style and scene.top in NOUN_STYLES:
        many = word in ("dreadlocks", "dreads", "bangs", "flowers")
        phrase = word if many or word == "bobbed" else f"{article(word)} {word}"
        if word == "bobbed":
            return " ".join(filter(None, ["bobbed", tint, "hair"]))
        return f"{phrase} and {tint} hair" if tint else phrase
    return " ".join(filter(None, [word, tint, "hair"]))


def _hat(scene: Scene, style: bool, color: bool, rng: np.random.Generator | None) -> str:
    word = _pick(HAT[scene.top], rng) if style else ("scarf" if scene.top == "hijab" else "hat")
    phrase = f"{scene.hat_color} {word}" if color else word
    return f"{article(phrase)} {phrase}"


def _beard(scene: Scene, style: bool, color: bool, rng: np.random.Generator | None) -> str:
    if scene.beard == "none":
        return BEARD["none"][0]
    word = (
        _pick(BEARD[scene.beard], rng) if style else ("moustache" if "moustache" in scene.beard else "beard")
    )
    phrase = f"{scene.hair_color} {word}" if color else word
    return f"{article(phrase)} {phrase}"


def _clothes(scene: Scene, style: bool, color: bool, rng: np.random.Generator | None) -> str:
    word = _pick(GARMENT[scene.garment], rng) if style else "clothes"
    phrase = f"{scene.clothes_color} {word}" if color else word
    return phrase if word in ("clothes", "overalls") else f"{article(phrase)} {phrase}"


def _worn(plain: str, rng: np.random.Generator | None) -> str:
    return f"{_pick((plain, plain, 'wearing'), rng)} "


def _joined(phrases: list[str]) -> list[str]:
    """'with a, with b' becomes 'with a and b' where two follow each other."""
    joined: list[str] = []
    for phrase in phrases:
        if joined and phrase.startswith("with ") and joined[-1].startswith("with "):
            joined[-1] += " and " + phrase.removeprefix("with ")
        else:
            joined.append(phrase)
    return joined


def article(phrase: str) -> str:
    return "an" if phrase[0] in "aeiou" else "a"


def _pick(options: tuple[str, ...], rng: np.random.Generator | None) -> str:
    return options[0] if rng is None else options[int(rng.integers(len(options)))]


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted: what the toon model knows."""
    tables = (MOOD, MOOD_AFTER, HAIR_STYLE, HAT, GLASSES, BEARD, GARMENT, POSE)
    text = [
        *NOUNS,
        *OPENINGS,
        "a an and with wearing in on no the hair beard hat scarf skin clothes background bald",
    ]
    text += [phrase for table in tables for phrases in table.values() for phrase in phrases]
    text += [color for name in ("hair_color", "hat_color", "skin", "clothes_color", "background")
             for color in ATTRIBUTES[name]]  # fmt: skip
    return sorted(set(re.findall(r"[a-z]+", " ".join(text))))
