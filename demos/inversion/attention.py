"""What Prompt-to-Prompt shows below its pictures: other prompts, the attention of each word, the mask."""

import gradio as gr

from demos.shared.marks import SELECT_JS, Tile, figures, note, strip


class AttentionView:
    """Fed by a result's "maps", "mask" and "siblings", the results of one batch."""

    def __init__(self, method: str) -> None:
        self.batch = gr.State([])
        self.prompts = gr.HTML(js_on_load=SELECT_JS, label="Prompts", elem_id=f"{method}-prompts")
        self.maps = gr.HTML(label="Attention", elem_id=f"{method}-maps")

    @property
    def outputs(self) -> list:
        """What `show` updates."""
        return [self.batch, self.prompts, self.maps]

    def show(self, result: dict) -> dict:
        """Updates for a result."""
        siblings = result.get("siblings", [])
        return {
            self.batch: siblings,
            self.prompts: prompt_strip(siblings),
            self.maps: attention(result),
        }


def prompt_strip(results: list[dict]) -> str:
    """The results of one batch, to choose from; one that is refused says so in its place."""
    if len(results) < 2:
        return ""
    tiles = [
        Tile(
            one["edit"],
            f"{one['prompt']}, {one['words']}" if one["edit"] else one["words"],
            (one["prompt"], one["edit_type"]),
            i,
        )
        for i, one in enumerate(results)
    ]
    return f"<h4>All prompts of this batch</h4>{strip(tiles, 'wide')}"


def attention(result: dict) -> str:
    """The words' attention and the mask of a result as HTML; a cell of a sweep is made without them."""
    if "maps" not in result:
        return note("Neither a sweep nor an example keeps attention maps. Press Edit to see them.")
    maps, mask = result["maps"], result.get("mask")
    parts = []
    if mask:
        words = "the edit is confined to the blue part"
        parts.append(figures([Tile(mask, f"Source, {words}", (words,))], "Mask of the blend", "large"))
    for key, title in (
        ("source_prompt", "Attention of each word of the source prompt"),
        ("prompt", "Attention of each word of the prompt"),
    ):
        tiles = [Tile(path, f"Attention of {word}", (word,)) for word, path in maps.get(key, [])]
        parts.append(figures(tiles, title, "small"))
    return f'<div class="attention">{"".join(parts)}</div>' if any(parts) else ""
