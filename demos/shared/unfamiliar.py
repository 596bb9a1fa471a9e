"""Pictures unlike those that small models were trained on: told before a run, and beside the scores."""

import base64
import html
import io

from PIL import Image
from torch import Tensor

from demos.context import Context
from textedit_core import images
from textedit_core.models.zoo import Models
from textedit_core.request import optional_part

SAY_LITTLE = "these models do not know such pictures, so the scores say little"


def is_unfamiliar(models: Models, picture: Tensor | None) -> bool:
    """Whether a picture (1,3,H,W) in [-1,1] is unlike those that the models were trained on.

    False for models that cannot tell, as those from the hub, which know pictures of any kind.
    """
    familiarity = optional_part(models, "familiarity", fetch=False)
    clip = optional_part(models, "clip", fetch=False)
    if familiarity is None or clip is None or picture is None:
        return False
    return not familiarity.knows(clip, picture.to(models.device))[0]


def say_unfamiliar(ctx: Context, models: str | None, picture: Image.Image) -> str:
    """A hint, as HTML, for a picture that the models do not know, with what they see of it; else nothing."""
    try:
        found = ctx.models(models)
        if "familiarity" not in found.sources:
            return ""
        size = found.clip.size
        seen = images.square_tensor(picture, size)
        if not is_unfamiliar(found, seen):
            return ""
    except (ValueError, OSError):
        return ""  # the field of the models says why
    kind = "Toon knows cartoon portraits" if models == "toon" else "These models know small pictures"
    words = (
        f"{kind} of {size} pixels, and this picture is unlike those it was trained on: more will change "
        "than you ask. What it sees:"
    )
    return (
        f'<div class="unfamiliar" role="status"><p class="note hint">{html.escape(words)}</p>'
        f'<img src="{_address(seen)}" width="{size}" height="{size}" alt="The picture as it sees it"></div>'
    )


def _address(picture: Tensor) -> str:
    """A picture (1,3,H,W) as a data address."""
    written = io.BytesIO()
    images.to_pil(picture)[0].save(written, "PNG")
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
