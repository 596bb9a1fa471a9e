"""Textual inversion (arXiv 2208.01618): new words of a text-to-image model, each of one or more vectors.

Layouts: diffusers' ({word: tensor}), that of A1111's program (string_to_param), and those of training scripts
(emb_params; for SDXL clip_l and clip_g, a tensor for each text encoder).
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from textedit_core.models import towers
from textedit_core.models.diffusion import copies, families
from textedit_core.models.diffusion.latent_diffusion import LatentDiffusion

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_NAMELESS = ("emb_params", "*")  # names of tensors that say nothing of the word
_MOST_VECTORS = 75  # as many tokens as a prompt may have


@dataclass(frozen=True, eq=False)
class Word:
    """A word and its vectors as the file has them.

    place: the file, for sentences.  word: as it stands in a prompt.  first: (n,D), for the text encoder, or
    for SDXL's first one.  second: (n,D2), for SDXL's second one; None for all others.
    """

    place: str
    word: str
    first: Tensor
    second: Tensor | None = None


def read(state: Mapping[str, Any], place: str, stem: str, word: str = "") -> Word:
    """The word of a file's content.  stem: the file's name without ending, the word of a layout that names
    none.  word: the one to use instead.

    Raises ValueError, one sentence, for another kind of file.
    """
    found = state.get("string_to_param", state)
    held = found.items() if isinstance(found, Mapping) else ()
    tensors = {name: one if one.ndim > 1 else one[None] for name, one in held if isinstance(one, Tensor)}
    told = stem
    if tensors.keys() >= {"clip_l", "clip_g"}:
        first, second = tensors["clip_l"], tensors.get("clip_g")
    elif len(tensors) == 1:
        (name, first), second = next(iter(tensors.items())), None
        if found is state and name not in _NAMELESS:
            told = name
    else:
        raise ValueError(
            f"{place} is neither a LoRA nor a textual inversion of one word: choose another file."
        )
    count, width = (first.shape[0], first.shape[1]) if first.ndim == 2 else (0, 0)
    if not 1 <= count <= _MOST_VECTORS or not width or (second is not None and len(second) != count):
        raise ValueError(f"{place} is no textual inversion that can be read: it has no rows of vectors.")
    chosen = "-".join((word or told).split())
    if not chosen:
        raise ValueError(f"{place}: there is no word for it; write one behind the file, as in FILE:<word>.")
    return Word(place, chosen, first.detach(), None if second is None else second.detach())


class Vocabulary:
    """A tokenizer with further words, each of one or more tokens. All else is that of the tokenizer."""

    def __init__(self, tokenizer: CLIPTokenizer, words: Mapping[str, int]):
        """words: word -> how many tokens it has; their ids follow those of the tokenizer, in this order."""
        from transformers import AddedToken

        self.words = {word.lower(): [f"<{word}|{k}>" for k in range(count)] for word, count in words.items()}
        self.tokenizer = copy.deepcopy(tokenizer)
        names = [name for tokens in self.words.values() for name in tokens]
        self.tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
        self._pattern = re.compile(
            "|".join(map(_whole, sorted(self.words, key=len, reverse=True))), re.IGNORECASE
        )

    def __call__(self, text: str | Sequence[str], **options: Any) -> Any:
        """What the tokenizer makes of a text, or of several, with the words in them."""
        if isinstance(text, str):
            return self.tokenizer(self.spelled(text), **options)
        return self.tokenizer([self.spelled(one) for one in text], **options)

    def spelled(self, text: str) -> str:
        """The text with the names of the tokens in place of the words."""
        return self._pattern.sub(lambda found: "".join(self.words[found[0].lower()]), text)

    def __getattr__(self, name: str) -> Any:
        if name in ("tokenizer", "words", "_pattern"):  # of one that is being copied
            raise AttributeError(name)
        return getattr(self.tokenizer, name)


def without(words: Sequence[str], text: str) -> str:
    """A text with a space in place of each of the words."""
    pattern = "|".join(map(_whole, sorted(words, key=len, reverse=True)))
    return re.sub(pattern, " ", text, flags=re.IGNORECASE) if words else text


def _whole(word: str) -> str:
    """A regular expression for a word that is not part of a longer one."""
    start, end = (r"(?<!\w)" if word[0].isalnum() else ""), (r"(?!\w)" if word[-1].isalnum() else "")
    return f"{start}{re.escape(word)}{end}"


def with_words(model: LatentDiffusion, words: Sequence[Word]) -> LatentDiffusion:
    """The model with these words; the model itself is not changed, and shares all weights but the tables of
    tokens with what is returned. Its fingerprint stays the model's: whoever knows the files has to tell.

    Raises ValueError, one sentence, for a word of another family, and for two of the same spelling.
    """
    spelled = [one.word.lower() for one in words]
    for one in words:
        _check_family(model, one)
        if spelled.count(one.word.lower()) > 1:
            raise ValueError(
                f"{one.place}: two files add the word {one.word}: give one another, as in FILE:<word>."
            )
    counts = {one.word: len(one.first) for one in words}
    vectors = {"text_encoder": [one.first for one in words]}
    if model.text_encoder_2 is not None:
        vectors["text_encoder_2"] = [one.second for one in words if one.second is not None]
    changed: dict[str, Any] = {}
    for part, rows in vectors.items():
        tokenizer = getattr(model, part.replace("text_encoder", "tokenizer"))
        changed[part.replace("text_encoder", "tokenizer")] = Vocabulary(tokenizer, counts)
        changed[part] = _extended(
            getattr(model, part), torch.cat(rows), len(tokenizer), tokenizer.eos_token_id
        )
    return dataclasses.replace(model, **changed)


def _extended(encoder: nn.Module, rows: Tensor, start: int, end: int) -> nn.Module:
    """A text encoder with rows in its table of tokens from `start` on; `end` is the id of the end token."""
    tower = towers.layers(encoder)
    table = tower.embeddings.token_embedding.weight
    wider = torch.cat([table[:start], rows.to(table.device, table.dtype)])
    name = next(name for name, one in encoder.named_parameters() if one is table)
    private = copies.sharing(encoder, {name: wider})
    own = towers.layers(private)
    own.embeddings.token_embedding.num_embeddings = len(wider)
    if getattr(own, "eos_token_id", None) == 2:
        # Older configurations say 2 and mean the largest id of a text, which a new word's is now.
        own.eos_token_id = end
    return private


def _check_family(model: LatentDiffusion, word: Word) -> None:
    own = [model.text_encoder.config.hidden_size]
    if model.text_encoder_2 is not None:
        own.append(model.text_encoder_2.config.hidden_size)
    has = [one.shape[1] for one in (word.first, word.second) if one is not None]
    if has == own:
        return
    title = (
        families.TITLES[2048]
        if has == [768, 1280]
        else families.TITLES.get(has[0], "")
        if len(has) == 1
        else ""
    )
    of = (
        f"of {title}"
        if title
        else f"of other models (its vectors have {' and '.join(map(str, has))} numbers)"
    )
    raise ValueError(
        f"{word.place} is a textual inversion {of}, and the models it is added to are "
        f"{families.title(model.unet.config)}: choose one of the same family."
    )
