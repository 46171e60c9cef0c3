"""Encodes texts, pairs of texts and multiple choices: one window per example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxbert.data.choices import ChoiceExample
from jaxbert.data.features import Features, Line, ranges, tokenize
from jaxbert.data.template import Template, template_of
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
    """Encode windows [CLS] text [SEP] or, for pairs, [CLS] text [SEP] pair [SEP].

    Args:
        examples: single texts, pairs, or both.
        tokenizer: a fast tokenizer; its [CLS] and [SEP] are used.
        max_length: maximum tokens of a window.
        targets: (M,) int32 or float32, the target of each example; None without targets.
        truncation: which text of a pair is cut; by default always the longer one.

    Returns:
        Features with tokens input_ids, token_type_ids int32 and, if there are targets, rows labels.

    Raises:
        InputError: max_length leaves no room for a token of each text, or for the text of a pair
            that must not be cut.
    """
    ids, types, lengths, cut = _sequences(
        [(e.text, e.pair) for e in examples],
        [e.where for e in examples],
        tokenizer,
        max_length,
        truncation,
    )
    return Features(
        bounds=np.concatenate([[0], np.cumsum(lengths)]),
        tokens={"input_ids": ids, "token_type_ids": types},
        rows={} if targets is None else {"labels": targets},
        example=np.arange(len(examples), dtype=np.int32),
        lines=_lines("texts", max_length),
        sums=_sums(examples, lengths, cut),
    )


def encode_choices(
    examples: Sequence[ChoiceExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    targets: np.ndarray | None,
) -> Features:
    """Encode windows of K choices, each the sequence [CLS] context [SEP] ending [SEP].

    Args:
        examples: each with K endings.
        tokenizer: a fast tokenizer; its [CLS] and [SEP] are used.
        max_length: maximum tokens of a choice; the longer of its two texts is cut first.
        targets: (M,) int32, the index of each example's right choice; None if unknown.

    Returns:
        Features with tokens input_ids, token_type_ids, attention_mask (total, K) int32, and, if
        there are targets, rows labels. A window is as long as its longest choice; the others are
        padded with 0. An example is not learnable if all its choices have the same tokens, most
        likely because their differences have been cut off.

    Raises:
        InputError: max_length leaves no room for a token of each text.
    """
    ids, types, lengths, cut = _sequences(
        [(e.context, ending) for e in examples for ending in e.endings],
        [e.where for e in examples for _ in e.endings],
        tokenizer,
        max_length,
        "longest_first",
    )
    choices = len(examples[0].endings)
    longest = lengths.reshape(-1, choices).max(1)
    bounds = np.concatenate([[0], np.cumsum(longest)])
    # Row and choice of each token.
    position = ranges(np.repeat(bounds[:-1], choices), lengths)
    choice = np.repeat(np.arange(len(lengths)) % choices, lengths)
    tokens = {}
    for name, column in [
        ("input_ids", ids),
        ("token_type_ids", types),
        ("attention_mask", np.ones_like(ids)),
    ]:
        tokens[name] = np.zeros((int(bounds[-1]), choices), np.int32)
        tokens[name][position, choice] = column
    pieces = [piece.tobytes() for piece in np.split(ids, np.cumsum(lengths)[:-1])]
    learnable = np.array(
        [len(set(pieces[n : n + choices])) > 1 for n in range(0, len(pieces), choices)]
    )
    return Features(
        bounds=bounds,
        tokens=tokens,
        rows={} if targets is None else {"labels": targets},
        example=np.arange(len(examples), dtype=np.int32),
        learnable=None if learnable.all() else learnable,
        lines=(
            *_lines(f"texts of {choices} choices", max_length),
            Line(
                "{identical} of {examples} texts {are} left out of training: all choices have the "
                f"same {max_length} tokens or fewer",
                "identical",
                left_out=True,
            ),
        ),
        sums={**_sums(examples, lengths, cut), "identical": int((~learnable).sum())},
    )


def _sequences(
    texts: Sequence[tuple[str, str | None]],
    where: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    truncation: Truncation,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Ids and types (total,) int32 and lengths (N,) int64 of all sequences, and how many were cut.

    Args:
        where: each sequence's name in messages.

    Raises:
        InputError: max_length leaves no room for a token of each text, or for the text of a pair
            that must not be cut.
    """
    tokens = tokens_of_texts(texts, tokenizer, max_length)
    firsts, seconds, template = tokens.firsts, tokens.seconds, tokens.template
    lengths_before = np.array([len(ids) for ids in firsts]), np.array([len(ids) for ids in seconds])
    room = max_length - tokens.special
    if truncation == "longest_first":
        kept_first, kept_second = _kept(*lengths_before, room)
    else:
        kept_first, kept_second = _kept_of_one(*lengths_before, room, truncation, where)
    ids, types, lengths = with_special_tokens(
        [ids[:count] for ids, count in zip(firsts, kept_first, strict=True)],
        [ids[:count] for ids, count in zip(seconds, kept_second, strict=True)],
        tokens.paired,
        template,
    )
    cut = int(((kept_first < lengths_before[0]) | (kept_second < lengths_before[1])).sum())
    return ids, types, lengths, cut


