"""Masking for masked language modelling: a pure function of a batch, a seed and a draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jaxbert.data.sampling import NumpyBatch


def mask_batch(
    batch: NumpyBatch,
    *,
    seed: int,
    draw: int,
    probability: float,
    whole_words: bool,
    mask_id: int,
    vocab_size: int,
    special_ids: Sequence[int],
) -> NumpyBatch:
    """Mask some tokens of each row for prediction (Devlin et al. 2019, sections 3.1 and A.1).

    Of the n tokens of a row that are not special, round(probability * n) are chosen, at least 1.
    Each chosen token is replaced by [MASK] with probability 0.8, by a random token with 0.1, and is
    unchanged with 0.1.

    With whole_words, words are taken in random order until that many tokens are chosen, skipping
    words that would exceed the number (google-research/bert, create_pretraining_data.py). If every
    word of the row is too long, the first tokens of one are chosen.

    The result for a row depends only on (seed, draw) and on the row's index and tokens, not on
    other rows, its position in the batch or the padding.

    Args:
        batch: from make_batch, with input_ids, attention_mask and word (B, T) int32, which is equal
            for tokens of one word and -1 at special ones, and row (B,) int32, -1 on padding rows.
        draw: different draws give different masks; the step in training, a constant in evaluation.
        probability: above 0, up to 1.
        vocab_size: random tokens are from 0 to vocab_size - 1, without special ones.
        special_ids: tokens that are never chosen; if [UNK] is among them, it is never a label.

    Returns:
        The batch without `word`, with masked input_ids, and with masked_positions and labels (B, P)
        int32, P = max(1, ceil(probability * T)): the chosen positions of each row, ascending, and
        their original tokens. Unused slots have position 0 and label -100.
    """
    ids = batch["input_ids"].copy()
    size, length = ids.shape
    slots = max(1, math.ceil(probability * length))
    positions = np.zeros((size, slots), np.int32)
    labels = np.full((size, slots), -100, np.int32)
    special = np.unique(np.asarray(special_ids, ids.dtype))
    special = special[special < vocab_size]
    words = np.where(np.isin(ids, special), -1, batch["word"])
    words[batch["attention_mask"] == 0] = -1
    words[batch["row"] < 0] = -1
    # The tokens that may be chosen, of all rows one after the other: a row's are those from
    # first[b] to first[b + 1]. What is not drawn is done for all rows at once.
    at_row, at = np.nonzero(words >= 0)
    first = np.searchsorted(at_row, np.arange(size + 1))
    word = words[at_row, at]
    begins = np.ones(len(at) + 1, bool)
    begins[1:-1] = (word[1:] != word[:-1]) | (at_row[1:] != at_row[:-1])
    bounds = np.flatnonzero(begins)
    first_word = np.searchsorted(bounds, first).tolist()
    rows = [b for b in range(size) if first[b] < first[b + 1]]
    chosen: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    others: list[np.ndarray] = []
    key = draws_of(seed, draw)
    for b in rows:
        key[-1] = batch["row"][b]
        rng = np.random.default_rng(key)
        begin, count = int(first[b]), int(first[b + 1] - first[b])
        budget = max(1, round(probability * count))
        if whole_words:
            of_row = bounds[first_word[b] : first_word[b + 1] + 1].tolist()
            chosen.append(_whole_words(of_row, budget, rng))
        else:
            chosen.append(begin + np.sort(rng.permutation(count)[:budget]))
        actions.append(rng.random(len(chosen[-1])))
        others.append(
            rng.integers(vocab_size - len(special), size=len(chosen[-1]), dtype=ids.dtype)
        )
    masked = {name: column for name, column in batch.items() if name != "word"}
    masked |= {"input_ids": ids, "masked_positions": positions, "labels": labels}
    if not rows:
        return masked
    counts = [len(part) for part in chosen]
    token, action, random_ids = map(np.concatenate, (chosen, actions, others))
    # In ascending order, this skips special ids and leaves all others equally likely.
    for special_id in special:
        random_ids += random_ids >= special_id
    b, t = at_row[token], at[token]
    slot = np.arange(len(token)) - np.repeat(np.cumsum(counts) - counts, counts)
    positions[b, slot], labels[b, slot] = t, ids[b, t]
    ids[b, t] = np.where(action < 0.8, mask_id, np.where(action < 0.9, random_ids, ids[b, t]))
    return masked


def draws_of(seed: int, draw: int) -> np.ndarray:
    """A key of default_rng, whose last number is to be a row's.

    As an array it is read sooner than [seed, draw, row], which gives the same draws.

    >>> key = draws_of(3, 2**40)
    >>> key[-1] = 7
    >>> np.random.default_rng(key).random() == np.random.default_rng([3, 2**40, 7]).random()
    True
    """
    words: list[int] = []
    for number in (seed, draw):
        words.append(number & 0xFFFFFFFF)
        while number := number >> 32:
            words.append(number & 0xFFFFFFFF)
    return np.array([*words, 0], np.uint32)


def _whole_words(bounds: Sequence[int], budget: int, rng: np.random.Generator) -> np.ndarray:
    """At most `budget` tokens to mask, ascending.

    Args:
        bounds: where each word begins, and where the last one ends.
    """
    order = rng.permutation(len(bounds) - 1).tolist()
    chosen: list[int] = []
    for word in order:
        start, end = bounds[word], bounds[word + 1]
        if len(chosen) + end - start <= budget:
            chosen += range(start, end)
            if len(chosen) == budget:
                break
    start = bounds[order[0]]
    return np.array(sorted(chosen or range(start, start + budget)))
