"""Encodes lines of text for masked language modelling: windows, and the word of each token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxbert.data.feature_parts import merged
from jaxbert.data.features import Features, Line, as_text, ranges, tokenize
from jaxbert.data.segment import FindWords, Segmenter
from jaxbert.data.stored_lines import LineExample
from jaxbert.data.template import template_of
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
    parts = [tokenize_lines(examples, tokenizer, segmenter)]
    return merged(
        windows_of_lines(
            parts,
            examples,
            tokenizer,
            max_length=max_length,
            line_by_line=line_by_line,
            segmenter=segmenter,
        )
    )


def tokenize_lines(
    examples: Sequence[LineExample], tokenizer: PreTrainedTokenizerFast, segmenter: Segmenter
) -> Features:
    """The tokens of lines, of which windows_of_lines makes windows.

    Returns:
        Features with an entry for each line that has tokens: these, then [SEP]. Their tokens are
        input_ids int32 and word int64: words are numbered consecutively over all lines, and -1 at
        special tokens.
    """
    sep = template_of(tokenizer).last
    ids, words, line = _sequence(examples, tokenizer, segmenter[0], sep)
    is_end = np.diff(line, append=-1) != 0  # each line's [SEP]
    bounds = np.concatenate([[0], np.flatnonzero(is_end) + 1]).astype(np.int64)
    return Features(
        bounds=bounds,
        tokens={"input_ids": ids, "word": words},
        rows={},
        example=line[bounds[1:] - 1].astype(np.int32),
        sums={"examples": len(examples)},
    )


def windows_of_lines(
    parts: Iterable[Features],
    examples: Sequence[LineExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    line_by_line: bool,
    segmenter: Segmenter,
) -> Iterator[Features]:
    """The windows of consecutive parts of the lines, each given by tokenize_lines.

    They are the same however the lines are divided: the tokens after a part's last full window are
    the first of the next part's.

    Args:
        examples: all lines.

    Raises:
        InputError: as encode_lines.
    """
    if max_length < 3:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a token between [CLS] and [SEP]; "
            "give 3 or more"
        )
    room = max_length - 2
    lines = _lines(tokenizer, max_length, line_by_line, segmenter[1])
    left = _Sequence(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    seen = next_word = 0  # lines and words of the parts so far
    found = False
    for part in parts:
        line = np.repeat(part.example.astype(np.int64), part.lengths)
        word = part.tokens["word"]
        text = _Sequence(
            np.concatenate([left.ids, part.tokens["input_ids"]]),
            np.concatenate([left.words, np.where(word >= 0, word + next_word, -1)]),
            np.concatenate([left.line, line + seen]),
        )
        next_word += int(word.max(initial=-1)) + 2
        seen += part.sums["examples"]
        starts, ends, after = _windows(text.is_end, room, line_by_line, complete=False)
        if len(starts):
            found = found or bool((text.words >= 0).any())
            yield _features(text, starts, ends, tokenizer, lines, part.sums["examples"])
        else:  # too few tokens for a window; its lines still count
            yield _no_windows(lines, part.sums["examples"])
        left = _Sequence(text.ids[after:], text.words[after:], text.line[after:])
    if len(left.ids):
        found = found or bool((left.words >= 0).any())
        starts, ends, _ = _windows(left.is_end, room, line_by_line, complete=True)
        yield _features(left, starts, ends, tokenizer, lines, 0)
    if not found:
        where = examples[0].where if examples else "the text"
        raise InputError(f"{where}: no token in {len(examples)} lines")


class _Sequence(NamedTuple):
    """Consecutive lines with a [SEP] after each: ids int32, words and line int64, (N,).

    Words are numbered consecutively over all lines, and -1 at special tokens.
    """

    ids: np.ndarray
    words: np.ndarray
    line: np.ndarray

    @property
    def is_end(self) -> np.ndarray:
        """(N,) bool, True at each line's [SEP]."""
        found: np.ndarray = np.diff(self.line, append=-1) != 0
        return found


