"""Which token of a prompt corresponds to which of the source prompt, in which steps, with what weight."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from textedit_core.knobs import quoted

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

_EDGES = string.punctuation + "“”‘’«»…–—。、，！？¿¡"
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´", "'"))
_OCCURRENCE = re.compile(r"(.+)#(\d{1,3})")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")
LARGEST_WEIGHT = 1000  # of a word: far beyond it the attention maps overflow


@dataclass(frozen=True)
class Tokens:
    """A prompt as the tokenizer reads it, padded to `length` L.

    words: its parts between spaces.  spans: the positions of each word's tokens; the start token is at 0.
    ids: start, tokens, end.
    """

    words: tuple[str, ...]
    spans: tuple[range, ...]
    ids: tuple[int, ...]
    length: int

    @property
    def end(self) -> int:
        """The position of the end token; what follows is padding."""
        return len(self.ids) - 1

    def places(self, name: str) -> list[int]:
        """The positions of every occurrence of a word, or of words in a row, or of one: "red", "blue hair",
        "red#2" for the second.

        Case, punctuation around a word, the kind of apostrophe and how accents are encoded do not matter.
        Raises ValueError, listing the words there are, for what is not in the prompt.
        """
        found = self._found(name)
        if found:
            return [j for one in found for j in one]
        if (numbered := _OCCURRENCE.fullmatch(name)) and (there := len(self._occurrences(numbered[1]))):
            times = "once" if there == 1 else f"{there} times"
            raise ValueError(f"The prompt has {quoted(numbered[1])} {times}: there is no {quoted(name)}.")
        known = ", ".join(dict.fromkeys(self.names)) or "none"
        if len(name.split()) > 1:
            raise ValueError(f"The prompt does not have {quoted(name)} in a row; its words are {known}.")
        raise ValueError(f"The prompt has no word {quoted(name)}; its words are {known}.")

    @property
    def names(self) -> list[str]:
        """The words without the punctuation around them."""
        return [_bare(word) for word in self.words]

    def has(self, name: str) -> bool:
        """Whether `places` finds it."""
        return bool(self._found(name))

    def _found(self, name: str) -> list[list[int]]:
        """The occurrences that a name means. A word that is spelled like "red#2" goes first."""
        found, numbered = self._occurrences(name), _OCCURRENCE.fullmatch(name)
        if found or not numbered:
            return found
        return self._occurrences(numbered[1])[int(numbered[2]) - 1 :][:1] if int(numbered[2]) else []

    def _occurrences(self, phrase: str) -> list[list[int]]:
        """The positions of each occurrence of words in a row."""
        own, wanted = [_key(word) for word in self.words], [_key(word) for word in phrase.split()]
        starts = [i for i in range(len(own)) if wanted and own[i : i + len(wanted)] == wanted]
        return [[j for span in self.spans[i : i + len(wanted)] for j in span] for i in starts]


def read(tokenizer: CLIPTokenizer, prompt: str) -> Tokens:
    """Split a prompt into words and tokens. Raises ValueError for one that is too long for the tokenizer."""
    words, length = tuple(prompt.split()), tokenizer.model_max_length
    chunks = [tokenizer(word, add_special_tokens=False, verbose=False).input_ids for word in words]
    whole = list(tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids)
    if len(whole) > length - 2:
        raise ValueError(
            f"The prompt has {len(whole)} tokens and this model reads at most {length - 2}: {quoted(prompt)}."
        )
    if [one for chunk in chunks for one in chunk] != whole:
        raise ValueError(f"The words of the prompt cannot be told apart in its tokens: {quoted(prompt)}.")
    spans, at = [], 1
    for chunk in chunks:
        spans.append(range(at, at + len(chunk)))
        at += len(chunk)
    ids = (tokenizer.bos_token_id, *whole, tokenizer.eos_token_id)
    return Tokens(words, tuple(spans), ids, length)


def replace_matrix(source: Tokens, target: Tokens) -> Tensor:
    """(L,L) M for prompts of equally many words: the new map is A_src M (arXiv 2208.01626, word swap).

    Words of equally many tokens go one to one, others evenly to each token; the padding follows the end.
    A column of zeros is a token that has no counterpart. Raises ValueError for unequal word counts.
    """
    if len(source.words) != len(target.words):
        raise ValueError(
            f"Replace needs as many words in the prompt as in the source prompt, not {len(target.words)} and "
            f"{len(source.words)}: choose refine."
        )
    matrix = torch.zeros(source.length, target.length)
    matrix[0, 0] = 1
    for one, other in zip(source.spans, target.spans, strict=True):
        if len(one) == len(other):
            matrix[list(one), list(other)] = 1
        elif len(other):
            matrix[one.start : one.stop, other.start : other.stop] = 1 / len(other)
    for j in range(target.end, target.length):
        matrix[min(source.end + j - target.end, source.length - 1), j] = 1
    return matrix


def refine_matrix(source: Tokens, target: Tokens) -> Tensor:
    """(L,L) M for prompts that share tokens: 1 where one is kept, a column of zeros where it is new.

    Padding goes to the padding in the same place.
    """
    matrix = torch.zeros(source.length, target.length)
    for i, j in align(source.ids, target.ids):
        matrix[i, j] = 1
    for j in range(target.end + 1, target.length):
        matrix[min(max(j, source.end + 1), source.length - 1), j] = 1
    return matrix


def align(source: Sequence[Any], target: Sequence[Any]) -> list[tuple[int, int]]:
    """Needleman and Wunsch's alignment, gap 0, match 1, mismatch -1: the pairs (i, j) of equal items, rising.

    Of equally good ways the one that skips in the target goes first, then in the source.
    """
    score = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, one in enumerate(source, start=1):
        for j, other in enumerate(target, start=1):
            diagonal = score[i - 1][j - 1] + (1 if one == other else -1)
            score[i][j] = max(score[i][j - 1], score[i - 1][j], diagonal)
    pairs, i, j = [], len(source), len(target)
    while i and j:
        if score[i][j] == score[i][j - 1]:
            j -= 1
        elif score[i][j] == score[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def edit_type(source: Tokens, target: Tokens) -> str:
    """How one prompt becomes the other: "replace" if words were only swapped in place, else "refine"."""
    if len(source.words) != len(target.words):
        return "refine"
    kept = sum(_same(one, other) for one, other in zip(source.words, target.words, strict=True))
    movable = len(align([one.casefold() for one in source.names], [one.casefold() for one in target.names]))
    return "replace" if kept >= movable else "refine"


def cross_alphas(
    target: Tokens, steps: int, default: tuple[float, float], of_words: Mapping[str, tuple[float, float]]
) -> Tensor:
    """(steps + 1,L), 1 in the steps in which a token's map comes from the source.

    A window (b0, b1) is [int(b0 (T + 1)), int(b1 (T + 1))); `of_words` gives words of the target their own.
    """
    alphas = torch.zeros(steps + 1, target.length)
    windows = [(default, list(range(target.length)))]
    windows += [(window, target.places(word)) for word, window in of_words.items()]
    for window, places in windows:
        inside = steps_in(window, steps + 1)
        alphas[:, places] = 0
        alphas[inside.start : inside.stop, places] = 1
    return alphas


def steps_in(window: tuple[float, float], count: int) -> range:
    """The steps [int(start count), int(stop count)). Raises ValueError unless 0 <= start <= stop <= 1."""
    start, stop = window
    if not 0 <= start <= stop <= 1:
        raise ValueError(f"A window of steps must lie between 0 and 1 and rise, not {start:g}:{stop:g}.")
    return range(int(start * count), int(stop * count))


def token_weights(target: Tokens, of_words: Mapping[str, float]) -> Tensor:
    """(L,) what each token's map is multiplied with, 1 unless its word is given."""
    weights = torch.ones(target.length)
    for word, weight in of_words.items():
        weights[target.places(word)] = weight
    return weights


