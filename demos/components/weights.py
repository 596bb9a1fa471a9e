"""One slider for each word of a prompt; what the method gets is the text of its word-weights field."""

import html

import gradio as gr

from demos.components.marks import QUIET
from textedit_core import alignment

LOWEST, HIGHEST, STEP = -2.0, 4.0, 0.1

# The sliders are one piece of HTML: any number of words, no handler for each, and the field stays the value.
SLIDERS_JS = """
const say = slider => { slider.nextElementSibling.textContent = Number(slider.value); };
element.addEventListener('input', event => { if (event.target.type === 'range') say(event.target); });
element.addEventListener('change', event => {
  if (event.target.type !== 'range') return;
  const turned = [...element.querySelectorAll('input[type=range]')].filter(s => Number(s.value) !== 1);
  trigger('select', {index: 0, value: turned.map(s => s.dataset.word + '=' + Number(s.value)).join(' ')});
});
"""


def words_of(prompts: list[str]) -> list[str]:
    """The different words of the prompts in order, without punctuation, as far as a weight can name them."""
    found = {}
    for prompt in prompts:
        for name in alignment.Tokens(tuple(prompt.split()), (), (), 0).names:
            if not set(name) & set("=,;"):
                found.setdefault(name.casefold(), name)
    return list(found.values())


def sliders(prompts: list[str], text: str) -> str:
    """The sliders of the prompts' words, set as the field says; nothing for a field that cannot be read."""
    try:
        given = {w.casefold(): v for w, v in alignment.parse_numbers(text or "", "Word weights").items()}
    except ValueError:
        given = {}
    rows = "".join(row(word, given.get(word.casefold(), 1.0)) for word in words_of(prompts))
    return f'<div class="weights"><h4>Weight of each word</h4>{rows}</div>' if rows else ""


def kept(prompts: list[str], text: str) -> str:
    """The field without words that are in none of the prompts; one that cannot be read stays as it is."""
    try:
        given = alignment.parse_numbers(text or "", "Word weights")
    except ValueError:
        return text
    known = {word.casefold() for word in words_of(prompts)}
    return " ".join(f"{word}={value:g}" for word, value in given.items() if word.casefold() in known)


def row(word: str, value: float) -> str:
    """One word, its slider and its value."""
    name, low, high = html.escape(word, quote=True), min(LOWEST, value), max(HIGHEST, value)
    return (
        f'<label><span>{name}</span><input type="range" min="{low:g}" max="{high:g}" step="{STEP:g}" '
        f'value="{value:g}" data-word="{name}" aria-label="Weight of {name}">'
        f"<output>{value:g}</output></label>"
    )


class WeightSliders:
    """`field` is the widget of the word_weights knob, `prompt` has one target prompt per line."""

    def __init__(self, method: str) -> None:
        self.html = gr.HTML(js_on_load=SLIDERS_JS, elem_id=f"{method}-weights")
        self.said = gr.State("")  # what the sliders said last: the field's echo of it must not redraw them

    def wire(self, field: gr.Textbox, prompt: gr.Textbox) -> None:
        """The sliders write the field, and follow it and the prompt."""
        self.html.select(self.say, None, [field, self.said], **QUIET)
        prompt.change(self.draw, [prompt, field], [self.html, field, self.said], **QUIET)
        field.change(self.follow, [prompt, field, self.said], [self.html, self.said], **QUIET)

    def say(self, moved: gr.EventData) -> tuple[str, str]:
        """The text the sliders stand for."""
        return moved._data["value"], moved._data["value"]

    def draw(self, prompt: str, text: str) -> tuple[str, str, str]:
        """The sliders of these words, and the field without the weights of words that are gone."""
        prompts = (prompt or "").splitlines()
        text = kept(prompts, text)
        return sliders(prompts, text), text, text

    def follow(self, prompt: str, text: str, said: str) -> tuple:
        """The sliders as the field now says, unless it says what they said."""
        return (gr.skip() if text == said else sliders((prompt or "").splitlines(), text)), text