def _features(
    text: _Sequence,
    starts: np.ndarray,
    ends: np.ndarray,
    tokenizer: PreTrainedTokenizerFast,
    lines: tuple[Line, ...],
    examples: int,
) -> Features:
    """Windows of a text, given the first token of each and the one after its last, (M,)."""
    template = template_of(tokenizer)
    lengths = ends - starts + 2
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    positions = ranges(bounds[:-1] + 1, lengths - 2)
    source = ranges(starts, lengths - 2)
    input_ids = np.full(bounds[-1], template.last[0])
    input_ids[bounds[:-1]] = template.first
    input_ids[positions] = text.ids[source]
    word = np.full(bounds[-1], -1, np.int32)
    window = np.repeat(np.arange(len(lengths)), lengths - 2)
    words = text.words[source]
    in_word = words >= 0
    word[positions[in_word]] = _renumber(words[in_word], window[in_word])
    # As in data.masking: [UNK] is a word of the text, but never masked.
    masked = (word >= 0) & np.isin(input_ids, tokenizer.all_special_ids, invert=True)
    learnable = np.logical_or.reduceat(masked, bounds[:-1])
    return Features(
        bounds=bounds,
        tokens={"input_ids": input_ids, "token_type_ids": np.zeros_like(word), "word": word},
        rows={},
        example=text.line[starts].astype(np.int32),
        learnable=None if learnable.all() else learnable,
        lines=lines,
        sums={
            "examples": examples,
            "windows": len(lengths),
            "tokens": int(lengths.sum()),
            "words": int((np.maximum.reduceat(word, bounds[:-1]) + 1).sum()),
            "skipped": int((~learnable).sum()),
        },
    )


def _no_windows(lines: tuple[Line, ...], examples: int) -> Features:
    nothing = np.zeros(0, np.int32)
    return Features(
        bounds=np.zeros(1, np.int64),
        tokens={"input_ids": nothing, "token_type_ids": nothing, "word": nothing},
        rows={},
        example=nothing,
        lines=lines,
        sums={"examples": examples, "windows": 0, "tokens": 0, "words": 0, "skipped": 0},
    )


def _lines(
    tokenizer: PreTrainedTokenizerFast, max_length: int, line_by_line: bool, description: str
) -> tuple[Line, ...]:
    """Lines of the log about the windows."""
    mode = "line by line" if line_by_line else "packed"
    return (
        Line(
            f"{{windows}} windows of {{examples}} lines (max_seq_length {max_length}, {mode}), "
            "{mean:.1f} tokens on average",
            mean=("tokens", "windows"),
        ),
        Line(
            f"{{mean:.1f}} words a window (Chinese: {as_text(description)})",
            mean=("words", "windows"),
        ),
        Line(
            "{skipped} of {windows} windows {are} left out of training: all tokens are "
            f"{as_text(str(tokenizer.unk_token))} or special",
            "skipped",
            left_out=True,
        ),
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
    spans = {text: find(text)[:, 0] for text in tokenized}
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


def _windows(
    is_end: np.ndarray, room: int, line_by_line: bool, *, complete: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """First token of each window and the one after its last, (M,) int64, without line ends; and the
    first token that is in none of them.

    Args:
        complete: whether this is all of the text; else windows that more text would change are
            left out.
    """
    ends = np.flatnonzero(is_end)
    if line_by_line:
        firsts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
        counts = -(-(ends - firsts) // room)
        starts = np.repeat(firsts, counts) + room * ranges(np.zeros_like(counts), counts)
        return starts, np.minimum(starts + room, np.repeat(ends, counts)), len(is_end)
    bounds = []
    start = 0
    while start < len(is_end) and (complete or start + room < len(is_end)):
        end = after = min(start + room, len(is_end))
        if is_end[end - 1]:
            end -= 1
        elif is_end[end]:
            after += 1
        bounds.append((start, end))
        start = after
    windows = np.array(bounds, np.int64).reshape(-1, 2)
    return windows[:, 0], windows[:, 1], start


def _renumber(words: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Ascending words (N,), renumbered from 0 in each window."""
    new_window = np.diff(window, prepend=-1) != 0
    number = np.cumsum((np.diff(words, prepend=-1) != 0) | new_window)
    first = number[new_window]
    number -= np.repeat(first, np.diff(np.flatnonzero(new_window), append=len(window)))
    return number
