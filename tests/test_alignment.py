"""Words and tokens of two prompts: their alignment against brute force, and the tensors made from it."""

import itertools

import pytest
import torch

from tests.bundles import WORDS
from textedit_core.models.diffusion.alignment import (
    Tokens,
    align,
    cross_alphas,
    edit_type,
    parse_numbers,
    parse_windows,
    read,
    refine_matrix,
    replace_matrix,
    split_pairs,
    token_masks,
    token_weights,
)
from textedit_core.training.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """Knows WORDS as one token each, and spells the others."""
    return build_tokenizer(WORDS, tmp_path_factory.mktemp("tokenizer"), 32)


@pytest.fixture(scope="module")
def long_tokenizer(tmp_path_factory):
    """The same at CLIP's length."""
    return build_tokenizer(WORDS, tmp_path_factory.mktemp("tokenizer"), 77)


def fake(*lengths: int, length: int = 12) -> Tokens:
    """A prompt of words with so many tokens each, all different."""
    spans, at = [], 1
    for count in lengths:
        spans.append(range(at, at + count))
        at += count
    words = tuple(f"w{k}" for k in range(len(lengths)))
    return Tokens(words, tuple(spans), (0, *range(100, 99 + at), 1), length)


@pytest.mark.parametrize(
    "prompt",
    ["a man in a red hat", "  A photo,  of the man!", "zebra żółć 🦄 漢字", "it's a man's hat...", "", "— …"],
)
def test_the_tokens_of_all_words_make_the_prompt(tokenizer, prompt):
    found = read(tokenizer, prompt)
    assert found.words == tuple(prompt.split())
    assert list(found.ids) == tokenizer(prompt).input_ids
    assert [j for span in found.spans for j in span] == list(range(1, found.end))
    for word, span in zip(found.words, found.spans, strict=True):
        assert list(found.ids[span.start : span.stop]) == tokenizer(word, add_special_tokens=False).input_ids


def test_a_prompt_may_fill_the_tokenizer_and_no_more(long_tokenizer):
    full = read(long_tokenizer, "red " * 75)
    assert (full.end, full.length, len(full.ids)) == (76, 77, 77)
    for matrix in (replace_matrix(full, full), refine_matrix(full, full)):
        assert torch.equal(matrix, torch.eye(77))
    with pytest.raises(ValueError, match="77 tokens and this model reads at most 75"):
        read(long_tokenizer, "red " * 77)


def test_words_are_found_whatever_their_case_and_edge_punctuation(tokenizer):
    found = read(tokenizer, "A man, the “Man” and red-hat (żółć)")
    assert found.places("man") == found.places("MAN!") == [*found.spans[1], *found.spans[3]]
    assert found.places("Żółć") == list(found.spans[-1])
    assert found.places("red-hat") == list(found.spans[5])
    with pytest.raises(ValueError, match="no word 'red'; its words are A, man, the, Man, and, red-hat, żółć"):
        found.places("red")


def test_words_in_a_row_and_one_occurrence_are_found(tokenizer):
    found = read(tokenizer, "A red man, a Red hat and red, hat")
    reds, hats = ([list(found.spans[k]) for k in places] for places in ((1, 4, 7), (5, 8)))
    assert found.places("red") == reds[0] + reds[1] + reds[2]
    assert found.places("red#1") == reds[0] and found.places("RED#3") == reds[2]
    assert found.places("red hat") == reds[1] + hats[0] + reds[2] + hats[1]
    assert found.places("red hat#2") == reds[2] + hats[1] and found.places("red  man") == reds[0] + list(
        found.spans[2]
    )
    assert found.has("red hat") and not found.has("hat red") and not found.has("red#4")
    assert not any(found.has(name) for name in ("", " ", "red#0", "#1"))
    for name, says in (
        ("red#4", "has 'red' 3 times: there is no 'red#4'"),
        ("man#2", "has 'man' once: there is no 'man#2'"),
        ("hat man", "does not have 'hat man' in a row"),
        ("dog#1", "no word 'dog#1'"),
    ):
        with pytest.raises(ValueError, match=says):
            found.places(name)


def test_a_word_that_is_spelled_like_an_occurrence_is_that_word(tokenizer):
    found = read(tokenizer, "red#2 red red")
    assert found.places("red#2") == list(found.spans[0])


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("a man's hat", ["man's", "man’s", "MAN‘S", "manʼs"]),
        ("a man’s hat", ["man's", "man’s"]),
        ("a caf\u00e9", ["caf\u00e9", "cafe\u0301", "CAFE\u0301"]),
        ("a cafe\u0301", ["caf\u00e9", "cafe\u0301"]),
    ],
)
def test_apostrophes_and_accents_are_the_same_however_encoded(tokenizer, prompt, names):
    found = read(tokenizer, prompt)
    for name in names:
        assert found.places(name) == list(found.spans[1])
        assert not found.has(name[:-1])