class TextTokens(NamedTuple):
    """The tokens of N texts and pairs, without special ones.

    Attributes:
        firsts, seconds: int32 ids of each; of a single text the second has none.
        paired: (N,) bool, whether it is a pair.
        special: (N,) int, how many special tokens go around it.
        template: these.
    """

    firsts: Sequence[np.ndarray]
    seconds: Sequence[np.ndarray]
    paired: np.ndarray
    special: np.ndarray
    template: Template


def tokens_of_texts(
    texts: Sequence[tuple[str, str | None]], tokenizer: PreTrainedTokenizerFast, max_length: int
) -> TextTokens:
    """The tokens of texts and pairs.

    Raises:
        InputError: max_length leaves no room for a token of each text.
    """
    template = template_of(tokenizer)
    paired = np.array([pair is not None for _, pair in texts])
    minimum = template.pair + 2 if paired.any() else template.single + 1
    if max_length < minimum:
        raise InputError(
            f"--max_seq_length {max_length} leaves no room for a token of each text next to "
            f"[CLS] and [SEP]; give {minimum} or more"
        )
    tokenized = tokenize(tokenizer, [t for pair in texts for t in pair if t is not None])
    no_tokens = np.zeros(0, np.int32)
    return TextTokens(
        [tokenized[text].ids for text, _ in texts],
        [no_tokens if pair is None else tokenized[pair].ids for _, pair in texts],
        paired,
        np.where(paired, template.pair, template.single),
        template,
    )


def with_special_tokens(
    firsts: Sequence[np.ndarray],
    seconds: Sequence[np.ndarray],
    paired: np.ndarray,
    template: Template,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids and types (total,) int32 and lengths (N,) int64 of sequences with these tokens.

    Args:
        firsts, seconds: the ids of each; of a single text the second has none.
        paired: (N,) bool, whether it is a pair.
    """
    pieces: list[np.ndarray] = []
    for first, second, pair in zip(firsts, seconds, paired, strict=True):
        pieces += (
            (template.first, first, template.between, second, template.last)
            if pair
            else (template.first, first, template.last)
        )
    counts = np.array([len(ids) for ids in firsts])
    special = np.where(paired, template.pair, template.single)
    lengths = counts + np.array([len(ids) for ids in seconds]) + special
    position = ranges(np.zeros_like(lengths), lengths)
    in_second = position >= np.repeat(counts + template.before_second, lengths)
    return np.concatenate(pieces), in_second * np.int32(template.second_type), lengths


def _kept(first: np.ndarray, second: np.ndarray, room: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N,) that two texts keep if the longer one loses its last until both fit the room.

    If both are cut and the room is odd, the longer text keeps the odd token, or the second if they
    are equally long: truncation="longest_first" of Hugging Face's tokenizers
    (tokenizers/src/utils/truncation.rs, truncate_encodings).
    """
    short = np.minimum(np.minimum(first, second), room // 2)
    long = np.minimum(np.maximum(first, second), room - short)
    swap = first > second
    return np.where(swap, long, short), np.where(swap, short, long)


def _kept_of_one(
    first: np.ndarray,
    second: np.ndarray,
    room: np.ndarray,
    truncation: Truncation,
    where: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N,) that two texts keep if only one of them is cut.

    Raises:
        InputError: that text would have no tokens left.
    """
    excess = np.maximum(first + second - room, 0)
    cut = first if truncation == "only_first" else second
    if ((excess > 0) & (cut <= excess)).any():
        index = int(np.argmax((excess > 0) & (cut <= excess)))
        raise InputError(
            f"{where[index]}: {excess[index]} tokens too long, and the text that {truncation} cuts "
            f"has only {cut[index]}; give longest_first, or a greater max_length"
        )
    return (first - excess, second) if truncation == "only_first" else (first, second - excess)


def _lines(what: str, max_length: int) -> tuple[Line, ...]:
    """The sequences, their mean length, and how many were cut."""
    return (
        Line(
            f"{{examples}} {what}, {{mean:.1f}} tokens on average (max_seq_length {max_length})",
            mean=("tokens", "sequences"),
        ),
        Line(f"{{cut}} of {{sequences}} sequences cut to {max_length} tokens", "cut"),
    )


def _sums(
    examples: Sequence[TextExample] | Sequence[ChoiceExample], lengths: np.ndarray, cut: int
) -> dict[str, int]:
    """The numbers in these lines."""
    return {
        "examples": len(examples),
        "sequences": len(lengths),
        "tokens": int(lengths.sum()),
        "cut": cut,
    }
