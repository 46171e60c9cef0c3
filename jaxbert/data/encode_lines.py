"""Encodes lines of text for masked language modelling: windows, and the word of each token."""

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
    """Encode all text as windows [CLS] tokens [SEP], with the word index of each token.

    Packed, the tokens of all lines form one sequence with a [SEP] after each line, and consecutive
    windows are cut from it. All but the last are full or one token short. A line's [SEP] at the end
    of a window serves as the window's [SEP], so no two are adjacent and no window begins with one.
    Line by line, a window has tokens of one line only, and a long line becomes several windows.
    Neither mode loses a token.

    Args:
        examples: lines; those without tokens have no window.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and offsets are used.
        max_length: maximum tokens of a window.
        segmenter: finds the words of a line; see make_segmenter.

    Returns:
        Features with tokens input_ids, token_type_ids (0) and word int32. `word` counts from 0 in
        each window. It is equal for the tokens of one word, and -1 at special tokens, including
        those spelled out in the text. A word cut by a window's end counts as a word in both
        windows. `example` is the index of the window's first line. Windows with only [UNK] and
        special tokens are not learnable: none of these tokens is ever masked.

    Raises:
        InputError: max_length leaves no room for a token, or the lines have no tokens.
    """
    if max_length < 3:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a token between [CLS] and [SEP]; "
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
    positions = ranges(bounds[:-1] + 1, lengths - 2)
    source = ranges(starts, lengths - 2)
    input_ids = np.full(bounds[-1], special[1])
    input_ids[bounds[:-1]] = special[0]
    input_ids[positions] = ids[source]
    word = np.full(bounds[-1], -1, np.int32)
    window = np.repeat(np.arange(len(lengths)), lengths - 2)
    in_word = words[source] >= 0
    word[positions[in_word]] = _renumber(words[source][in_word], window[in_word])
    # As in data.masking: [UNK] is a word of the text, but never masked.
    masked = (word >= 0) & np.isin(input_ids, tokenizer.all_special_ids, invert=True)
    learnable = np.logical_or.reduceat(masked, bounds[:-1])
    skipped = int((~learnable).sum())
    mode = "line by line" if line_by_line else "packed"
    return Features(
        bounds=bounds,
        tokens={"input_ids": input_ids, "token_type_ids": np.zeros_like(word), "word": word},
        rows={},
        example=line[starts].astype(np.int32),
        notes=(
            f"{len(lengths)} windows of {len(examples)} lines (max_seq_length {max_length}, "
            f"{mode}), {lengths.mean():.1f} tokens on average",
            f"{(np.maximum.reduceat(word, bounds[:-1]) + 1).mean():.1f} words a window "
            f"(Chinese: {description})",
        ),
        learnable=learnable if skipped else None,
        left_out=(
            f"{skipped} of {len(lengths)} windows {'is' if skipped == 1 else 'are'} left out of "
            f"training: all tokens are {tokenizer.unk_token} or special",
        )
        * (skipped > 0),
    )


def _sequence(
    examples: Sequence[LineExample],
    tokenizer: PreTrainedTokenizerFast,
    find: FindWords,
    sep: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All lines that have tokens, each followed by [SEP]: ids, words and line indices, (N,).

    Words are numbered consecutively over all lines, and -1 at special tokens.
    """
    tokenized = tokenize(tokenizer, [e.text for e in examples])
    spans = {text: np.array(find(text), np.int64).reshape(-1, 2)[:, 0] for text in tokenized}
    ids, words, lengths = [sep[:0]], [np.zeros(0, np.int64)], []
    no_word = np.array([-1])
    first_word = 0
    for example in examples:
        tokens, starts = tokenized[example.text], spans[example.text]
        if not len(tokens.ids):
            lengths.append(0)
            continue
        # The last word that begins at or before the token's first character.
        word = np.searchsorted(starts, tokens.starts, side="right") - 1
        ids += (tokens.ids, sep)
        words += (first_word + np.maximum(word, 0), no_word)
        lengths.append(len(tokens.ids) + 1)
        first_word += len(starts) + 1
    flat_ids = np.concatenate(ids)
    is_text = np.isin(flat_ids, _special_except_unknown(tokenizer), invert=True)
    line = np.repeat(np.arange(len(examples)), np.array(lengths, np.int64))
    return flat_ids, np.where(is_text, np.concatenate(words), -1), line


def _special_except_unknown(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Special tokens except [UNK], which stands for a word as ordinary tokens do."""
    return [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]


def _windows(is_end: np.ndarray, room: int, line_by_line: bool) -> tuple[np.ndarray, np.ndarray]:
    """First token of each window and the one after its last, (M,) int64, without line ends."""
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
    windows = np.array(bounds, np.int64)
    return windows[:, 0], windows[:, 1]


def _renumber(words: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Ascending words (N,), renumbered from 0 in each window."""
    new_window = np.diff(window, prepend=-1) != 0
    number = np.cumsum((np.diff(words, prepend=-1) != 0) | new_window)
    first = number[new_window]
    number -= np.repeat(first, np.diff(np.flatnonzero(new_window), append=len(window)))
    return number
