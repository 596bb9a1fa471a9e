"""A finished picture as plain data for the page: its files, scores and settings.

A result, as a sweep's cell too, is {"edit": path, "pictures": {key: path}, "captions": {key: text}, "record":
JSON, "scores": {name: number} or None, "words": one line}; a cell has its "coords" too. No tensor is kept in
a session: what has been computed is in the cache under its content.
"""

import re
from pathlib import Path

from PIL import Image
from torch import Tensor

from demos.shared import safety
from demos.shared.unfamiliar import SAY_LITTLE, is_unfamiliar
from demos.shared.view import MethodView
from textedit_core import images, record
from textedit_core.costs import Cost
from textedit_core.request import EDITING, Result

MOST_LETTERS = 60  # of a prompt, in the name of a file


def save(image: Tensor, folder: Path, name: str, about: record.Record) -> str:
    """Write an image (1,3,H,W) as a PNG that carries its settings; returns its path."""
    path = folder / f"{name}.png"
    record.save_png(images.to_pil(image)[0], path, about)
    return str(path)


def save_plain(image: Tensor, folder: Path, name: str) -> str:
    """Write an image (1,3,H,W) as a PNG without settings, once in a folder; returns its path."""
    picture: Image.Image = images.to_pil(image)[0]
    path = folder / f"{name}-{record.image_sha(picture)[:8]}.png"
    if not path.exists():
        picture.save(path)
    return str(path)


def file_name(about: record.Record, more: str = "") -> str:
    """What the file of a result is called: its method, its last prompt, its seed or `more` in its place."""
    prompt = next((one for one in reversed(about.prompts.values()) if one), "")
    seed = about.knobs.get("seed", about.knobs.get("latent_seed"))
    last = more or ("" if seed is None else f"seed {seed}")
    plain = " ".join(re.sub(r"[^\w-]+", " ", prompt, flags=re.ASCII).split())[:MOST_LETTERS].strip()
    return ", ".join(filter(None, (about.method, plain, last)))


def present(view: MethodView, result: Result, folder: Path, name: str = "") -> dict:
    """Write the pictures of a result and score it. `safety.Refused` where the host's checker refuses it.

    name: in the name of the file, in place of the seed.
    """
    safety.check(result.request.models, result.image)
    scores, pictures = view.score(result), view.pictures(result)
    pictures |= {"source": result.source_shown}  # a pair behind a slider has one size
    words = view.words(scores, result.costs.get(EDITING, Cost(cached=True)))
    if scores and is_unfamiliar(result.request.models, result.source):
        words = f"{words}; {SAY_LITTLE}"
    return {
        "edit": save(result.image, folder, file_name(result.record, name), result.record),
        "pictures": {key: save_plain(one, folder, key) for key, one in pictures.items()},
        "captions": view.captions(result),
        "record": result.record.to_json(),
        "scores": scores,
        "words": words,
    }
