"""What a tab says where the chosen models lack the part it needs, or would have to fetch it."""

import gradio as gr

from demos.context import MODEL_LANE, Context
from demos.shared.checks import guarded
from demos.shared.events import ended, follow
from demos.shared.marks import UNQUEUED, note
from demos.shared.models import size_words


def load_part(ctx: Context, models: str, part: str):
    """A part of the models where that fetches nothing; None where they have none, or not on this machine."""
    try:
        if part in ctx.models(models).sources and ctx.ready(models, part):
            return getattr(ctx.load(models, part), part)
    except (ValueError, OSError):
        pass  # the note of the tab says why
    return None


class PartNote:
    """A sentence at the top of a tab about a part of the models; nothing where it can be used at once.

    title: what the page calls the part.
    """

    def __init__(self, ctx: Context, models: gr.Dropdown, part: str, title: str) -> None:
        self.ctx, self.part, self.title = ctx, part, title
        words, missing = self.state(ctx.default)
        self.words = gr.HTML(words, label=f"About the models of {title}", elem_id=f"{part}-models")
        self.fetch = gr.Button("Fetch and load", visible=missing, size="sm")
        self.ended = gr.State(0)
        outputs = [self.words, self.fetch]
        options = {"show_progress": "minimal", "show_progress_on": self.words, "api_visibility": "private"}
        loading = self.fetch.click(self.load, models, [*outputs, self.ended], **options, **MODEL_LANE)
        # After a load too: others may have been chosen while it ran.
        changed = [models.change, ended(self.ended, loading)]
        follow(changed, self.look, models, outputs, **UNQUEUED)

    def state(self, name: str) -> tuple[str, bool]:
        """The sentence as HTML, and whether there is something to fetch."""
        try:
            if self.part not in self.ctx.models(name).sources:
                words = f"The chosen models have no {self.title} part: choose others at the top of the page."
                return note(words, "hint"), False
            if self.ctx.ready(name, self.part):
                return "", False
            about = self.ctx.zoo.describe(name, self.part)
        except (ValueError, OSError):
            return "", False  # the picker says what is wrong with the models themselves
        repos = ", ".join(f"{one['repo']} ({one['license']})" for one in about["parts"])
        words = f"{self.title} is fetched from huggingface.co: {repos}, {size_words(about['fetch_gb'])}."
        return note(words, "hint"), True

    def look(self, name: str) -> tuple:
        """Whether the models called `name` have the part, and what using it would fetch. Fetches nothing."""
        words, missing = self.state(name)
        return words, gr.update(visible=missing)

    @guarded("words", "ended")
    def load(self, name: str):
        """Fetch and load the part."""
        yield {self.words: note("Fetching and loading; this can take minutes on a first use.")}
        self.ctx.load(name, self.part)
        yield dict(zip([self.words, self.fetch], self.look(name), strict=True))
