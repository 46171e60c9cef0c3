"""Encodes sentences of words as windows, with one prediction for each word."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.data.features import PADDING, Features, Line, Tokenized, as_text, ranges, tokenize
from jaxbert.data.template import Template, template_of
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
    document_context: bool = False,
) -> Features:
    """Encode windows [CLS] complete words [SEP], with each word's target at its first sub-word.

    See word_windows. Words are tokenized one by one. A word without tokens becomes [UNK].

    Args:
        examples: sentences.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and [UNK] are used.
        document_context: read them with the words around them, which they have then.

    Raises:
        InputError: max_length leaves no room for a word, or stride is too large for it.
    """
    template = template_of(tokenizer)
    words = [word for e in examples for part in (e.before, e.words, e.after) for word in part]
    sides = np.array([(len(e.before), len(e.after)) for e in examples])
    return word_windows(
        _tokenize_words(words, tokenizer, template),
        [len(e.words) for e in examples],
        template,
        max_length=max_length,
        stride=stride,
        around=sides if document_context else None,
        targets=targets,
        inside=inside,
    )


@dataclasses.dataclass(frozen=True)
class WordTokens:
    """The tokens of W words, one word after the other; each has one at least.

    Attributes:
        ids: (total,) int32.
        offsets: (total, 2), a token's characters in its word.
        sizes: (W,), the tokens of each word.
        unknown: the token that stands for a word without any; empty: (W,) bool, these words.
    """

    ids: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    unknown: str = ""
    empty: np.ndarray | None = None


def word_windows(
    words: WordTokens,
    counts: Sequence[int],
    template: Template,
    *,
    max_length: int,
    stride: int,
    around: np.ndarray | None = None,
    targets: Sequence[np.ndarray] | None = None,
    inside: np.ndarray | None = None,
) -> Features:
    """Windows [CLS] complete words [SEP], with each word's target at its first sub-word.

    A sentence that does not fit in a window becomes several overlapping windows. A word in several
    windows is owned by the one in which it has the most context, counted as the smaller number of
    tokens before and after it; on ties by the first window (after google-research/bert,
    run_squad.py, _check_is_max_context). It has a target and a prediction only there, so no word
    counts twice.

    Args:
        words: a word that does not fit in a window keeps the sub-words that do.
        counts: the words of each sentence.
        template: its special tokens.
        max_length: maximum tokens of a window.
        stride: maximum tokens that two windows share, before they are filled up; fewer only if a
            word would be split.
        around: (N, 2), the words before and after each sentence, which `words` has there; None has
            sentences alone.
        targets: for each sentence (words,) int, -100 where a word has none; None without targets.
        inside: (C,) int, for each target the one of a word's further sub-words (I-PER for B-PER);
            None gives these no target.

    Returns:
        Features with tokens input_ids, token_type_ids int32 and, with targets, labels int32: the
        target at the first sub-word of an owned word, or at all of them, and -100 elsewhere. On
        the host, word (total,) int32: the index of the word in its sentence at the first sub-word
        of an owned word, else -1; and offsets (total, 2) int32: a token's characters in its word.

    Raises:
        InputError: max_length leaves no room for a word, or stride is too large for it.
    """
    room = _room(template, max_length, stride)
    sizes = np.minimum(words.sizes, room)
    kept = ranges(np.cumsum(words.sizes) - words.sizes, sizes)
    ids, offsets = words.ids[kept], words.offsets[kept]
    # Word w of all words has the tokens ends[w] to ends[w + 1].
    ends = np.concatenate([[0], np.cumsum(sizes)])
    word_of = np.repeat(np.arange(len(sizes)), sizes)

    # Sentences: their words, from starts on, and with the words around them, to uppers.
    own = np.asarray(counts, np.int64)
    sides = np.zeros((len(own), 2), np.int64) if around is None else around
    uppers = np.cumsum(own + sides.sum(1))
    starts = uppers - sides[:, 1] - own
    # Windows: their example, their words (first to last), and the words among them that they own.
    example, first, last, own_first, own_last = _windows_of(ends, starts, own, room, stride)
    own_tokens = int((ends[last] - ends[first]).sum())
    if around is not None:
        lowest, highest = (starts - sides[:, 0])[example], uppers[example]
        first, last = _filled_up(ends, first, last, lowest, highest, room)

    # For each token of the windows: its position, its index among all tokens, and its word.
    token_counts = ends[last] - ends[first]
    bounds = np.concatenate([[0], np.cumsum(token_counts + 2)])
    position = ranges(bounds[:-1] + 1, token_counts)
    token = ranges(ends[first], token_counts)
    word = word_of[token]
    is_owned = (np.repeat(own_first, token_counts) <= word) & (
        word < np.repeat(own_last, token_counts)
    )
    is_first_token = is_owned & (token == ends[word])

    def scatter(fill: int, positions: np.ndarray, values: np.ndarray) -> np.ndarray:
        filled = np.full((bounds[-1], *values.shape[1:]), fill, np.int32)
        filled[positions] = values
        return filled

    input_ids = scatter(int(template.last[0]), position, ids[token])
    input_ids[bounds[:-1]] = template.first
    tokens = {"input_ids": input_ids, "token_type_ids": np.zeros_like(input_ids)}
    in_sentences = ranges(starts, own)
    if targets is not None:
        of_words = np.full(len(sizes), PADDING["labels"], np.int64)
        of_words[in_sentences] = np.concatenate(targets)
        values = of_words[word]
        if inside is not None:
            values = np.where(is_first_token | (values < 0), values, inside[np.maximum(values, 0)])
        labelled = is_first_token if inside is None else is_owned
        tokens["labels"] = scatter(PADDING["labels"], position[labelled], values[labelled])
    word_in_sentence = (word - np.repeat(starts[example], token_counts))[is_first_token]
    return Features(
        bounds=bounds,
        tokens=tokens,
        rows={},
        example=example.astype(np.int32),
        host={
            "word": scatter(-1, position[is_first_token], word_in_sentence),
            "offsets": scatter(0, position, offsets[token]),
        },
        lines=_lines(max_length, stride, room, words.unknown),
        sums={
            "windows": len(example),
            "examples": len(counts),
            "cut": int((words.sizes[in_sentences] > room).sum()),
            "empty": 0 if words.empty is None else int(words.empty[in_sentences].sum()),
            "around": int(token_counts.sum()) - own_tokens,
        },
    )


def _room(template: Template, max_length: int, stride: int) -> int:
    """The tokens of words that a window has.

    Raises:
        InputError: there is room for none, or the stride is too large.
    """
    room = max_length - template.single
    if room < 1:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a word; give at least 3"
        )
    if stride < 0 or 2 * stride >= room:
        raise InputError(
            f"--doc_stride {stride} is too much overlap for windows of --max_seq_length "
            f"{max_length}; give a --doc_stride from 0 to {(room - 1) // 2}"
        )
    return room


def _lines(max_length: int, stride: int, room: int, unknown: str) -> tuple[Line, ...]:
    """What the log says of windows of words."""
    return (
        Line(
            f"{{windows}} windows of {{examples}} sentences (max_seq_length {max_length}, "
            f"doc_stride {stride})"
        ),
        Line(
            "{mean:.1f} tokens of its document beside a window's own, on average",
            "around",
            mean=("around", "windows"),
        ),
        Line(f"{{cut}} words cut to {room} sub-words", "cut"),
        Line(f"{{empty}} words without a token became {as_text(unknown)}", "empty"),
    )


def _tokenize_words(
    words: Sequence[str], tokenizer: PreTrainedTokenizerFast, template: Template
) -> WordTokens:
    """The tokens of words, one at least for each."""
    tokenized = _tokenize_apart(words, tokenizer, template.word_prefix)
    unk_id = np.array([tokenizer.unk_token_id], np.int32)
    empty = {word for word, tokens in tokenized.items() if not len(tokens.ids)}
    for word in empty:  # only control characters, say; it still needs a token for its prediction
        tokenized[word] = Tokenized(unk_id, np.array([0]), np.array([len(word)]))
    sizes = np.array([len(tokens.ids) for tokens in tokenized.values()])
    ids = np.concatenate([tokens.ids for tokens in tokenized.values()])
    starts = np.concatenate([tokens.starts for tokens in tokenized.values()])
    ends = np.concatenate([tokens.ends for tokens in tokenized.values()])
    # From the distinct words to the words of the text.
    index_of = {word: index for index, word in enumerate(tokenized)}
    indices = np.array([index_of[word] for word in words])
    source = ranges((np.cumsum(sizes) - sizes)[indices], sizes[indices])
    return WordTokens(
        ids[source],
        np.stack([starts, ends], 1)[source],
        sizes[indices],
        unknown=str(tokenizer.unk_token),
        empty=np.array([word in empty for word in tokenized])[indices],
    )


def _tokenize_apart(
    words: Sequence[str], tokenizer: PreTrainedTokenizerFast, prefix: str
) -> dict[str, Tokenized]:
    """The tokens of each different word, as it is tokenized behind the prefix."""
    tokenized = tokenize(tokenizer, [prefix + word for word in words])
    shift = len(prefix)
    return {
        word[shift:]: dataclasses.replace(
            tokens,
            starts=np.maximum(tokens.starts - shift, 0),
            ends=np.maximum(tokens.ends - shift, 0),
        )
        for word, tokens in tokenized.items()
    }


def _windows_of(
    ends: np.ndarray, starts: np.ndarray, counts: np.ndarray, room: int, stride: int
) -> np.ndarray:
    """Of all windows the sentence, and what `_windows` gives: (5, windows) int64.

    Args:
        starts, counts: (N,), the words of each sentence.
    """
    windows: list[tuple[int, ...]] = []
    for index, (start, count) in enumerate(zip(starts, counts, strict=True)):
        parts = _windows(ends[start : start + count + 1], room, stride)
        windows += [(index, *(start + part)) for part in parts]
    found: np.ndarray = np.array(windows, np.int64).T
    return found


def _filled_up(
    ends: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    room: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The words first to last (M,) of windows that are filled up with those beside them, within
    lowest to highest (M,) and with `room` tokens at most.

    Args:
        ends: word w of all words has the tokens ends[w] to ends[w + 1].
    """
    start, end = ends[first], ends[last]
    spare = room - (end - start)

    def first_with(tokens: np.ndarray) -> np.ndarray:
        """The first word where that number of tokens before the window may be added."""
        fits = np.searchsorted(ends, start - tokens, side="left")
        found: np.ndarray = np.maximum(fits, lowest)
        return found

    before = first_with(np.maximum(spare // 2, spare - (ends[highest] - end)))
    room_after = spare - (start - ends[before])
    after = np.minimum(np.searchsorted(ends, end + room_after, side="right") - 1, highest)
    # Where no whole word fits on one side, one may still fit on the other.
    return first_with(spare - (ends[after] - end)), after


def _windows(ends: np.ndarray, room: int, stride: int) -> np.ndarray:
    """The windows of a sentence: words first to last, of which each owns own_first to own_last.

    Args:
        ends: (words + 1,) int, ascending; word w has the tokens ends[w] to ends[w + 1].

    Returns:
        (windows, 4) int64: first, last, own_first, own_last, without windows that own no word.
    """
    count = len(ends) - 1
    if ends[-1] - ends[0] <= room:
        return np.array([[0, count, 0, count]])
    best_context = np.full(count, -1)
    owner = np.zeros(count, np.int64)
    parts: list[tuple[int, int]] = []
    first = last = 0
    while last < count:
        last = int(np.searchsorted(ends, ends[first] + room, side="right")) - 1
        words = slice(first, last)
        smaller_context = np.minimum(
            ends[words] - ends[first], ends[last] - ends[first + 1 : last + 1]
        )
        owner[words] = np.where(smaller_context > best_context[words], len(parts), owner[words])
        best_context[words] = np.maximum(smaller_context, best_context[words])
        parts.append((first, last))
        if last < count:
            # The most overlap allowed with which the next word, which did not fit, fits.
            start = max(ends[last] - stride, ends[last + 1] - room)
            first = int(np.searchsorted(ends, start, side="left"))
    # Later windows own later words: over the words that two windows share, context falls in one and
    # rises in the other. So each window owns an interval.
    own_bounds = np.searchsorted(owner, np.arange(len(parts) + 1))
    windows = np.column_stack([parts, own_bounds[:-1], own_bounds[1:]])
    return windows[own_bounds[:-1] < own_bounds[1:]]
