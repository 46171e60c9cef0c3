"""Sentences of words -> Features: windows in which every word has one place for its prediction."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.data.features import PADDING, Features, Tokenized, ranges, tokenize
from jaxbert.data.words import WordsExample
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def encode_words(
    examples: Sequence[WordsExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    stride: int,
    targets: Sequence[np.ndarray] | None,
    inside: np.ndarray | None,
) -> Features:
    """Windows [CLS] whole words [SEP], with the target of each word at its first sub-word.

    A sentence that does not fit in a window has several, which overlap. A word in several windows
    is owned by the one in which it has most context, the fewer of the tokens before it and behind
    it; by the first window on ties (after google-research/bert, run_squad.py,
    _check_is_max_context). Only there it has a target and a prediction, so no word counts twice.

    Args:
        examples: sentences; their words are tokenized one by one, a word without any token as
            [UNK], and a word that does not fit in a window keeps the sub-words that do.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and [UNK] are used.
        max_length: the most tokens of a window.
        stride: the most tokens that two windows share; fewer only where a word is in the way.
        targets: (words,) int of each sentence, -100 where a word has none; None where nothing is
            to be learned.
        inside: (C,) int, of each target the one of a word's further sub-words (I-PER for B-PER);
            None leaves these without one.

    Returns:
        Features with tokens input_ids, token_type_ids int32 and, of the targets, labels int32: the
        target at the first sub-word of an owned word, or at all, and -100 elsewhere. On the host,
        word (total,) int32: the number of the word in its sentence at the first sub-word of an
        owned word, else -1; and offsets (total, 2) int32: a token's characters within its word.

    Raises:
        InputError: max_length leaves no room for a word, or the stride for anything else.
    """
    room = max_length - 2
    if room < 1:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a word; give at least 3"
        )
    if stride < 0 or 2 * stride >= room:
        raise InputError(
            f"--doc_stride {stride} is too much overlap for windows of --max_seq_length "
            f"{max_length}; give a --doc_stride from 0 to {(room - 1) // 2}"
        )
    ids, offsets, sizes, notes = _tokenize_words(
        [word for e in examples for word in e.words], tokenizer, room
    )
    # Word w of all words has the tokens ends[w] to ends[w + 1].
    ends = np.concatenate([[0], np.cumsum(sizes)])
    word_of = np.repeat(np.arange(len(sizes)), sizes)

    # Windows: of which example, the words first to last, and the ones among them that it owns.
    sentence_ends = np.cumsum([0, *(len(e.words) for e in examples)])
    windows = []
    for number, (a, b) in enumerate(itertools.pairwise(sentence_ends)):
        windows += [(number, *(a + w)) for w in _windows(ends[a : b + 1], room, stride)]
    example, first, last, own, own_last = np.array(windows, np.int64).T

    # Of each token of the windows: its place, its number among all tokens, and its word.
    inner = ends[last] - ends[first]
    bounds = np.concatenate([[0], np.cumsum(inner + 2)])
    place = ranges(bounds[:-1] + 1, inner)
    token = ranges(ends[first], inner)
    word = word_of[token]
    owned = (np.repeat(own, inner) <= word) & (word < np.repeat(own_last, inner))
    begins = owned & (token == ends[word])

    def column(fill: int, places: np.ndarray, values: np.ndarray) -> np.ndarray:
        filled = np.full((bounds[-1], *values.shape[1:]), fill, np.int32)
        filled[places] = values
        return filled

    input_ids = column(tokenizer.sep_token_id, place, ids[token])
    input_ids[bounds[:-1]] = tokenizer.cls_token_id
    tokens = {"input_ids": input_ids, "token_type_ids": np.zeros_like(input_ids)}
    if targets is not None:
        values = np.concatenate(targets)[word]
        if inside is not None:
            values = np.where(begins | (values < 0), values, inside[np.maximum(values, 0)])
        labelled = begins if inside is None else owned
        tokens["labels"] = column(PADDING["labels"], place[labelled], values[labelled])
    in_sentence = (word - np.repeat(sentence_ends[example], inner))[begins]
    counted = (
        f"{len(example)} windows of {len(examples)} sentences (max_seq_length {max_length}, "
        f"doc_stride {stride})"
    )
    return Features(
        bounds=bounds,
        tokens=tokens,
        rows={},
        example=example.astype(np.int32),
        host={
            "word": column(-1, place[begins], in_sentence),
            "offsets": column(0, place, offsets[token]),
        },
        notes=(counted, *notes),
    )


def _tokenize_words(
    words: Sequence[str], tokenizer: PreTrainedTokenizerFast, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Tokens of W words, one word behind the other, each with 1 to `room` of them.

    Returns:
        ids (total,), offsets (total, 2) in the word, sizes (W,): tokens of each word; and notes.
    """
    found = tokenize(tokenizer, words)
    unknown = np.array([tokenizer.unk_token_id], np.int32)
    empty = {word for word, tokens in found.items() if not len(tokens.ids)}
    for word in empty:  # of control characters, say; but it needs a place for its prediction
        found[word] = Tokenized(unknown, np.array([0]), np.array([len(word)]))
    sizes = np.array([len(tokens.ids) for tokens in found.values()])
    ids = np.concatenate([tokens.ids for tokens in found.values()])
    starts = np.concatenate([tokens.starts for tokens in found.values()])
    ends = np.concatenate([tokens.ends for tokens in found.values()])
    # From the different words to the words of the text.
    number = {word: n for n, word in enumerate(found)}
    which = np.array([number[word] for word in words])
    kept = np.minimum(sizes, room)[which]
    source = ranges((np.cumsum(sizes) - sizes)[which], kept)
    notes = []
    if cut := int((sizes > room)[which].sum()):
        notes.append(f"{cut} words cut to {room} sub-words")
    if unseen := sum(word in empty for word in words):
        notes.append(f"{unseen} words without a token became {tokenizer.unk_token}")
    return ids[source], np.stack([starts, ends], 1)[source], kept, notes


def _windows(ends: np.ndarray, room: int, stride: int) -> np.ndarray:
    """The windows of a sentence: words first to last, of which own to own_last are its own.

    Args:
        ends: (words + 1,) int, ascending; word w has the tokens ends[w] to ends[w + 1].

    Returns:
        (windows, 4) int64: first, last, own, own_last. Windows that own no word are left out.
    """
    count = len(ends) - 1
    if ends[-1] - ends[0] <= room:
        return np.array([[0, count, 0, count]])
    context = np.full(count, -1)
    owner = np.zeros(count, np.int64)
    parts: list[tuple[int, int]] = []
    first = last = 0
    while last < count:
        last = int(np.searchsorted(ends, ends[first] + room, side="right")) - 1
        here = slice(first, last)
        least = np.minimum(ends[here] - ends[first], ends[last] - ends[first + 1 : last + 1])
        owner[here] = np.where(least > context[here], len(parts), owner[here])
        context[here] = np.maximum(least, context[here])
        parts.append((first, last))
        if last < count:
            # So much overlap as there may be, if the next word, which did not fit, then fits.
            start = max(ends[last] - stride, ends[last + 1] - room)
            first = int(np.searchsorted(ends, start, side="left"))
    # Later windows own later words: where two share words, the context of each falls in one of them
    # and rises in the other. So each owns an interval.
    own = np.searchsorted(owner, np.arange(len(parts) + 1))
    windows = np.column_stack([parts, own[:-1], own[1:]])
    return windows[own[:-1] < own[1:]]
