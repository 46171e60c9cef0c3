"""Masks for masked language modelling: a pure function of a batch, a seed and a draw."""

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
    """Hide some tokens of each row, to be predicted (Devlin et al. 2019, sections 3.1 and A.1).

    Of the n tokens of a row that are not special, round(probability * n) are chosen, at least 1.
    Each chosen token is replaced by [MASK] with probability 0.8 and by a random token with 0.1, and
    stays as it is with 0.1.

    With whole_words, words are taken in random order until so many tokens are chosen, and a word
    that would be too many is passed over (google-research/bert, create_pretraining_data.py). If no
    word of the row is short enough, the first tokens of one are chosen.

    What happens to a row depends on (seed, draw) and on its number and tokens only: not on the
    other rows, its place in the batch or the padding.

    Args:
        batch: of make_batch, with input_ids, attention_mask and word (B, T) int32, where tokens of
            one word are equal and special ones -1, and row (B,) int32, -1 on padding rows.
        draw: another gives other masks; the step in training, a constant in evaluation.
        probability: above 0, up to 1.
        vocab_size: random tokens are from 0 to vocab_size - 1, but no special ones.
        special_ids: are never chosen; so with [UNK] among them it is never a label.

    Returns:
        The batch without `word`, with other input_ids, and with masked_positions and labels (B, P)
        int32, P = max(1, ceil(probability * T)): the chosen positions of each row, ascending, and
        their tokens before. Slots that a row does not need have position 0 and label -100.
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
    for b, row in enumerate(batch["row"].tolist()):
        ordinary = np.flatnonzero(words[b] >= 0)
        if row < 0 or not len(ordinary):
            continue
        rng = np.random.default_rng([seed, draw, row])
        budget = max(1, round(probability * len(ordinary)))
        if whole_words:
            chosen = ordinary[_whole_words(words[b, ordinary], budget, rng)]
        else:
            chosen = ordinary[np.sort(rng.permutation(len(ordinary))[:budget])]
        count = len(chosen)
        positions[b, :count] = chosen
        labels[b, :count] = ids[b, chosen]
        fate = rng.random(count)
        other = rng.integers(vocab_size - len(special), size=count, dtype=ids.dtype)
        for skipped in special:  # ascending, so that none is hit and all others are as likely
            other += other >= skipped
        ids[b, chosen] = np.where(
            fate < 0.8, mask_id, np.where(fate < 0.9, other, labels[b, :count])
        )
    masked = {name: column for name, column in batch.items() if name != "word"}
    return masked | {"input_ids": ids, "masked_positions": positions, "labels": labels}


def _whole_words(words: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """Which of the tokens, ascending, with the words (n,) given; at most budget of them."""
    bounds = [*np.flatnonzero(np.diff(words, prepend=-1)).tolist(), len(words)]
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