def longest_common(source, target) -> int:
    """The length of the longest common subsequence, by trying all."""
    for size in range(min(len(source), len(target)), 0, -1):
        if set(itertools.combinations(source, size)) & set(itertools.combinations(target, size)):
            return size
    return 0


def test_the_alignment_is_a_longest_common_subsequence():
    draw = torch.Generator().manual_seed(0)
    for _ in range(150):
        sizes = torch.randint(0, 8, (2,), generator=draw).tolist()
        source, target = (torch.randint(0, 3, (size,), generator=draw).tolist() for size in sizes)
        pairs = align(source, target)
        assert all(source[i] == target[j] for i, j in pairs)
        assert all(i < k and j < m for (i, j), (k, m) in itertools.pairwise(pairs))
        assert len(pairs) == longest_common(source, target)


def test_of_equal_alignments_the_target_is_skipped_first():
    """Read from the end, "left" first: the last of the target's tokens that may be skipped is."""
    assert align("a", "aa") == [(0, 0)]
    assert align("aa", "a") == [(0, 0)]
    assert align("ab", "ba") == [(1, 0)]
    assert align("abc", "axbxc") == [(0, 0), (1, 2), (2, 4)]


def test_replace_is_one_to_one_where_token_counts_agree():
    source = fake(1, 2, 1)
    assert torch.equal(replace_matrix(source, fake(1, 2, 1)), torch.eye(12))


@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1), (2, 3), (3, 2)])
def test_replace_spreads_words_of_other_lengths_evenly(old, new):
    """After the word the sentence and its padding go on, moved by the difference."""
    matrix = replace_matrix(fake(1, old, 1), fake(1, new, 1))
    expected = torch.zeros(12, 12)
    expected[0, 0] = expected[1, 1] = 1
    expected[2 : 2 + old, 2 : 2 + new] = 1 / new
    for j in range(2 + new, 12):
        expected[min(j + old - new, 11), j] = 1
    assert torch.equal(matrix, expected)
    kept = matrix[: 12 - max(new - old, 0)].sum(1)[:10]
    assert torch.allclose(kept[2 : 2 + old], torch.ones(old)), "no attention is lost"
    assert (matrix.sum(0) > 0).all()


def test_replace_of_several_words_moves_each(tokenizer):
    old, new = (read(tokenizer, text) for text in ("a red hat and zebra", "a zebra hat and blue"))
    matrix = replace_matrix(old, new)
    for one, other in zip(old.spans, new.spans, strict=True):
        block = matrix[one.start : one.stop, other.start : other.stop]
        assert (block > 0).all() if len(one) != len(other) else torch.equal(block, torch.eye(len(one)))
    with pytest.raises(ValueError, match="as many words in the prompt as in the source prompt, not 2 and 5"):
        replace_matrix(old, read(tokenizer, "a man"))


def test_refine_keeps_what_is_shared_and_leaves_new_tokens_alone(tokenizer):
    old, new = (read(tokenizer, text) for text in ("a man in hat", "a man in zebra red hat"))
    matrix = refine_matrix(old, new)
    added = [j for span in new.spans[3:5] for j in span]
    assert (matrix[:, added] == 0).all()
    shared = [0, 1, 2, 3, *new.spans[5], new.end]
    assert [matrix[:, j].argmax().item() for j in shared] == [0, 1, 2, 3, 4, 5]
    padding = range(new.end + 1, 32)
    assert [matrix[:, j].argmax().item() for j in padding] == list(padding)
    assert matrix.sum(0).max() == 1


def test_refine_to_a_shorter_prompt_has_padding_for_padding():
    matrix = refine_matrix(fake(1, 3, 1), fake(1))
    assert [matrix[:, j].argmax().item() for j in range(3, 12)] == [7, 7, 7, 7, 7, 8, 9, 10, 11]


def test_the_same_prompt_is_the_identity(tokenizer):
    text = read(tokenizer, "a man and a man in red, red zebra hat")
    assert torch.equal(refine_matrix(text, text), torch.eye(32))
    assert torch.equal(replace_matrix(text, text), torch.eye(32))


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        ("a man in a red hat", "a man in a blue hat", "replace"),
        ("a man in a red hat", "a woman in a zebra hat", "replace"),
        ("a man in a hat", "a man in a red hat", "refine"),
        ("a sad man in a red hat", "a man in a hat", "refine"),
        ("photo of a man", "a photo of man", "refine"),  # as many words, but moved
        ("A man.", "a man", "replace"),
    ],
)
def test_the_type_of_an_edit_is_read_from_the_prompts(tokenizer, source, target, kind):
    assert edit_type(read(tokenizer, source), read(tokenizer, target)) == kind