def token_masks(source: Tokens, target: Tokens, words: str, field: str) -> Tensor:
    """(2,L) 1 at the tokens of these words in the source, and in the target.

    words: apart by spaces or commas; "blue hair" in double quotes are words in a row, red#2 the second red.
    Raises ValueError, naming the `field`, for a word in neither, and for a field that holds separators alone.
    """
    masks, given = torch.zeros(2, source.length), split_phrases(words)
    if words.strip() and not given:
        raise ValueError(f"{field}: {quoted(words)} has no word in it.")
    for word in given:
        if not (source.has(word) or target.has(word)):
            known = ", ".join(dict.fromkeys([*source.names, *target.names]))
            raise ValueError(f"{field}: {quoted(word)} is in neither prompt; their words are {known}.")
        for mask, prompt in zip(masks, (source, target), strict=True):
            if prompt.has(word):
                mask[prompt.places(word)] = 1
    return masks


def parse_numbers(text: str | Mapping[str, float], field: str) -> dict[str, float]:
    """{word: number} from "tiger=2 blue hair=-0.5 red#2=3", for the knob called `field`; ValueError else."""
    found = {word: _number(value, field) for word, value in _pairs(text, field)}
    for word, number in found.items():
        if not abs(number) <= LARGEST_WEIGHT:
            limit = f"use a number from -{LARGEST_WEIGHT} to {LARGEST_WEIGHT}"
            raise ValueError(f"{field}: {quoted(word)} has {number:g}; {limit}.")
    return found


