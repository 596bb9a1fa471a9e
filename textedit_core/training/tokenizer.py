"""A CLIP tokenizer with a small vocabulary of its own, in which every known word is one token."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"


def build_tokenizer(words: list[str], folder: Path, max_length: int = 32) -> CLIPTokenizer:
    """Learn byte pair merges until each of `words` is one token; write the files to `folder`, load them back.

    Words outside the list are spelled with smaller tokens, as in CLIP. `max_length` counts start and end.
    """
    letters = [chr(c) for c in range(ord("!"), ord("~") + 1)]
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(
        [*words, *(f"{a} {a}" for a in letters)],
        trainers.BpeTrainer(
            vocab_size=30_000, min_frequency=1, end_of_word_suffix=WORD_END, show_progress=False
        ),
    )
    merges = json.loads(learner.to_str())["model"]["merges"]
    # CLIP's order: plain characters, the same ending a word, the merges, start and end.
    # Bytes outside printable ASCII appear as the stand-ins of the byte-level alphabet.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, *(a + WORD_END for a in alphabet), *("".join(pair) for pair in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines))
    tokenizer = CLIPTokenizer(
        vocab=vocab, merges=[tuple(pair) for pair in merges], model_max_length=max_length, pad_token=END
    )
    tokenizer.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)
