"""Encodes texts and pairs of any length: those that are too long for a row in several windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.data.encode_texts import tokens_of_texts, with_special_tokens
from jaxbert.data.features import Features, Line, window_starts
from jaxbert.data.texts import TextExample
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def encode_text_windows(
    examples: Sequence[TextExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int,
    stride: int | None,
    targets: np.ndarray | None,
) -> Features:
    """Encode windows as encode_texts does, and several of what it would cut: no token is lost.

    Of a pair that does not fit, the longer text, the second where both are equally long, is divided
    among the windows, and the shorter one is whole in each.

    Args:
        examples: single texts, pairs, or both.
        tokenizer: a fast tokenizer; its [CLS] and [SEP] are used.
        max_length: maximum tokens of a window.
        stride: tokens of the divided text that two windows share; None shares a quarter of those
            that a window has.
        targets: (N,) or (N, C), the target of each example, which all of its windows have; None
            without targets.

    Returns:
        Features with tokens input_ids, token_type_ids int32; rows weight (M,) float32, one divided
        by the number of windows of the example, so that every example counts once; and, if there
        are targets, rows labels. Windows are in the order of the examples and of their texts.

    Raises:
        InputError: max_length leaves no room for a token of each text or for this stride, or too
            little beside the shorter text of a pair.
    """
    tokens = tokens_of_texts([(e.text, e.pair) for e in examples], tokenizer, max_length)
    most = max_length - tokens.template.single
    if stride is not None and 2 * stride >= most:
        raise InputError(
            f"--doc_stride {stride} is too much overlap for windows of --max_seq_length "
            f"{max_length}; give a --doc_stride from 0 to {(most - 1) // 2}"
        )
    firsts: list[np.ndarray] = []
    seconds: list[np.ndarray] = []
    counts = np.ones(len(examples), np.int64)
    rooms = (max_length - tokens.special).tolist()
    for number, (first, second, room) in enumerate(
        zip(tokens.firsts, tokens.seconds, rooms, strict=True)
    ):
        if len(first) + len(second) <= room:
            firsts.append(first)
            seconds.append(second)
            continue
        divides_first = len(first) > len(second)
        whole, divided = (second, first) if divides_first else (first, second)
        left = room - len(whole)
        _check_room(examples[number].where, len(whole), left, room, stride, max_length)
        step = left - (left // 4 if stride is None else stride)
        starts = window_starts(len(divided), left, step).tolist()
        parts = [divided[start : start + left] for start in starts]
        firsts += parts if divides_first else [whole] * len(parts)
        seconds += [whole] * len(parts) if divides_first else parts
        counts[number] = len(parts)
    ids, types, lengths = with_special_tokens(
        firsts, seconds, np.repeat(tokens.paired, counts), tokens.template
    )
    example = np.repeat(np.arange(len(examples), dtype=np.int32), counts)
    rows = {"weight": (1 / counts).astype(np.float32)[example]}
    if targets is not None:
        rows["labels"] = targets[example]
    return Features(
        bounds=np.concatenate([[0], np.cumsum(lengths)]),
        tokens={"input_ids": ids, "token_type_ids": types},
        rows=rows,
        example=example,
        lines=_lines(max_length, stride),
        sums={
            "examples": len(examples),
            "windows": len(example),
            "tokens": int(lengths.sum()),
            "long": int((counts > 1).sum()),
        },
    )


def _check_room(
    where: str, whole: int, left: int, room: int, stride: int | None, max_length: int
) -> None:
    """Refuse a pair of which both texts are long: its windows would be many, of few tokens each.

    Args:
        where: the pair, for the message.
        whole: tokens of the shorter text.
        left: tokens of the other one that a window has.
        room: of both.
    """
    least = max(-(-room // 2), 2 * (stride or 0) + 1)
    if left < least:
        raise InputError(
            f"{where}: the shorter text of the pair has {whole} tokens, and of a window of "
            f"--max_seq_length {max_length} that leaves {max(0, left)} for the longer one; at "
            f"least {least} are needed: give a greater --max_seq_length"
            f"{', a smaller --doc_stride' * bool(stride)}, or --long_texts truncate"
        )


def _lines(max_length: int, stride: int | None) -> tuple[Line, ...]:
    """What the log says of windows of texts."""
    shared = "a quarter of it shared" if stride is None else f"doc_stride {stride}"
    return (
        Line(
            "{windows} windows of {examples} texts, {mean:.1f} tokens on average (max_seq_length "
            f"{max_length}, {shared})",
            mean=("tokens", "windows"),
        ),
        Line("{long} of {examples} texts {are} longer than a window", "long"),
    )
