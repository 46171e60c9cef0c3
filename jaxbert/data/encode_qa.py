"""Encodes questions as windows of question and paragraph, with the gold span of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxbert.data.features import Features, Tokenized, tokenize
from jaxbert.data.questions import QAExample
from jaxbert.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MAX_ANSWERS = 16  # reference answers kept per question

StrideMode = Literal["overlap", "step"]


def _window_starts(length: int, room: int, step: int) -> np.ndarray:
    """First context token of each window, up to the window that reaches the end of the context."""
    count = 1 if length <= room else 1 + -(-(length - room) // step)
    return np.arange(count) * step


def encode_qa(
    examples: Sequence[QAExample],
    tokenizer: PreTrainedTokenizerFast,
    *,
    max_length: int = 384,
    stride: int = 128,
    stride_mode: StrideMode = "overlap",
) -> Features:
    """Encode windows [CLS] question [SEP] part of the paragraph [SEP], with the gold span of each.

    Args:
        examples: the gold answer of each is the first that is in its paragraph and fits in one of
            its windows.
        tokenizer: a fast tokenizer; its [CLS], [SEP] and offsets are used.
        max_length: maximum tokens of a window.
        stride: with "overlap" (Hugging Face) the number of tokens that two windows share; with
            "step" (google-research/bert, run_squad.py) the distance between their starts.

    Returns:
        Features with these columns:

        - tokens input_ids, token_type_ids int32, and context_mask bool, True at tokens that can be
          part of an answer;
        - rows start_positions, end_positions int32: inclusive token positions in the window, 0
          ([CLS]) where the window does not hold the complete gold answer;
        - if a question has several different answers, rows answer_starts, answer_ends (M, G) int32
          with all of them: -1 for one that is not in the window, and 0 first if none is;
        - on the host, offsets (total, 2) int32: the characters of the paragraph's tokens in the
          paragraph, (0, 0) for all other tokens.

        A question whose answer is in no window is not learnable: its windows would all say that
        there is no answer. If one window holds the answer, the others are labelled [CLS], as in
        Hugging Face's scripts.

    Raises:
        InputError: max_length leaves no room for a question and a paragraph at this stride.
    """
    least = stride + max(1, stride // 2) if stride_mode == "overlap" else stride
    longest_question = max_length - 3 - least
    if stride < 1 or longest_question < 1:
        raise InputError(
            f"--max_seq_length {max_length} with --doc_stride {stride} ({stride_mode}) leaves no "
            f"room for a question; give a --doc_stride of at most {max(1, (max_length - 12) // 2)}"
        )
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    questions = tokenize(tokenizer, [e.question for e in examples])
    contexts = tokenize(tokenizer, [e.context for e in examples])

    ids: list[np.ndarray] = []
    offsets: list[np.ndarray] = []
    lengths: list[int] = []
    context_starts: list[int] = []  # tokens before the paragraph's part, by window
    spans: list[np.ndarray] = []
    placed: list[np.ndarray] = []
    owner: list[int] = []
    reasons: list[str | None] = []  # why each example is not learnable; None if it is
    cut = answerable = fits = 0
    special = np.array([[cls], [sep]], np.int32)
    for index, example in enumerate(examples):
        question = questions[example.question].ids
        context = contexts[example.context]
        if len(question) > longest_question:
            question, cut = question[:longest_question], cut + 1
        context_start = len(question) + 2
        room = max_length - context_start - 1
        step = room - stride if stride_mode == "overlap" else min(stride, room)
        firsts = _window_starts(len(context.ids), room, step)
        lasts = np.minimum(firsts + room, len(context.ids))
        golds = _gold_tokens(example, context)
        # (windows, answers, 2), -1 where the window does not hold the complete answer.
        places = np.array(golds, np.int64).reshape(1, -1, 2) - firsts[:, None, None] + context_start
        inside = (places[..., 0] >= context_start) & (
            places[..., 1] < (lasts - firsts + context_start)[:, None]
        )
        places[~inside] = -1
        span = np.zeros((len(firsts), 2), np.int32)
        complete = np.flatnonzero(inside.any(0))
        if len(complete):  # the gold answer comes first
            gold = int(complete[0])
            places = np.concatenate(
                [places[:, gold : gold + 1], np.delete(places, gold, axis=1)], axis=1
            )
            span[inside[:, gold]] = places[inside[:, gold], 0]
        placed.append(places)
        answerable, fits = answerable + bool(golds), fits + bool(len(complete))
        reasons.append(None if len(complete) else _unlearnable_reason(example, golds))
        prefix = np.concatenate([special[0], question, special[1]])
        blank = np.zeros((context_start, 2), np.int32)
        for first, last in zip(firsts, lasts, strict=True):
            ids += (prefix, context.ids[first:last], special[1])
            offsets += (
                blank,
                np.stack([context.starts[first:last], context.ends[first:last]], 1),
                blank[:1],
            )
            lengths.append(context_start + int(last - first) + 1)
        context_starts += [context_start] * len(firsts)
        owner += [index] * len(firsts)
        spans.append(span)

    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    total = int(bounds[-1])
    # Find the second segment and the paragraph by position, for all windows at once.
    position = np.arange(total) - np.repeat(bounds[:-1], lengths)
    in_second = position >= np.repeat(np.asarray(context_starts), lengths)
    is_last = np.zeros(total, bool)
    is_last[bounds[1:] - 1] = True
    gold_spans = np.concatenate(spans)
    rows = {"start_positions": gold_spans[:, 0].copy(), "end_positions": gold_spans[:, 1].copy()}
    max_answers = max(places.shape[1] for places in placed)
    if max_answers > 1:
        answers = np.full((len(lengths), max_answers, 2), -1, np.int32)
        row = 0
        for places in placed:
            answers[row : row + len(places), : places.shape[1]] = places
            row += len(places)
        answers[(answers < 0).all((1, 2)), 0] = 0
        rows |= {"answer_starts": answers[..., 0].copy(), "answer_ends": answers[..., 1].copy()}
    notes = [
        f"{len(lengths)} windows of {len(examples)} questions (max_seq_length {max_length}, "
        f"doc_stride {stride}: {stride_mode})"
    ]
    if answerable:
        notes.append(f"{fits} of {answerable} gold answers fit in a window")
    if cut:
        notes.append(f"{cut} questions cut to {longest_question} tokens")
    counts = Counter(reason for reason in reasons if reason is not None)
    left_out = [
        f"{count} of {len(examples)} questions {'is' if count == 1 else 'are'} left out of "
        f"training: {reason}"
        for reason, count in counts.items()
    ]
    return Features(
        bounds=bounds,
        tokens={
            "input_ids": np.concatenate(ids).astype(np.int32),
            "token_type_ids": in_second.astype(np.int32),
            "context_mask": in_second & ~is_last,
        },
        rows=rows,
        example=np.asarray(owner, np.int32),
        host={"offsets": np.concatenate(offsets)},
        notes=tuple(notes),
        learnable=np.array([reasons[n] is None for n in owner]) if counts else None,
        left_out=tuple(left_out),
    )


def _unlearnable_reason(example: QAExample, golds: Sequence[tuple[int, int]]) -> str | None:
    """Why a question whose answer is in no window is not learnable; None if it is unanswerable."""
    if not example.labelled:
        return "nothing says whether there is an answer"
    if not example.answers:
        return None
    if all(not answer.text.strip() for answer in example.answers):
        return 'the answer is empty; if there is none, give "answers": []'
    if all(answer.start is None for answer in example.answers):
        return "the answer is not in the paragraph"
    return "the answer fits in no window" if golds else "the answer has no token"


def _gold_tokens(example: QAExample, context: Tokenized) -> list[tuple[int, int]]:
    """First and last token of each different answer that is in the paragraph and has a token there,
    in order."""
    spans: dict[tuple[int, int], None] = {}
    for answer in [a for a in example.answers if a.start is not None][:_MAX_ANSWERS]:
        assert answer.start is not None
        assert answer.end is not None
        first = int(np.searchsorted(context.ends, answer.start, side="right"))
        last = int(np.searchsorted(context.starts, answer.end, side="left")) - 1
        if first <= last:
            spans[first, last] = None
    return list(spans)