def test_the_window_of_every_token(tokenizer):
    target = read(tokenizer, "a red man and a red zebra")
    alphas = cross_alphas(target, 50, (0.0, 0.8), {"red": (0.2, 0.4), "zebra": (0.0, 0.0)})
    assert alphas.shape == (51, 32)
    assert alphas[:, 0].tolist() == [1.0] * 40 + [0.0] * 11  # int(0.8 * 51)
    for j in target.places("red"):
        assert alphas[:, j].nonzero().flatten().tolist() == list(range(10, 20))
    assert (alphas[:, list(target.spans[-1])] == 0).all()
    assert (cross_alphas(target, 50, (0.0, 1.0), {}) == 1).all()
    for wrong in [(0.5, 0.2), (0.0, 1.2), (-0.1, 1.0)]:
        with pytest.raises(ValueError, match="between 0 and 1"):
            cross_alphas(target, 50, wrong, {})


def test_weights_are_of_all_tokens_of_a_word(tokenizer):
    target = read(tokenizer, "a red man, a Red zebra")
    weights = token_weights(target, {"red": 2.0, "zebra": -1.0})
    assert [weights[j].item() for j in target.places("red")] == [2.0, 2.0]
    assert (weights[list(target.spans[-1])] == -1).all()
    assert weights.sum() == 32 + 2 - 2 * len(target.spans[-1])
    with pytest.raises(ValueError, match="no word 'dog'"):
        token_weights(target, {"dog": 2.0})


def test_masks_of_words_in_either_prompt(tokenizer):
    old, new = read(tokenizer, "a red man"), read(tokenizer, "a blue man")
    masks = token_masks(old, new, "red, blue man", "Blend words")
    assert [row.nonzero().flatten().tolist() for row in masks] == [[2, 3], [2, 3]]
    assert token_masks(old, new, "red", "Blend words").sum(1).tolist() == [1, 0]
    assert not token_masks(old, new, " ", "Blend words").any()
    with pytest.raises(
        ValueError, match="Blend words: 'hat' is in neither prompt; their words are a, red, man"
    ):
        token_masks(old, new, "hat", "Blend words")
    with pytest.raises(ValueError, match="no word in it"):
        token_masks(old, new, " , ;", "Blend words")


def test_words_in_double_quotes_are_words_in_a_row(tokenizer):
    old, new = read(tokenizer, "a red hat and a red man"), read(tokenizer, "a red hat and a blue man")
    masks = token_masks(old, new, '“red hat”, "blue man" and', "Blend words")
    assert [row.nonzero().flatten().tolist() for row in masks] == [[2, 3, 4], [2, 3, 4, 6, 7]]
    apart = token_masks(old, new, "red hat", "Blend words")
    assert [row.nonzero().flatten().tolist() for row in apart] == [[2, 3, 6], [2, 3]]
    assert token_masks(old, new, "red#2", "Blend words").nonzero().tolist() == [[0, 6]]
    with pytest.raises(ValueError, match="Blend words: 'hat man' is in neither prompt"):
        token_masks(old, new, '"hat man"', "Blend words")


def test_a_weight_of_words_in_a_row_and_of_one_occurrence(tokenizer):
    target = read(tokenizer, "a red hat and a red man")
    weights = token_weights(target, parse_numbers("red=2 red#2=3, red hat=-1", "F"))
    assert weights[[2, 3, 6]].tolist() == [-1, -1, 3] and weights.sum() == 32 - 3 - 2 + 3
    assert parse_windows("red hat=0.4 man=.2:.3", "F") == {"red hat": (0, 0.4), "man": (0.2, 0.3)}
    assert split_pairs("blue  hair=2 a=b=1, x; y") == ["blue hair=2", "a=b=1", "x", "y"]


def test_numbers_and_windows_of_words_are_read_from_text():
    assert parse_numbers("tiger=2, silver=-.5;a=b=1", "F") == {"tiger": 2, "silver": -0.5, "a=b": 1}
    assert parse_numbers({"tiger": 2}, "F") == {"tiger": 2.0}
    assert parse_numbers("", "F") == {} == parse_windows(" ", "F")
    windows = parse_windows("tiger=0.4 default_=0.2:0.8", "F")
    assert windows == {"tiger": (0, 0.4), "default_": (0.2, 0.8)}
    assert parse_windows({"tiger": 0.4, "red": (0.1, 0.3)}, "F") == {"tiger": (0, 0.4), "red": (0.1, 0.3)}


@pytest.mark.parametrize(
    "text",
    [
        "tiger",
        "tiger=",
        "=2",
        "blue =2",
        "red=2 tiger",
        "tiger=two",
        "tiger=nan",
        "tiger=inf",
        "tiger=1:2",
        "x" * 9000,
    ],
)
def test_what_is_no_word_and_number_is_a_sentence(text):
    with pytest.raises(ValueError, match=r"^Word weights: .*such as tiger=2"):
        parse_numbers(text, "Word weights")
    if text != "tiger=1:2":
        with pytest.raises(ValueError, match=r"^Steps of words: "):
            parse_windows(text, "Steps of words")


@pytest.mark.parametrize("number", ["1001", "-5000", "9" * 5000])
def test_a_weight_that_would_overflow_is_a_sentence(number):
    with pytest.raises(ValueError, match=r"^Word weights: 'tiger' has .*use a number from -1000 to 1000"):
        parse_numbers(f"tiger={number}", "Word weights")
