"""Lines of text -> Features for masked language modelling: windows, and the word of each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.data.features import Features, ranges, tokenize
from jaxbert.data.lines import LineExample
from jaxbert.data.segment import FindWords, Segmenter
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def encode_lines(
    examples: Sequence[LineExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    line_by_line: bool,
    segmenter: Segmenter,
) -> Features:
    """Windows [CLS] tokens [SEP] of all the text, with the number of the word of each token.

    Packed, the tokens of all lines are one sequence with a [SEP] after each line, and windows are
    cut from it one behind the other, all but the last full or one token short; a line's [SEP] at a
    window's end is the window's own, so no two are side by side and no window begins with one. Line
    by line, a window has tokens of one line only, and a longer line has several windows. No token
    is lost in either.

    Args:
        examples: lines; those without a token have no window.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and offsets are used.
        max_length: the most tokens of a window.
        segmenter: finds the words of a line; see make_segmenter.

    Returns:
        Features with tokens input_ids, token_type_ids (0) and word int32. `word` counts from 0 in
        each window, is equal for the tokens of one word, and -1 at special tokens, also at those
        that the text itself names; a word that is cut by a window's end is a word in both.
        `example` is the number of the window's first line. Nothing can be learned from a window of
        [UNK] and special tokens alone: none of them is ever masked.

    Raises:
        InputError: max_length leaves no room for a token, or the lines have none.
    """
    if max_length < 3:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a token beside [CLS] and [SEP]; "
            "give 3 or more"
        )
    find, description = segmenter
    special = np.array([tokenizer.cls_token_id, tokenizer.sep_token_id], np.int32)
    ids, words, line = _sequence(examples, tokenizer, find, special[1:])
    if not (words >= 0).any():
        raise InputError(
            f"{examples[0].where if examples else 'the text'}: no token in {len(examples)} lines"
        )
    is_end = np.diff(line, append=-1) != 0  # each line's [SEP]
    starts, ends = _windows(is_end, max_length - 2, line_by_line)

    lengths = ends - starts + 2
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    inside = ranges(bounds[:-1] + 1, lengths - 2)
    source = ranges(starts, lengths - 2)
    input_ids = np.full(bounds[-1], special[1])
    input_ids[bounds[:-1]] = special[0]
    input_ids[inside] = ids[source]
    word = np.full(bounds[-1], -1, np.int32)
    window = np.repeat(np.arange(len(lengths)), lengths - 2)
    ordinary = words[source] >= 0
    word[inside[ordinary]] = _numbered(words[source][ordinary], window[ordinary])
    # As data.masking takes them: [UNK] is a word of the text, but never masked.
    masked = (word >= 0) & np.isin(input_ids, tokenizer.all_special_ids, invert=True)
    learnable = np.logical_or.reduceat(masked, bounds[:-1])
    nothing = int((~learnable).sum())
    kind = "line by line" if line_by_line else "packed"
    return Features(
        bounds=bounds,
        tokens={"input_ids": input_ids, "token_type_ids": np.zeros_like(word), "word": word},
        rows={},
        example=line[starts].astype(np.int32),
        notes=(
            f"{len(lengths)} windows of {len(examples)} lines (max_seq_length {max_length}, "
            f"{kind}), {lengths.mean():.1f} tokens on average",
            f"{(np.maximum.reduceat(word, bounds[:-1]) + 1).mean():.1f} words a window "
            f"(Chinese: {description})",
        ),
        learnable=learnable if nothing else None,
        left_out=(
            f"{nothing} of {len(lengths)} windows {'is' if nothing == 1 else 'are'} left out of "
            f"training: all tokens are {tokenizer.unk_token} or special",
        )
        * (nothing > 0),
    )


def _sequence(
    examples: Sequence[LineExample],
    tokenizer: PreTrainedTokenizerFast,
    find: FindWords,
    sep: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All lines with tokens, a [SEP] behind each: ids, words and numbers of the lines, (N,).

    Words are numbered through, and are -1 at special tokens.
    """
    tokenized = tokenize(tokenizer, [e.text for e in examples])
    spans = {text: np.array(find(text), np.int64).reshape(-1, 2)[:, 0] for text in tokenized}
    ids, words, lengths = [sep[:0]], [np.zeros(0, np.int64)], []
    none = np.array([-1])
    before = 0
    for example in examples:
        found, starts = tokenized[example.text], spans[example.text]
        if not len(found.ids):
            lengths.append(0)
            continue
        # The word that begins at the token's first character, or as the last one before it.
        word = np.searchsorted(starts, found.starts, side="right") - 1
        ids += (found.ids, sep)
        words += (before + np.maximum(word, 0), none)
        lengths.append(len(found.ids) + 1)
        before += len(starts) + 1
    flat = np.concatenate(ids)
    of_text = np.isin(flat, _named(tokenizer), invert=True)
    line = np.repeat(np.arange(len(examples)), np.array(lengths, np.int64))
    return flat, np.where(of_text, np.concatenate(words), -1), line


def _named(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Special tokens but [UNK], which stands for a word as any other token does."""
    return [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]


def _windows(is_end: np.ndarray, room: int, line_by_line: bool) -> tuple[np.ndarray, np.ndarray]:
    """First token of each window and the one behind its last, (M,) int64, line ends left out."""
    ends = np.flatnonzero(is_end)
    if line_by_line:
        firsts = np.concatenate([[0], ends[:-1] + 1])
        counts = -(-(ends - firsts) // room)
        starts = np.repeat(firsts, counts) + room * ranges(np.zeros_like(counts), counts)
        return starts, np.minimum(starts + room, np.repeat(ends, counts))
    bounds = []
    start = 0
    while start < len(is_end):
        end = after = min(start + room, len(is_end))
        if is_end[end - 1]:
            end -= 1
        elif is_end[end]:
            after += 1
        bounds.append((start, end))
        start = after
    both = np.array(bounds, np.int64)
    return both[:, 0], both[:, 1]


def _numbered(words: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Ascending words (N,) numbered anew from 0 in each window."""
    new_window = np.diff(window, prepend=-1) != 0
    number = np.cumsum((np.diff(words, prepend=-1) != 0) | new_window)
    first = number[new_window]
    number -= np.repeat(first, np.diff(np.flatnonzero(new_window), append=len(window)))
    return number