def parse_windows(text: str | Mapping[str, Any], field: str) -> dict[str, tuple[float, float]]:
    """{word: (start, stop)} from "tiger=0.4 silver=0.2:0.8", where one number is a stop; ValueError else."""
    found: dict[str, tuple[float, float]] = {}
    for word, value in _pairs(text, field):
        ends = value.split(":") if isinstance(value, str) else value
        ends = [ends] if isinstance(ends, int | float) else list(ends)
        numbers = [_number(end, field) for end in ends]
        if not 1 <= len(numbers) <= 2:
            raise ValueError(f"{field}: {quoted(value)} is not a stop or start:stop.")
        start, stop = (0.0, *numbers) if len(numbers) == 1 else numbers
        found[word] = (start, stop)
    return found


def split_words(text: str) -> list[str]:
    """The words of a field that lists some, apart by spaces or commas."""
    return [word for word in re.split(r"[\s,;]+", text) if word]


def split_phrases(text: str) -> list[str]:
    """As `split_words`, but what stands in double quotes is one item, without them."""
    found: list[str] = []
    for k, part in enumerate(re.split('["“”„]', text)):
        words = split_words(part)
        found += [" ".join(words)] if k % 2 and words else words
    return found


def split_pairs(text: str) -> list[str]:
    """The parts of "tiger=2 blue hair=3": a name, all words since the last value or comma, and its value."""
    found: list[str] = []
    for part in re.split("[,;]", text):
        before: list[str] = []
        for word in part.split():
            before.append(word)
            if "=" in word:
                found.append(" ".join(before))
                before = []
        found += [" ".join(before)] if before else []
    return found


def _pairs(text: str | Mapping[str, Any], field: str) -> list[tuple[str, Any]]:
    if not isinstance(text, str):
        return list(text.items())
    pairs = [part.rpartition("=") for part in split_pairs(text)]
    for word, sign, value in pairs:
        if not (word and sign and value and word == word.rstrip()):
            raise ValueError(f"{field}: {quoted(word + sign + value)} is not word=number, such as tiger=2.")
    return [(word, value) for word, _, value in pairs]


def _number(value: object, field: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise ValueError(f"{field}: {quoted(value)} is not a number; write word=number, such as tiger=2.")
    return float(value)


def _bare(word: str) -> str:
    """A word without its edge punctuation; what is nothing else stays."""
    return word.strip(_EDGES) or word


def _key(word: str) -> str:
    """What all spellings of a word share: no edge punctuation, no case, composed accents, one apostrophe."""
    composed = unicodedata.normalize("NFC", _bare(word)).casefold()
    return unicodedata.normalize("NFC", composed).translate(_APOSTROPHES)


def _same(own: str, word: str) -> bool:
    return _key(own) == _key(word)
