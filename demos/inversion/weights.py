"""One slider for each word of a prompt; what the method gets is the text of its word-weights field."""

import html

import gradio as gr

from demos.shared.events import follow
from demos.shared.marks import HIDDEN
from textedit_core.models.diffusion import alignment

LOWEST, HIGHEST, STEP = -2.0, 4.0, 0.1

# The sliders are one piece of HTML, for any number of words. They write the field in the browser, at once, so
# that an edit that follows reads what they say; the one in hand is left alone when the field comes back. One
# that is let go tells it as the event "select".
SLIDERS_JS = """
const say = slider => { slider.nextElementSibling.textContent = Number(slider.value); };
element.addEventListener('input', event => {
  if (event.target.type !== 'range') return;
  say(event.target);
  const turned = [...element.querySelectorAll('input[type=range]')].filter(s => Number(s.value) !== 1);
  const field = document.querySelector(element.querySelector('.weights').dataset.field);
  field.value = turned.map(s => s.dataset.word + '=' + Number(s.value)).join(' ');
  field.dispatchEvent(new Event('input', {bubbles: true}));
});
element.addEventListener('change', event => {
  if (event.target.type === 'range') trigger('select', {word: event.target.dataset.word});
});
"""
FOLLOW_JS = """text => {
  const given = {};
  for (const part of (text || '').split(/[\\s,;]+/)) {
    const at = part.lastIndexOf('=');
    if (at > 0) given[part.slice(0, at).toLowerCase()] = part.slice(at + 1);
  }
  document.querySelectorAll('%s input[type=range]').forEach(slider => {
    if (slider === document.activeElement) return;
    slider.value = given[slider.dataset.word.toLowerCase()] ?? 1;
    slider.nextElementSibling.textContent = Number(slider.value);
  });
}"""


def words_of(prompts: list[str]) -> list[str]:
    """The different words of the prompts in order, without punctuation, as far as a weight can name them."""
    found = {}
    for prompt in prompts:
        for name in alignment.Tokens(tuple(prompt.split()), (), (), 0).names:
            if not set(name) & set("=,;"):
                found.setdefault(name.casefold(), name)
    return list(found.values())


def sliders(prompts: list[str], text: str, field: str) -> str:
    """The sliders of the prompts' words, set as the text says if it can be read; they write into `field`."""
    try:
        given = {w.casefold(): v for w, v in alignment.parse_numbers(text or "", "Word weights").items()}
    except ValueError:
        given = {}
    rows = "".join(row(word, given.get(word.casefold(), 1.0)) for word in words_of(prompts))
    title = "<h4>Weight of each word</h4>"
    return f'<div class="weights" data-field="{field} textarea">{title}{rows}</div>' if rows else ""


def kept(prompts: list[str], text: str) -> str:
    """The field without words that are in none of the prompts; one that cannot be read stays as it is."""
    try:
        given = alignment.parse_numbers(text or "", "Word weights")
    except ValueError:
        return text
    known = [alignment.Tokens(tuple(prompt.split()), (), (), 0) for prompt in prompts]
    left = {word: value for word, value in given.items() if any(one.has(word) for one in known)}
    return " ".join(f"{word}={value:g}" for word, value in left.items())


def row(word: str, value: float) -> str:
    """One word, its slider and its value."""
    name, low, high = html.escape(word, quote=True), min(LOWEST, value), max(HIGHEST, value)
    return (
        f'<label><span>{name}</span><input type="range" min="{low:g}" max="{high:g}" step="{STEP:g}" '
        f'value="{value:g}" data-word="{name}" aria-label="Weight of {name}">'
        f"<output>{value:g}</output></label>"
    )


class WeightSliders:
    """`field` is the widget of the word_weights knob, with an id; `prompt` has one prompt per line."""

    def __init__(self, method: str) -> None:
        self.html = gr.HTML(js_on_load=SLIDERS_JS, elem_id=f"{method}-weights")

    def wire(self, field: gr.Textbox, prompt: gr.Textbox) -> None:
        """The sliders follow the prompt and the field; the field follows a prompt that is left."""
        self.field = f"#{field.elem_id}"
        moved = {"inputs": field, "js": FOLLOW_JS % f"#{self.html.elem_id}", **HIDDEN}
        drawn = follow([prompt.change], self.draw, [prompt, field], self.html, **HIDDEN)
        drawn.then(None, **moved)  # the field may have been written while they were drawn
        prompt.blur(self.prune, [prompt, field], field, **HIDDEN)
        field.change(None, **moved)

    def draw(self, prompt: str, text: str) -> str:
        """The sliders of these words; the field keeps the weight of a word that is being written anew."""
        return sliders((prompt or "").splitlines(), text, self.field)

    def prune(self, prompt: str, text: str):
        """The field without the weights of words that are gone; it is left alone where none is."""
        pruned = kept((prompt or "").splitlines(), text)
        return gr.skip() if len(alignment.split_words(pruned)) == len(alignment.split_words(text)) else pruned
