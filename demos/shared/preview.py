"""The picture of a step: what a model predicts so far, decoded small, above the last result while it runs."""

import html
import time

import gradio as gr
import torch
import torch.nn.functional as F
from torch import Tensor

from demos.shared.pictures import thumbnail
from textedit_core.models.diffusion.latent_model import LatentModel

MOST_LATENTS = 32  # along a side: 256 pixels of Stable Diffusion
TOLD_EACH, TELL_APART = 40, 0.1  # steps, and seconds after them
SECONDS_APART = 0.4  # so that a fast run spends its time on steps, not on pictures of them
FIRST_AFTER = 0.7  # seconds: a run that ends sooner shows its result alone, without a flicker


@torch.no_grad()
def decoded(model: LatentModel, latents: Tensor) -> Tensor:
    """The first of the clean latents (B,4,h,w) as a small picture (1,3,H,W)."""
    first, most = latents[:1], max(latents.shape[-2:])
    if most > MOST_LATENTS:
        sides = [max(1, round(side * MOST_LATENTS / most)) for side in first.shape[-2:]]
        first = F.interpolate(first, sides, mode="area")
    return model.decode(first)


class Preview:
    """A place in the result panel that is empty while nothing runs."""

    def __init__(self, method: str) -> None:
        self.html = gr.HTML(label="The picture of this step", elem_id=f"{method}-preview")

    def show(self, picture: Tensor, words: str, pictures: int = 1) -> dict:
        """Updates that show a picture (1,3,H,W), or several side by side in one, and of what step it is."""
        said, wide = html.escape(words), " wide" if pictures > 1 else ""
        image = f'<img src="{thumbnail(picture, 256 * pictures)}" alt="{said}">'
        return {self.html: f'<figure class="glimpse{wide}">{image}<figcaption>{said}</figcaption></figure>'}

    def clear(self) -> dict:
        """Updates that show the last result again."""
        return {self.html: ""}


class Telling:
    """Says which steps of a run are told: all of the first, then so few a second that Stop is heard."""

    def __init__(self) -> None:
        self._told, self._next = 0, 0.0

    def due(self) -> bool:
        """Whether this step is told."""
        now = time.monotonic()
        if self._told >= TOLD_EACH and now < self._next:
            return False
        self._told, self._next = self._told + 1, now + TELL_APART
        return True


class Pacer:
    """Says when the next picture is due."""

    def __init__(self) -> None:
        self._next = time.monotonic() + FIRST_AFTER

    def due(self) -> bool:
        """Whether it is time for one; if so, the next is due a while later."""
        if (now := time.monotonic()) < self._next:
            return False
        self._next = now + SECONDS_APART
        return True
