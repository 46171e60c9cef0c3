"""Texts, pairs of texts and multiple choices -> Features: one window an example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxbert.data.choices import ChoiceExample
from jaxbert.data.features import Features, ranges, tokenize
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Truncation = Literal["longest_first", "only_first", "only_second"]


def encode_texts(
    examples: Sequence[TextExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    targets: np.ndarray | None,
    truncation: Truncation = "longest_first",
) -> Features:
    """Windows [CLS] text [SEP] or, of pairs, [CLS] text [SEP] pair [SEP].

    Args:
        examples: single texts, pairs, or both.
        tokenizer: a fast tokenizer; its [CLS] and [SEP] are used.
        max_length: the most tokens of a window.
        targets: (M,) int32 or float32, what is to be learned of each example; None where nothing
            is.
        truncation: which text of a pair is cut, by default always the one that is longer.

    Returns:
        Features with tokens input_ids, token_type_ids int32 and, of the targets, rows labels.

    Raises:
        InputError: max_length leaves no room for a token of each text, or for the text of a pair
            that is not to be cut.
    """
    ids, types, lengths, cut = _sequences(
        [(e.text, e.pair) for e in examples], tokenizer, max_length, truncation
    )
    return Features(
        bounds=np.concatenate([[0], np.cumsum(lengths)]),
        tokens={"input_ids": ids, "token_type_ids": types},
        rows={} if targets is None else {"labels": targets},
        example=np.arange(len(examples), dtype=np.int32),
        notes=_notes(f"{len(examples)} texts", lengths, cut, max_length),
    )


def encode_choices(
    examples: Sequence[ChoiceExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    targets: np.ndarray | None,
) -> Features:
    """Windows of K choices, each the sequence [CLS] context [SEP] ending [SEP].

    Args:
        examples: all with K endings.
        tokenizer: a fast tokenizer; its [CLS] and [SEP] are used.
        max_length: the most tokens of a choice; the longer text of the two is cut first.
        targets: (M,) int32, the number of each example's right choice; None where it is unknown.

    Returns:
        Features with tokens input_ids, token_type_ids, attention_mask (total, K) int32, where a
        window is as long as its longest choice and the others are padded with 0, and, of the
        targets, rows labels. Nothing can be learned where all choices have the same tokens, most
        likely because what tells them apart has been cut off.

    Raises:
        InputError: max_length leaves no room for a token of each text.
    """
    ids, types, lengths, cut = _sequences(
        [(e.context, ending) for e in examples for ending in e.endings],
        tokenizer,
        max_length,
        "longest_first",
    )
    choices = len(examples[0].endings)
    longest = lengths.reshape(-1, choices).max(1)
    bounds = np.concatenate([[0], np.cumsum(longest)])
    # Where each token of each choice belongs.
    line = ranges(np.repeat(bounds[:-1], choices), lengths)
    choice = np.repeat(np.arange(len(lengths)) % choices, lengths)
    tokens = {}
    for name, column in [
        ("input_ids", ids),
        ("token_type_ids", types),
        ("attention_mask", np.ones_like(ids)),
    ]:
        tokens[name] = np.zeros((int(bounds[-1]), choices), np.int32)
        tokens[name][line, choice] = column
    pieces = [piece.tobytes() for piece in np.split(ids, np.cumsum(lengths)[:-1])]
    learnable = np.array(
        [len(set(pieces[n : n + choices])) > 1 for n in range(0, len(pieces), choices)]
    )
    alike = int((~learnable).sum())
    return Features(
        bounds=bounds,
        tokens=tokens,
        rows={} if targets is None else {"labels": targets},
        example=np.arange(len(examples), dtype=np.int32),
        notes=_notes(f"{len(examples)} texts of {choices} choices", lengths, cut, max_length),
        learnable=learnable if alike else None,
        left_out=(
            f"{alike} of {len(examples)} texts {'is' if alike == 1 else 'are'} left out of "
            f"training: all choices have the same {max_length} tokens or fewer",
        )
        * (alike > 0),
    )


def _sequences(
    texts: Sequence[tuple[str, str | None]],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    truncation: Truncation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Ids and types (total,) int32 and lengths (N,) int64 of all sequences, and how many were cut.

    Raises:
        InputError: max_length leaves no room for a token of each text, or for the text of a pair
            that is not to be cut.
    """
    paired = np.array([pair is not None for _, pair in texts])
    least = 5 if paired.any() else 3
    if max_length < least:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a token of each text beside [CLS] "
            f"and [SEP]; give {least} or more"
        )
    found = tokenize(tokenizer, [t for pair in texts for t in pair if t is not None])
    nothing = np.zeros(0, np.int32)
    firsts = [found[text].ids for text, _ in texts]
    seconds = [nothing if pair is None else found[pair].ids for _, pair in texts]
    before = np.array([len(ids) for ids in firsts]), np.array([len(ids) for ids in seconds])
    room = max_length - 2 - paired
    if truncation == "longest_first":
        first, second = _kept(*before, room)
    else:
        first, second = _kept_of_one(*before, room, truncation)
    cls = np.array([tokenizer.cls_token_id], np.int32)
    sep = np.array([tokenizer.sep_token_id], np.int32)
    pieces: list[np.ndarray] = []
    for a, b, m, n, pair in zip(firsts, seconds, first, second, paired, strict=True):
        pieces += (cls, a[:m], sep, b[:n], sep) if pair else (cls, a[:m], sep)
    lengths = first + second + 2 + paired
    position = ranges(np.zeros_like(lengths), lengths)
    types = (position >= np.repeat(first + 2, lengths)).astype(np.int32)
    cut = int(((first < before[0]) | (second < before[1])).sum())
    return np.concatenate(pieces), types, lengths, cut


def _kept(first: np.ndarray, second: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N,) that two texts keep if the longer loses its last until both fit into the room.

    When both are cut and the room is odd, the text that was longer has the odd token, the second
    if they were equal: truncation="longest_first" of Hugging Face's tokenizers
    (tokenizers/src/utils/truncation.rs, truncate_encodings).
    """
    short = np.minimum(np.minimum(first, second), room // 2)
    long = np.minimum(np.maximum(first, second), room - short)
    swap = first > second
    return np.where(swap, long, short), np.where(swap, short, long)


def _kept_of_one(
    first: np.ndarray, second: np.ndarray, room: np.ndarray, truncation: Truncation
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N,) that two texts keep if one of them alone is cut.

    Raises:
        InputError: of that text no token would be left.
    """
    over = np.maximum(first + second - room, 0)
    cut = first if truncation == "only_first" else second
    if ((over > 0) & (cut <= over)).any():
        at = int(np.argmax((over > 0) & (cut <= over)))
        raise InputError(
            f"text {at} has {over[at]} tokens too many, and of the text that {truncation} cuts "
            f"there are {cut[at]}; give longest_first, or a greater max_length"
        )
    return (first - over, second) if truncation == "only_first" else (first, second - over)


def _notes(what: str, lengths: np.ndarray, cut: int, max_length: int) -> tuple[str, ...]:
    """What was counted: sequences, their mean length, and how many had to be cut."""
    notes = [f"{what}, {lengths.mean():.1f} tokens on average (max_seq_length {max_length})"]
    if cut:
        notes.append(f"{cut} of {len(lengths)} sequences cut to {max_length} tokens")
    return tuple(notes)
